//! OpenAI Responses.

use serde_json::{Value, json};

use super::{Got, Speech, events, pieces, signature};
use crate::gateway::Dialect;
use crate::gateway::hosted::Expected;
use crate::gateway::responses::Writer;

pub(super) fn speech() -> Speech {
    Speech {
        dialect: Dialect::Responses,
        list: "input",
        path: "/model/v1/responses",
        whole_path: "/model/v1/responses",
        asking,
        streamed,
        whole,
        heard,
        heard_whole: |body| response(body),
        answer: |_| Box::new(Writer::new(true, Expected::default())),
        history,
        said: |text| json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}),
        broken_rule,
        last: "event: response.completed",
        bad_events,
        unknown_event: || json!({"type": "codex.rate_limits", "limits": []}),
        hosted_tool: || json!({"type": "web_search"}),
    }
}

fn asking(stream: bool, more: &[Value]) -> Value {
    let mut items = vec![json!({"role": "user", "content": "go"})];
    items.extend_from_slice(more);
    let tool = json!({"type": "function", "name": "terminal", "parameters": {"type": "object"}});
    json!({"model": "agent-model", "stream": stream, "store": false, "instructions": "be good", "input": items, "tools": [tool]})
}

fn items(text: &str, calls: &[(&str, &str)]) -> Vec<Value> {
    let signed = signature(text, calls);
    let mut items = vec![json!({"id": format!("rs_{signed}"), "type": "reasoning", "encrypted_content": signed, "summary": []})];
    if !text.is_empty() {
        let part = json!({"type": "output_text", "text": text, "annotations": []});
        items.push(
            json!({"id": format!("msg_{text}"), "type": "message", "role": "assistant", "status": "completed", "content": [part]}),
        );
    }
    items.extend(calls.iter().map(|(id, command)| {
        let arguments = json!({"command": command}).to_string();
        json!({"id": format!("fc_{id}"), "type": "function_call", "call_id": id, "name": "terminal", "arguments": arguments, "status": "completed"})
    }));
    items
}

