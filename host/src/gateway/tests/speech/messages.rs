//! Anthropic Messages.

use serde_json::{Value, json};

use super::{Got, Speech, events, pieces, signature};
use crate::gateway::Dialect;
use crate::gateway::hosted::Expected;
use crate::gateway::messages::Writer;

pub(super) fn speech() -> Speech {
    Speech {
        dialect: Dialect::Messages,
        list: "messages",
        path: "/model/anthropic/v1/messages?beta=true",
        whole_path: "/model/anthropic/v1/messages",
        asking,
        streamed,
        whole,
        heard,
        heard_whole: |body| message(body),
        answer: |repairs| Box::new(Writer::new(true, repairs.fix_finish_reason, Expected::default())),
        history,
        said: |text| json!({"role": "user", "content": [{"type": "text", "text": text}]}),
        broken_rule,
        last: "event: message_delta",
        bad_events,
        unknown_event: || json!({"type": "weather", "is": "fine"}),
        hosted_tool: || json!({"type": "web_search_20250305", "name": "web_search"}),
    }
}

fn asking(stream: bool, more: &[Value]) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "go"})];
    messages.extend_from_slice(more);
    let tool = json!({"name": "terminal", "input_schema": {"type": "object"}});
    json!({"model": "agent-model", "stream": stream, "max_tokens": 100, "system": "be good", "messages": messages, "tools": [tool]})
}

fn blocks(text: &str, calls: &[(&str, &str)]) -> Vec<Value> {
    let mut blocks = vec![json!({"type": "thinking", "thinking": "so, so", "signature": signature(text, calls)})];
    if !text.is_empty() {
        blocks.push(json!({"type": "text", "text": text}));
    }
    let call =
        |(id, command): &(&str, &str)| json!({"type": "tool_use", "id": id, "name": "terminal", "input": {"command": command}});
    blocks.extend(calls.iter().map(call));
    blocks
}

fn streamed(text: &str, calls: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut event =
        |value: Value| out.push_str(&format!("event: {}\ndata: {value}\n\n", value["type"].as_str().expect("a type")));
    let message = json!({"id": "msg_up", "type": "message", "role": "assistant", "model": "real-model", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1}});
    event(json!({"type": "message_start", "message": message}));
    event(json!({"type": "ping"}));
    for (index, block) in blocks(text, calls).into_iter().enumerate() {
        let (begin, deltas) = match block["type"].as_str() {
            Some("thinking") => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                    json!({"type": "signature_delta", "signature": block["signature"]}),
                ],
            ),
            Some("text") => (
                json!({"type": "text", "text": ""}),
                pieces(text, 4).iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect(),
            ),
            _ => {
                let mut begin = block.clone();
                begin["input"] = json!({});
                let input = block["input"].to_string();
                let delta = |piece: &String| json!({"type": "input_json_delta", "partial_json": piece});
                (begin, pieces(&input, input.len().div_ceil(3)).iter().map(delta).collect())
            }
        };
        event(json!({"type": "content_block_start", "index": index, "content_block": begin}));
        for delta in deltas {
            event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        event(json!({"type": "content_block_stop", "index": index}));
    }
    let reason = if calls.is_empty() { "end_turn" } else { "tool_use" };
    event(
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 5}}),
    );
    event(json!({"type": "message_stop"}));
    out
}

