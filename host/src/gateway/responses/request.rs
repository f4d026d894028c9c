//! What the agent asks, parsed as far as the gateway must know it.

use serde_json::{Map, Value, json};

use super::{Writer, call_id, history, is_call, is_hosted, is_output, is_speech, kind, repair};
use crate::gates::{Pending, ToolGates};
use crate::gateway::Repairs;
use crate::gateway::dialect::{Answer, Incoming, Question};
use crate::gateway::memory::Round;
use crate::gateway::outbound::{Outbound, Passage};
use crate::gateway::session::Session;

/// What would let a model read a history that no gate has seen.
const KEPT_ELSEWHERE: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// A request of an agent.
#[derive(Debug)]
pub(in crate::gateway) struct Request {
    /// Everything but the items.
    pub(super) frame: Map<String, Value>,
    pub(super) items: Vec<Value>,
    stream: bool,
}

impl Request {
    /// Reads and mends a request. `Err` is for the agent.
    pub(in crate::gateway) fn parse(incoming: Incoming<'_>) -> Result<Self, String> {
        let Value::Object(mut frame) = incoming.body else {
            return Err("the body is no JSON object".into());
        };
        let items = match frame.remove("input") {
            Some(Value::Array(items)) => items,
            Some(Value::String(text)) => vec![json!({"type": "message", "role": "user", "content": text})],
            _ => return Err("input is missing, or neither text nor a list".into()),
        };
        if let Some(key) = KEPT_ELSEWHERE.iter().find(|key| frame.get(**key).is_some_and(|value| !value.is_null())) {
            return Err(format!("{key} is not served: what is kept upstream passed no gate; send the whole input"));
        }
        if frame.get("background") == Some(&Value::Bool(true)) {
            return Err("background is not served: ask for a stream".into());
        }
        let stream = match frame.get("stream") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(stream)) => *stream,
            Some(_) => return Err("stream is neither true nor false".into()),
        };
        // What hosted tools did elsewhere is no part of a conversation in which they are stripped.
        let items: Vec<Value> = items.into_iter().map(with_type).filter(|item| !is_hosted(kind(item))).collect();
        if let Some(bad) = items.iter().find_map(fault) {
            return Err(bad);
        }
        strip_hosted_tools(&mut frame);
        Ok(Self { frame, items: repair::repaired(items, &incoming.repairs), stream })
    }
}

impl Question for Request {
    fn stream(&self) -> bool {
        self.stream
    }

    fn path(&self, _: Option<&str>) -> String {
        "/responses".into()
    }

    fn compose<'a>(&'a self, session: &'a Session, gates: &'a dyn ToolGates) -> Pending<'a, Outbound> {
        Box::pin(history::compose(self, session, gates))
    }

    fn round(&self, round: &Round) -> Vec<Passage> {
        history::round(round)
    }

    fn answer(&self, _: &Repairs) -> Box<dyn Answer> {
        Box::new(Writer::new(self.stream))
    }
}

/// A message may come without a type.
fn with_type(mut item: Value) -> Value {
    if item.get("type").is_none_or(Value::is_null) && item.get("role").is_some() {
        item["type"] = "message".into();
    }
    item
}

/// Why an item can't be passed on: everything else in here relies on these shapes.
fn fault(item: &Value) -> Option<String> {
    let short = |text: &str| text.chars().take(60).collect::<String>();
    match kind(item) {
        "message" => {
            let role = item.get("role").and_then(Value::as_str).unwrap_or_default();
            let known = matches!(role, "user" | "assistant" | "system" | "developer");
            (!known).then(|| format!("unknown role '{}'", short(role)))
        }
        known if is_call(known) || is_output(known) => call_id(item).is_empty().then(|| format!("a {known} has no call_id")),
        known if is_speech(known) => None,
        "item_reference" => {
            Some("item_reference is not served: what is kept upstream passed no gate; send the item itself".into())
        }
        other => Some(format!("unknown input item '{}'", short(other))),
    }
}

/// Whether a tool runs where the agent is; a namespace keeps those of its tools that do.
fn keep(tool: &mut Value) -> bool {
    match kind(tool) {
        "function" | "custom" | "local_shell" => true,
        "namespace" => tool.get_mut("tools").and_then(Value::as_array_mut).is_some_and(|tools| {
            tools.retain_mut(keep);
            !tools.is_empty()
        }),
        _ => false,
    }
}

/// Hosted tools run at the provider, where no gate stands.
fn strip_hosted_tools(frame: &mut Map<String, Value>) {
    let left = match frame.get_mut("tools") {
        Some(Value::Array(tools)) => {
            tools.retain_mut(keep);
            !tools.is_empty()
        }
        _ => false,
    };
    if !left {
        for key in ["tools", "tool_choice", "parallel_tool_calls"] {
            frame.remove(key);
        }
        return;
    }
    let Some(choice) = frame.get_mut("tool_choice").filter(|choice| choice.is_object()) else { return };
    let stays = match kind(choice) {
        "function" | "custom" | "local_shell" => true,
        "allowed_tools" => choice.get_mut("tools").and_then(Value::as_array_mut).is_some_and(|tools| {
            tools.retain_mut(keep);
            !tools.is_empty()
        }),
        _ => false,
    };
    if !stays {
        frame.remove("tool_choice");
    }
}
