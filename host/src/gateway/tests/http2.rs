//! Upstreams that speak HTTP/2, and those that do not.

use axum::body::Bytes;
use axum::http::Version;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stand::{DEADLINE, Reply, Stand, asking, envelope, heard, streamed};
use super::tls::{MAX_STREAMS, Secure, trusting};
use crate::gateway::{Access, Credential, HttpVersion, Settings, Upstream};
use crate::id::TaskId;

fn versions(stand: &Stand) -> Vec<Version> {
    stand.script.versions.lock().expect("versions").clone()
}

#[tokio::test]
async fn turns_are_asked_for_over_one_http_2_connection() {
    let secure = Secure::new(&["h2", "http/1.1"], trusting()).await;
    let stand = &secure.stand;
    for text in ["One.", "Two."] {
        stand.will_stream(text, &[("c1", "ls")]);
        let question = asking(true, &[json!({"role": "user", "content": text})]);
        let answer = heard(&stand.ask(&question).await.1);
        assert_eq!((answer.text.as_str(), answer.calls.len(), answer.done), (text, 1, true));
    }
    assert_eq!(versions(stand), [Version::HTTP_2; 2]);
    assert_eq!(secure.connections(), 1);
}

#[tokio::test]
async fn what_does_not_offer_http_2_is_asked_over_http_1() {
    let old = Settings { http_version: HttpVersion::Http1, ..trusting() };
    for (protocols, settings) in [(&["http/1.1"][..], trusting()), (&[], trusting()), (&["h2", "http/1.1"], old)] {
        let secure = Secure::new(protocols, settings).await;
        secure.stand.will_stream("Hello.", &[]);
        assert_eq!(heard(&secure.stand.ask(&asking(true, &[])).await.1).text, "Hello.");
        assert_eq!(versions(&secure.stand), [Version::HTTP_11]);
    }
    let plain = Stand::new().await;
    plain.will_stream("Hello.", &[]);
    plain.ask(&asking(true, &[])).await;
    assert_eq!(versions(&plain), [Version::HTTP_11]);
}

#[tokio::test]
async fn a_held_call_costs_one_request_however_often_it_is_asked_about() {
    let secure = Secure::new(&["h2"], trusting()).await;
    let stand = &secure.stand;
    stand.will_stream("Wait.", &[("c1", "hold")]);
    let question = asking(true, &[]);
    let first = stand.ask(&question);
    let again = async {
        tokio::time::timeout(DEADLINE, stand.gates.held.notified()).await.expect("in time");
        let again = stand.post("/model/v1/chat/completions", &question).await;
        stand.gates.decided.notify_one();
        again.text().await.expect("text")
    };
    let ((_, first), again) = tokio::join!(first, again);
    for answer in [heard(&first), heard(&again)] {
        assert_eq!((answer.text.as_str(), answer.calls.len(), answer.done), ("Wait.", 1, true));
    }
    assert_eq!((stand.requests(), versions(stand)), (1, vec![Version::HTTP_2]));
}

#[tokio::test]
async fn more_requests_at_once_than_the_upstream_takes_wait_for_their_turn() {
    let secure = Secure::new(&["h2"], trusting()).await;
    let stand = &secure.stand;
    // Without a connection before: all of them want one.
    let questions: Vec<Value> =
        (0..4 * MAX_STREAMS).map(|n| asking(true, &[json!({"role": "user", "content": format!("question {n}")})])).collect();
    for _ in &questions {
        stand.will_stream("Hello.", &[]);
    }
    let answers = futures_util::future::join_all(questions.iter().map(|question| stand.ask(question))).await;
    for (status, body) in answers {
        assert!(status.is_success() && heard(&body).done, "{status}: {body}");
    }
    assert_eq!(versions(stand), vec![Version::HTTP_2; questions.len()]);
}

/// A task with a credential of its own.
fn task(stand: &Stand, credential: &str) -> Access {
    let credential = Some(Credential::Command(vec!["echo".into(), credential.into()]));
    let upstream = Upstream { credential, ..stand.upstream() };
    stand.gateway.open(TaskId::new(), envelope(), upstream, Vec::new())
}

/// Begins a turn that the test writes, up to its first text.
async fn begin(stand: &Stand, access: &Access) -> (reqwest::Response, mpsc::Sender<std::io::Result<Bytes>>, usize) {
    let (send, receive) = mpsc::channel(4);
    stand.will(Reply::Live(receive));
    let stream = streamed("Begun.", &[]);
    let end = stream.find("\"finish_reason\":\"stop\"").and_then(|at| stream[..at].rfind("data: ")).expect("an end");
    send.send(Ok(Bytes::from(stream[..end].to_owned()))).await.expect("sent");
    let url = format!("{}/model/v1/chat/completions", stand.gateway.url());
    let request = stand.client.post(url).bearer_auth(&access.token).json(&asking(true, &[]));
    let response = tokio::time::timeout(DEADLINE, request.send()).await.expect("in time").expect("an answer");
    (response, send, end)
}

#[tokio::test]
async fn two_tasks_share_a_connection_and_nothing_else() {
    let secure = Secure::new(&["h2"], trusting()).await;
    let stand = &secure.stand;
    let (one, two) = (task(stand, "key-of-one"), task(stand, "key-of-two"));
    let (first, cut, _) = begin(stand, &one).await;
    let (second, rest, end) = begin(stand, &two).await;
    assert_eq!((secure.connections(), versions(stand)), (1, vec![Version::HTTP_2; 2]));
    let keys = |(_, headers): &(Value, axum::http::HeaderMap)| headers["authorization"].clone();
    let keys: Vec<_> = stand.script.requests.lock().expect("requests").iter().map(keys).collect();
    assert_eq!(keys, ["Bearer key-of-one", "Bearer key-of-two"]);
    // The upstream resets one stream.
    cut.send(Err(std::io::Error::other("cut"))).await.expect("sent");
    let answer = heard(&first.text().await.expect("text"));
    assert_eq!((answer.text.as_str(), answer.done), ("Begun.", false));
    assert!(answer.error.expect("an error").contains("broke off its answer"));
    rest.send(Ok(Bytes::from(streamed("Begun.", &[])[end..].to_owned()))).await.expect("sent");
    drop(rest);
    let answer = heard(&second.text().await.expect("text"));
    assert_eq!((answer.text.as_str(), answer.done), ("Begun.", true));
    // The task is gone, its connection stays for the others.
    drop(one);
    stand.will_stream("Hello.", &[]);
    assert_eq!(heard(&stand.ask(&asking(true, &[])).await.1).text, "Hello.");
    assert_eq!(secure.connections(), 1);
}
