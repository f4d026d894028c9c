//! Policies: WASM components that judge what crosses a gate.
//!
//! ```text
//! policies.toml ─ load ─► candidate ─ promote ─► live set (ArcSwap) ─ judge(event) ─► Judgment ─► Cleared<String>
//! ```
//!
//! Only this module names wasmtime. It decides nothing about people: a needs-approval verdict is `approval`'s to settle.

pub mod cleared;
pub mod contract;
pub mod guests;
pub mod judgment;

pub use cleared::{Cleared, Exempt, Reason};
pub use contract::{Gate, Subject, Verdict};
pub use judgment::{Judgment, Step, Stopped};

/// stub
#[derive(Clone)]
pub struct Policies;
impl Policies {
    /// stub
    pub async fn judge(&self, event: contract::Event) -> Judgment {
        Judgment::new(
            event,
            String::new(),
            0,
            String::new(),
            vec![],
            Verdict::Deny { findings: vec![] },
            vec![],
            Default::default(),
        )
    }
}
