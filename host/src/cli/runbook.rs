//! `coda agent-runbook`, hidden.

/// Runs it.
pub(crate) fn main() -> u8 {
    1
}
