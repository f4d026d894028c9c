//! The web face: one listener with the REST API, the pages, the viewer, and whatever else is mounted beside them.
//!
//! ```text
//! connection ─► headers out ─► timeout ─► leftover ─► perimeter (Host, Origin, size) ─► identify (accounts) ─► route
//! ```
//! It knows nothing of what a verb means: that is `service`, where authorization happens. Here is decided who asks, and
//! whether the request comes from where it may come from.

pub mod accounts;
pub mod api;
mod assets;
pub mod error;
pub mod identify;
mod leftover;
pub mod pages;
pub mod perimeter;
pub mod server;
mod watch;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;

use crate::service::Service;
use crate::viewer::LiveTerminals;
use accounts::Accounts;

/// How the site is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where people reach coda, such as `https://coda.example.com`; `None` = the listener's own loopback address.
    pub public_url: Option<String>,
    /// Host names, with or without port, that requests may name besides loopback and the public URL's.
    pub allowed_hosts: Vec<String>,
    /// Origins of other sites whose scripts may call `/mcp`, such as a workspace's. Nothing else is open to other sites.
    pub allowed_origins: Vec<String>,
    /// Bound on a request's body, in bytes.
    pub body_limit_bytes: usize,
    /// Bound on the time to read a request's head, in seconds; also how long an idle connection stays open.
    pub header_timeout_s: u64,
    /// Bound on the time from a request's head to the head of its answer, in seconds.
    pub request_timeout_s: u64,
    /// Open connections at most; further ones wait.
    pub max_connections: usize,
    /// Viewers of live terminals at most.
    pub max_viewers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            body_limit_bytes: 4 << 20,
            header_timeout_s: 20,
            request_timeout_s: 120,
            max_connections: 1_024,
            max_viewers: 128,
        }
    }
}

/// Why the server cannot take work; empty = it can.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// The metrics in Prometheus' text form.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
pub struct WebState {
    /// The verbs.
    pub service: Service,
    /// Who asks.
    pub accounts: Accounts,
    /// Terminals that run now.
    pub terminals: Arc<dyn LiveTerminals>,
    /// How the site is served.
    pub settings: Arc<Settings>,
    /// For /readyz.
    pub readiness: Readiness,
    /// For /metrics.
    pub metrics: RenderMetrics,
    /// Places for viewers; `Semaphore::new(settings.max_viewers)`.
    pub viewers: Arc<tokio::sync::Semaphore>,
    /// Cancelled when the server goes down; viewers end by it.
    pub shutdown: CancellationToken,
}

/// The whole site. `extra` are routers with state of their own (`/mcp`, further REST faces): they stand behind the same
/// checks, and find the caller in `identify::Who`, or as `Principal` in the request's extensions.
pub fn router(state: WebState, extra: Router) -> Router {
    let own = Router::new()
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(api::routes())
        .merge(pages::routes())
        .with_state(state.clone());
    guarded(own.merge(extra), &state.settings, &state.accounts)
}

/// Routes behind the checks that every request passes, with what needs no state of ours.
fn guarded(routes: Router, settings: &Settings, accounts: &Accounts) -> Router {
    let perimeter = perimeter::Perimeter::new(settings, accounts.clone());
    routes
        .route("/healthz", get(async || "ok\n"))
        .route("/assets/{name}", get(assets::serve))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(settings.body_limit_bytes))
        .layer(RequestBodyLimitLayer::new(settings.body_limit_bytes))
        .layer(middleware::from_fn(perimeter::answer_evenly))
        .layer(middleware::from_fn_with_state(accounts.clone(), identify::identify))
        .layer(middleware::from_fn_with_state(Arc::new(perimeter), perimeter::check))
        .layer(middleware::from_fn(leftover::take_in))
        .layer(middleware::from_fn_with_state(settings.request_timeout_s, perimeter::limit_time))
        .layer(middleware::from_fn(perimeter::harden))
}

async fn readyz(State(state): State<WebState>) -> Response {
    let reasons = (state.readiness)();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

/// Open like the two above: it holds counts and times, and names neither people nor tasks.
async fn metrics(State(state): State<WebState>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics)()).into_response()
}

#[cfg(test)]
mod tests;
