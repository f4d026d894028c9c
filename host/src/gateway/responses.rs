//! The dialect OpenAI Responses, streaming and not. All that the gateway knows of its wire form is here:
//!
//! - `request`: what the agent asks, of hosted tools those that are offered, and without what refers to a history kept elsewhere;
//! - `history`: the agent's items as the upstream may read them: outputs screened, refused calls put back;
//! - `hosted`: items of tools that run at the provider, where these are offered;
//! - `reader`: what the model answers, item by item: held from the first call on;
//! - `writer`: what the agent gets: items as they came, numbered anew where one is missing.

mod history;
mod hosted;
mod reader;
mod repair;
mod request;
mod writer;

pub(in crate::gateway) use request::Request;
pub(in crate::gateway) use writer::Writer;

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::model::{Draft, readable_arguments};
use super::sse;

/// A sign of life as this API gives it.
pub(in crate::gateway) const PING: &str = "event: keepalive\ndata: {\"type\": \"keepalive\"}\n\n";

/// A failure as the last event of a stream: both forms that clients look for.
pub(in crate::gateway) fn error_event(failure: &Failure) -> String {
    let body = failure.openai();
    let event = json!({"type": "error", "code": failure.code, "message": failure.message, "param": null, "error": body["error"]});
    sse::named_event("error", &event.to_string())
}

fn kind(item: &Value) -> &str {
    item.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Calls that run where the agent is.
fn is_call(kind: &str) -> bool {
    matches!(kind, "function_call" | "custom_tool_call" | "local_shell_call")
}

/// Their results.
fn is_output(kind: &str) -> bool {
    kind.strip_suffix("_output").is_some_and(is_call)
}

/// What else the model makes.
fn is_speech(kind: &str) -> bool {
    matches!(kind, "reasoning" | "compaction" | "compaction_summary" | "context_compaction")
}

/// Items of tools that run at the provider: of those that are not offered, none is of this conversation.
fn is_hosted(kind: &str) -> bool {
    let known = ["mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_output", "shell_call_output"];
    let more = ["apply_patch_call_output", "computer_call_output"];
    (kind.ends_with("_call") && !is_call(kind)) || known.contains(&kind) || more.contains(&kind)
}

/// By what a call and its result know each other.
fn call_id(item: &Value) -> &str {
    match text(item, "call_id") {
        "" => text(item, "id"),
        id => id,
    }
}

/// The tool's name with the name of the server that it belongs to.
fn tool_name(item: &Value) -> String {
    let name = match kind(item) {
        "local_shell_call" => "local_shell",
        _ => text(item, "name"),
    };
    match text(item, "namespace").trim_end_matches("__") {
        "" => name.to_owned(),
        namespace => format!("{namespace}__{name}"),
    }
}

/// A call as the gates see it.
fn draft(item: &Value) -> Draft {
    let arguments = match kind(item) {
        "custom_tool_call" => json!({"input": text(item, "input")}).to_string(),
        "local_shell_call" => item.get("action").cloned().unwrap_or_default().to_string(),
        _ => text(item, "arguments").to_owned(),
    };
    let extra = item.as_object().cloned().unwrap_or_default();
    Draft { id: call_id(item).to_owned(), name: tool_name(item), arguments, extra }
}

/// The item of a call, with what was judged as its arguments.
fn call_item(draft_of_call: &Draft) -> Value {
    let mut item = Value::Object(draft_of_call.extra.clone());
    if draft(&item).arguments == draft_of_call.arguments {
        return item;
    }
    let arguments: Value = serde_json::from_str(&draft_of_call.arguments).unwrap_or_else(|_| Value::Object(Map::new()));
    match kind(&item) {
        "custom_tool_call" => item["input"] = arguments.get("input").cloned().unwrap_or_else(|| arguments.to_string().into()),
        "local_shell_call" => item["action"] = arguments,
        _ => item["arguments"] = draft_of_call.arguments.clone().into(),
    }
    item
}

/// The item for the upstream's eyes: it refuses a history with arguments that are no JSON.
fn readable_item(draft: &Draft) -> Value {
    let mut item = call_item(draft);
    if kind(&item) == "function_call"
        && let Some(arguments) = readable_arguments(&draft.arguments)
    {
        item["arguments"] = arguments.to_string().into();
    }
    item
}

/// A result of a call.
fn output(call: &Value, content: String) -> Value {
    json!({"type": format!("{}_output", kind(call)), "call_id": call_id(call), "output": content})
}

/// The text of a message.
fn said(item: &Value) -> String {
    let parts = item.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let whole = item.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
    parts.iter().fold(whole, |all, part| all + text(part, "text"))
}
