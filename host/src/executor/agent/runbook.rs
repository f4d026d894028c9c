//! The runbook agent: coda's own, a hidden command of the one binary (`cli::runbook`).

use std::ffi::OsString;

/// Name of the hidden command.
pub(super) const COMMAND: &str = "agent-runbook";

/// Its arguments, given how coda's own commands are called.
pub(super) fn arguments(own_program: &[OsString]) -> Vec<OsString> {
    own_program.iter().skip(1).cloned().chain([COMMAND.into()]).collect()
}
