//! What the agent asks, parsed as far as the gateway must know it.

use serde_json::{Map, Value};

use super::repair;
use crate::gateway::Repairs;
use crate::gateway::dialect::Dialect;
use crate::gateway::hosted::{self, Declaration, Offered};
use crate::policy::{Exempt, Reason};

/// A request of an agent.
#[derive(Debug)]
pub(in crate::gateway) struct Request {
    /// Everything but the messages, without hosted tools.
    frame: Map<String, Value>,
    pub(super) hosted: Vec<Declaration>,
    pub(super) messages: Vec<Value>,
    /// Whether the answer is to be a stream.
    pub(in crate::gateway) stream: bool,
}

impl Request {
    /// Reads and mends a body. `Err` is for the agent.
    pub(in crate::gateway) fn parse(body: Value, repairs: &Repairs) -> Result<Self, String> {
        let Value::Object(mut frame) = body else {
            return Err("the body is no JSON object".into());
        };
        let Some(Value::Array(messages)) = frame.remove("messages") else {
            return Err("messages is missing or no list".into());
        };
        let stream = match frame.get("stream") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(stream)) => *stream,
            Some(_) => return Err("stream is neither true nor false".into()),
        };
        if frame.get("n").is_some_and(|n| n.as_u64() != Some(1) && !n.is_null()) {
            return Err("n must be 1: the gateway follows one answer at a time".into());
        }
        if frame.contains_key("functions") {
            return Err("functions is the older form of tools, which the gateway does not serve: use tools".into());
        }
        if let Some(bad) = messages.iter().find_map(fault) {
            return Err(bad);
        }
        let hosted = take_hosted_tools(&mut frame);
        Ok(Self { frame, messages: repair::repaired(messages, repairs), hosted, stream })
    }

    /// Everything but the messages, as it may leave.
    pub(super) fn exempt_frame(&self, offered: &Offered) -> Exempt<Map<String, Value>> {
        let mut frame = self.frame.clone();
        let fields = offered.declarations().filter_map(Value::as_object).flatten();
        frame.extend(fields.map(|(key, of)| (key.clone(), of.clone())));
        Exempt::because(Reason::SystemPrompt, frame)
    }
}

/// Why a message can't be passed on: everything else in here relies on these shapes.
fn fault(message: &Value) -> Option<String> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    match role {
        "system" | "developer" | "user" | "assistant" => None,
        "tool" if message.get("tool_call_id").is_some_and(Value::is_string) => None,
        "tool" => Some("a tool message has no tool_call_id".into()),
        _ => Some(format!("unknown role '{}'", role.chars().take(40).collect::<String>())),
    }
}

/// Fields by which providers are told to use tools of their own: OpenAI, OpenRouter, xAI, and Qwen's and Perplexity's searches.
const HOSTED_SWITCHES: [&str; 6] =
    ["web_search_options", "plugins", "search_parameters", "enable_search", "search_options", "extra_tools"];

/// Hosted tools are taken out. Gives those that can be offered.
fn take_hosted_tools(frame: &mut Map<String, Value>) -> Vec<Declaration> {
    let declared = |key: &&str| {
        let (tool, of) = (hosted::known(Dialect::Chat, key)?, frame.get(*key)?);
        Some(Declaration { name: (*key).to_owned(), tool, value: serde_json::json!({*key: of}) })
    };
    let declared = HOSTED_SWITCHES.iter().filter_map(declared).collect();
    strip_hosted_tools(frame);
    declared
}

/// Hosted tools run at the provider, where no gate stands.
fn strip_hosted_tools(frame: &mut Map<String, Value>) {
    frame.retain(|key, _| !HOSTED_SWITCHES.contains(&key.as_str()));
    let Some(Value::Array(tools)) = frame.get_mut("tools") else { return };
    tools.retain(|tool| tool.get("type").and_then(Value::as_str) == Some("function"));
    if tools.is_empty() {
        frame.remove("tools");
        frame.remove("tool_choice");
        frame.remove("parallel_tool_calls");
    } else if frame.get("tool_choice").is_some_and(|c| c.is_object() && c.get("type").and_then(Value::as_str) != Some("function"))
    {
        frame.remove("tool_choice");
    }
}
