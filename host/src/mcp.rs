//! The MCP face: three tools for clients that hand work over and come back for it later.
//!
//! ```text
//! request ─ edge (Host, Origin, CORS, 405, 401, who is the client) ─ rmcp ─ server ─ arguments ─► Verbs
//!                                          client ◄─ shape ◄─ answers ◄────────────────────────────┘
//! ```
//!
//! One endpoint serves both eras of the protocol, without sessions and with plain JSON answers: 2024-11-05 to 2025-11-25
//! (after `initialize`) and 2026-07-28 (each request by itself). Only this module names rmcp. It decides nothing:
//! authorization, limits and gates are behind [`Verbs`]; who asks comes from a request extension, never from an argument.

mod answers;
mod arguments;
mod client;
mod edge;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod origin;
mod server;
mod tools;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;

use crate::id::TaskId;
use crate::identity::{ClientInfo, Principal};
use crate::service::{InboxPage, InboxQuery, Service, ServiceError, Submission, TaskView};

pub use answers::Shaped;
pub use origin::{InvalidSetting, configured_origin as normal_origin};

/// Which form `tools/list` takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolList {
    /// Plain for Databricks Genie Code, recognised by Origin, path or name; full for others.
    #[default]
    Auto,
    /// Only name, description and input schema, for everybody: Genie Code refuses to save a server that says more.
    Plain,
    /// Titles, annotations and output schemas for everybody.
    Full,
}

/// Settings of the MCP endpoint.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Values of `Host` that are answered, as `name` (any port) or `name:port`; `*` answers all. Empty = loopback names.
    pub allowed_hosts: Vec<String>,
    /// Origins of browsers that may call, such as `https://inspector.example.com`. A request without Origin is no browser's.
    pub allowed_origins: Vec<String>,
    /// Origins of Databricks workspaces whose Genie Code may call; they are allowed origins with the plain tool list.
    pub genie_origins: Vec<String>,
    /// Which form `tools/list` takes.
    pub tool_list: ToolList,
    /// Largest request body. Above the limit on prompts, so that a long prompt gets an answer that says so.
    pub max_request_bytes: usize,
    /// Agent names to list in the schema of `coda_run`; empty = any text.
    pub agents: Vec<String>,
    /// Agent that is used where none is named; listed as the default.
    pub default_agent: String,
    /// Running time that is used where none is named; listed as the default.
    pub default_timeout_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            genie_origins: Vec::new(),
            tool_list: ToolList::Auto,
            max_request_bytes: 4 * 1024 * 1024,
            agents: Vec::new(),
            default_agent: String::new(),
            default_timeout_s: 3600,
        }
    }
}

/// What the tools need of coda. [`Service`] is the real one.
pub trait Verbs: Clone + Send + Sync + 'static {
    /// See [`Service::submit`].
    fn submit(
        &self,
        who: &Principal,
        client: &ClientInfo,
        submission: Submission,
    ) -> impl Future<Output = Result<TaskView, ServiceError>> + Send;

    /// See [`Service::inbox`].
    fn inbox(&self, who: &Principal, query: InboxQuery) -> impl Future<Output = Result<InboxPage, ServiceError>> + Send;

    /// See [`Service::task`].
    fn task(&self, who: &Principal, task: &TaskId) -> impl Future<Output = Result<TaskView, ServiceError>> + Send;
}

impl Verbs for Service {
    async fn submit(&self, who: &Principal, client: &ClientInfo, submission: Submission) -> Result<TaskView, ServiceError> {
        Service::submit(self, who, client, submission).await
    }

    async fn inbox(&self, who: &Principal, query: InboxQuery) -> Result<InboxPage, ServiceError> {
        Service::inbox(self, who, query).await
    }

    async fn task(&self, who: &Principal, task: &TaskId) -> Result<TaskView, ServiceError> {
        Service::task(self, who, task).await
    }
}

/// A future on the heap, as the hooks of [`Shaper`] return it.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The shape policies: words answers and the tool list for the client that reads them.
///
/// `None` says that shaping failed; the client then gets a bare answer (ids, status, links) or the standard tool list.
pub trait Shaper: Send + Sync + 'static {
    /// An answer of `tool` for `client`.
    fn shape<'a>(&'a self, client: &'a ClientInfo, tool: &'a str, answer: Value) -> Later<'a, Option<Shaped>>;

    /// The tool list, a JSON array, for `client`. As it is by default.
    fn tools<'a>(&'a self, client: &'a ClientInfo, tools: Value) -> Later<'a, Option<Value>> {
        let _ = client;
        Box::pin(async move { Some(tools) })
    }
}

/// Answers as they are: the structured form, and the same as JSON text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unshaped;

impl Shaper for Unshaped {
    fn shape<'a>(&'a self, _client: &'a ClientInfo, _tool: &'a str, answer: Value) -> Later<'a, Option<Shaped>> {
        Box::pin(async move { Some(Shaped { text: answer.to_string(), structured: Some(answer) }) })
    }
}

/// In a request's extensions: its `Origin` is this site's own, as whoever wraps the router has found out. Such a request
/// needs no permission in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnOrigin;

/// The routes `/mcp`, `/mcp/`, `/mcp/{shape}` and `/mcp/{shape}/`, to be merged into the server's router.
///
/// Whoever wraps it must put a [`Principal`] into the request's extensions where one is proven, and must neither refuse
/// a request nor answer OPTIONS for it: a preflight carries no credentials, and a POST without a principal is
/// answered 401 here, with the CORS headers that a browser needs to read it.
pub fn router<V: Verbs>(verbs: V, shaper: Arc<dyn Shaper>, settings: &Settings) -> Result<Router, InvalidSetting> {
    let edge = Arc::new(edge::Edge::new(settings)?);
    let server = server::Server::new(verbs, shaper, settings);
    // Host and Origin are checked at the edge, for every method and before anything is read; rmcp sees POSTs only.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(settings.max_request_bytes)
        .disable_allowed_hosts()
        .disable_allowed_origins();
    let service = StreamableHttpService::new(move || Ok(server.clone()), Arc::new(NeverSessionManager::default()), config);
    Ok(Router::new()
        .route_service("/mcp", service.clone())
        .route_service("/mcp/", service.clone())
        .route_service("/mcp/{shape}", service.clone())
        .route_service("/mcp/{shape}/", service)
        .layer(axum::middleware::from_fn_with_state(edge, edge::pass)))
}
