//! Watching over HTTP: the WebSocket with the live terminal, and the transcript for the replay. The service says who may.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::WebState;
use super::error::ApiError;
use super::identify::{Person, Who};
use crate::id::TaskId;
use crate::identity::Principal;
use crate::service::ServiceError;
use crate::viewer::stream::{self, MAX_MESSAGE_BYTES, MayWatch};

/// The live terminal. A browser must come from our own page: WebSockets know no same-origin rule of their own.
pub(super) async fn live(
    State(state): State<WebState>,
    Path(id): Path<String>,
    person: Result<Person, ApiError>,
    Who(who): Who,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    if who.is_interactive() {
        person?;
    }
    let id = TaskId::parse(&id)?;
    state.service.watch(&who, &id).await?;
    let place = state.viewers.clone().try_acquire_owned();
    let place = place.map_err(|_| ServiceError::Busy("too many viewers are open; close one, or raise max_viewers".into()))?;
    let may_watch = may_watch(state.clone(), who, id.clone());
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        stream::run(socket, id, state.terminals, may_watch, state.shutdown).await;
        drop(place);
    }))
}

fn may_watch(state: WebState, who: Principal, id: TaskId) -> MayWatch {
    Arc::new(move || {
        let (state, who, id) = (state.clone(), who.clone(), id.clone());
        Box::pin(async move {
            let who = state.accounts.refresh(&who).await.ok().flatten()?;
            state.service.still_watches(&who, &id).await.ok()
        })
    })
}

/// The asciicast of all attempts so far.
pub(super) async fn transcript(
    State(state): State<WebState>,
    Path(id): Path<String>,
    Who(who): Who,
) -> Result<Response, ApiError> {
    let id = TaskId::parse(&id)?;
    let watchable = state.service.watch(&who, &id).await?;
    let Some((body, length)) = file_body(watchable.transcript).await? else {
        let message = "there is no transcript: the task has not started, or its retention is over";
        return Err(ApiError { status: StatusCode::NOT_FOUND, code: "not_found", message: message.into() });
    };
    let headers = [
        (header::CONTENT_TYPE, "application/x-asciicast".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{id}.cast\"")),
    ];
    Ok((headers, body).into_response())
}

/// A file as it is now, in pieces, and its length; `None` where there is none.
pub(in crate::web) async fn file_body(path: PathBuf) -> Result<Option<(Body, u64)>, ApiError> {
    let open = tokio::task::spawn_blocking(move || {
        let no_links = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = std::fs::OpenOptions::new().read(true).custom_flags(no_links).open(&path)?;
        let length = file.metadata()?.len();
        Ok::<_, std::io::Error>((file, length))
    });
    match open.await {
        Ok(Ok((file, length))) => {
            let body = Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file).take(length)));
            Ok(Some((body, length)))
        }
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(Err(e)) => Err(ApiError::internal(&e)),
        Err(e) => Err(ApiError::internal(&e)),
    }
}
