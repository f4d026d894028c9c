//! `coda sandbox-init`, hidden: the process between server and agent. Its specification comes on standard input.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it. `words` are the arguments after `sandbox-init`. To be called before any thread is started.
#[must_use]
pub fn run(words: &[OsString]) -> ExitCode {
    ExitCode::from(crate::executor::sandbox_init(words))
}
