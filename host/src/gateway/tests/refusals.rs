//! Calls that run, calls that are refused, and both in one message.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::stand::{Reply, Stand, asking, call, heard, streamed};

#[tokio::test]
async fn a_harmless_call_passes_byte_for_byte() {
    let stand = Stand::new().await;
    stand.will_stream("I will look.", &[("c1", "ls")]);
    let (status, body) = stand.ask(&asking(true, &[])).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, streamed("I will look.", &[("c1", "ls")]).replace(": comment of the upstream\n\n", ""));
    let asked = stand.gates.asked.lock().expect("asked");
    assert_eq!(asked[0][0].arguments, json!({"command": "ls"}));
    assert_eq!(*stand.gates.usage.lock().expect("usage"), (10, 5));
    assert!(stand.gates.seen_at_work.load(std::sync::atomic::Ordering::Relaxed) > 0, "nobody said that the model works");
}

#[tokio::test]
async fn the_upstream_gets_its_own_model_and_credential_and_never_the_tasks_token() {
    let stand = Stand::new().await;
    stand.will_stream("hi", &[]);
    stand.ask(&asking(true, &[])).await;
    let requests = stand.script.requests.lock().expect("requests");
    let (body, headers) = &requests[0];
    assert_eq!(body["model"], "real-model");
    assert_eq!(headers["authorization"], "Bearer upstream-key");
    assert!(!format!("{headers:?}{body}").contains("coda_task_"));
}

