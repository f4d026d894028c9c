//! What every command has at hand: where the server is, who we are, and how to print.

use std::path::PathBuf;

use serde_json::Value;

/// Human output by default, JSON on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON document on standard output.
    Json,
}

/// Why a command failed; the exit code follows from the case.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments are off. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The server does not answer. Exit code 3.
    #[error("{0}")]
    Unreachable(String),
    /// The server refused: its code word and message. Exit code 4 for `forbidden` and `unauthenticated`, 5 for `not_found`, else 1.
    #[error("{message}")]
    Refused {
        /// Such as `not_found`.
        code: String,
        /// What it said.
        message: String,
    },
    /// Anything else. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

/// What every command has at hand.
#[derive(Debug, Clone)]
pub struct Context {
    /// CODA_HOME.
    pub home: PathBuf,
    /// How to print.
    pub format: Format,
    /// The server's address, `http://127.0.0.1:8484`; `None` = as server.json in CODA_HOME says.
    pub server: Option<String>,
}

impl Context {
    /// GET of a REST path such as `/v1/policies`.
    pub async fn get(&self, path: &str) -> Result<Value, CliError> {
        let _ = path;
        Err(CliError::Failed("unwired".into()))
    }

    /// POST of a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let _ = (path, body);
        Err(CliError::Failed("unwired".into()))
    }
}
