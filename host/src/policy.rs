//! Policies: WASM components that judge what crosses a gate.
//!
//! ```text
//! policies.toml ─ load ─► candidate ─ promote ─► live set (ArcSwap) ─ judge(event) ─► Judgment ─► Cleared<String>
//! ```
//!
//! Only this module names wasmtime. It decides nothing about people: a needs-approval verdict is `approval`'s to settle.

mod answer;
mod bindings;
pub(crate) mod build;
mod cache;
mod chain;
pub mod cleared;
mod compile;
pub mod contract;
mod engine;
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod guest;
pub mod guests;
pub mod judgment;
mod manifest;
mod policies;
mod reload;
mod requester;
pub mod score;
mod set;
mod settings;
mod shadow;
mod shaping;
mod snapshot;
mod source;
mod status;
mod suite;
#[cfg(test)]
mod tests;
mod trial;
pub mod verdict;
mod wasi;
mod watch;
mod workers;

pub use chain::Reparse;
pub use cleared::{Cleared, Exempt, Reason};
pub use compile::Cost;
pub use contract::{Gate, Subject, Verdict};
pub use engine::Limits;
pub use fault::{FAULT_CODE, Fault, FaultKind};
pub use judgment::{Judgment, Mode, Step, Stopped};
pub use manifest::{Activation, Closed, Place, Rewriting};
pub use policies::{Hooks, LastError, Observer, Policies, PolicyError};
pub use reload::{LoadReport, LoadState, Trigger, Validation, validate};
pub use requester::lets_requester_decide;
pub use settings::Settings;
pub use shaping::Shaped;
pub use source::{FileRef, PolicySpec, SetSpec};
pub use status::{EngineStatus, PolicyStatus, SetStatus, Status};
pub use suite::CaseReport;
pub use trial::{Target, Trial, TrialError};
pub use watch::Watch;
