//! Answers that coda and an agent could read differently: they are refused, or leave in the one form that all read alike.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::stand::{Reply, Stand, asking, heard};
use crate::gateway::chat::StreamReader;
use crate::gateway::dialect::{Answer as _, Dialect};
use crate::gateway::{Repairs, Settings, responses};

fn chunk(delta: &Value, finish: &Value) -> String {
    json!({"id": "up", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).to_string()
}

fn piece(piece: Value) -> String {
    chunk(&json!({"tool_calls": [piece]}), &Value::Null)
}

/// Whether a stream of these chunks is read, and whether its calls leave as they came.
fn chat(chunks: &[String]) -> Result<bool, String> {
    let mut reader = StreamReader::default();
    for chunk in chunks.iter().chain([&chunk(&json!({}), &json!("tool_calls"))]) {
        reader.event(chunk).map_err(|e| e.0)?;
    }
    reader.message(&Repairs::default()).map_err(|e| e.0)?;
    Ok(!reader.rewritten)
}

#[test]
fn pieces_in_any_unusual_order_are_put_together_by_coda_and_by_nobody_else() {
    let whole = |index: Value, id: &str| {
        piece(json!({"index": index, "id": id, "type": "function", "function": {"name": id, "arguments": "{}"}}))
    };
    let rest = |index: Value| piece(json!({"index": index, "function": {"arguments": " "}}));
    assert_eq!(chat(&[whole(0.into(), "a"), rest(0.into()), whole(1.into(), "b"), rest(1.into())]), Ok(true), "the usual");
    for unusual in [
        // Beyond what a double holds: two indices are one to some readers.
        vec![whole(9_007_199_254_740_992_u64.into(), "a"), whole(9_007_199_254_740_993_u64.into(), "b")],
        vec![whole(0.into(), "a"), whole(1.into(), "b"), rest(0.into())],
        vec![whole(1.into(), "b"), whole(0.into(), "a")],
        vec![whole(json!(0.0), "a"), rest(json!(0.0))],
        vec![rest(0.into()), whole(0.into(), "a")],
    ] {
        assert_eq!(chat(&unusual), Ok(false), "{unusual:?}");
    }
}

#[test]
fn what_may_be_a_call_in_another_form_is_refused() {
    let function = json!({"name": "noop", "arguments": "{}"});
    for disguise in [
        piece(
            json!({"index": 0, "id": "x", "type": "custom", "custom": {"name": "shell", "input": "rm -rf ~"}, "function": function}),
        ),
        piece(json!({"index": 0, "id": "x", "type": "function", "custom": {"name": "shell"}, "function": function})),
        chunk(&json!({"content": [{"type": "tool_use", "name": "shell", "input": {"command": "rm -rf ~"}}]}), &Value::Null),
        chunk(&json!({"custom_tool_call": {"name": "shell", "input": "rm -rf ~"}}), &Value::Null),
        chunk(&json!({"provider": {"items": [{"type": "tool_use"}]}}), &Value::Null),
        json!({"choices": [{"index": 1.0, "delta": {"content": "x"}}]}).to_string(),
        json!({"choices": [{"index": "0", "delta": {"content": "x"}}]}).to_string(),
    ] {
        assert!(chat(std::slice::from_ref(&disguise)).is_err(), "{disguise}");
    }
    let late =
        [chunk(&json!({}), &json!("stop")), piece(json!({"index": 0, "id": "x", "type": "function", "function": function}))];
    assert!(chat(&late).is_err(), "after the end");
    assert!(chat(&[chunk(&json!({"reasoning_details": [{"type": "reasoning.text", "text": "so"}]}), &Value::Null)]).is_ok());
}

/// Whether a stream of the dialect Responses is read that makes one call, with these in place of the usual fields.
fn call_said(added: &Value, delta: &Value, done: &Value) -> Result<(), String> {
    let merged = |base: Value, with: &Value| {
        let mut base = base;
        if let (Value::Object(base), Value::Object(with)) = (&mut base, with) {
            base.extend(with.clone());
        }
        base
    };
    let item =
        |arguments: &str| json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "shell", "arguments": arguments});
    let (begun, ended) = (merged(item(""), added), merged(item(r#"{"command":"ls"}"#), done));
    let piece = json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 0, "delta": r#"{"command":"ls"}"#});
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": begun}),
        merged(piece, delta),
        json!({"type": "response.output_item.done", "output_index": 0, "item": ended}),
        json!({"type": "response.completed", "response": {"id": "r", "output": [ended]}}),
    ];
    let mut answer = responses::Writer::new(true, crate::gateway::hosted::Expected::default());
    for event in events {
        answer.event(&event.to_string()).map_err(|e| e.0)?;
    }
    answer.end().map(drop).map_err(|e| e.0)
}

#[test]
fn a_call_is_from_its_begin_on_what_it_is_at_its_end() {
    let none = json!({});
    assert_eq!(call_said(&json!({"status": "in_progress"}), &none, &json!({"status": "completed", "more": 1})), Ok(()));
    for (added, delta, done) in [
        (json!({"name": "bash"}), json!({}), json!({"name": "noop"})),
        (json!({"call_id": "d"}), json!({}), json!({})),
        (json!({"arguments": r#"{"command":"rm -rf ~"}"#}), json!({}), json!({})),
        (json!({"arguments": r#"{"command":"ls"}"#}), json!({}), json!({})),
        (json!({"namespace": "mcp__prod"}), json!({}), json!({"namespace": "mcp__dev"})),
        (json!({}), json!({"item_id": "fc_0"}), json!({})),
        (json!({}), json!({"output_index": 0.0}), json!({})),
        (json!({}), json!({"output_index": -1}), json!({})),
        (json!({}), json!({"output_index": "0"}), json!({})),
    ] {
        assert!(call_said(&added, &delta, &done).is_err(), "{added} {delta} {done}");
    }
}

#[tokio::test]
async fn an_error_of_an_upstream_cannot_be_a_call() {
    let call = json!([{"index": 0, "id": "x", "type": "function", "function": {"name": "terminal", "arguments": "{\"command\":\"rm -rf ~\"}"}}]);
    let body = json!({"error": {"message": "slow down"}, "choices": [{"index": 0, "delta": {"tool_calls": call}, "finish_reason": "tool_calls"}]});
    let stand = Stand::with(Settings { retries: 0, ..Settings::default() }).await;
    // The stream has begun, because the model's first answer held nothing but a refused call after its text.
    stand.will_stream("Let me.", &[("c1", "destroy db")]).will(Reply::Json(StatusCode::BAD_REQUEST, body));
    let (_, said) = stand.ask(&asking(true, &[])).await;
    assert!(said.contains("slow down"), "{said}");
    assert!(heard(&said).calls.is_empty() && !said.contains("tool_calls"), "{said}");
}

#[test]
fn an_event_leaves_as_one_line_to_every_reader_in_every_dialect() {
    for dialect in Dialect::ALL {
        let failure = crate::gateway::failure::Failure::upstream("a\u{2028}data: {}\n\ndata: {}");
        let event = dialect.error_event(&failure);
        assert!(!event.contains('\u{2028}') && event.lines().filter(|line| line.starts_with("data: ")).count() == 1, "{event}");
    }
}
