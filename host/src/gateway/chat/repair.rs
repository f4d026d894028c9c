//! Repairs of a history, each a setting: upstreams refuse what agents send without a thought.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::gateway::Repairs;
use crate::gateway::results::MISSING;

/// What an assistant message without text and calls says instead.
pub(super) const PLACEHOLDER: &str = ".";

/// A history as strict upstreams want it.
pub(super) fn repaired(mut messages: Vec<Value>, repairs: &Repairs) -> Vec<Value> {
    if repairs.drop_blank_text {
        messages.iter_mut().for_each(drop_blank_blocks);
    }
    // One repair can call for the other: a dropped message takes results with it. Each round drops at least one message.
    loop {
        let before = messages.len();
        if repairs.drop_orphaned_results {
            messages = without_orphans(messages);
        }
        if repairs.drop_blank_text {
            messages.retain_mut(keep_or_fill);
        }
        if messages.len() == before {
            break;
        }
    }
    if repairs.complete_missing_results { with_missing_results(messages) } else { messages }
}

fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// The ids of a message's calls.
pub(super) fn call_ids(message: &Value) -> Vec<&str> {
    let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    calls.iter().filter_map(|call| call.get("id")?.as_str()).collect()
}

fn drop_blank_blocks(message: &mut Value) {
    if let Some(Value::Array(blocks)) = message.get_mut("content") {
        let is_blank = |block: &Value| {
            block.get("type").and_then(Value::as_str) == Some("text")
                && block.get("text").and_then(Value::as_str).unwrap_or_default().trim().is_empty()
        };
        blocks.retain(|block| !is_blank(block));
    }
}

/// Whether a message stays; an empty assistant message is filled.
fn keep_or_fill(message: &mut Value) -> bool {
    let is_empty = match message.get("content") {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(blocks)) => blocks.is_empty(),
        Some(_) => false,
    };
    if !is_empty {
        return true;
    }
    let has_calls = message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
    match role(message) {
        // An empty result is a result.
        "tool" => {
            message["content"] = "".into();
            true
        }
        "assistant" if has_calls => {
            message["content"] = Value::Null;
            true
        }
        "assistant" => {
            message["content"] = PLACEHOLDER.into();
            if let Some(message) = message.as_object_mut() {
                message.remove("tool_calls");
            }
            true
        }
        _ => false,
    }
}

/// Without results that do not answer a call of the message before them.
fn without_orphans(messages: Vec<Value>) -> Vec<Value> {
    let mut open: HashSet<String> = HashSet::new();
    let mut kept = Vec::with_capacity(messages.len());
    for message in messages {
        if role(&message) == "tool" {
            let id = message.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
            if open.remove(id) {
                kept.push(message);
            }
            continue;
        }
        open = call_ids(&message).into_iter().map(str::to_owned).collect();
        kept.push(message);
    }
    kept
}

/// With a stand-in for each result that is not there.
fn with_missing_results(messages: Vec<Value>) -> Vec<Value> {
    let mut open: Vec<String> = Vec::new();
    let mut whole = Vec::with_capacity(messages.len());
    for message in messages {
        if role(&message) == "tool" {
            open.retain(|id| message.get("tool_call_id").and_then(Value::as_str) != Some(id));
        } else {
            whole.extend(open.drain(..).map(missing));
            open = call_ids(&message).into_iter().map(str::to_owned).collect();
        }
        whole.push(message);
    }
    whole.extend(open.into_iter().map(missing));
    whole
}

fn missing(id: String) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": MISSING})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Value, expected: Value) {
        let Value::Array(messages) = given else { panic!("a list") };
        assert_eq!(Value::Array(repaired(messages, &Repairs::default())), expected);
    }

    #[test]
    fn blank_text_goes_and_an_assistant_message_stays() {
        check(
            json!([
                {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "hi"}]},
                {"role": "user", "content": [{"type": "text", "text": "\n"}]},
                {"role": "user", "content": "  "},
                {"role": "assistant", "content": ""},
                {"role": "assistant", "content": null, "tool_calls": []},
            ]),
            json!([
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": "."},
                {"role": "assistant", "content": "."},
            ]),
        );
    }

    #[test]
    fn orphaned_results_go_and_missing_ones_are_made_up() {
        let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "t", "arguments": "{}"}});
        check(
            json!([
                {"role": "tool", "tool_call_id": "x", "content": "orphan"},
                {"role": "assistant", "content": "", "tool_calls": [call("a"), call("b")]},
                {"role": "tool", "tool_call_id": "b", "content": ""},
                {"role": "tool", "tool_call_id": "b", "content": "twice"},
                {"role": "user", "content": "go on"},
                {"role": "tool", "tool_call_id": "a", "content": "too late"},
            ]),
            json!([
                {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
                {"role": "tool", "tool_call_id": "b", "content": ""},
                {"role": "tool", "tool_call_id": "a", "content": MISSING},
                {"role": "user", "content": "go on"},
            ]),
        );
    }
}
