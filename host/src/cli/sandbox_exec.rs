//! (under construction)

/// Runs it. `words` are the arguments after `sandbox-exec`.
#[must_use]
pub fn run(words: &[std::ffi::OsString]) -> std::process::ExitCode {
    let _ = words;
    std::process::ExitCode::FAILURE
}
