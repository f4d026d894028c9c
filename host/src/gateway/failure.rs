//! What the gateway answers when it cannot answer: an HTTP status and a JSON error in the shape of the OpenAI API.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A failed request, in the words that the agent gets.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Failure {
    /// HTTP status.
    pub(in crate::gateway) status: StatusCode,
    /// The body.
    pub(in crate::gateway) body: Value,
}

impl Failure {
    /// A failure of the gateway's own finding.
    pub(in crate::gateway) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, body: json!({"error": {"message": message, "type": "coda_gateway", "code": code}}) }
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
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body)).into_response()
    }
}
