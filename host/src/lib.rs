//! coda runs real coding agents for MCP clients, in a terminal people can watch, and lets nothing pass between client,
//! agent, tools and model without the verdict of a sandboxed WASM policy.
//!
//! The tour follows a task: a client hands it over (`mcp`), it is judged and kept (`service`, `pipeline`, `policy`,
//! `approval`, `store`), an agent works on it (`executor`) behind the tool gates (`gateway`, `gates`, `usage`), people watch and
//! decide (`viewer`, `web`), and everything is on record (`event`, `audit`).

pub mod approval;
pub mod audit;
pub mod event;
pub mod executor;
pub mod gates;
pub mod gateway;
pub mod identity;
pub mod mcp;
pub mod pipeline;
pub mod policy;
pub mod service;
pub mod store;
pub mod task;
pub mod usage;
pub mod viewer;
pub mod web;

pub mod app;
pub mod cli;
pub mod config;
pub mod env;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod heap;
pub mod home;
pub mod id;
pub mod shutdown;
pub mod telemetry;
