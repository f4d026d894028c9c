//! Real agents in real terminals: shell scripts that behave, and that don't.

mod bypass;
mod confined;
mod endings;
pub(super) mod harness;
mod homes;
mod recordings;
mod runbooks;
mod secrets;
mod terminals;
mod throughput;

use std::ffi::OsString;

/// coda's hidden commands, called in the test's own binary: only with the command's name among the words it does something.
#[test]
fn reexec() {
    let words: Vec<OsString> = std::env::args_os().collect();
    let after = |command: &str| words.iter().position(|w| w == command).map(|at| &words[at + 1..]);
    if let Some(rest) = after(super::supervisor::COMMAND) {
        std::process::exit(i32::from(super::sandbox_init(rest)));
    }
    if let Some(rest) = after(super::agent::strip::COMMAND) {
        std::process::exit(i32::from(super::agent_conversation(rest)));
    }
    if after("agent-runbook").is_some() {
        std::process::exit(i32::from(crate::cli::runbook::main()));
    }
}
