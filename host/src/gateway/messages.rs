//! The dialect Anthropic Messages, streaming and not. All that the gateway knows of its wire form is here:
//!
//! - `request`: what the agent asks, of hosted tools those that are offered;
//! - `hosted`: blocks of tools that run at the provider, where these are offered;
//! - `repair`: a history as strict upstreams want it;
//! - `history`: the agent's messages as the upstream may read them: results screened, refused calls put back;
//! - `reader`: what the model answers, block by block: held from the first `tool_use` on;
//! - `writer`: what the agent gets: blocks as they came, numbered anew where one is missing.

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
pub(in crate::gateway) const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// The body of an error.
pub(in crate::gateway) fn error(failure: &Failure) -> Value {
    let kind = match failure.status.as_u16() {
        400 | 413 => "invalid_request_error",
        401 => "authentication_error",
        404 | 405 => "not_found_error",
        429 => "rate_limit_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": failure.words(json!({"type": kind, "message": failure.message, "code": failure.code}))})
}

/// The same within a stream.
pub(in crate::gateway) fn error_event(failure: &Failure) -> String {
    sse::named_event("error", &error(failure).to_string())
}

/// A call as a block of the history.
fn call_block(draft: &Draft) -> Value {
    let input = readable_arguments(&draft.arguments)
        .or_else(|| serde_json::from_str(&draft.arguments).ok())
        .unwrap_or_else(|| Value::Object(Map::new()));
    let mut block = draft.extra.clone();
    block.insert("type".into(), "tool_use".into());
    block.insert("id".into(), draft.id.clone().into());
    block.insert("name".into(), draft.name.clone().into());
    block.insert("input".into(), input);
    Value::Object(block)
}

fn kind(block: &Value) -> &str {
    block.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Blocks of tools that run at the provider: of those that are not offered, none is of this conversation.
fn is_hosted(kind: &str) -> bool {
    matches!(kind, "server_tool_use" | "mcp_tool_use") || (kind.ends_with("_tool_result") && kind != "tool_result")
}
