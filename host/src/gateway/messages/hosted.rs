//! Blocks of hosted tools: their calls (`server_tool_use`) and what they answered. A call ran at the provider before the agent
//! hears of it; it passes under that type alone, which no client runs.

use serde_json::{Map, Value, json};

use super::{is_hosted, kind};
use crate::gateway::hosted::{self, Answered, Expected, Tool};

/// The hosted tool whose call or result a block is, of those that can be offered.
pub(super) fn hosted_tool(block: &Value) -> Option<Tool> {
    let name = match kind(block) {
        "server_tool_use" => block.get("name").and_then(Value::as_str)?,
        result => result.strip_suffix("_tool_result")?,
    };
    match name {
        "web_search" => Some(Tool::Search),
        "web_fetch" => Some(Tool::Fetch),
        "code_execution" | "bash_code_execution" | "text_editor_code_execution" => Some(Tool::Execution),
        _ => None,
    }
}

/// Whether a block is of a hosted tool that is offered.
pub(super) fn is_expected(block: &Value, expected: &Expected) -> bool {
    is_hosted(kind(block)) && hosted_tool(block).is_some_and(|tool| expected.name(tool).is_some())
}

/// Fields of a block that say whose answer it is. Everything else is what was answered.
const ABOUT: [&str; 4] = ["type", "tool_use_id", "caller", "cache_control"];

fn answered(block: &Value) -> Map<String, Value> {
    let mut rest = block.as_object().cloned().unwrap_or_default();
    rest.retain(|key, _| !ABOUT.contains(&key.as_str()));
    rest
}

/// What a hosted tool answered in this block, where there is anything to judge in it.
pub(super) fn found(block: &Value, expected: &Expected) -> Option<Answered> {
    let tool = expected.name(hosted_tool(block)?).filter(|_| kind(block) != "server_tool_use")?;
    let text = hosted::readable(&Value::Object(answered(block)));
    let id = block.get("tool_use_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    (text.as_deref() != Some("")).then_some(Answered { id, tool, text })
}

/// What a text of the model's quotes, where that may be of a hosted tool's answer.
pub(super) fn quoted(citation: &Value, expected: &Expected) -> Option<Answered> {
    let text = hosted::readable(citation);
    (text.as_deref() != Some("")).then_some(Answered { id: String::new(), tool: expected.any()?, text })
}

/// The block with what the policies left of a hosted tool's answer; `None` where that can't be said in it.
pub(super) fn as_left(block: &Value, left: &str) -> Option<Value> {
    let left = hosted::put_back(&Value::Object(answered(block)), left)?;
    let mut block = block.clone();
    block.as_object_mut()?.extend(left.as_object()?.clone());
    Some(block)
}

/// What stands for the answer of a hosted tool that was withheld: the API's own word for one that there is not.
pub(super) fn withheld(block: &Value) -> Value {
    let mut block = block.clone();
    if let Some(fields) = block.as_object_mut() {
        fields.retain(|key, _| ABOUT.contains(&key.as_str()));
    }
    block["content"] = json!({"type": format!("{}_error", kind(&block)), "error_code": "unavailable"});
    block
}
