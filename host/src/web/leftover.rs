//! What is left of a request's body when it was refused unread: it is taken in, within bounds, before the answer goes out.
//!
//! A server that answers and closes while the body is still on its way makes the client's system discard the answer:
//! instead of "401, make a token" its user reads "connection lost".

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// Bodies up to this size are taken in; the sender of a larger one sees the connection close.
const MAX_LEFTOVER_BYTES: usize = 256 * 1024;
/// How long the rest of a body may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body that can still be reached when the handler has dropped it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    fn with<T>(&self, ask: impl FnOnce(&mut Body) -> T) -> T {
        // Nothing in here panics with the lock held; a body that was poisoned all the same is still a body.
        ask(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}

/// The middleware. It stands outside whatever may refuse.
pub(super) async fn take_in(request: Request, next: Next) -> Response {
    // Who asks first whether the body is wanted has not sent it yet.
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let shared = Shared(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(head, Body::new(shared.clone()))).await;
    let refused = response.status().is_client_error() || response.status().is_server_error();
    let bearable = shared.size_hint().lower() <= MAX_LEFTOVER_BYTES as u64;
    if refused && bearable && !shared.is_end_stream() {
        let rest = axum::body::to_bytes(Body::new(shared), MAX_LEFTOVER_BYTES);
        // Whether it came to its end or not, the answer goes out now.
        let _ = tokio::time::timeout(PATIENCE, rest).await;
    }
    response
}
