//! The command line. Client verbs talk to a running server over its REST API.

pub mod audit;
pub mod context;
pub mod runbook;
pub mod sandbox_exec;
