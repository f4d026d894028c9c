//! Tool results as policies can read them: text, of whatever parts a dialect makes them.

use serde_json::Value;

/// What stands for a part of a result that is no text: no filter can read it.
pub(in crate::gateway) const NO_TEXT: &str = "[a part of this result is no text and was left out]";
/// What stands for a result that nobody has.
pub(in crate::gateway) const MISSING: &str = "(the result of this call was not recorded)";
/// Name of a tool whose call is not in the history.
pub(in crate::gateway) const UNKNOWN_TOOL: &str = "unknown";

/// A result's text, of whatever parts.
pub(in crate::gateway) fn text(content: Option<&Value>) -> String {
    match content {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let part = |part: &Value| match part.get("text").and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => NO_TEXT.to_owned(),
            };
            parts.iter().map(part).collect::<Vec<_>>().join("\n")
        }
        Some(other) => other.to_string(),
    }
}
