use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response as Answer};

use super::*;
use crate::cli::context::Format;

/// What a scripted server was asked: method, path, credential.
type Asked = Arc<Mutex<Vec<String>>>;

/// A server that takes the login `fresh` and the token `token`, and hands out `fresh` for the key `key`.
async fn server() -> (String, Asked) {
    async fn answer(State(asked): State<Asked>, headers: HeaderMap, request: Request) -> Answer {
        let credential = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("-").replace("Bearer ", "");
        let path = request.uri().path().to_owned();
        asked.lock().expect("unpoisoned").push(format!("{} {path} {credential}", request.method()));
        if path == "/v1/login/local" {
            let body = axum::body::to_bytes(request.into_body(), 1_000).await.expect("small");
            assert_eq!(&body[..], br#"{"key":"key"}"#);
            return r#"{"secret":"fresh"}"#.into_response();
        }
        match (path.as_str(), credential.as_str()) {
            ("/v1/tasks/none", "fresh") => {
                let body = r#"{"error":{"code":"not_found","message":"no such task"}}"#;
                (StatusCode::NOT_FOUND, body).into_response()
            }
            (_, "fresh" | "token") => r#"{"ok":true}"#.into_response(),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }
    let asked = Asked::default();
    let router = axum::Router::new().fallback(answer).with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}

fn context(home: &std::path::Path, server: String, token: Option<&str>) -> Context {
    Context { home: home.to_owned(), format: Format::Json, server: Some(server), token: token.map(str::to_owned) }
}

fn home_with_key() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("keys")).expect("made");
    std::fs::write(home.path().join("keys/local.key"), "key\n").expect("written");
    home
}

fn taken(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut asked.lock().expect("unpoisoned"))
}

#[tokio::test]
async fn a_login_is_made_once_kept_and_made_anew_when_it_is_refused() {
    let (address, asked) = server().await;
    let home = home_with_key();
    let context = context(home.path(), address.clone(), None);
    context.get("/v1/tasks").await.expect("answered");
    assert_eq!(taken(&asked), ["POST /v1/login/local -", "GET /v1/tasks fresh"]);
    context.get("/v1/tasks").await.expect("answered");
    assert_eq!(taken(&asked), ["GET /v1/tasks fresh"]);
    let stale = serde_json::json!({ "address": address, "secret": "stale" }).to_string();
    std::fs::write(home.path().join("cli/login"), stale).expect("written");
    context.get("/v1/tasks").await.expect("answered");
    assert_eq!(taken(&asked), ["GET /v1/tasks stale", "POST /v1/login/local -", "GET /v1/tasks fresh"]);
}

#[tokio::test]
async fn a_token_submits_and_a_person_decides() {
    let (address, asked) = server().await;
    let home = home_with_key();
    let context = context(home.path(), address, Some("token"));
    context.post("/v1/tasks", &json!({})).await.expect("answered");
    assert_eq!(taken(&asked), ["POST /v1/tasks token"]);
    context.post("/v1/approvals/appr_1/decision", &json!({})).await.expect("answered");
    assert_eq!(taken(&asked), ["POST /v1/login/local -", "POST /v1/approvals/appr_1/decision fresh"]);
}

#[tokio::test]
async fn refusals_carry_the_servers_words() {
    let (address, _) = server().await;
    let home = home_with_key();
    let error = context(home.path(), address, None).get("/v1/tasks/none").await.expect_err("refused");
    assert_eq!((crate::cli::exit_code(&error), error.to_string().as_str()), (5, "no such task"));
}

#[tokio::test]
async fn the_key_is_not_shown_to_a_server_elsewhere() {
    let home = home_with_key();
    let elsewhere = context(home.path(), "http://coda.example.com".into(), None);
    assert!(!Server::find(&elsewhere).await.expect("an address").trusted);
    let error = elsewhere.get("/v1/tasks").await.expect_err("no credential");
    assert_eq!(crate::cli::exit_code(&error), 4, "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_exit_code_3() {
    let home = home_with_key();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", nowhere.local_addr().expect("bound"));
    drop(nowhere);
    let error = context(home.path(), address, None).get("/v1/tasks").await.expect_err("nobody there");
    assert_eq!(crate::cli::exit_code(&error), 3);
    let none = Context { server: None, ..context(home.path(), String::new(), None) };
    let error = none.get("/v1/tasks").await.expect_err("nobody there");
    assert!(error.to_string().contains("coda serve"), "{error}");
}

#[tokio::test]
async fn a_server_that_was_started_in_the_line_before_is_waited_for() {
    let home = tempfile::tempdir().expect("a directory");
    let start = async {
        // After the first look, which found no server at all.
        tokio::task::yield_now().await;
        let lock = home::ServerLock::take(home.path()).expect("free");
        lock.announce("http://127.0.0.1:1").expect("written");
        lock
    };
    let (address, _lock) = tokio::join!(Server::started(home.path()), start);
    assert_eq!(address.expect("it was there in time"), "http://127.0.0.1:1");
}

#[tokio::test]
async fn where_no_server_comes_the_way_out_is_named() {
    let home = tempfile::tempdir().expect("a directory");
    let error = Server::started(home.path()).await.expect_err("nobody").to_string();
    assert!(error.contains("start it with `coda serve`"), "{error}");
}
