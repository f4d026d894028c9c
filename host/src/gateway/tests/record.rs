//! The record of model traffic: what stands in it and what does not, and a run that hears it again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::stand::{Reply, Stand, asking, call, envelope, heard};
use crate::gateway::replay::{Replay, Traffic};
use crate::gateway::{Settings, Upstream};
use crate::id::TaskId;

const RECORD_BYTES: u64 = 1 << 20;

/// A gateway whose task is recorded, and where.
async fn recorded(limit: u64) -> (Stand, tempfile::TempDir, PathBuf) {
    let stand = Stand::with(Settings { record_bytes: limit, ..Settings::default() }).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("traffic.jsonl");
    let token = stand.token().to_owned();
    let mask = Box::new(move |text: &str| text.replace(&token, "***").replace("model-secret", "************"));
    stand.access.as_ref().expect("open").record(&path, 1, mask);
    (stand, folder, path)
}

/// Two turns of an agent: a call is refused, another runs, and its result holds a secret. What the agent heard.
async fn two_turns(stand: &Stand) -> Vec<String> {
    let first = stand.ask(&asking(true, &[])).await;
    assert_eq!(first.0, StatusCode::OK, "{}", first.1);
    let result = json!({"role": "tool", "tool_call_id": "b", "content": "the key is s3cret"});
    let answer = json!({"role": "assistant", "content": heard(&first.1).text, "tool_calls": [call("b", "cat key")]});
    let second = stand.ask(&asking(true, &[answer, result])).await;
    assert_eq!(second.0, StatusCode::OK, "{}", second.1);
    vec![first.1, second.1]
}

fn script(stand: &Stand) {
    stand.will_stream("First I", &[("a", "destroy it")]);
    stand.will_stream("then model-secret", &[("b", "cat key")]);
    stand.will_stream("done", &[]);
}

#[tokio::test]
async fn a_record_holds_what_left_and_what_was_said_and_no_secret() {
    let (stand, _folder, path) = recorded(RECORD_BYTES).await;
    script(&stand);
    two_turns(&stand).await;
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).expect("a record");
    let own = stand.token();
    for secret in ["s3cret", "model-secret", "upstream-key", own] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let traffic = Traffic::read(&text).expect("reads back");
    assert_eq!(traffic.cut_at_bytes, None);
    let requests = &traffic.requests;
    assert_eq!(requests.len(), 3, "the refusal made the gateway ask once more");
    for (at, request) in requests.iter().enumerate() {
        // Exactly what the upstream got, but for what is masked.
        let mut body = request.frame.clone();
        body["messages"] = Value::Array(request.messages.clone());
        let sent = stand.request(at).to_string().replace("model-secret", "************");
        assert_eq!(body.to_string(), sent);
        assert_eq!((request.dialect.as_str(), request.path.as_str()), ("chat", "/chat/completions"));
    }
    let outcomes = |at: usize| requests[at].verdicts.iter().map(|v| v["outcome"].as_str().unwrap_or("")).collect::<Vec<_>>();
    assert_eq!((outcomes(0), outcomes(1), outcomes(2)), (vec!["refused"], vec!["released"], vec![]));
    assert!(requests[1].verdicts[0]["decision"].as_str().is_some_and(|id| id.starts_with("dec_")), "{:?}", requests[1].verdicts);
    assert!(requests[0].verdicts[0]["message"].as_str().is_some_and(|m| m.contains("test-rule")), "{:?}", requests[0].verdicts);
    let said = requests[1].said().expect("it reads");
    assert_eq!((said.text.as_str(), said.calls[0].1.as_str()), ("then ************", "terminal"));
    // The result passed by a decision, and each message is written once.
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let judged: Vec<&Value> = lines.iter().filter(|line| line["decisions"].is_array()).collect();
    assert!(judged.len() == 1 && judged[0]["value"].to_string().contains("[masked]"), "{judged:?}");
    assert_eq!(text.matches("be good").count(), 1);
}

/// A server of what was recorded.
async fn replaying(replay: Arc<Mutex<Replay>>) -> String {
    async fn again(State(replay): State<Arc<Mutex<Replay>>>, uri: Uri, body: Bytes) -> Response {
        let body = serde_json::from_slice(&body).expect("JSON");
        match replay.lock().expect("the replay").answer(uri.path(), &body) {
            Ok(answer) => ([(header::CONTENT_TYPE, "text/event-stream")], answer.body).into_response(),
            Err(why) => (StatusCode::CONFLICT, axum::Json(json!({"error": {"message": why.to_string()}}))).into_response(),
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(again).with_state(replay)).await });
    format!("http://{address}/v1")
}

#[tokio::test]
async fn a_run_against_its_record_goes_as_it_went() {
    let (stand, _folder, path) = recorded(RECORD_BYTES).await;
    script(&stand);
    let then = two_turns(&stand).await;
    let text = std::fs::read_to_string(&path).expect("a record");
    let replay = Arc::new(Mutex::new(Replay::new(Traffic::read(&text).expect("reads"), 1).expect("a replay")));
    let mut again = Stand::new().await;
    let upstream = Upstream { base_url: replaying(Arc::clone(&replay)).await, ..again.upstream() };
    again.access = Some(again.gateway.open(TaskId::new(), envelope(), upstream, Vec::new()));
    let now = two_turns(&again).await;
    for (then, now) in then.iter().zip(&now) {
        let (then, now) = (heard(then), heard(now));
        assert_eq!(then.text.replace("model-secret", "************"), now.text);
        assert_eq!((then.calls, then.finish), (now.calls, now.finish));
    }
    let asked: Vec<String> = again.gates.asked.lock().expect("asked").iter().flatten().map(|c| c.id.clone()).collect();
    assert_eq!(asked, ["a", "b"], "the gates judge the same calls again");
    assert_eq!(replay.lock().expect("the replay").counts(), (3, 3));
    // One more is not in the record, and the agent is told so.
    let (status, body) = again.ask(&asking(true, &[json!({"role": "user", "content": "more"})])).await;
    assert!(status == StatusCode::CONFLICT && body.contains("the record ends after 3 requests"), "{status} {body}");
}

#[tokio::test]
async fn a_record_is_bounded_and_says_where_it_was_cut() {
    let (stand, _folder, path) = recorded(900).await;
    script(&stand);
    two_turns(&stand).await;
    let text = std::fs::read_to_string(&path).expect("a record");
    assert!(text.len() < 1000, "{} bytes", text.len());
    assert_eq!(Traffic::read(&text).expect("reads").cut_at_bytes, Some(900));
    assert!(text.lines().last().is_some_and(|line| line.contains("\"cut\"")), "{text}");
}

#[tokio::test]
async fn nothing_is_recorded_unless_it_is_switched_on() {
    let (stand, _folder, path) = recorded(0).await;
    stand.will(Reply::Stream(vec![super::stand::streamed("hello", &[]).into()]));
    stand.ask(&asking(true, &[])).await;
    assert!(!path.exists());
}
