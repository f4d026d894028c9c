//! The gateway between a scripted upstream and scripted verdicts.

#[cfg(feature = "e2e")]
mod hermes;
mod holds;
mod refusals;
mod results;
mod stand;
mod streams;
