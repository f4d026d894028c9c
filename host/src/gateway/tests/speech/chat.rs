//! OpenAI Chat Completions.

use serde_json::{Value, json};

use super::super::stand::{self, asking, call};
use super::{Got, Speech, pieces};
use crate::gateway::Dialect;

pub(super) fn speech() -> Speech {
    Speech {
        dialect: Dialect::Chat,
        list: "messages",
        path: "/model/v1/chat/completions",
        whole_path: "/model/v1/chat/completions",
        asking,
        streamed,
        whole,
        heard,
        heard_whole,
        answer: |repairs| super::answering(Dialect::Chat, asking(true, &[]), "", repairs),
        history,
        said: |text| json!({"role": "user", "content": text}),
        broken_rule: stand::broken_rule,
        last: "\"finish_reason\":\"",
        bad_events,
        unknown_event: || json!({"id": "up", "object": "weather", "choices": []}),
        hosted_tool: || json!({"type": "web_search"}),
    }
}

fn chunk(delta: &Value, reason: &Value) -> Value {
    let choice = json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    json!({"id": "up", "object": "chat.completion.chunk", "created": 7, "model": "real-model", "choices": choice})
}

fn reason(calls: &[(&str, &str)]) -> &'static str {
    if calls.is_empty() { "stop" } else { "tool_calls" }
}

fn usage() -> Value {
    json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
}

fn streamed(text: &str, calls: &[(&str, &str)]) -> String {
    let mut chunks = vec![chunk(&json!({"role": "assistant", "content": ""}), &Value::Null)];
    chunks.extend(pieces(text, 4).iter().map(|piece| chunk(&json!({"content": piece}), &Value::Null)));
    for (index, (id, command)) in calls.iter().enumerate() {
        let mut begin = call(id, command);
        (begin["index"], begin["function"]["arguments"]) = (index.into(), "".into());
        chunks.push(chunk(&json!({"tool_calls": [begin]}), &Value::Null));
        let arguments = json!({"command": command}).to_string();
        chunks.extend(
            pieces(&arguments, arguments.len().div_ceil(3))
                .iter()
                .map(|piece| chunk(&json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), &Value::Null)),
        );
    }
    chunks.push(chunk(&json!({}), &reason(calls).into()));
    let mut last = chunk(&json!({}), &Value::Null);
    (last["choices"], last["usage"]) = (json!([]), usage());
    chunks.push(last);
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}

fn whole(text: &str, calls: &[(&str, &str)]) -> Value {
    let mut message = json!({"role": "assistant", "content": text});
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(|(id, command)| call(id, command)).collect();
    }
    json!({"id": "up", "object": "chat.completion", "created": 7, "model": "real-model", "usage": usage(),
        "choices": [{"index": 0, "message": message, "finish_reason": reason(calls)}]})
}

fn heard(body: &str) -> Got {
    let heard = stand::heard(body);
    let calls: Vec<(String, String, String)> = heard.calls;
    let calls = calls.into_iter().map(|(id, _, arguments)| (id, command(&arguments))).collect::<Vec<_>>();
    assert!(heard.finish.is_none_or(|finish| (finish == "tool_calls") != calls.is_empty()), "{body}");
    Got {
        text: heard.text,
        calls,
        units: Vec::new(),
        usage: counted(&heard.usage.unwrap_or_default()),
        error: heard.error,
        done: heard.done,
    }
}

fn heard_whole(body: &Value) -> Got {
    let choice = &body["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let calls: Vec<_> = calls.map(|call| (text(&call["id"]), command(&text(&call["function"]["arguments"])))).collect();
    assert_eq!(choice["finish_reason"] == "tool_calls", !calls.is_empty(), "{body}");
    Got {
        text: text(&choice["message"]["content"]),
        calls,
        units: Vec::new(),
        usage: counted(&body["usage"]),
        error: body["error"]["message"].as_str().map(str::to_owned),
        done: choice["finish_reason"].is_string(),
    }
}

fn command(arguments: &str) -> String {
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    arguments["command"].as_str().unwrap_or_default().to_owned()
}

fn counted(usage: &Value) -> (u64, u64) {
    let count = |key: &str| usage[key].as_u64().unwrap_or_default();
    (count("prompt_tokens"), count("completion_tokens"))
}

fn history(got: &Got, results: &[(&str, &str)]) -> Vec<Value> {
    let calls: Vec<Value> = got.calls.iter().map(|(id, command)| call(id, command)).collect();
    let mut message = json!({"role": "assistant", "content": got.text});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let result = |(id, text): &(&str, &str)| json!({"role": "tool", "tool_call_id": id, "content": text});
    std::iter::once(message).chain(results.iter().map(result)).collect()
}

fn bad_events() -> Vec<Value> {
    let call = json!({"name": "terminal", "arguments": "{\"command\":\"destroy\"}"});
    vec![
        json!([]),
        json!({"choices": {"0": {}}}),
        chunk(&json!({"function_call": call}), &Value::Null),
        chunk(&json!({"tool_calls": {"function": call}}), &Value::Null),
        json!({"error": {"message": "overloaded"}}),
    ]
}
