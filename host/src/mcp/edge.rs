//! What happens before the protocol: Host and Origin, CORS, methods, identity, and which client it is.
//!
//! It stands outside rmcp because browsers ask before they call (a preflight without credentials), because clients in
//! the field send one media type in `Accept` where the protocol asks for two, and because a refusal must be readable
//! from a page of an allowed origin.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW,
    CACHE_CONTROL, HOST, ORIGIN, USER_AGENT, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rmcp::model::ErrorCode;
use serde_json::json;

use super::client::{self, Hints};
use super::origin::{AllowedHost, InvalidSetting, configured_origin, sent_origin};
use super::{OwnOrigin, Settings, ToolList};
use crate::identity::Principal;

const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
const EXPOSED: HeaderValue = HeaderValue::from_static("mcp-session-id, mcp-protocol-version");
const PREFLIGHT_MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// The checked settings of the edge.
#[derive(Debug)]
pub(super) struct Edge {
    hosts: Vec<AllowedHost>,
    origins: Vec<String>,
    genie_origins: Vec<String>,
    tool_list: ToolList,
}

/// What the edge found out about a request, for the protocol side.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What says which client it is, but for what the message itself says.
    pub(super) hints: Hints,
    /// Which form the tool list takes.
    pub(super) tool_list: ToolList,
}

impl Edge {
    pub(super) fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let hosts = match settings.allowed_hosts.as_slice() {
            [] => AllowedHost::loopback(),
            given => given.iter().map(|h| AllowedHost::parse(h)).collect::<Result<_, _>>()?,
        };
        let read = |list: &[String]| list.iter().map(|o| configured_origin(o)).collect::<Result<Vec<_>, _>>();
        let genie_origins = read(&settings.genie_origins)?;
        let mut origins = read(&settings.allowed_origins)?;
        origins.extend(genie_origins.iter().cloned());
        Ok(Self { hosts, origins, genie_origins, tool_list: settings.tool_list })
    }

    fn host_allowed(&self, request: &Request) -> bool {
        let named = request.headers().get(HOST).and_then(|h| h.to_str().ok());
        let sent = request.uri().authority().map(|a| a.as_str()).or(named);
        sent.is_some_and(|sent| self.hosts.iter().any(|host| host.admits(sent)))
    }

    /// The request's origin in normal form: `None` without one, an error where it is neither allowed nor our own.
    fn origin(&self, request: &Request) -> Result<Option<String>, ()> {
        let mut sent = request.headers().get_all(ORIGIN).iter();
        let (Some(first), None) = (sent.next(), sent.next()) else {
            return if request.headers().contains_key(ORIGIN) { Err(()) } else { Ok(None) };
        };
        let origin = first.to_str().ok().and_then(sent_origin).ok_or(())?;
        let ours = request.extensions().get::<OwnOrigin>().is_some();
        if ours || self.origins.contains(&origin) { Ok(Some(origin)) } else { Err(()) }
    }
}

/// The middleware.
pub(super) async fn pass(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    if !edge.host_allowed(&request) {
        return refusal(StatusCode::FORBIDDEN, "forbidden", "this Host is not answered; add it to server.allowed_hosts");
    }
    let Ok(origin) = edge.origin(&request) else {
        return refusal(StatusCode::FORBIDDEN, "forbidden", "this Origin is not allowed; add it to server.allowed_origins");
    };
    let sent_origin = request.headers().get(ORIGIN).cloned();
    let asked = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Method::POST => match admit(&edge, &mut request, origin) {
            Ok(()) => next.run(request).await,
            Err(refused) => *refused,
        },
        _ => {
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "invalid", "only POST: this server keeps no sessions");
            response.headers_mut().insert(ALLOW, METHODS);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = sent_origin {
        cors(headers, origin, asked);
    }
    response
}

/// Settles who asks and through what, and makes `Accept` what the protocol wants: the answer is JSON in any case.
fn admit(edge: &Edge, request: &mut Request, origin: Option<String>) -> Result<(), Box<Response>> {
    let shape = match shape_of_path(request.uri().path()) {
        Ok(shape) => shape,
        Err(()) => return Err(Box::new(refusal(StatusCode::NOT_FOUND, "not_found", "no such path; the endpoint is /mcp"))),
    };
    if request.extensions().get::<Principal>().is_none() {
        let mut response = refusal(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "not authenticated: send 'Authorization: Bearer coda_tok_…' with a token that has neither expired nor been \
             revoked; `coda token create` makes one",
        );
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"coda\""));
        return Err(Box::new(response));
    }
    let user_agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let from_genie = origin.is_some_and(|o| edge.genie_origins.contains(&o));
    let hints = Hints { shape, user_agent, from_genie };
    request.extensions_mut().insert(Found { hints, tool_list: edge.tool_list });
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    Ok(())
}

/// The shape that the path names, if it names one.
fn shape_of_path(path: &str) -> Result<Option<String>, ()> {
    let rest = path.strip_prefix("/mcp").unwrap_or_default().trim_matches('/');
    match rest {
        "" => Ok(None),
        name if client::is_shape_name(name) => Ok(Some(name.to_owned())),
        _ => Err(()),
    }
}

fn cors(headers: &mut HeaderMap, origin: HeaderValue, asked: Option<HeaderValue>) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S);
    if let Some(asked) = asked {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
}

/// A refusal as a JSON-RPC error to no message in particular: of any other body, clients show their users nothing but
/// that there was an error.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let error = json!({ "code": ErrorCode::INVALID_REQUEST.0, "message": message, "data": { "code": code } });
    (status, Json(json!({ "jsonrpc": "2.0", "id": null, "error": error }))).into_response()
}
