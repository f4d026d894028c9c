//! The gateway between a scripted upstream and scripted verdicts.

mod connections;
mod databricks;
mod dialects;
mod egress;
mod frames;
mod heard;
#[cfg(feature = "e2e")]
mod hermes;
mod holds;
mod hooks;
mod hosted;
mod http2;
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
mod tls;
mod trust;
