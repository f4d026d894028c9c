//! What the agent asks, parsed as far as the gateway must know it.

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use super::{Writer, history, kind};
use crate::gates::Pending;
use crate::gateway::Repairs;
use crate::gateway::dialect::{Answer, Clearing, Dialect, Incoming, Question};
use crate::gateway::hosted::{self, Declaration, Expected, Offered};
use crate::gateway::memory::Round;
use crate::gateway::outbound::{Outbound, Passage};

/// Version of the API, where the agent names none.
const VERSION: &str = "2023-06-01";
/// Tools with a type of their own that run where the agent is.
const AGENT_SIDE: [&str; 4] = ["bash_", "text_editor_", "memory_", "computer_"];

/// A request of an agent.
#[derive(Debug)]
pub(in crate::gateway) struct Request {
    /// Everything but the messages, without hosted tools.
    frame: Map<String, Value>,
    /// As the agent wrote them, each as a list of blocks.
    pub(super) messages: Vec<Value>,
    pub(super) repairs: Repairs,
    hosted: Vec<Declaration>,
    stream: bool,
    headers: Vec<(&'static str, String)>,
    beta: bool,
}

impl Request {
    /// Reads and mends a request. `Err` is for the agent.
    pub(in crate::gateway) fn parse(incoming: Incoming<'_>) -> Result<Self, String> {
        let Value::Object(mut frame) = incoming.body else {
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
        if let Some(bad) = messages.iter().find_map(fault) {
            return Err(bad);
        }
        let hosted = take_hosted_tools(&mut frame);
        let messages = messages.into_iter().map(in_blocks).collect();
        let (beta, headers) = (incoming.target.contains("beta=true"), forwarded(incoming.headers));
        Ok(Self { frame, messages, repairs: incoming.repairs, hosted, stream, headers, beta })
    }

    /// Everything but the messages, as it may leave.
    pub(super) fn frame(&self, offered: &Offered) -> Map<String, Value> {
        let mut frame = self.frame.clone();
        let own = frame.remove("tools").and_then(|tools| tools.as_array().cloned()).unwrap_or_default();
        let tools: Vec<Value> = own.into_iter().chain(offered.declarations().cloned()).collect();
        let names: Vec<&Value> = tools.iter().filter_map(|tool| tool.get("name")).collect();
        let chosen = frame.get("tool_choice").and_then(|choice| choice.get("name"));
        if names.is_empty() || chosen.is_some_and(|name| !names.contains(&name)) {
            frame.remove("tool_choice");
        }
        if !names.is_empty() {
            frame.insert("tools".into(), tools.into());
        }
        frame
    }
}

impl Question for Request {
    fn stream(&self) -> bool {
        self.stream
    }

    fn path(&self, _: Option<&str>) -> String {
        if self.beta { "/messages?beta=true".into() } else { "/messages".into() }
    }

    fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    fn hosted(&self) -> &[Declaration] {
        &self.hosted
    }

    fn compose<'a>(&'a self, by: Clearing<'a>) -> Pending<'a, Outbound> {
        Box::pin(history::compose(self, by))
    }

    fn round<'a>(&'a self, round: &'a Round, by: Clearing<'a>) -> Pending<'a, Vec<Passage>> {
        Box::pin(history::round(round, by))
    }

    fn answer(&self, repairs: &Repairs, expected: &Expected) -> Box<dyn Answer> {
        Box::new(Writer::new(self.stream, repairs.fix_finish_reason, expected.clone()))
    }
}

fn forwarded(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let all = |name: &str| {
        let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        values.join(",")
    };
    let version = Some(all("anthropic-version")).filter(|v| !v.is_empty()).unwrap_or_else(|| VERSION.to_owned());
    let beta = Some(all("anthropic-beta")).filter(|v| !v.is_empty());
    std::iter::once(("anthropic-version", version)).chain(beta.map(|beta| ("anthropic-beta", beta))).collect()
}

/// Why a message can't be passed on: everything else in here relies on these shapes.
fn fault(message: &Value) -> Option<String> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    if !matches!(role, "user" | "assistant" | "system") {
        return Some(format!("unknown role '{}'", role.chars().take(40).collect::<String>()));
    }
    let blocks = match message.get("content") {
        Some(Value::String(_)) => return None,
        Some(Value::Array(blocks)) => blocks,
        _ => return Some("a message's content is neither text nor a list".into()),
    };
    let bad = |block: &Value| match kind(block) {
        "" => Some("a content block has no type"),
        "tool_result" if role != "user" => Some("a tool_result is the user's to send"),
        "tool_use" if role != "assistant" => Some("a tool_use is the model's"),
        "tool_result" if !block.get("tool_use_id").is_some_and(Value::is_string) => Some("a tool_result has no tool_use_id"),
        "tool_use" if !block.get("id").is_some_and(Value::is_string) => Some("a tool_use has no id"),
        _ => None,
    };
    blocks.iter().find_map(bad).map(str::to_owned)
}

/// A message whose content is a list.
fn in_blocks(mut message: Value) -> Value {
    if let Some(Value::String(text)) = message.get("content") {
        message["content"] = serde_json::json!([{"type": "text", "text": text}]);
    }
    message
}

/// Hosted tools run at the provider, where no gate stands: they are taken out. Gives those that can be offered.
fn take_hosted_tools(frame: &mut Map<String, Value>) -> Vec<Declaration> {
    frame.remove("mcp_servers");
    frame.remove("container");
    let Some(Value::Array(tools)) = frame.remove("tools") else { return Vec::new() };
    let (own, others): (Vec<Value>, Vec<Value>) = tools.into_iter().partition(|tool| match tool.get("type") {
        None | Some(Value::Null) => true,
        Some(kind) => kind.as_str().is_some_and(|kind| kind == "custom" || AGENT_SIDE.iter().any(|own| kind.starts_with(own))),
    });
    frame.insert("tools".into(), own.into());
    let declared = |tool: Value| {
        let name = kind(&tool).to_owned();
        Some(Declaration { tool: hosted::known(Dialect::Messages, &name)?, name, value: tool })
    };
    others.into_iter().filter_map(declared).collect()
}
