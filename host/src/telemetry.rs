//! coda's own log: lines on standard error, for people or as JSON. Never prompts, screens, tokens or tool arguments
//! above debug.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter says something that is none.
    #[error("log.filter '{filter}' is not a filter such as \"info\" or \"info,coda::gateway=debug\": {why}")]
    Filter {
        /// As given.
        filter: String,
        /// What the reader says.
        why: String,
    },
    /// Somebody installed a log before.
    #[error("the log is already set up")]
    Twice,
}

/// Starts the log of this process. To be called once, before anything worth logging happens.
pub fn start(log: &Log) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::try_new(&log.filter).map_err(|e| TelemetryError::Filter { filter: log.filter.clone(), why: e.to_string() })?;
    // A line that cannot be written is lost, and nothing else: by default the subscriber would say so on standard error,
    // and panic there in the middle of whatever logged.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = if log.format == "json" {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    };
    started.map_err(|_| TelemetryError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused_with_an_example() {
        let log = Log { filter: "coda=loud=er".into(), ..Log::default() };
        let error = start(&log).expect_err("no filter").to_string();
        assert!(error.contains("coda::gateway=debug"), "{error}");
    }
}
