//! What hosted tools leave: the model's code and what it printed are parts of their own; what was searched and fetched stands
//! beside the content. All of it happened at the provider before the agent hears of it, and no client runs any of it.

use serde_json::Value;

use crate::gateway::hosted::{self, Answered, Expected, Tool};

/// Fields of a candidate that say what was searched and fetched.
pub(super) const BESIDE: [&str; 2] = ["groundingMetadata", "urlContextMetadata"];
/// What stands for an output that was withheld.
const WITHHELD: &str = "[withheld by policy]";
/// Keys of a part of the model's code, and of one with what came of it.
const KEYS: [&str; 4] = ["executableCode", "codeExecutionResult", "thought", "thoughtSignature"];
/// What is known within them.
const FIELDS: [&str; 5] = ["id", "language", "code", "outcome", "output"];

/// Whether a part is of a hosted tool that can be offered, and of nothing else.
pub(super) fn is_known(part: &Value) -> bool {
    let plain =
        |of: &Value| of.as_object().is_some_and(|of| of.iter().all(|(k, v)| FIELDS.contains(&k.as_str()) && v.is_string()));
    let Some(fields) = part.as_object().filter(|fields| fields.keys().all(|key| KEYS.contains(&key.as_str()))) else {
        return false;
    };
    match (fields.get("executableCode"), fields.get("codeExecutionResult")) {
        (Some(of), None) | (None, Some(of)) => plain(of),
        (None, None) | (Some(_), Some(_)) => false,
    }
}

/// Whether it is of one that is offered.
pub(super) fn is_expected(part: &Value, expected: &Expected) -> bool {
    is_known(part) && expected.name(Tool::Execution).is_some()
}

/// What the model's code printed, where that is anything.
pub(super) fn found(part: &Value, expected: &Expected) -> Option<Answered> {
    let of = part.get("codeExecutionResult").filter(|_| is_known(part))?;
    let id = of.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let text = hosted::readable(of.get("output")?);
    (text.as_deref() != Some("")).then_some(Answered { id, tool: expected.name(Tool::Execution)?, text })
}

/// The part with what the policies left of that.
pub(super) fn as_left(part: &Value, left: Option<&String>) -> Value {
    let mut part = part.clone();
    if let Some(output) = part.pointer_mut("/codeExecutionResult/output") {
        *output = left.map_or(WITHHELD, String::as_str).into();
    }
    part
}

/// What was searched or fetched, where that is anything.
pub(super) fn found_beside(beside: &Value, expected: &Expected) -> Option<Answered> {
    let tool = [Tool::Search, Tool::Fetch].into_iter().find_map(|tool| expected.name(tool))?;
    let text = hosted::readable(beside);
    (text.as_deref() != Some("")).then_some(Answered { id: String::new(), tool, text })
}
