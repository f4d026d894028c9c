//! What the agents' own hooks are told.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::stand::{Stand, asking};
use crate::gateway::Settings;

fn before(id: &str, command: &str) -> Value {
    json!({"phase": "before", "call_id": id, "tool": "terminal", "arguments": {"command": command}, "wait_s": 40})
}

async fn told(stand: &Stand, body: &Value) -> Value {
    let answer = stand.post("/agent/hook", body).await;
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

fn judged(stand: &Stand) -> usize {
    stand.gates.asked.lock().expect("asked").len()
}

#[tokio::test]
async fn what_the_gateway_released_passes_once_without_being_judged_again() {
    let stand = Stand::new().await;
    stand.will_stream("", &[("c1", "ls -la")]);
    stand.ask(&asking(true, &[])).await;
    assert_eq!(judged(&stand), 1);
    assert_eq!(told(&stand, &before("c1", "ls -la")).await["verdict"], "run");
    assert_eq!(judged(&stand), 1, "the verdict stands");
    assert_eq!(told(&stand, &before("c1", "ls -la")).await["verdict"], "run");
    assert_eq!(judged(&stand), 2, "a second one is a new call");
}

#[tokio::test]
async fn a_call_that_no_model_made_is_judged() {
    let stand = Stand::new().await;
    stand.will_stream("", &[("c1", "ls -la")]);
    stand.ask(&asking(true, &[])).await;
    let refused = told(&stand, &before("c1", "destroy it")).await;
    assert_eq!(refused["verdict"], "refuse");
    assert!(refused["message"].as_str().expect("why").contains("test-rule"), "{refused}");
    let asked = stand.gates.asked.lock().expect("asked").last().cloned().expect("asked");
    assert!(asked[0].id.starts_with("hook_"), "another call than the released one: {asked:?}");
    assert_eq!(stand.gates.waits.lock().expect("waits").as_slice(), [Duration::from_secs(40)]);
}

#[tokio::test]
async fn what_people_must_decide_is_held_and_what_would_be_rewritten_refused() {
    let stand = Stand::new().await;
    let held = told(&stand, &before("x", "later")).await;
    let approval = held["approval_id"].as_str().expect("an approval");
    assert_eq!(held["verdict"], "held");
    assert!(held["message"].as_str().expect("says so").starts_with(&format!("held as approval {approval}")), "{held}");
    assert_eq!(told(&stand, &before("x", "rewrite")).await["verdict"], "refuse");
}

#[tokio::test]
async fn without_a_window_every_hook_is_judged() {
    let stand = Stand::with(Settings { hook_match_s: 0, ..Settings::default() }).await;
    stand.will_stream("", &[("c1", "ls -la")]);
    stand.ask(&asking(true, &[])).await;
    told(&stand, &before("c1", "ls -la")).await;
    assert_eq!(judged(&stand), 2);
}

#[tokio::test]
async fn results_are_screened_and_nonsense_is_refused() {
    let stand = Stand::new().await;
    let after = |content: &str| json!({"phase": "after", "call_id": "c1", "tool": "terminal", "content": content});
    assert_eq!(told(&stand, &after("KEY=s3cret")).await, json!({"verdict": "deliver", "content": "KEY=[masked]"}));
    assert_eq!(told(&stand, &after("please withhold")).await["verdict"], "withhold");
    for nonsense in [json!({}), json!({"phase": "during", "tool": "x"}), json!({"phase": "after", "tool": "x"}), json!([])] {
        let status = stand.post("/agent/hook", &nonsense).await.status();
        assert_eq!(StatusCode::from_u16(status.as_u16()).expect("a status"), StatusCode::BAD_REQUEST, "{nonsense}");
    }
}
