//! What the agent asks, parsed as far as the gateway must know it.

use serde_json::{Map, Value, json};

use super::hosted::hosted_tool;
use super::{Writer, call_id, history, is_call, is_hosted, is_output, is_speech, kind, repair};
use crate::gates::Pending;
use crate::gateway::Repairs;
use crate::gateway::dialect::{Answer, Clearing, Dialect, Incoming, Question};
use crate::gateway::hosted::{self, Declaration, Expected, Offered};
use crate::gateway::memory::Round;
use crate::gateway::outbound::{Outbound, Passage};

/// What would let a model read a history that no gate has seen.
const KEPT_ELSEWHERE: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// A request of an agent.
#[derive(Debug)]
pub(in crate::gateway) struct Request {
    /// Everything but the items, without hosted tools.
    frame: Map<String, Value>,
    pub(super) items: Vec<Value>,
    hosted: Vec<Declaration>,
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
        // What tools that nobody can offer did elsewhere is no part of the conversation.
        let stays = |item: &Value| !is_hosted(kind(item)) || hosted_tool(kind(item)).is_some();
        let items: Vec<Value> = items.into_iter().map(with_type).filter(stays).collect();
        if let Some(bad) = items.iter().find_map(fault) {
            return Err(bad);
        }
        let hosted = take_hosted_tools(&mut frame);
        Ok(Self { frame, items: repair::repaired(items, &incoming.repairs), hosted, stream })
    }

    /// Everything but the items, as it may leave.
    pub(super) fn frame(&self, offered: &Offered) -> Map<String, Value> {
        let mut frame = self.frame.clone();
        let own = frame.remove("tools").and_then(|tools| tools.as_array().cloned()).unwrap_or_default();
        let tools: Vec<Value> = own.into_iter().chain(offered.declarations().cloned()).collect();
        if tools.is_empty() {
            frame.remove("tool_choice");
            frame.remove("parallel_tool_calls");
            return frame;
        }
        frame.insert("tools".into(), tools.into());
        let names: Vec<&str> = offered.declarations().map(kind).collect();
        if frame.get_mut("tool_choice").filter(|choice| choice.is_object()).is_some_and(|choice| !is_there(choice, &names)) {
            frame.remove("tool_choice");
        }
        frame
    }
}

impl Question for Request {
    fn stream(&self) -> bool {
        self.stream
    }

    fn path(&self, _: Option<&str>) -> String {
        "/responses".into()
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

    fn answer(&self, _: &Repairs, expected: &Expected) -> Box<dyn Answer> {
        Box::new(Writer::new(self.stream, expected.clone()))
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
        known if is_speech(known) || hosted_tool(known).is_some() => None,
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

/// Hosted tools run at the provider, where no gate stands: they are taken out. Gives those that can be offered.
fn take_hosted_tools(frame: &mut Map<String, Value>) -> Vec<Declaration> {
    let Some(Value::Array(tools)) = frame.remove("tools") else { return Vec::new() };
    let (mut own, mut hosted) = (Vec::new(), Vec::new());
    for mut tool in tools {
        let name = kind(&tool).to_owned();
        if keep(&mut tool) {
            own.push(tool);
        } else if let Some(known) = hosted::known(Dialect::Responses, &name) {
            hosted.push(Declaration { name, tool: known, value: tool });
        }
    }
    frame.insert("tools".into(), own.into());
    hosted
}

/// Whether what the model is told to choose is there.
fn is_there(choice: &mut Value, offered: &[&str]) -> bool {
    let stays = |tool: &mut Value| keep(tool) || offered.contains(&kind(tool));
    match kind(choice) {
        "allowed_tools" => choice.get_mut("tools").and_then(Value::as_array_mut).is_some_and(|tools| {
            tools.retain_mut(stays);
            !tools.is_empty()
        }),
        "function" | "custom" | "local_shell" => true,
        hosted => offered.contains(&hosted),
    }
}
