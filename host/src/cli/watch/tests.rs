use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::json;

use super::*;
use crate::id::{ApprovalId, SessionId, TaskId};

fn task(status: &str) -> Value {
    let mut task = json!({
        "task_id": TaskId::new(), "session_id": SessionId::new(), "status": status, "principal": "ann", "agent": "runbook", "attempt": 1,
        "prompt_summary": "p", "elapsed_s": 1.0, "created_at": "2026-01-01T00:00:00Z", "viewer_url": "http://v", "next": "n",
    });
    match status {
        "failed" => task["reason"] = json!({ "by": "agent", "code": "agent", "text": "step-2 was refused" }),
        "needs_approval" => {
            task["approval"] = json!({
                "approval_id": ApprovalId::new(), "url": "http://a", "requirements": [{ "role": "approver", "count": 1 }],
                "expires_at": "2026-01-01T00:00:00Z", "reason": "r",
            });
        }
        _ => {}
    }
    task
}

#[derive(Clone)]
struct Script {
    /// One status per look; the last one stays.
    statuses: &'static [&'static str],
    looks: Arc<AtomicUsize>,
    events_after: Arc<Mutex<Vec<String>>>,
}

/// Follows a task of a scripted server; also the positions from which its events were asked for.
async fn follow_script(statuses: &'static [&'static str], until: Option<Status>) -> (Result<TaskView, CliError>, Vec<String>) {
    let script = Script { statuses, looks: Arc::default(), events_after: Arc::default() };
    let show = |State(script): State<Script>, Path(_): Path<String>| async move {
        let look = script.looks.fetch_add(1, Ordering::SeqCst).min(script.statuses.len() - 1);
        Json(task(script.statuses[look]))
    };
    let events = |State(script): State<Script>, uri: axum::http::Uri| async move {
        let query = uri.query().unwrap_or_default().to_owned();
        let first = query.contains("after=0&");
        script.events_after.lock().expect("unpoisoned").push(query);
        let one = json!({ "seq": 7, "time_ms": 0, "kind": "started", "body": {} });
        Json(json!({ "events": if first { vec![one] } else { Vec::new() } }))
    };
    let router = axum::Router::new()
        .route("/v1/tasks/{id}", get(show))
        .route("/v1/tasks/{id}/events", get(events))
        .with_state(script.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = Some(format!("http://{}", listener.local_addr().expect("bound")));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let home = tempfile::tempdir().expect("a directory");
    let context = Context { home: home.path().to_owned(), format: Format::Json, server, token: Some("token".into()) };
    let outcome = follow(&context, "task_1", until).await;
    let asked = script.events_after.lock().expect("unpoisoned").clone();
    (outcome, asked)
}

#[tokio::test]
async fn it_waits_through_an_approval_to_the_end() {
    let (view, asked) = follow_script(&["queued", "needs_approval", "running", "completed"], None).await;
    let view = view.expect("followed");
    assert_eq!(view.status, Status::Completed);
    assert!(outcome(&view).is_ok());
    assert!(asked[0].starts_with("after=0&") && asked[1..].iter().all(|q| q.starts_with("after=7&")), "{asked:?}");
}

#[tokio::test]
async fn it_stops_where_it_was_asked_to_and_where_the_submitter_must_answer() {
    let (view, _) = follow_script(&["running", "needs_approval"], Some(Status::NeedsApproval)).await;
    assert_eq!(view.expect("followed").status, Status::NeedsApproval);
    let (view, _) = follow_script(&["running", "info_needed"], None).await;
    assert_eq!(crate::cli::exit_code(&outcome(&view.expect("followed")).expect_err("waits")), 7);
}

#[test]
fn the_exit_follows_the_status() {
    let code = |status: &str| outcome(&view(task(status)).expect("a task")).map_or_else(|e| crate::cli::exit_code(&e), |()| 0);
    for status in Status::ALL {
        let expected = match status {
            Status::Completed => 0,
            Status::Failed | Status::TimedOut | Status::Cancelled | Status::Denied => 6,
            Status::Queued | Status::Running | Status::NeedsApproval | Status::InfoNeeded => 7,
        };
        assert_eq!(code(status.as_str()), expected, "{status}");
    }
    let why = outcome(&view(task("failed")).expect("a task")).expect_err("failed").to_string();
    assert!(why.ends_with("ended failed: step-2 was refused"), "{why}");
}

#[test]
fn an_event_is_one_line_without_repetitions() {
    let event = json!({ "time_ms": 3_723_000, "kind": "held", "body": { "tool": "shell", "reason": "rm\n-rf\u{1b}[0m", "message": "shell", "by": 3 } });
    assert_eq!(event_line(&event), "01:02:03 held         shell; rm -rf\u{fffd}[0m");
}
