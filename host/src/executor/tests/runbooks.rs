//! The runbook agent in a real terminal and sandbox, against a listener that answers as the gates would.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::harness::Stage;
use crate::executor::sandbox::Mode;
use crate::executor::{How, ResultFile};

/// What was asked, and what finished.
#[derive(Default)]
struct Gates {
    asked: Vec<Value>,
    plans: Vec<Value>,
    earlier: Vec<Value>,
}

type Shared = Arc<Mutex<Gates>>;

async fn gates() -> (Shared, String) {
    let shared = Shared::default();
    let calls = async |State(shared): State<Shared>, Json(body): Json<Value>| {
        let call = body["calls"][0].clone();
        let command = call["arguments"]["command"].as_str().unwrap_or_default().to_owned();
        let verdict = match command {
            c if c.contains("forbidden") => json!({"verdict": "refuse", "message": "rule X: no."}),
            c if c.contains("later") => json!({"verdict": "park", "message": "Nobody decided yet."}),
            _ => json!({"verdict": "run"}),
        };
        let mut gates = shared.lock().expect("not poisoned");
        if verdict["verdict"] == "run" {
            gates.earlier.push(json!({"call_id": call["id"], "state": "released", "attempt": 1}));
        }
        gates.asked.push(call);
        Json(json!({"verdicts": [verdict]}))
    };
    let results = async |State(shared): State<Shared>, Json(body): Json<Value>| {
        let mut gates = shared.lock().expect("not poisoned");
        let call = gates.earlier.iter_mut().find(|c| c["call_id"] == body["call_id"]).expect("was released");
        call["state"] = "finished".into();
        let content = body["content"].as_str().unwrap_or_default();
        match content.contains("withhold-me") {
            true => Json(json!({"verdict": "withhold", "message": "a secret"})),
            false => Json(json!({"verdict": "deliver", "content": content.replace("s3cret", "******")})),
        }
    };
    let plan = async |State(shared): State<Shared>, Json(body): Json<Value>| {
        let mut gates = shared.lock().expect("not poisoned");
        gates.plans.push(body.clone());
        let bad = body["calls"].to_string().contains("forbidden");
        Json(if bad { json!({"ok": false, "message": "step-2 is forbidden."}) } else { json!({"ok": true}) })
    };
    let so_far = async |State(shared): State<Shared>| Json(json!({"calls": shared.lock().expect("not poisoned").earlier}));
    let router = Router::new()
        .route("/agent/calls", post(calls).merge(get(so_far)))
        .route("/agent/results", post(results))
        .route("/agent/plan", post(plan))
        .with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("has an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (shared, url)
}

async fn stage(block: &str) -> (Stage, Shared) {
    let (shared, url) = gates().await;
    let mut stage = Stage::with("");
    stage.agent = "runbook".into();
    // The gates here listen on the host; in tier A the pipeline serves a listener inside.
    stage.settings.sandbox.mode = Mode::Floor;
    stage.gateway_url = url;
    stage.prompt = format!("---CODA-TASK---\nboundary: b\n\nTASK b:\n{block}\nEND TASK b\n---END-CODA-TASK---\n");
    (stage, shared)
}

async fn result(stage: &Stage) -> Map<String, Value> {
    let ended = stage.run().await;
    assert_eq!(ended.how, How::Exited { code: 0 }, "{}", stage.shown());
    match ended.result {
        ResultFile::Valid(map) => map,
        other => panic!("{other:?}: {}", stage.shown()),
    }
}

#[tokio::test]
async fn steps_run_one_by_one_and_are_screened() {
    let (stage, shared) = stage("```sh\necho one s3cret\nmkdir sub\ncd sub\npwd > where\necho withhold-me\n```").await;
    let result = result(&stage).await;
    assert_eq!(
        (result["status"].as_str(), result["summary"].as_str()),
        (Some("completed"), Some("All 5 steps ran and ended with exit code 0."))
    );
    let outputs: Vec<&str> =
        result["artifacts"]["steps"].as_array().expect("a list").iter().filter_map(|s| s["output"].as_str()).collect();
    assert_eq!(outputs, ["one ******\n", "", "", "", "[withheld: a secret]"]);
    assert!(std::fs::read_to_string(stage.workspace().join("sub/where")).expect("was written").ends_with("/workspace/sub\n"));
    let gates = shared.lock().expect("not poisoned");
    assert_eq!(gates.asked[3]["working_directory"], json!(stage.workspace().join("sub")));
    assert_eq!(
        gates.asked[0],
        json!({"id": "step-1", "tool": "shell", "arguments": {"command": "echo one s3cret"}, "working_directory": stage.workspace()})
    );
    let shown = stage.shown();
    assert!(shown.contains("$ echo one s3cret\r\none s3cret\r\n$ mkdir sub\r\n"), "{shown}");
}

#[tokio::test]
async fn a_refused_or_failed_step_ends_the_run() {
    let (stage, shared) = stage("```sh\ntouch before\ntouch forbidden\ntouch after\n```").await;
    let refused = result(&stage).await;
    assert_eq!(refused["status"], "failed");
    let summary = refused["summary"].as_str().expect("text");
    assert!(summary.starts_with("step-2 (") && summary.ends_with(") did not run: rule X: no."), "{summary}");
    let exists = |name| stage.workspace().join(name).exists();
    assert!(exists("before") && !exists("forbidden") && !exists("after"));
    assert_eq!(shared.lock().expect("not poisoned").asked.len(), 2);
    let (stage, _) = self::stage("```bash\n(exit 7)\ntouch after\n```").await;
    let failed = result(&stage).await;
    assert_eq!(failed["summary"], "step-1 ended with exit code 7: (exit 7)");
    assert!(!stage.workspace().join("after").exists());
}

#[tokio::test]
async fn a_plan_is_declared_before_the_first_command() {
    let (stage, shared) = stage("```sh plan\ntouch before\ntouch forbidden\n```").await;
    let refused = result(&stage).await;
    assert_eq!(refused["summary"], "The plan was refused: step-2 is forbidden.");
    assert!(!stage.workspace().join("before").exists());
    let gates = shared.lock().expect("not poisoned");
    assert_eq!((gates.plans[0]["calls"].as_array().map(Vec::len), gates.asked.len()), (Some(2), 0));
}

#[tokio::test]
async fn a_later_attempt_repeats_nothing() {
    let (mut stage, shared) = stage("```sh\nmkdir d\ncd d\necho x >> lines; echo shown\ntouch later\n```").await;
    let parked = result(&stage).await;
    assert_eq!(
        (parked["status"].as_str(), parked["summary"].as_str()),
        (Some("needs_approval"), Some("step-4 waits for approval. Nobody decided yet."))
    );
    stage.attempt = 2;
    // People agreed meanwhile.
    stage.prompt = stage.prompt.replace("touch later", "touch done");
    let completed = result(&stage).await;
    assert_eq!(completed["status"], "completed");
    assert_eq!(completed["artifacts"]["steps"][2]["output"], "shown\n", "kept from the first attempt");
    assert_eq!(std::fs::read_to_string(stage.workspace().join("d/lines")).expect("is there"), "x\n");
    assert!(stage.workspace().join("d/done").exists());
    // One that was released and did not finish may have run.
    shared.lock().expect("not poisoned").earlier[2]["state"] = "released".into();
    stage.attempt = 3;
    let refused = result(&stage).await;
    assert!(
        refused["summary"].as_str().is_some_and(|s| s.starts_with("step-3 was released in attempt 1 and may have run")),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(stage.workspace().join("d/lines")).expect("is there"), "x\n");
}

#[tokio::test]
async fn without_the_gateway_or_a_block_nothing_runs() {
    let (mut stage, _) = stage("```sh\ntouch here\n```").await;
    stage.gateway_url = "http://127.0.0.1:1".into();
    let failed = result(&stage).await;
    assert_eq!(failed["status"], "failed");
    assert!(failed["summary"].as_str().is_some_and(|s| s.contains("nothing runs without an answer")), "{failed:?}");
    assert!(!stage.workspace().join("here").exists());
    let (stage, _) = self::stage("please do something").await;
    assert_eq!(result(&stage).await["status"], "info_needed");
}
