//! The edge of the site: which Host names and Origins are accepted, how long and how large a request may be, and what
//! browsers are told not to do with our answers.
//!
//! The Host check keeps other people's names from being pointed at a loopback server (DNS rebinding); the Origin check
//! keeps other sites' scripts and forms out. Both hold for every path but the two probes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Settings;
use super::accounts::Accounts;
use super::error::ApiError;
use crate::service::evenly;

const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// Everything from our own origin, scripts and styles from files only, nobody may frame us.
pub(super) const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Address of the other end of a connection; the listener puts it into each request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What the Origin header said; in the extensions of every request that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Our own pages.
    Same,
    /// Another site that the settings allow, on a path that is open to it.
    Allowed,
    /// None: not a script or a form of a browser, or a plain navigation.
    Absent,
}

/// The settings, made ready.
pub struct Perimeter {
    public: Option<(String, String)>,
    hosts: Vec<String>,
    origins: Vec<String>,
    body_limit: usize,
    accounts: Accounts,
}

impl Perimeter {
    /// Reads the settings.
    #[must_use]
    pub fn new(settings: &Settings, accounts: Accounts) -> Self {
        let public = settings.public_url.as_deref().and_then(|url| url.split_once("://"));
        let public = public.map(|(scheme, rest)| (scheme.to_lowercase(), rest.split('/').next().unwrap_or(rest).to_lowercase()));
        let mut hosts: Vec<String> = settings.allowed_hosts.iter().map(|h| h.to_lowercase()).collect();
        hosts.extend(public.iter().map(|(_, authority)| authority.clone()));
        let origins = settings.allowed_origins.iter().map(|o| o.trim_end_matches('/').to_lowercase()).collect();
        Self { public, hosts, origins, body_limit: settings.body_limit_bytes, accounts }
    }

    fn judge(&self, request: &Request) -> Result<Origin, ApiError> {
        let headers = request.headers();
        let path = request.uri().path();
        let peer = peer_address(request);
        let host = self.host(peer, headers, request.uri())?;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|l| l > self.body_limit as u64) {
            return Err(ApiError::too_large(self.body_limit));
        }
        let Some(origin) = one(headers, &header::ORIGIN)? else { return Ok(Origin::Absent) };
        let origin = origin.to_lowercase();
        if self.is_ours(&origin, &host) {
            return Ok(Origin::Same);
        }
        if (path == "/mcp" || path.starts_with("/mcp/")) && self.origins.contains(&origin) {
            return Ok(Origin::Allowed);
        }
        Err(ApiError::forbidden("requests from other sites are refused: this Origin is not coda's own"))
    }

    /// The host that the request is for. What a trusted proxy forwards is believed for this request and not kept.
    fn host(&self, peer: Option<IpAddr>, headers: &HeaderMap, uri: &Uri) -> Result<String, ApiError> {
        static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
        if headers.contains_key(&FORWARDED_HOST) && self.accounts.trusts_peer(peer, headers) {
            let host = one(headers, &FORWARDED_HOST)?.unwrap_or_default().to_lowercase();
            return Ok(host);
        }
        let named = one(headers, &header::HOST)?.or_else(|| uri.authority().map(|a| a.as_str()));
        let host = named.ok_or_else(|| ApiError::invalid("the Host header is missing"))?.to_lowercase();
        let name = without_port(&host);
        let loopback = name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if loopback || self.hosts.iter().any(|allowed| *allowed == host || *allowed == name) {
            return Ok(host);
        }
        let message = "this Host name is not one of coda's: set public_url, or add it to allowed_hosts, in coda.toml";
        Err(ApiError::forbidden(message))
    }

    fn is_ours(&self, origin: &str, host: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        match &self.public {
            Some((public_scheme, public)) if public == authority => scheme == public_scheme && host == authority,
            _ => (scheme == "http" || scheme == "https") && authority == host,
        }
    }
}

/// Where a request came from, as the listener saw it.
pub(super) fn peer_address(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ApiError::invalid(format!("the header {name} is there more than once")));
    }
    first.map(|v| v.to_str().map_err(|_| ApiError::invalid(format!("the header {name} is not a text")))).transpose()
}

/// Lets through what comes from where it may.
pub async fn check(State(perimeter): State<Arc<Perimeter>>, mut request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match perimeter.judge(&request) {
        Ok(origin) => {
            request.extensions_mut().insert(origin);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}

/// Ends requests whose answer does not begin in time, such as those whose body never arrives.
pub async fn limit_time(State(limit_s): State<u64>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(Duration::from_secs(limit_s), next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request was not answered within {limit_s} s");
            ApiError { status: StatusCode::REQUEST_TIMEOUT, code: "busy", message }.into_response()
        }
    }
}

/// The time of an answer does not tell whether there is something that one may not see.
pub async fn answer_evenly(request: Request, next: Next) -> Response {
    let began = tokio::time::Instant::now();
    let response = next.run(request).await;
    if response.status() == StatusCode::NOT_FOUND {
        evenly::not_found(began).await;
    }
    response
}

/// Tells browsers what not to do with the answer. A handler's own header wins.
pub async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
