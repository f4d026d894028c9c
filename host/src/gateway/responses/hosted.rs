//! Items of hosted tools: a call and what came of it are one item. It ran at the provider before the agent hears of it, and
//! passes under its own type alone, which no client runs.

use serde_json::{Map, Value, json};

use super::{kind, text};
use crate::gateway::hosted::{self, Answered, Expected, Tool};

/// The hosted tool of an item of this kind, of those that can be offered.
pub(super) fn hosted_tool(kind: &str) -> Option<Tool> {
    match kind {
        "web_search_call" => Some(Tool::Search),
        "code_interpreter_call" => Some(Tool::Execution),
        _ => None,
    }
}

/// Whether an item of this kind is of a hosted tool that is offered.
pub(super) fn is_expected(kind: &str, expected: &Expected) -> bool {
    hosted_tool(kind).is_some_and(|tool| expected.name(tool).is_some())
}

/// Fields of an item, and of its action, that are the model's call. Everything else came of it.
const CALL: [&str; 9] = ["id", "type", "status", "code", "container_id", "query", "queries", "url", "pattern"];

/// What came of a call: the item without the call.
fn answered(item: &Value) -> Map<String, Value> {
    let mut rest = item.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(action)) = rest.get_mut("action") {
        action.retain(|key, _| !CALL.contains(&key.as_str()));
    }
    rest.retain(|key, _| !CALL.contains(&key.as_str()));
    rest
}

/// What came of a hosted tool's call, where there is anything to judge in it.
pub(super) fn found(item: &Value, expected: &Expected) -> Option<Answered> {
    let tool = expected.name(hosted_tool(kind(item))?)?;
    let answered = hosted::readable(&Value::Object(answered(item)));
    (answered.as_deref() != Some("")).then(|| Answered { id: text(item, "id").to_owned(), tool, text: answered })
}

/// The item with what the policies left of that; nothing of it where that can't be said.
pub(super) fn as_left(item: &Value, left: Option<&String>) -> Value {
    let nothing = match hosted_tool(kind(item)) {
        Some(Tool::Execution) => json!({"outputs": []}),
        Some(Tool::Search | Tool::Fetch) | None => json!({}),
    };
    let left = left.and_then(|left| hosted::put_back(&Value::Object(answered(item)), left)).unwrap_or(nothing);
    let mut whole = call(item);
    for (key, of) in left.as_object().cloned().unwrap_or_default() {
        match (whole.get_mut(&key), of) {
            (Some(Value::Object(begun)), Value::Object(more)) => begun.extend(more),
            (_, of) => drop(whole.insert(key, of)),
        }
    }
    Value::Object(whole)
}

/// The model's call alone.
fn call(item: &Value) -> Map<String, Value> {
    let of_call = |fields: &Map<String, Value>| -> Map<String, Value> {
        fields.iter().filter(|(key, _)| CALL.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let mut call = item.as_object().map(of_call).unwrap_or_default();
    if let Some(action) = item.get("action").and_then(Value::as_object) {
        call.insert("action".into(), of_call(action).into());
    }
    call
}

/// Fields of an event about a hosted tool's progress: the model's code and numbers, never what came of it.
const FIELDS: [&str; 7] = ["type", "output_index", "item_id", "sequence_number", "delta", "code", "obfuscation"];

/// The kind of item that an event is about which says how far a hosted tool is.
pub(super) fn progress(event: &Value) -> Option<&'static str> {
    let is_plain =
        event.as_object()?.iter().all(|(key, value)| FIELDS.contains(&key.as_str()) && !value.is_object() && !value.is_array());
    let step = kind(event).strip_prefix("response.").filter(|_| is_plain)?;
    match step.rsplit_once('.')? {
        ("web_search_call", "in_progress" | "searching" | "completed") => Some("web_search_call"),
        ("code_interpreter_call", "in_progress" | "interpreting" | "completed" | "incomplete" | "failed")
        | ("code_interpreter_call_code", "delta" | "done") => Some("code_interpreter_call"),
        _ => None,
    }
}
