//! From request to principal: one look per request, then extractors for the handlers.
//!
//! `Who` is anybody identified; `Person` is somebody who is logged in and acts from our own pages or a terminal, as
//! decisions and tokens need it; `Visitor` is `Who` for pages: it sends people to log in instead of refusing.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Redirect, Response};

use super::accounts::{AccountError, Accounts, Carrier};
use super::error::ApiError;
use super::perimeter::{Origin, peer_address};
use crate::identity::Principal;

/// What `identify` found out; in the extensions of every request.
#[derive(Clone)]
struct Found(Result<Option<(Principal, Carrier)>, ApiError>);

/// Finds out who asks. Handlers decide whether they need to know.
pub async fn identify(State(accounts): State<Accounts>, mut request: Request, next: Next) -> Response {
    let peer = peer_address(&request);
    let origin = request.extensions().get::<Origin>().copied().unwrap_or(Origin::Absent);
    let found = accounts.identify(peer, request.headers()).await.map_err(log_store_failure);
    let found = found.and_then(|found| match found {
        Some((_, carrier)) if !may_carry(carrier, origin, request.method(), request.headers()) => Err(ApiError::forbidden(
            "a request that changes something must come from coda's own pages: its Origin header is missing",
        )),
        found => Ok(found),
    });
    if let Ok(Some((principal, _))) = &found {
        request.extensions_mut().insert(principal.clone());
    }
    request.extensions_mut().insert(Found(found));
    next.run(request).await
}

fn log_store_failure(e: AccountError) -> ApiError {
    ApiError::from(e)
}

/// Whether an identity counts that the browser may have sent unasked.
fn may_carry(carrier: Carrier, origin: Origin, method: &Method, headers: &HeaderMap) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match (carrier, origin) {
        (Carrier::Header, _) | (Carrier::Cookie | Carrier::Proxy, Origin::Same) | (Carrier::Proxy, Origin::Allowed) => true,
        (Carrier::Cookie, Origin::Allowed) => false,
        (Carrier::Cookie, Origin::Absent) => reads,
        // Programs behind the proxy send no Origin; browsers that omit it still say from where they come.
        (Carrier::Proxy, Origin::Absent) => {
            reads || headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none")
        }
    }
}

fn found(parts: &Parts) -> Result<Option<(Principal, Carrier)>, ApiError> {
    parts.extensions.get::<Found>().map_or(Ok(None), |found| found.0.clone())
}

/// Somebody who is identified, by whatever proof.
#[derive(Debug, Clone)]
pub struct Who(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match found(parts)? {
            Some((principal, _)) => Ok(Who(principal)),
            None => {
                Err(ApiError::unauthenticated("log in, or send `Authorization: Bearer` with a token made by `coda token create`"))
            }
        }
    }
}

/// A person who is logged in, on a request that no other site can have caused. Never a token.
#[derive(Debug, Clone)]
pub struct Person(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Who(principal) = Who::from_request_parts(parts, state).await?;
        if !principal.is_interactive() {
            return Err(ApiError::forbidden("this needs a person who is logged in; a token cannot do it"));
        }
        let asked = matches!(found(parts)?, Some((_, Carrier::Header)));
        if asked || parts.extensions.get::<Origin>() == Some(&Origin::Same) {
            return Ok(Person(principal));
        }
        Err(ApiError::forbidden("this must come from coda's own pages: the Origin header is missing"))
    }
}

/// Somebody who is identified and opens a page.
#[derive(Debug, Clone)]
pub struct Visitor(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        if let Ok(Some((principal, _))) = found(parts) {
            return Ok(Visitor(principal));
        }
        if parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") && parts.method == Method::GET {
            return Err(come_again());
        }
        let to = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        Err(Redirect::to(&format!("/login?next={}", encode(to))).into_response())
    }
}

/// Browsers keep a strict cookie back when a link on another site led here. Opened again from our own page, it comes.
fn come_again() -> Response {
    Html("<!doctype html><meta http-equiv=\"refresh\" content=\"0\"><title>coda</title>").into_response()
}

/// A text as the value of a query parameter.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-_./".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}
