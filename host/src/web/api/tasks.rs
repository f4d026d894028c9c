//! Tasks over REST.

use axum::Json;
use axum::body::Body as AnyBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Body, Params};
use crate::id::{SessionId, TaskId};
use crate::identity::ClientInfo;
use crate::policy::contract::Permissions;
use crate::service::{InboxPage, InboxQuery, Submission, TaskView};
use crate::task::Status;
use crate::web::WebState;
use crate::web::error::ApiError;
use crate::web::identify::Who;
use crate::web::watch::file_body;

/// Below the bound on requests, so that a long wait ends as an empty answer.
const MAX_WAIT_S: u64 = 30;
const DEFAULT_EVENTS: u32 = 100;
const MAX_EVENTS: u32 = 1_000;
const MAX_AGENT_NAME: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTask {
    prompt: String,
    context: Option<Value>,
    previous_session_id: Option<SessionId>,
    agent: Option<String>,
    workspace: Option<String>,
    #[serde(default)]
    permissions: Permissions,
    timeout_s: Option<u64>,
    #[serde(default = "with_protocol")]
    workflow_protocol: bool,
    idempotency_key: Option<String>,
}

/// As MCP clients have it.
fn with_protocol() -> bool {
    true
}

pub(super) async fn submit(
    State(state): State<WebState>,
    Who(who): Who,
    headers: HeaderMap,
    Body(new): Body<NewTask>,
) -> Result<(StatusCode, Json<TaskView>), ApiError> {
    let submission = Submission {
        prompt: new.prompt,
        context: new.context,
        previous_session_id: new.previous_session_id,
        agent: new.agent,
        workspace: new.workspace,
        permissions: new.permissions,
        timeout_s: new.timeout_s,
        workflow_protocol: new.workflow_protocol,
        idempotency_key: new.idempotency_key,
    };
    let view = state.service.submit(&who, &client(&headers), submission).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// The program that calls, as its User-Agent says.
fn client(headers: &HeaderMap) -> ClientInfo {
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let agent: String = agent.chars().take(MAX_AGENT_NAME).collect();
    let (name, version) = agent.split(' ').next().unwrap_or_default().split_once('/').unwrap_or((&agent, ""));
    ClientInfo { shape: "generic".into(), name: name.to_owned(), version: version.to_owned() }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    status: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    all: bool,
}

pub(super) async fn list(
    State(state): State<WebState>,
    Who(who): Who,
    Params(listing): Params<Listing>,
) -> Result<Json<InboxPage>, ApiError> {
    let status = statuses(listing.status.as_deref().unwrap_or_default())?;
    let query = InboxQuery { status, cursor: listing.cursor, limit: listing.limit, all: listing.all };
    Ok(Json(state.service.inbox(&who, query).await?))
}

/// Status words, separated by commas.
pub(in crate::web) fn statuses(words: &str) -> Result<Vec<Status>, ApiError> {
    let known = || Status::ALL.map(Status::as_str).join(", ");
    let read = |word: &str| {
        let unknown = || ApiError::invalid(format!("unknown status '{}': use {}", word.escape_default(), known()));
        Status::parse(word).ok_or_else(unknown)
    };
    words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(read).collect()
}

pub(super) async fn show(
    State(state): State<WebState>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<Json<TaskView>, ApiError> {
    Ok(Json(state.service.task(&who, &TaskId::parse(&id)?).await?))
}

pub(super) async fn diff(State(state): State<WebState>, Who(who): Who, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let id = TaskId::parse(&id)?;
    let diff = state.service.diff(&who, &id).await?;
    Ok(Json(json!({ "task_id": id, "diff": diff })))
}

/// The record of model traffic as it lies on the disk: JSON lines, none where nothing is recorded.
pub(super) async fn traffic(State(state): State<WebState>, Who(who): Who, Path(id): Path<String>) -> Result<Response, ApiError> {
    let path = state.service.traffic(&who, &TaskId::parse(&id)?).await?;
    let body = file_body(path).await?.map_or_else(AnyBody::empty, |(body, _)| body);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
    /// How long to wait for the first one, in seconds, at most `MAX_WAIT_S`.
    #[serde(default)]
    wait_s: u64,
}

pub(super) async fn events(
    State(state): State<WebState>,
    Who(who): Who,
    Path(id): Path<String>,
    Params(page): Params<After>,
) -> Result<Json<Value>, ApiError> {
    let limit = page.limit.unwrap_or(DEFAULT_EVENTS).clamp(1, MAX_EVENTS);
    let wait = std::time::Duration::from_secs(page.wait_s.min(MAX_WAIT_S));
    let task = TaskId::parse(&id)?;
    let asked = state.service.await_events(&who, &task, page.after, limit, wait);
    let events = tokio::select! {
        events = asked => events?,
        () = state.shutdown.cancelled() => Vec::new(),
    };
    let next_after = events.last().map_or(page.after, |e| e.seq);
    Ok(Json(json!({ "events": events, "next_after": next_after })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancel {
    #[serde(default)]
    reason: String,
}

pub(super) async fn cancel(
    State(state): State<WebState>,
    Who(who): Who,
    Path(id): Path<String>,
    Body(cancel): Body<Cancel>,
) -> Result<Json<TaskView>, ApiError> {
    Ok(Json(state.service.cancel(&who, &TaskId::parse(&id)?, &cancel.reason).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    text: String,
}

pub(super) async fn answer(
    State(state): State<WebState>,
    Who(who): Who,
    Path(id): Path<String>,
    Body(answer): Body<Answer>,
) -> Result<Json<TaskView>, ApiError> {
    Ok(Json(state.service.answer(&who, &TaskId::parse(&id)?, &answer.text).await?))
}