fn whole(text: &str, calls: &[(&str, &str)]) -> Value {
    json!({"id": "resp_up", "object": "response", "created_at": 7, "status": "completed", "model": "real-model",
        "output": items(text, calls), "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 5, "total_tokens": 15}})
}

fn streamed(text: &str, calls: &[(&str, &str)]) -> String {
    let (mut out, mut number) = (String::new(), 0);
    let mut event = |mut value: Value| {
        value["sequence_number"] = number.into();
        number += 1;
        out.push_str(&format!("event: {}\ndata: {value}\n\n", value["type"].as_str().expect("a type")));
    };
    let whole = whole(text, calls);
    let mut begun = whole.clone();
    (begun["output"], begun["usage"], begun["status"]) = (json!([]), Value::Null, "in_progress".into());
    event(json!({"type": "response.created", "response": begun}));
    event(json!({"type": "response.in_progress", "response": begun}));
    for (index, item) in items(text, calls).into_iter().enumerate() {
        let at = |kind: &str| json!({"type": kind, "item_id": item["id"], "output_index": index, "content_index": 0});
        let mut begin = item.clone();
        let mut within = Vec::new();
        if item["type"] == "message" {
            begin["content"] = json!([]);
            for piece in pieces(text, 4) {
                let mut delta = at("response.output_text.delta");
                delta["delta"] = piece.into();
                within.push(delta);
            }
        } else if item["type"] == "function_call" {
            begin["arguments"] = "".into();
            let arguments = item["arguments"].as_str().expect("text");
            for piece in pieces(arguments, arguments.len().div_ceil(3)) {
                let mut delta = at("response.function_call_arguments.delta");
                delta["delta"] = piece.into();
                within.push(delta);
            }
            let mut done = at("response.function_call_arguments.done");
            done["arguments"] = item["arguments"].clone();
            within.push(done);
        }
        event(json!({"type": "response.output_item.added", "output_index": index, "item": begin}));
        within.into_iter().for_each(&mut event);
        event(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    }
    event(json!({"type": "response.completed", "response": whole}));
    out
}

/// As the official clients put a stream together, and as strict about order.
fn heard(body: &str) -> Got {
    let (mut items, mut pieces, mut got): (Vec<Value>, Vec<String>, Got) = Default::default();
    let mut next = 0;
    for (name, event) in events(body) {
        assert_eq!(name.as_deref(), event["type"].as_str(), "clients go by the name");
        if let Some(number) = event["sequence_number"].as_u64() {
            assert_eq!(number, next, "in order: {event}");
            next += 1;
        }
        let index = event["output_index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "response.output_item.added" => {
                assert_eq!(items.len(), index, "in order");
                items.push(event["item"].clone());
                pieces.push(String::new());
            }
            "response.function_call_arguments.delta" | "response.output_text.delta" => {
                pieces[index].push_str(event["delta"].as_str().expect("text"));
            }
            "response.output_item.done" => {
                let item = &event["item"];
                if item["type"] == "function_call" {
                    assert_eq!(pieces[index], item["arguments"].as_str().expect("text"));
                }
                items[index] = item.clone();
            }
            "response.completed" => {
                assert_eq!(event["response"]["output"], Value::from(items.clone()));
                assert_eq!(event["response"]["id"], "resp_up");
                got = response(&event["response"]);
            }
            "error" => {
                got.error = event["message"].as_str().map(str::to_owned);
                assert_eq!(event["error"]["message"], event["message"]);
            }
            _ => {}
        }
    }
    if !got.done {
        let pieces = items.iter().zip(pieces).filter(|(item, _)| item["type"] == "message").map(|(_, piece)| piece);
        got.text = pieces.collect();
    }
    got
}

fn response(body: &Value) -> Got {
    let units = body["output"].as_array().cloned().unwrap_or_default();
    let calls = units.iter().filter(|unit| unit["type"] == "function_call").map(|unit| {
        let arguments: Value = serde_json::from_str(unit["arguments"].as_str().expect("text")).expect("JSON");
        (unit["call_id"].as_str().expect("an id").to_owned(), arguments["command"].as_str().unwrap_or_default().to_owned())
    });
    let usage = |key: &str| body["usage"][key].as_u64().unwrap_or_default();
    Got {
        text: units.iter().filter_map(|unit| unit["content"][0]["text"].as_str()).collect(),
        calls: calls.collect(),
        usage: (usage("input_tokens"), usage("output_tokens")),
        error: body["error"]["message"].as_str().map(str::to_owned),
        done: body["status"] == "completed",
        units,
    }
}

/// As Codex sends it: without ids of items, each output after all calls.
fn history(got: &Got, results: &[(&str, &str)]) -> Vec<Value> {
    let mut items = got.units.clone();
    for item in &mut items {
        if let Some(item) = item.as_object_mut() {
            item.remove("id");
            item.remove("status");
        }
    }
    let output =
        |(id, text): &(&str, &str)| json!({"type": "function_call_output", "call_id": id, "output": text, "extra": "s3cret"});
    items.extend(results.iter().map(output));
    items
}

/// Every call has one output, after it; signed reasoning stands before what it was signed with.
fn broken_rule(body: &Value) -> Option<String> {
    let items = body["input"].as_array()?;
    let mut open: Vec<&str> = Vec::new();
    let (mut signed, mut text, mut calls): (Option<&str>, String, Vec<(&str, String)>) = Default::default();
    let end = json!({"type": "end"});
    for item in items.iter().chain([&end]) {
        let kind = item["type"].as_str()?;
        let models = matches!(kind, "function_call") || (kind == "message" && item["role"] == "assistant");
        if let (Some(signature), false) = (signed, models) {
            let made: Vec<(&str, &str)> = calls.iter().map(|(id, command)| (*id, command.as_str())).collect();
            if super::signature(&text, &made) != signature {
                return Some(format!("a signed message was changed: {text} {made:?}"));
            }
            (signed, text, calls) = Default::default();
        }
        match kind {
            "reasoning" => signed = item["encrypted_content"].as_str(),
            "function_call" => {
                let arguments: Value = serde_json::from_str(item["arguments"].as_str()?).ok()?;
                calls.push((item["call_id"].as_str()?, arguments["command"].as_str()?.to_owned()));
                open.push(item["call_id"].as_str()?);
            }
            "function_call_output" => {
                let Some(at) = open.iter().position(|id| *id == item["call_id"]) else {
                    return Some(format!("orphaned output {item}"));
                };
                open.remove(at);
            }
            _ if models => text.push_str(item["content"][0]["text"].as_str()?),
            _ => {}
        }
    }
    (!open.is_empty()).then(|| format!("no output for {open:?}"))
}

fn bad_events() -> Vec<Value> {
    let item = |item: Value| json!({"type": "response.output_item.added", "output_index": 2, "item": item});
    let done = |item: Value| json!({"type": "response.output_item.done", "output_index": 2, "item": item});
    let call = json!({"type": "function_call", "call_id": "x", "name": "terminal", "arguments": "{\"command\":\"destroy\"}"});
    let mut listed = whole("", &[("x", "destroy")]);
    listed["id"] = "resp_up".into();
    vec![
        json!([]),
        json!({"no": "type"}),
        item(json!({"type": "web_search_call", "id": "x"})),
        item(json!({"type": "mcp_call", "name": "destroy"})),
        item(json!({"type": "new_tool_kind"})),
        done(json!({"type": "function_call", "name": "without id", "arguments": "{}"})),
        json!({"type": "response.output_item.added", "output_index": 9, "item": call}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "destroy"}),
        json!({"type": "response.mcp_call.in_progress"}),
        json!({"type": "response.completed", "response": listed}),
        json!({"type": "response.failed", "response": {"error": {"message": "overloaded"}}}),
        json!({"type": "error", "message": "overloaded"}),
    ]
}
