//! The agent's messages as the upstream may read them: every tool result screened, and the calls that were refused,
//! which the agent never saw, back in their places with their refusals. Results stand at the begin of the message after
//! their calls.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::hosted::{as_left, found, quoted, withheld};
use super::{Request, call_block, kind, repair};
use crate::gateway::dialect::Clearing;
use crate::gateway::memory::{Refused, Round, Screened, Splice};
use crate::gateway::outbound::{Form, Outbound, Passage};
use crate::gateway::results::{self, UNKNOWN_TOOL};
use crate::gateway::stand_in;
use crate::gateway::units::{self, Kinds};
use crate::policy::{Exempt, Reason};

const FORM: Form = Form { messages: "messages", model: Some("model") };
const KINDS: Kinds = Kinds { is_call: |block| kind(block) == "tool_use", is_same };

/// The request as it may leave.
pub(super) async fn compose(request: &Request, by: Clearing<'_>) -> Outbound {
    let frame = request.frame(by.offered);
    let declared = frame.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut outbound = Outbound::new(Exempt::because(Reason::SystemPrompt, frame), FORM);
    let mut messages = repair::repaired(request.messages.clone(), &request.repairs, &by.offered.expected);
    with_quotations(&mut messages, by).await;
    by.session.asked(stand_in::put(said_by_user(&mut messages), &by.session.told));
    let mut tools: HashMap<String, String> = HashMap::new();
    let mut used: Vec<Arc<Splice>> = Vec::new();
    // Refusals of the calls in the message before.
    let mut owed: Vec<Passage> = Vec::new();
    for message in &messages {
        match message["role"].as_str().unwrap_or_default() {
            "assistant" => {
                settle(&mut outbound, &mut owed);
                tools.extend(tool_names(message));
                owed = push_assistant(&mut outbound, message, by, &mut used).await;
            }
            "user" => {
                let mut parts = std::mem::take(&mut owed);
                for block in message["content"].as_array().into_iter().flatten() {
                    parts.push(match kind(block) {
                        "tool_result" if is_reference(block, &declared) => led_to(block),
                        "tool_result" => screened(block, &tools, by).await,
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

/// Whether a result is nothing but the names of tools that the request declares, as an agent's own search for tools has it.
fn is_reference(block: &Value, declared: &[Value]) -> bool {
    let is_one = |part: &Value| {
        let name = part.get("tool_name").filter(|name| name.is_string());
        kind(part) == "tool_reference" && name.is_some_and(|name| declared.iter().any(|tool| tool.get("name") == Some(name)))
    };
    block["content"].as_array().is_some_and(|parts| !parts.is_empty() && parts.iter().all(is_one))
}

/// Such a result with nothing in it but these names, which are the agent's own like the declarations.
fn led_to(block: &Value) -> Passage {
    let names = block["content"].as_array().into_iter().flatten().map(|part| &part["tool_name"]);
    let content: Vec<Value> = names.map(|name| json!({"type": "tool_reference", "tool_name": name})).collect();
    let mut result = json!({"type": "tool_result", "tool_use_id": block["tool_use_id"], "content": content});
    if let Some(cache) = cache_control(block) {
        result["cache_control"] = cache;
    }
    Passage::Exempt(Exempt::because(Reason::SystemPrompt, result))
}

/// A result with nothing in it but what was cleared. Fields that are not known do not pass.
async fn screened(block: &Value, tools: &HashMap<String, String>, by: Clearing<'_>) -> Passage {
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
    match by.session.screen(by.gates, id, tool, &text).await {
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
async fn push_assistant(outbound: &mut Outbound, message: &Value, by: Clearing<'_>, used: &mut Vec<Arc<Splice>>) -> Vec<Passage> {
    let call_ids = repair::call_ids(message);
    let Some(splice) = by.session.splices.find(&call_ids, &text_of(message), used) else {
        outbound.push(by_model(message, by).await);
        return Vec::new();
    };
    for earlier in &splice.rounds {
        round(earlier, by).await.into_iter().for_each(|passage| outbound.push(passage));
    }
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
    outbound.push(by_model(&message, by).await);
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

/// A message of the model's. What hosted tools answered in it is judged as any tool's result.
async fn by_model(message: &Value, by: Clearing<'_>) -> Passage {
    let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !blocks.iter().any(|block| found(block, &by.offered.expected).is_some()) {
        return Passage::model(message.clone());
    }
    let mut shell = message.as_object().cloned().unwrap_or_default();
    shell.remove("content");
    let mut parts = Vec::new();
    for block in blocks {
        parts.push(answered(block, by).await);
    }
    Passage::Parts { shell, key: "content", parts }
}

/// A block of the model's. Of a hosted tool's answer that was judged otherwise than it stands here, as much as can be said.
async fn answered(block: &Value, by: Clearing<'_>) -> Passage {
    let Some(found) = found(block, &by.offered.expected) else { return Passage::model(block.clone()) };
    let Screened::Deliver(cleared) = by.session.screen_found(by.gates, &found).await else {
        return Passage::Own(withheld(block));
    };
    match as_left(block, cleared.get()) {
        Some(left) => Passage::Judged(cleared.wrap(|_| left)),
        None => Passage::Own(withheld(block)),
    }
}

/// Quotations of hosted tools' answers stay where they may be read as they are.
async fn with_quotations(messages: &mut [Value], by: Clearing<'_>) {
    for message in messages.iter_mut().filter(|message| message["role"] == "assistant") {
        let Some(blocks) = message["content"].as_array_mut() else { continue };
        for block in blocks {
            let Some(Value::Array(citations)) = block.get_mut("citations") else { continue };
            for citation in std::mem::take(citations) {
                if stays(&citation, by).await {
                    citations.push(citation);
                }
            }
        }
    }
}

async fn stays(citation: &Value, by: Clearing<'_>) -> bool {
    let Some(found) = quoted(citation, &by.offered.expected) else { return true };
    let verdict = by.session.screen_found(by.gates, &found).await;
    matches!(verdict, Screened::Deliver(cleared) if Some(cleared.get()) == found.text.as_ref())
}

/// A message all of whose calls were refused, as the agent has it, and the refusals.
pub(super) async fn round(round: &Round, by: Clearing<'_>) -> Vec<Passage> {
    let message = json!({"role": "assistant", "content": units::of(round)});
    vec![by_model(&message, by).await, by_user(refusals(&round.refused).collect())]
}

/// The refusals, as results of the calls.
fn refusals(refused: &[Refused]) -> impl Iterator<Item = Passage> + '_ {
    let own = |r: &Refused| json!({"type": "tool_result", "tool_use_id": r.draft.id, "content": r.message, "is_error": true});
    refused.iter().map(move |r| Passage::Own(own(r)))
}
