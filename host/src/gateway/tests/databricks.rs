//! Databricks model serving as the upstream, as far as a made-up workspace shows it: the path of each dialect, its tokens,
//! its ways of naming tools and ending messages.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::speech;
use super::stand::{Stand, asking, envelope};
use crate::gateway::{Auth, Credential, Dialect, Settings, Upstream};
use crate::id::TaskId;
use crate::identity::AccessToken;

const TOKEN: &str = "dapi-sues-own-access-token";

#[derive(Default)]
struct Workspace {
    /// What it answers, by path and query.
    answers: Vec<(String, Value)>,
    seen: Mutex<Vec<String>>,
}

async fn answer(State(workspace): State<Arc<Workspace>>, uri: Uri, headers: HeaderMap) -> Response {
    let place = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    workspace.seen.lock().expect("seen").push(place.clone());
    if headers.get("authorization").and_then(|v| v.to_str().ok()) != Some(&format!("Bearer {TOKEN}")) {
        return (StatusCode::UNAUTHORIZED, axum::Json(json!({"error_code": 401, "message": "expired"}))).into_response();
    }
    match workspace.answers.iter().find(|(path, _)| *path == place) {
        Some((_, body)) => axum::Json(body.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, axum::Json(json!({"error_code": "ENDPOINT_NOT_FOUND"}))).into_response(),
    }
}

/// A stand whose task has a model below this path of the workspace, and acts with its submitter's token.
async fn before(dialect: Dialect, base: &str, answers: Vec<(String, Value)>) -> (Stand, Arc<Workspace>, TaskId) {
    let mut stand = Stand::speaking(dialect, Settings::default()).await;
    let workspace = Arc::new(Workspace { answers, seen: Mutex::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let upstream = Upstream {
        dialect,
        auth: Auth::Bearer,
        base_url: format!("http://{}{base}", listener.local_addr().expect("bound")),
        model: Some("databricks-model".into()),
        credential: Some(Credential::Forwarded),
        ..Upstream::default()
    };
    let app = Router::new().fallback(answer).with_state(Arc::clone(&workspace));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let task = TaskId::new();
    stand.gateway.forwarded().keep(&task, AccessToken::parse(TOKEN).expect("a token")).expect("room");
    stand.access = Some(stand.gateway.open(task.clone(), envelope(), upstream, Vec::new()));
    (stand, workspace, task)
}

#[tokio::test]
async fn each_dialect_has_its_path_below_serving_endpoints() {
    for (dialect, base, path) in [
        (Dialect::Messages, "/serving-endpoints/anthropic/v1", "/serving-endpoints/anthropic/v1/messages"),
        (Dialect::Responses, "/serving-endpoints/", "/serving-endpoints/responses"),
        (
            Dialect::Gemini,
            "/serving-endpoints/gemini/v1beta",
            "/serving-endpoints/gemini/v1beta/models/databricks-model:generateContent",
        ),
    ] {
        let speech = speech::all().into_iter().find(|speech| speech.dialect == dialect).expect("a dialect");
        let whole = (speech.whole)("I look.", &[("c1", "ls")]);
        let (stand, workspace, _) = before(dialect, base, vec![(path.to_owned(), whole.clone())]).await;
        let (status, body) = stand.ask_at(speech.whole_path, &(speech.asking)(false, &[])).await;
        assert_eq!((status, body), (StatusCode::OK, whole.to_string()));
        assert_eq!(*workspace.seen.lock().expect("seen"), [path]);
    }
}

#[tokio::test]
async fn a_call_gets_its_own_name_and_its_message_the_reason_that_clients_wait_for() {
    let arguments = json!({"name": "terminal", "command": "ls"}).to_string();
    let call = json!({"id": "c1", "type": "function", "function": {"name": "databricks-tool-call", "arguments": arguments}});
    let text = json!([{"type": "text", "text": "I look."}]);
    let answer = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "databricks-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "tool_calls": [call]}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
    let path = "/serving-endpoints/chat/completions".to_owned();
    let (stand, workspace, _) = before(Dialect::Chat, "/serving-endpoints", vec![(path.clone(), answer)]).await;
    let (status, body) = stand.ask(&asking(false, &[])).await;
    let got: Value = serde_json::from_str(&body).expect("JSON");
    let choice = &got["choices"][0];
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!((status, function["name"].as_str()), (StatusCode::OK, Some("terminal")), "{body}");
    assert_eq!(function["arguments"].as_str(), Some("{\"command\":\"ls\"}"));
    assert_eq!(choice["finish_reason"].as_str(), Some("tool_calls"));
    assert_eq!(*workspace.seen.lock().expect("seen"), [path]);
    assert_eq!(stand.gates.asked.lock().expect("asked")[0][0].tool, "terminal", "judged under its own name");
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_sent_again_and_nothing_in_its_place() {
    let (stand, workspace, task) = before(Dialect::Chat, "/serving-endpoints", Vec::new()).await;
    let forwarded = stand.gateway.forwarded();
    forwarded.keep(&task, AccessToken::parse("dapi-expired").expect("a token")).expect("room");
    for asked in 1..=2 {
        let (status, body) = stand.ask(&asking(false, &[])).await;
        assert_eq!((status, workspace.seen.lock().expect("seen").len()), (StatusCode::FORBIDDEN, 1), "{body}");
        assert!(body.contains("credential_gone") && !body.contains("dapi"), "{body}");
        assert_eq!(stand.gates.gone.lock().expect("gone").len(), asked, "the task is told");
    }
    assert_eq!(forwarded.of(&task), None);
}
