//! (under construction)

pub mod api;