fn whole(text: &str, calls: &[(&str, &str)]) -> Value {
    let reason = if calls.is_empty() { "end_turn" } else { "tool_use" };
    json!({"id": "msg_up", "type": "message", "role": "assistant", "model": "real-model", "content": blocks(text, calls),
        "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 5}})
}

/// As the official clients put a stream together, and as strict about order.
fn heard(body: &str) -> Got {
    let (mut document, mut inputs, mut error, mut done) = (Value::Null, Vec::<String>::new(), None, false);
    for (name, event) in events(body) {
        assert_eq!(name.as_deref(), event["type"].as_str(), "clients go by the name");
        let index = event["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                assert!(document.is_null(), "two begins");
                document = event["message"].clone();
            }
            "content_block_start" => {
                let content = document["content"].as_array_mut().expect("begun");
                assert_eq!(content.len(), index, "in order");
                content.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let block = &mut document["content"][index];
                let delta = &event["delta"];
                for key in ["text", "thinking", "signature"] {
                    if let (Some(more), Some(text)) = (delta[key].as_str(), block[key].as_str()) {
                        block[key] = format!("{text}{more}").into();
                    }
                }
                inputs[index].push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" if !inputs[index].is_empty() => {
                document["content"][index]["input"] = serde_json::from_str(&inputs[index]).expect("JSON");
            }
            "message_delta" => {
                document["stop_reason"] = event["delta"]["stop_reason"].clone();
                for (key, count) in event["usage"].as_object().expect("usage") {
                    document["usage"][key] = count.clone();
                }
            }
            "message_stop" => done = true,
            "error" => error = event["error"]["message"].as_str().map(str::to_owned),
            _ => {}
        }
    }
    Got { error, done, ..message(&document) }
}

fn message(body: &Value) -> Got {
    let units = body["content"].as_array().cloned().unwrap_or_default();
    let is = |kind: &'static str| units.iter().filter(move |unit| unit["type"] == kind);
    let text = |unit: &Value, key: &str| unit[key].as_str().unwrap_or_default().to_owned();
    let calls: Vec<_> = is("tool_use").map(|unit| (text(unit, "id"), text(&unit["input"], "command"))).collect();
    if let Some(reason) = body["stop_reason"].as_str() {
        assert_eq!(reason == "tool_use", !calls.is_empty(), "{body}");
    }
    let usage = |key: &str| body["usage"][key].as_u64().unwrap_or_default();
    Got {
        text: is("text").map(|unit| text(unit, "text")).collect(),
        calls,
        usage: (usage("input_tokens"), usage("output_tokens")),
        error: body["error"]["message"].as_str().map(str::to_owned),
        done: body["type"] == "message",
        units: units.clone(),
    }
}

fn history(got: &Got, results: &[(&str, &str)]) -> Vec<Value> {
    let mut history = vec![json!({"role": "assistant", "content": got.units})];
    let result = |(id, text): &(&str, &str)| json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": text}]});
    if !results.is_empty() {
        history.push(json!({"role": "user", "content": results.iter().map(result).collect::<Vec<_>>()}));
    }
    history
}

/// Calls have their results at the begin of the next message, signed blocks are as they were made.
fn broken_rule(body: &Value) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    for message in body["messages"].as_array()? {
        let blocks = message["content"].as_array()?;
        let ids = |kind: &str, key: &str| -> Vec<String> {
            blocks.iter().filter(|b| b["type"] == kind).filter_map(|b| Some(b[key].as_str()?.to_owned())).collect()
        };
        let (mut given, mut asked) = (ids("tool_result", "tool_use_id"), std::mem::take(&mut open));
        if blocks[..given.len().min(blocks.len())].iter().any(|block| block["type"] != "tool_result") {
            return Some("results are not first".into());
        }
        given.sort();
        asked.sort();
        if given != asked {
            return Some(format!("results {given:?} for calls {asked:?}"));
        }
        if message["role"] == "assistant" {
            open = ids("tool_use", "id");
            let text: String = blocks.iter().filter_map(|b| b["text"].as_str()).collect();
            let calls: Vec<(&str, &str)> = blocks
                .iter()
                .filter(|b| b["type"] == "tool_use")
                .filter_map(|b| Some((b["id"].as_str()?, b["input"]["command"].as_str()?)))
                .collect();
            let signed = blocks.iter().filter(|b| b["type"] == "thinking").map(|b| &b["signature"]);
            let expected = signature(&text, &calls);
            if signed.clone().count() > 1 || signed.into_iter().any(|signature| *signature != expected.as_str()) {
                return Some(format!("a signed message was changed: {message}"));
            }
        }
    }
    (!open.is_empty()).then(|| format!("no result for {open:?}"))
}

fn bad_events() -> Vec<Value> {
    let start = |block: Value| json!({"type": "content_block_start", "index": 2, "content_block": block});
    vec![
        json!([]),
        json!({"no": "type"}),
        json!({"type": "content_block_start", "index": 7, "content_block": {"type": "text", "text": ""}}),
        start(json!({"type": "server_tool_use", "id": "x", "name": "web_search", "input": {"q": "destroy"}})),
        start(json!({"type": "web_search_tool_result", "content": "destroy"})),
        start(json!({"type": "mcp_tool_use", "id": "x", "name": "x"})),
        start(json!({"type": "new_tool_kind", "id": "x"})),
        start(json!({"type": "tool_use", "name": "without id"})),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "destroy"}}),
        json!({"type": "tool_call", "name": "terminal"}),
        json!({"type": "message_start", "message": {"content": []}}),
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}),
    ]
}