#[tokio::test]
async fn a_refused_call_never_arrives_and_the_model_goes_on_in_the_same_answer() {
    let stand = Stand::new().await;
    stand.will_stream("I drop it.", &[("c1", "destroy db")]).will_stream("Then I only look.", &[("c2", "ls")]);
    let (_, body) = stand.ask(&asking(true, &[])).await;
    assert!(!body.contains("destroy"), "{body}");
    let answer = heard(&body);
    assert_eq!(answer.text, "I drop it.\n\nThen I only look.");
    assert_eq!(answer.calls, [("c2".into(), "terminal".into(), r#"{"command":"ls"}"#.into())]);
    assert_eq!((answer.finish.as_deref(), answer.done, answer.ids.len()), (Some("tool_calls"), true, 1));
    assert_eq!(answer.usage.expect("usage")["total_tokens"], 30);
    let second = stand.request(1);
    assert_eq!(second["messages"][2]["tool_calls"][0], call("c1", "destroy db"));
    let refusal = json!({"role": "tool", "tool_call_id": "c1", "content": "refused by test-rule: c1 destroys"});
    assert_eq!(second["messages"][3], refusal);
    assert!(stand.gates.results.lock().expect("results").is_empty(), "coda's own words are not judged");

    // The agent goes on; the model sees its refused call where it made it.
    stand.will_stream("Done.", &[]);
    let history = [
        json!({"role": "assistant", "content": answer.text, "tool_calls": [call("c2", "ls")]}),
        json!({"role": "tool", "tool_call_id": "c2", "content": "files"}),
    ];
    stand.ask(&asking(true, &history)).await;
    let third = stand.request(2);
    let roles: Vec<&str> = third["messages"].as_array().expect("messages").iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant", "tool"]);
    assert_eq!(third["messages"][2]["content"], "I drop it.");
    assert_eq!(third["messages"][3], refusal);
    assert_eq!(third["messages"][4]["content"], "Then I only look.");
}

#[tokio::test]
async fn of_mixed_calls_the_allowed_ones_are_released_in_order_and_the_refused_one_is_put_back_later() {
    let stand = Stand::new().await;
    stand.will_stream("", &[("a", "ls"), ("b", "destroy db"), ("c", "pwd")]);
    let (_, body) = stand.ask(&asking(true, &[])).await;
    let answer = heard(&body);
    assert_eq!(answer.calls.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(answer.finish.as_deref(), Some("tool_calls"));
    assert_eq!(stand.gates.asked.lock().expect("asked")[0].len(), 3, "judged together");

    stand.will_stream("Done.", &[]);
    let history = [
        json!({"role": "assistant", "content": null, "tool_calls": [call("a", "ls"), call("c", "pwd")]}),
        json!({"role": "tool", "tool_call_id": "a", "content": "files"}),
        json!({"role": "tool", "tool_call_id": "c", "content": "/"}),
    ];
    let (status, _) = stand.ask(&asking(true, &history)).await;
    assert_eq!(status, StatusCode::OK);
    let message = &stand.request(1)["messages"][2];
    let ids: Vec<&str> = message["tool_calls"].as_array().expect("calls").iter().filter_map(|c| c["id"].as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn the_same_holds_without_a_stream() {
    let stand = Stand::new().await;
    let whole = |text: &str, calls: Value, reason: &str| {
        let message = json!({"role": "assistant", "content": text, "tool_calls": calls});
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        Reply::Json(
            StatusCode::OK,
            json!({"id": "up", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                "choices": [{"index": 0, "message": message, "finish_reason": reason}]}),
        )
    };
    stand.will(whole("First.", json!([call("c1", "destroy db")]), "tool_calls"));
    stand.will(whole("Second.", json!([call("c2", "ls"), call("c3", "destroy x")]), "stop"));
    let (_, body) = stand.ask(&asking(false, &[])).await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "First.\n\nSecond.");
    assert_eq!(message["tool_calls"], json!([call("c2", "ls")]));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "mended");
    assert_eq!(answer["usage"]["total_tokens"], 6);
}

#[tokio::test]
async fn a_parked_call_is_refused_with_the_word_to_end_the_turn() {
    let stand = Stand::new().await;
    stand.will_stream("", &[("c1", "later")]).will_stream("I stop here.", &[]);
    let (_, body) = stand.ask(&asking(true, &[])).await;
    let answer = heard(&body);
    assert_eq!((answer.text.as_str(), answer.finish.as_deref()), ("I stop here.", Some("stop")));
    assert_eq!(stand.request(1)["messages"][3]["content"], "parked: end your turn");
}

#[tokio::test]
async fn a_model_that_only_makes_refused_calls_is_stopped() {
    let stand = Stand::new().await;
    for round in 0..20 {
        stand.will_stream("", &[(&format!("c{round}"), "destroy db")]);
    }
    let (_, body) = stand.ask(&asking(true, &[])).await;
    let answer = heard(&body);
    assert_eq!((answer.calls.len(), answer.finish.as_deref()), (0, Some("stop")));
    assert!(answer.text.contains("ended by coda"), "{}", answer.text);
    assert_eq!(stand.requests(), 9, "the first and eight continuations");
}

#[tokio::test]
async fn a_call_that_cannot_be_read_is_refused_without_a_verdict() {
    let stand = Stand::new().await;
    let twice = r#"{"command":"ls","command":"destroy"}"#;
    let bad = json!({"id": "c1", "type": "function", "function": {"name": "terminal", "arguments": twice}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [bad]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    stand.will(Reply::Json(StatusCode::OK, json!({"id": "up", "choices": [choice]})));
    let done = json!({"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"});
    stand.will(Reply::Json(StatusCode::OK, json!({"id": "up", "choices": [done]})));
    let (_, body) = stand.ask(&asking(false, &[])).await;
    assert!(!body.contains("command"), "{body}");
    assert!(stand.gates.asked.lock().expect("asked").is_empty());
    let told = stand.request(1)["messages"][3]["content"].as_str().expect("a refusal").to_owned();
    assert!(told.contains("'command' twice"), "{told}");
}

#[tokio::test]
async fn a_verdict_may_change_the_arguments_and_exactly_those_are_released() {
    let stand = Stand::new().await;
    stand.will_stream("", &[("c1", "rewrite me")]);
    let (_, body) = stand.ask(&asking(true, &[])).await;
    assert_eq!(heard(&body).calls[0].2, r#"{"command":"echo rewritten"}"#);
}

#[tokio::test]
async fn reasoning_goes_back_to_the_upstream_as_it_came() {
    let stand = Stand::new().await;
    let thought = |text: &str| json!({"id": "up", "choices": [{"index": 0, "delta": {"reasoning_content": text}}]}).to_string();
    let signed = json!({"index": 0, "id": "c1", "type": "function", "extra_content": {"signature": "xyz"},
        "function": {"name": "terminal", "arguments": "{\"command\":\"destroy\"}"}});
    let calls = json!({"id": "up", "choices": [{"index": 0, "delta": {"tool_calls": [signed]}, "finish_reason": "tool_calls"}]});
    let stream = format!("data: {}\n\ndata: {}\n\ndata: {calls}\n\ndata: [DONE]\n\n", thought("I think, "), thought("so."));
    stand.will(Reply::Stream(vec![stream.into()])).will_stream("Fine.", &[]);
    stand.ask(&asking(true, &[])).await;
    let message = &stand.request(1)["messages"][2];
    assert_eq!(message["reasoning_content"], "I think, so.");
    assert_eq!(message["tool_calls"][0]["extra_content"]["signature"], "xyz");
}

/// Small numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Whatever mixture of calls is refused, over however many turns: the upstream accepts every history, and its last one
/// holds every call that the model ever made.
#[tokio::test]
async fn every_history_is_whole_whatever_is_refused() {
    for seed in 0..30 {
        let (stand, mut numbers) = (Stand::new().await, Numbers(seed));
        let (mut history, mut made) = (Vec::new(), Vec::new());
        for turn in 0..6 {
            for reply in 0..4 {
                let last = reply == 3;
                let count = if last { 0 } else { numbers.below(4) };
                let ids: Vec<String> = (0..count).map(|n| format!("s{turn}-{reply}-{n}")).collect();
                let calls: Vec<(&str, &str)> =
                    ids.iter().map(|id| (id.as_str(), if numbers.below(2) == 0 { "destroy" } else { "ls" })).collect();
                // An answer without calls is found again by its text, so it must have one.
                let text = format!("words {}", numbers.below(1));
                stand.will_stream(if count > 0 && numbers.below(2) == 0 { "" } else { &text }, &calls);
                made.extend(ids.iter().cloned());
                if calls.is_empty() || calls.iter().any(|(_, command)| *command == "ls") {
                    break;
                }
            }
            let (status, body) = stand.ask(&asking(true, &history)).await;
            assert_eq!(status, StatusCode::OK, "seed {seed}, turn {turn}: {body}");
            let answer = heard(&body);
            assert_eq!(answer.error, None, "seed {seed}, turn {turn}");
            assert!(!body.contains("destroy"));
            let calls: Vec<Value> = answer.calls.iter().map(|(id, _, _)| call(id, "ls")).collect();
            let mut message = json!({"role": "assistant", "content": answer.text});
            if !calls.is_empty() {
                message["tool_calls"] = calls.clone().into();
            }
            history.push(message);
            history.extend(calls.iter().map(|c| json!({"role": "tool", "tool_call_id": c["id"], "content": "done"})));
            if calls.is_empty() {
                history.push(json!({"role": "user", "content": format!("go on {turn}")}));
            }
        }
        stand.will_stream("The end.", &[]);
        let (status, body) = stand.ask(&asking(true, &history)).await;
        assert_eq!(status, StatusCode::OK, "seed {seed}: {body}");
        let last = stand.request(stand.requests() - 1).to_string();
        let forgotten: Vec<&String> = made.iter().filter(|id| !last.contains(id.as_str())).collect();
        assert!(forgotten.is_empty(), "seed {seed}: {forgotten:?}");
    }
}
