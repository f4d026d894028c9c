//! What every command has at hand: where the server is, who we are, and how to print.

use std::path::PathBuf;

use serde_json::Value;

use super::http;

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
    /// The task ended otherwise than completed. Exit code 6.
    #[error("{0}")]
    NotCompleted(String),
    /// The task waits for people, or still runs. Exit code 7.
    #[error("{0}")]
    Waits(String),
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
    /// `CODA_TOKEN`: used instead of a login, but for what only a person may do.
    pub token: Option<String>,
}

impl Context {
    /// GET of a REST path such as `/v1/policies`.
    pub async fn get(&self, path: &str) -> Result<Value, CliError> {
        http::json(self, http::Method::GET, path, None).await
    }

    /// POST of a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        http::json(self, http::Method::POST, path, Some(body)).await
    }

    /// DELETE of a REST path.
    pub async fn delete(&self, path: &str) -> Result<Value, CliError> {
        http::json(self, http::Method::DELETE, path, None).await
    }

    /// GET of something that is not one JSON document, such as NDJSON: handed to `take` piece by piece.
    pub async fn stream(&self, path: &str, take: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send)) -> Result<(), CliError> {
        http::stream(self, path, take).await
    }

    /// GET of something that is not one JSON document, as one text.
    pub async fn text(&self, path: &str) -> Result<String, CliError> {
        let mut bytes = Vec::new();
        self.stream(path, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        String::from_utf8(bytes).map_err(|_| CliError::Failed("the server's answer is not text".into()))
    }
}
