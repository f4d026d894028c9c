//! The gateway between a scripted upstream and scripted verdicts.

mod databricks;
mod dialects;
mod egress;
#[cfg(feature = "e2e")]
mod hermes;
mod holds;
mod hooks;
mod inside;
mod properties;
mod readers;
mod record;
mod refusals;
mod results;
mod speech;
mod spending;
mod stand;
mod streams;
