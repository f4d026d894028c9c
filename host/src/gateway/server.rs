//! The routes, and the gatekeeping before them: a task's token, bounds on size and number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Router, ServiceExt as _};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tower::ServiceExt as _;

use super::dialect::{Dialect, Incoming};
use super::egress::tunnel;
use super::exchange::{self, Exchange};
use super::failure::Failure;
use super::memory::hash;
use super::session::{Found, Session};
use super::turn::{Read, Reader};
use super::{Shared, agent, hook, meter};

/// Serves until `shutdown`, then for as long as open streams need, at most `drain_s`.
pub(in crate::gateway) async fn serve(
    listener: tokio::net::TcpListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let drain = Duration::from_secs(shared.settings.drain_s);
    let (told, tell) = tokio::sync::oneshot::channel();
    // Small events must not wait for a full segment.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let begun = async move {
        shutdown.await;
        let _ = told.send(());
    };
    let service = tower::service_fn(answering(router(Arc::clone(&shared)), shared));
    let serving = axum::serve(listener, service.into_make_service()).with_graceful_shutdown(begun);
    tokio::select! {
        outcome = serving => outcome,
        () = async { let _ = tell.await; tokio::time::sleep(drain).await } => Ok(()),
    }
}

/// Before the routes: a `CONNECT` has no path, and a request with a whole address takes the gateway for a proxy. The
/// gateway itself may be asked for in both ways, by a client that makes no exception for loopback.
fn answering(
    router: Router,
    shared: Arc<Shared>,
) -> impl Fn(Request) -> BoxFuture<'static, Result<Response, Infallible>> + Clone {
    move |request: Request| {
        let (router, shared) = (router.clone(), Arc::clone(&shared));
        Box::pin(async move {
            let ours = request.uri().authority().is_none_or(|authority| is_ours(authority, shared.port));
            match (request.method() == Method::CONNECT, ours) {
                (true, true) => Ok(to_ourselves(router, request)),
                (true, false) => Ok(tunnel::connect(&shared, request).await),
                (false, true) => router.oneshot(request).await,
                (false, false) => Ok(tunnel::plain(request.uri().authority().map_or("", Authority::as_str))),
            }
        })
    }
}

/// A tunnel that ends where it begins: the same routes, for the same tokens.
fn to_ourselves(router: Router, request: Request) -> Response {
    let client = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(client) = client.await {
            let service = hyper_util::service::TowerToHyperService::new(router);
            // It ends with its client.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(client, service).await;
        }
    });
    Response::new(Body::empty())
}

fn is_ours(authority: &Authority, port: u16) -> bool {
    ["127.0.0.1", "localhost"].contains(&authority.host()) && authority.port_u16() == Some(port)
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/model/v1/chat/completions", post(chat_completions))
        .route("/model/anthropic", get(alive))
        .route("/model/anthropic/", get(alive))
        .route("/model/anthropic/v1/messages", post(messages))
        .route("/model/anthropic/v1/messages/count_tokens", post(count_messages))
        .route("/model/v1/responses", post(responses))
        .route("/model/gemini/{version}/models/{*target}", post(gemini))
        .route("/model/v1/models", get(models))
        .route("/model/v1/models/{*model}", get(one_model))
        .route("/agent/plan", post(agent::plan))
        .route("/agent/calls", post(agent::calls).get(agent::calls_so_far))
        .route("/agent/results", post(agent::results))
        .route("/agent/hook", post(hook::ask))
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_path)
        .with_state(shared)
}

async fn no_such_path(request: Request) -> Failure {
    let path: String = request.uri().path().chars().take(200).collect();
    Failure::new(StatusCode::NOT_FOUND, "not_found", format!("no {path} here: the model APIs lie below /model"))
}

async fn no_such_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has no such method")
}

/// A request of a task whose access is open, within its bounds.
pub(in crate::gateway) struct Admitted {
    pub(in crate::gateway) session: Arc<Session>,
    permit: OwnedSemaphorePermit,
}

/// Whose request it is.
pub(in crate::gateway) fn admit(shared: &Shared, headers: &HeaderMap) -> Result<Admitted, Failure> {
    let session = shared.sessions.find(token(headers)).ok_or_else(Failure::unauthenticated)?;
    let permit = Arc::clone(&session.requests).try_acquire_owned().map_err(|_| busy(shared))?;
    Ok(Admitted { session, permit })
}

/// A task's token, however the clients of the dialects present one.
fn token(headers: &HeaderMap) -> &str {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")));
    bearer.or_else(|| text("x-api-key")).or_else(|| text("x-goog-api-key")).unwrap_or_default().trim()
}

fn busy(shared: &Shared) -> Failure {
    let message = format!("the task has {} requests under way; try again when one has ended", shared.settings.max_requests);
    Failure::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
}

/// A JSON body within its bound.
pub(in crate::gateway) async fn json_body(shared: &Shared, body: Body) -> Result<Value, Failure> {
    let limit = shared.settings.max_body_bytes;
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|_| {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body is longer than {limit} bytes, or broke off"))
    })?;
    serde_json::from_slice(&bytes).map_err(|e| Failure::invalid(format!("the body is no JSON: {e}")))
}

async fn chat_completions(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    turn(&shared, Dialect::Chat, &headers, "", body).await.unwrap_or_else(|failure| failure.respond(Dialect::Chat))
}

