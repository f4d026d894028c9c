//! What the gateway answers when it cannot answer: an HTTP status and, in words that each dialect shapes, why.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::dialect::Dialect;

/// A failed request, in the words that the agent gets.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Failure {
    /// HTTP status.
    pub(in crate::gateway) status: StatusCode,
    /// A word for programs.
    pub(in crate::gateway) code: &'static str,
    /// A sentence for people.
    pub(in crate::gateway) message: String,
    /// The upstream's own body, where it is its refusal that is passed on.
    pub(in crate::gateway) said: Option<Value>,
}

impl Failure {
    /// A failure of the gateway's own finding.
    pub(in crate::gateway) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), said: None }
    }

    /// The request is not what it must be.
    pub(in crate::gateway) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// No task has this token, or its access is closed.
    pub(in crate::gateway) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "no task has this token, or its access is closed")
    }

    /// The upstream did not keep to its protocol, or broke off.
    pub(in crate::gateway) fn upstream(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", message)
    }

    /// The body as OpenAI's clients read it.
    pub(in crate::gateway) fn openai(&self) -> Value {
        let own = || json!({"error": {"message": self.message, "type": "coda_gateway", "code": self.code}});
        self.said.clone().unwrap_or_else(own)
    }

    /// The answer, as clients of this dialect read it.
    pub(in crate::gateway) fn respond(&self, dialect: Dialect) -> Response {
        (self.status, axum::Json(dialect.error(self))).into_response()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.respond(Dialect::Chat)
    }
}
