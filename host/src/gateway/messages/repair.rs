//! Repairs of a history, each a setting: upstreams refuse what agents send without a thought. Contents are lists here.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::hosted::is_expected;
use super::{is_hosted, kind};
use crate::gateway::Repairs;
use crate::gateway::hosted::Expected;
use crate::gateway::results::MISSING;

/// What an assistant message without anything says instead.
pub(super) const PLACEHOLDER: &str = ".";

/// A history as strict upstreams want it, in which these hosted tools may show.
pub(super) fn repaired(mut messages: Vec<Value>, repairs: &Repairs, expected: &Expected) -> Vec<Value> {
    for message in &mut messages {
        let model = is_model(message);
        let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) else { continue };
        // What hosted tools did elsewhere is no part of a conversation in which they are stripped, and never the user's to say.
        blocks.retain(|block| !is_hosted(kind(block)) || (model && is_expected(block, expected)));
        if repairs.drop_blank_text {
            blocks.retain(|block| !is_blank(block));
            if blocks.is_empty() && model {
                blocks.push(json!({"type": "text", "text": PLACEHOLDER}));
            }
        }
    }
    if repairs.drop_orphaned_results {
        drop_orphans(&mut messages);
    }
    if repairs.drop_blank_text {
        messages.retain(|message| message["content"].as_array().is_some_and(|blocks| !blocks.is_empty()));
    }
    if repairs.complete_missing_results { with_missing_results(messages) } else { messages }
}

fn is_model(message: &Value) -> bool {
    message["role"] == "assistant"
}

fn is_blank(block: &Value) -> bool {
    kind(block) == "text" && block.get("text").and_then(Value::as_str).unwrap_or_default().trim().is_empty()
}

/// The ids of a message's calls.
pub(super) fn call_ids(message: &Value) -> Vec<&str> {
    let blocks = message.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter(|block| kind(block) == "tool_use").filter_map(|block| block.get("id")?.as_str()).collect()
}

fn result_of(block: &Value) -> Option<&str> {
    block.get("tool_use_id").and_then(Value::as_str).filter(|_| kind(block) == "tool_result")
}

/// Results that do not answer a call of the model's message before them go.
fn drop_orphans(messages: &mut [Value]) {
    let mut open: HashSet<String> = HashSet::new();
    for message in messages {
        if is_model(message) {
            open = call_ids(message).into_iter().map(str::to_owned).collect();
        } else if let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) {
            blocks.retain(|block| result_of(block).is_none_or(|id| open.remove(id)));
        }
    }
}

/// With a stand-in for each result that is not there, in the message directly after the call.
fn with_missing_results(messages: Vec<Value>) -> Vec<Value> {
    let mut whole: Vec<Value> = Vec::with_capacity(messages.len());
    let mut open: Option<(usize, Vec<String>)> = None;
    for message in messages {
        if is_model(&message) {
            settle(&mut whole, open.take());
            open = Some((whole.len() + 1, call_ids(&message).into_iter().map(str::to_owned).collect()));
        } else if let Some((_, ids)) = &mut open {
            let given: HashSet<&str> = message["content"].as_array().into_iter().flatten().filter_map(result_of).collect();
            ids.retain(|id| !given.contains(id.as_str()));
        }
        whole.push(message);
    }
    settle(&mut whole, open);
    whole
}

fn settle(whole: &mut Vec<Value>, open: Option<(usize, Vec<String>)>) {
    let Some((at, ids)) = open.filter(|(_, ids)| !ids.is_empty()) else { return };
    let missing = ids.into_iter().map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": MISSING}));
    match whole.get_mut(at).filter(|message| message["role"] == "user").and_then(|m| m["content"].as_array_mut()) {
        Some(blocks) => drop(blocks.splice(0..0, missing)),
        None => whole.insert(at, json!({"role": "user", "content": missing.collect::<Vec<_>>()})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Value, expected: Value) {
        let Value::Array(messages) = given else { panic!("a list") };
        assert_eq!(Value::Array(repaired(messages, &Repairs::default(), &Expected::default())), expected);
    }

    #[test]
    fn blank_text_and_hosted_blocks_go_and_an_assistant_message_stays() {
        let text = |text: &str| json!({"type": "text", "text": text});
        check(
            json!([
                {"role": "user", "content": [text(" "), text("hi")]},
                {"role": "assistant", "content": [{"type": "server_tool_use", "id": "x"}, {"type": "web_search_tool_result"}]},
                {"role": "user", "content": [text("\n")]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}]},
            ]),
            json!([
                {"role": "user", "content": [text("hi")]},
                {"role": "assistant", "content": [text(".")]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}]},
            ]),
        );
    }

    #[test]
    fn orphaned_results_go_and_missing_ones_are_made_up() {
        let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "t", "input": {}});
        let result = |id: &str, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": text});
        check(
            json!([
                {"role": "user", "content": [result("x", "orphan")]},
                {"role": "assistant", "content": [call("a"), call("b")]},
                {"role": "user", "content": [result("b", ""), result("b", "twice")]},
                {"role": "assistant", "content": [call("c")]},
            ]),
            json!([
                {"role": "assistant", "content": [call("a"), call("b")]},
                {"role": "user", "content": [result("a", MISSING), result("b", "")]},
                {"role": "assistant", "content": [call("c")]},
                {"role": "user", "content": [result("c", MISSING)]},
            ]),
        );
    }
}
