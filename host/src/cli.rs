//! The command line. Client verbs talk to a running server over its REST API.

pub mod context;
pub mod policy;
