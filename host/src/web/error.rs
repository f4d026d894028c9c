//! Refusals as the REST API says them: `{"error": {"code": "...", "message": "..."}}` and the fitting status.

use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection, QueryRejection};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::accounts::AccountError;
use crate::env;
use crate::service::ServiceError;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable word for machines.
    pub code: &'static str,
    /// For a person.
    pub message: String,
}

impl ApiError {
    /// A request that is not well formed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "invalid", message: message.into() }
    }

    /// Nobody we know.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code: "unauthenticated", message: message.into() }
    }

    /// Known, but not allowed.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: "forbidden", message: message.into() }
    }

    /// Too big.
    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the request's body is larger than {limit_bytes} bytes");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, code: "invalid", message }
    }

    /// A failure of our own: the detail goes to the log, its reference to the caller.
    pub fn internal(detail: &dyn std::fmt::Display) -> Self {
        let reference = env::hex(&env::random_bytes::<4>());
        tracing::error!(reference, error = %detail, "a request failed");
        Self::from(ServiceError::Internal(reference))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        let mut response = (self.status, body).into_response();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
            }
            _ => {}
        }
        response
    }
}

impl From<ServiceError> for ApiError {
    fn from(e: ServiceError) -> Self {
        let status = match &e {
            ServiceError::Invalid(_) => StatusCode::BAD_REQUEST,
            ServiceError::NotFound(_) => StatusCode::NOT_FOUND,
            ServiceError::Forbidden(_) => StatusCode::FORBIDDEN,
            ServiceError::Conflict(_) => StatusCode::CONFLICT,
            ServiceError::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            ServiceError::Budget(_) => StatusCode::PAYMENT_REQUIRED,
            ServiceError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, code: e.code(), message: e.to_string() }
    }
}

impl From<AccountError> for ApiError {
    fn from(e: AccountError) -> Self {
        match e {
            AccountError::Unauthenticated(message) => Self::unauthenticated(message),
            AccountError::TooManyFailures => Self { status: StatusCode::TOO_MANY_REQUESTS, code: "busy", message: e.to_string() },
            AccountError::Forbidden(message) => Self::forbidden(message),
            AccountError::Invalid(message) => Self::invalid(message),
            AccountError::NotFound(_) => Self { status: StatusCode::NOT_FOUND, code: "not_found", message: e.to_string() },
            AccountError::Settings(_) | AccountError::Store(_) | AccountError::Unrecorded(_) => Self::internal(&e),
        }
    }
}

impl From<crate::id::InvalidId> for ApiError {
    fn from(e: crate::id::InvalidId) -> Self {
        Self::invalid(e.to_string())
    }
}

macro_rules! from_rejection {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for ApiError {
            fn from(e: $rejection) -> Self {
                // A body of another type or form is `invalid` like any other mistake; only its size keeps a status.
                let status = if e.status() == StatusCode::PAYLOAD_TOO_LARGE { e.status() } else { StatusCode::BAD_REQUEST };
                Self { status, code: "invalid", message: e.body_text() }
            }
        }
    )*};
}
from_rejection!(JsonRejection, QueryRejection, FormRejection);

/// For paths that nobody serves.
pub async fn no_such_route(uri: Uri) -> ApiError {
    let message = format!("nothing is served at {}", uri.path());
    ApiError { status: StatusCode::NOT_FOUND, code: "not_found", message }
}

/// For methods that a path does not know.
pub async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError { status: StatusCode::METHOD_NOT_ALLOWED, code: "invalid", message }
}