async fn messages(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let query = uri.query().unwrap_or_default();
    turn(&shared, Dialect::Messages, &headers, query, body).await.unwrap_or_else(|failure| failure.respond(Dialect::Messages))
}

async fn responses(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    turn(&shared, Dialect::Responses, &headers, "", body).await.unwrap_or_else(|failure| failure.respond(Dialect::Responses))
}

async fn gemini(
    State(shared): State<Arc<Shared>>,
    Path((_, target)): Path<(String, String)>,
    uri: Uri,
    mut headers: HeaderMap,
    body: Body,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key=")).and_then(|key| key.parse().ok());
    if let Some(key) = key {
        headers.entry("x-goog-api-key").or_insert(key);
    }
    let answer = match target.ends_with(":countTokens") {
        true => count(&shared, &headers, body).await.map(|tokens| axum::Json(json!({"totalTokens": tokens})).into_response()),
        false => turn(&shared, Dialect::Gemini, &headers, &format!("{target}?{query}"), body).await,
    };
    answer.unwrap_or_else(|failure| failure.respond(Dialect::Gemini))
}

/// Agents look whether there is anything at all, some before they have a token.
async fn alive() -> StatusCode {
    StatusCode::OK
}

async fn count_messages(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Response {
    let counted = count(&shared, &headers, body).await;
    match counted {
        Ok(tokens) => axum::Json(json!({"input_tokens": tokens})).into_response(),
        Err(failure) => failure.respond(Dialect::Messages),
    }
}

/// About how many tokens a request has. An estimate: what is not screened yet is not sent anywhere to be counted.
async fn count(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<u64, Failure> {
    let _admitted = admit(shared, headers)?;
    Ok(meter::tokens_in(json_body(shared, body).await?.to_string().len()))
}

/// A model's turn, in any dialect. `target`: what the path says beyond the route.
async fn turn(
    shared: &Arc<Shared>,
    dialect: Dialect,
    headers: &HeaderMap,
    target: &str,
    body: Body,
) -> Result<Response, Failure> {
    let Admitted { session, permit } = admit(shared, headers)?;
    speaks(&session, dialect)?;
    let body = json_body(shared, body).await?;
    // Object keys are sorted in `Value`, so this is the canonical form.
    let canonical = body.to_string();
    let incoming = Incoming { body, headers, target, repairs: shared.settings.repairs };
    let request = dialect.parse(incoming).map_err(Failure::invalid)?;
    let question = hash(&[dialect.name().as_bytes(), request.path(None).as_bytes(), canonical.as_bytes()]);
    let stream = request.stream();
    let keepalive = Duration::from_secs(shared.settings.keepalive_s.max(1));
    let reader = match session.attach(question) {
        Found::Known(reader) => reader,
        Found::New(turn, reader) => {
            let Ok(slot) = Arc::clone(&session.running).try_acquire_owned() else {
                session.detach(question, super::session::Keep::Nothing);
                turn.end(Err(busy(shared)));
                return Err(busy(shared));
            };
            let meter = meter::Meter::default();
            let exchange = Exchange { shared: Arc::clone(shared), session, turn, question, request, meter };
            tokio::spawn(async move {
                exchange::run(exchange).await;
                drop(slot);
            });
            reader
        }
    };
    if stream { streamed(reader, keepalive, permit, dialect).await } else { whole(reader).await }
}

/// A task's agent and its model speak the same API: nothing is translated.
fn speaks(session: &Session, dialect: Dialect) -> Result<(), Failure> {
    let (agent, model) = (dialect.name(), session.line.dialect.name());
    if agent == model {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "the agent speaks the dialect \"{agent}\", but its model speaks \"{model}\": give the agent another model, or that one dialect = \"{agent}\""
    )))
}

async fn whole(mut reader: Reader) -> Result<Response, Failure> {
    let mut body = Vec::new();
    loop {
        match reader.next(None).await {
            Read::More(bytes) => body.extend_from_slice(&bytes),
            Read::Silence => {}
            Read::End => return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response()),
            Read::Failed(failure) => return Err(failure),
        }
    }
}

/// An error that comes before everything else keeps its HTTP status; after the first keep-alive it can't any more.
async fn streamed(
    mut reader: Reader,
    keepalive: Duration,
    permit: OwnedSemaphorePermit,
    dialect: Dialect,
) -> Result<Response, Failure> {
    let first = match reader.next(Some(keepalive)).await {
        Read::More(bytes) => bytes,
        Read::Silence => Bytes::from_static(dialect.keepalive().as_bytes()),
        Read::End => Bytes::new(),
        Read::Failed(failure) => return Err(failure),
    };
    let stream = reader.into_stream(Some(first), keepalive, dialect).map(move |item| {
        let _held_until_the_body_ends = &permit;
        item
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Failure> {
    let Admitted { session, permit: _permit } = admit(&shared, &headers)?;
    if let Some(model) = &session.line.model {
        return Ok(axum::Json(json!({"object": "list", "data": [model_entry(model)]})).into_response());
    }
    let list = shared.client.get(&session.line, "/models").await;
    let list = shared.heed(&session.task, list)?;
    Ok(axum::Json(list).into_response())
}

async fn one_model(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(model): Path<String>,
) -> Result<Response, Failure> {
    let Admitted { .. } = admit(&shared, &headers)?;
    Ok(axum::Json(model_entry(&model)).into_response())
}

fn model_entry(model: &str) -> Value {
    json!({"id": model, "object": "model", "created": 0, "owned_by": "coda"})
}
