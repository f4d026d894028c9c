//! The REST faces of coda's parts: plain functions that the router mounts. Each checks the caller's role itself.

pub mod audit;
