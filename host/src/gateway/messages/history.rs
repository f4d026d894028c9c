//! The agent's messages as the upstream may read them: every tool result screened, and the calls that were refused,
//! which the agent never saw, back in their places with their refusals. Results stand at the begin of the message after
//! their calls.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Request, call_block, kind, repair};
use crate::gates::ToolGates;
use crate::gateway::memory::{Refused, Round, Screened, Splice};
use crate::gateway::outbound::{Form, Outbound, Passage};
use crate::gateway::results::{self, UNKNOWN_TOOL};
use crate::gateway::session::Session;
use crate::gateway::stand_in;
use crate::gateway::units::{self, Kinds};
use crate::policy::{Exempt, Reason};

const FORM: Form = Form { messages: "messages", model: Some("model") };
const KINDS: Kinds = Kinds { is_call: |block| kind(block) == "tool_use", is_same };

/// The request as it may leave.
pub(super) async fn compose(request: &Request, session: &Session, gates: &dyn ToolGates) -> Outbound {
    let mut outbound = Outbound::new(Exempt::because(Reason::SystemPrompt, request.frame.clone()), FORM);
    let mut messages = request.messages.clone();
    stand_in::put(said_by_user(&mut messages), &session.envelope);
    let mut tools: HashMap<String, String> = HashMap::new();
    let mut used: Vec<Arc<Splice>> = Vec::new();
    // Refusals of the calls in the message before.
    let mut owed: Vec<Passage> = Vec::new();
    for message in &messages {
        match message["role"].as_str().unwrap_or_default() {
            "assistant" => {
                settle(&mut outbound, &mut owed);
                tools.extend(tool_names(message));
                owed = push_assistant(&mut outbound, message, session, &mut used);
            }
            "user" => {
                let mut parts = std::mem::take(&mut owed);
                for block in message["content"].as_array().into_iter().flatten() {
                    parts.push(match kind(block) {
                        "tool_result" => screened(block, &tools, session, gates).await,
                        _ => Passage::Exempt(Exempt::because(Reason::UserText, block.clone())),
                    });
                }
                outbound.push(by_user(parts));
            }
            _ => {
                settle(&mut outbound, &mut owed);
                outbound.push(Passage::Exempt(Exempt::because(Reason::SystemPrompt, message.clone())));
            }
        }
    }
    settle(&mut outbound, &mut owed);
    outbound
}

/// The texts of the user, in order.
fn said_by_user(messages: &mut [Value]) -> Vec<&mut Value> {
    let blocks = messages.iter_mut().filter(|message| message["role"] == "user").filter_map(|m| m["content"].as_array_mut());
    blocks.flatten().filter(|block| kind(block) == "text").filter_map(|block| block.get_mut("text")).collect()
}

fn tool_names(message: &Value) -> Vec<(String, String)> {
    let calls = message["content"].as_array().into_iter().flatten().filter(|block| kind(block) == "tool_use");
    calls.filter_map(|call| Some((call.get("id")?.as_str()?.to_owned(), call.get("name")?.as_str()?.to_owned()))).collect()
}

fn by_user(parts: Vec<Passage>) -> Passage {
    let shell = Map::from_iter([("role".to_owned(), Value::from("user"))]);
    Passage::Parts { shell, key: "content", parts }
}

/// Refusals that no message of the user's came for.
fn settle(outbound: &mut Outbound, owed: &mut Vec<Passage>) {
    if !owed.is_empty() {
        outbound.push(by_user(std::mem::take(owed)));
    }
}

/// A result with nothing in it but what was cleared. Fields that are not known do not pass.
async fn screened(block: &Value, tools: &HashMap<String, String>, session: &Session, gates: &dyn ToolGates) -> Passage {
    let id = block["tool_use_id"].as_str().unwrap_or_default();
    let frame = |content: String| {
        let mut result = json!({"type": "tool_result", "tool_use_id": id, "content": content});
        if block["is_error"] == true {
            result["is_error"] = true.into();
        }
        if let Some(cache) = cache_control(block) {
            result["cache_control"] = cache;
        }
        result
    };
    let text = results::text(block.get("content"));
    if text.is_empty() {
        return Passage::Own(frame(text));
    }
    let tool = tools.get(id).map_or(UNKNOWN_TOOL, String::as_str);
    match session.screen(gates, id, tool, &text).await {
        Screened::Deliver(cleared) => Passage::Judged(cleared.wrap(frame)),
        Screened::Withhold(message) => Passage::Own(frame(message)),
    }
}

/// Where the agent wants the upstream's cache to end, in one of the forms that hold no text.
fn cache_control(block: &Value) -> Option<Value> {
    let asked = block.get("cache_control")?;
    let known =
        [json!({"type": "ephemeral"}), json!({"type": "ephemeral", "ttl": "5m"}), json!({"type": "ephemeral", "ttl": "1h"})];
    known.into_iter().find(|known| known == asked)
}

/// All text of a message's blocks.
fn text_of(message: &Value) -> String {
    let texts = message["content"].as_array().into_iter().flatten().filter(|block| kind(block) == "text");
    texts.filter_map(|block| block["text"].as_str()).collect()
}

/// A message of the model's, with what was refused before it and beside it. Gives the refusals that follow it.
fn push_assistant(outbound: &mut Outbound, message: &Value, session: &Session, used: &mut Vec<Arc<Splice>>) -> Vec<Passage> {
    let call_ids = repair::call_ids(message);
    let Some(splice) = session.splices.find(&call_ids, &text_of(message), used) else {
        outbound.push(Passage::model(message.clone()));
        return Vec::new();
    };
    splice.rounds.iter().flat_map(round).for_each(|passage| outbound.push(passage));
    let mut message = message.clone();
    let units = message["content"].as_array().cloned().unwrap_or_default();
    let mut units = units::without_rounds(units, &splice.rounds, KINDS);
    for refused in &splice.beside {
        let at = place(&units, refused.position);
        units.insert(at, call_block(&refused.draft));
    }
    if units.is_empty() {
        units.push(json!({"type": "text", "text": repair::PLACEHOLDER}));
    }
    message["content"] = units.into();
    outbound.push(Passage::model(message));
    let owed = refusals(&splice.beside).collect();
    used.push(splice);
    owed
}

/// Where the call with this position among the calls stands among the blocks.
fn place(units: &[Value], position: usize) -> usize {
    let mut calls = units.iter().enumerate().filter(|(_, block)| kind(block) == "tool_use").map(|(at, _)| at);
    calls.nth(position).unwrap_or(units.len())
}

/// Whether the first block is the second, as an agent sends it back: a mark for the cache may have been added.
fn is_same(block: &Value, sent: &Value) -> bool {
    let same = |key: &str| block.get(key) == sent.get(key);
    kind(block) == kind(sent)
        && match kind(sent) {
            "text" => block["text"].as_str().map(str::trim) == sent["text"].as_str().map(str::trim),
            "thinking" => same("signature") && same("thinking"),
            _ => block == sent,
        }
}

/// A message all of whose calls were refused, as the upstream sent it, and the refusals.
pub(super) fn round(round: &Round) -> Vec<Passage> {
    let message = json!({"role": "assistant", "content": units::of(round)});
    vec![Passage::model(message), by_user(refusals(&round.refused).collect())]
}

/// The refusals, as results of the calls.
fn refusals(refused: &[Refused]) -> impl Iterator<Item = Passage> + '_ {
    let own = |r: &Refused| json!({"type": "tool_result", "tool_use_id": r.draft.id, "content": r.message, "is_error": true});
    refused.iter().map(move |r| Passage::Own(own(r)))
}
