//! The REST API below /v1: JSON in, JSON out. Bodies and queries with unknown keys are refused, identifiers are parsed
//! before anything is asked. Each handler reads the request, asks one verb, and says what came of it.

mod approvals;
pub mod audit;
pub mod policies;
mod session;
mod tasks;
mod tokens;
mod usage;

use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Json, Query, Request};
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
use serde::de::DeserializeOwned;

use super::WebState;
use super::error::ApiError;

pub(in crate::web) use approvals::decision;
pub(in crate::web) use tasks::statuses;

pub(super) fn routes() -> Router<WebState> {
    Router::new()
        .route("/v1/tasks", post(tasks::submit).get(tasks::list))
        .route("/v1/tasks/{id}", get(tasks::show))
        .route("/v1/tasks/{id}/diff", get(tasks::diff))
        .route("/v1/tasks/{id}/events", get(tasks::events))
        .route("/v1/tasks/{id}/traffic", get(tasks::traffic))
        .route("/v1/tasks/{id}/cancel", post(tasks::cancel))
        .route("/v1/tasks/{id}/answer", post(tasks::answer))
        .route("/v1/approvals", get(approvals::list))
        .route("/v1/approvals/{id}", get(approvals::show))
        .route("/v1/approvals/{id}/decision", post(approvals::decide))
        .route("/v1/usage", get(usage::show))
        .route("/v1/tokens", post(tokens::create).get(tokens::list))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/whoami", get(session::whoami))
        .route("/v1/login/local", post(session::log_in))
        .route("/v1/login/link", post(session::login_link))
        .route("/v1/logout", post(session::log_out))
}

/// A JSON body of exactly the expected form. Public, for the REST faces that are mounted from elsewhere.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(value) = Json::<T>::from_request(request, state).await?;
        Ok(Body(value))
    }
}

/// The query's parameters, of exactly the expected form. Public, as `Body` is.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(value) = Query::<T>::from_request_parts(parts, state).await?;
        Ok(Params(value))
    }
}
