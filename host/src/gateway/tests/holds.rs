//! Calls that wait for people, and requests that come again meanwhile.

use axum::body::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::stand::{DEADLINE, Reply, Stand, asking, envelope, heard, streamed};
use crate::gateway::{Gateway, Settings};
use crate::id::TaskId;

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("in time")
}

#[tokio::test]
async fn a_held_call_keeps_the_stream_alive_and_arrives_when_it_is_approved() {
    let stand = Stand::with(Settings { keepalive_s: 1, ..Settings::default() }).await;
    stand.will_stream("Let me.", &[("c1", "hold this")]);
    let mut response = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
    let mut body = String::new();
    while !body.contains(": waiting") {
        let bytes = soon(response.chunk()).await.expect("read").expect("more");
        body.push_str(str::from_utf8(&bytes).expect("text"));
    }
    assert!(!body.contains("tool_calls") && body.contains("me."), "{body}");
    stand.gates.decided.notify_one();
    body.push_str(&soon(response.text()).await.expect("the rest"));
    let answer = heard(&body);
    assert_eq!((answer.calls.len(), answer.done), (1, true));
}

#[tokio::test]
async fn a_repeated_request_attaches_to_the_pending_and_to_the_decided_turn() {
    let stand = Stand::new().await;
    stand.will_stream("Let me.", &[("c1", "hold this")]);
    let first = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
    soon(stand.gates.held.notified()).await;
    // The agent gives up on the first connection and asks again, in another order of keys and on another stream.
    drop(first);
    let again = asking(true, &[]);
    let (second, ()) = tokio::join!(stand.ask(&again), async { stand.gates.decided.notify_one() });
    let (third, fourth) = (stand.ask(&again).await, stand.ask(&again).await);
    assert_eq!((&second, &third), (&third, &fourth));
    assert_eq!(heard(&second.1).calls.len(), 1);
    assert_eq!((stand.requests(), stand.gates.asked.lock().expect("asked").len()), (1, 1), "one request, one question");
}

#[tokio::test]
async fn a_turn_without_a_verdict_is_asked_anew() {
    let stand = Stand::new().await;
    stand.will_stream("one", &[]).will_stream("two", &[]);
    let (first, second) = (stand.ask(&asking(true, &[])).await, stand.ask(&asking(true, &[])).await);
    assert_eq!((heard(&first.1).text.as_str(), heard(&second.1).text.as_str()), ("one", "two"));
}

#[tokio::test]
async fn text_goes_on_before_the_upstream_has_said_all() {
    let stand = Stand::new().await;
    let (send, receive) = mpsc::channel(4);
    stand.will(Reply::Live(receive));
    let stream = streamed("Hello there.", &[("c1", "ls")]);
    let calls = stream.find("tool_calls").and_then(|at| stream[..at].rfind("data: ")).expect("a call");
    soon(send.send(Ok(Bytes::from(stream[..calls].to_owned())))).await.expect("sent");
    let mut response = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
    let mut body = String::new();
    while heard(&body).text != "Hello there." {
        body.push_str(str::from_utf8(&soon(response.chunk()).await.expect("read").expect("more")).expect("text"));
    }
    soon(send.send(Ok(Bytes::from(stream[calls..].to_owned())))).await.expect("sent");
    drop(send);
    body.push_str(&soon(response.text()).await.expect("the rest"));
    assert_eq!(heard(&body).calls.len(), 1);
}

#[tokio::test]
async fn closing_the_access_ends_a_held_turn_without_the_call() {
    let mut stand = Stand::new().await;
    stand.will_stream("", &[("c1", "hold this")]);
    let response = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
    soon(stand.gates.held.notified()).await;
    drop(stand.access.take());
    let answer = heard(&soon(response.text()).await.expect("a body"));
    assert_eq!((answer.calls.len(), answer.done), (0, false));
    assert!(answer.error.is_some());
}

#[tokio::test]
async fn more_requests_than_the_bound_are_429_and_an_oversized_one_is_413() {
    let stand = Stand::with(Settings { max_requests: 1, max_body_bytes: 2000, ..Settings::default() }).await;
    stand.will_stream("", &[("c1", "hold this")]);
    let held = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
    soon(stand.gates.held.notified()).await;
    assert_eq!(stand.ask(&asking(true, &[])).await.0.as_u16(), 429);
    stand.gates.decided.notify_one();
    soon(held.text()).await.expect("a body");
    let long = asking(true, &[json!({"role": "user", "content": "x".repeat(3000)})]);
    // The permit of the first is returned when its connection task has seen the end of the body.
    let session = stand.gateway.shared.sessions.find(stand.token()).expect("open");
    drop(soon(session.requests.acquire()).await.expect("never closed"));
    assert_eq!(stand.ask(&long).await.0.as_u16(), 413);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_any_more_is_not_fetched_to_its_end() {
    let stand = Stand::with(Settings { linger_s: 0, keepalive_s: 1, ..Settings::default() }).await;
    let (send, receive) = mpsc::channel(1);
    stand.will(Reply::Live(receive));
    send.send(Ok(Bytes::from(streamed("Hello.", &[]).split_at(200).0.to_owned()))).await.expect("sent");
    let response = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
    drop(response);
    soon(send.closed()).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_held_calls() {
    let stand = Stand::new().await;
    let gateway = Gateway::bind(Settings { drain_s: 0, ..Settings::default() }, stand.gates.clone()).expect("a gateway");
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.run(async { told.await.unwrap_or(()) }).await }
    });
    let access = gateway.open(TaskId::new(), envelope(), stand.upstream(), Vec::new());
    stand.will_stream("", &[("c1", "hold this")]);
    let url = format!("{}/model/v1/chat/completions", gateway.url());
    let held = stand.client.post(url).bearer_auth(&access.token).json(&asking(true, &[])).send();
    let held = tokio::spawn(held);
    soon(stand.gates.held.notified()).await;
    tell.send(()).expect("still running");
    soon(running).await.expect("joined").expect("served");
    drop(access);
    held.abort();
}
