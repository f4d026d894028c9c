//! The agent's messages as the upstream may read them: every tool result screened, and the calls that were refused,
//! which the agent never saw, back in their places with their refusals, so that every call has a result and the model
//! knows what it tried; and the envelope where the agent was told a stand-in of it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Request, call_value, repair, stand_in};
use crate::gates::ToolGates;
use crate::gateway::memory::{Refused, Round, Screened, Splice};
use crate::gateway::model::parse_arguments;
use crate::gateway::outbound::{Outbound, Passage};
use crate::gateway::session::Session;
use crate::policy::{Exempt, Reason};

/// What stands for a part of a result that is no text: no filter can read it.
const NO_TEXT: &str = "[a part of this result is no text and was left out]";
/// Name of a tool whose call is not in the history.
const UNKNOWN_TOOL: &str = "unknown";

/// The request as it may leave. Takes as long as the verdicts on new results take.
pub(in crate::gateway) async fn compose(request: &Request, session: &Session, gates: &dyn ToolGates) -> Outbound {
    let mut outbound = Outbound::new(request.exempt_frame());
    let mut tools: HashMap<String, String> = HashMap::new();
    let mut used: Vec<Arc<Splice>> = Vec::new();
    let told = stand_in::place(&request.messages);
    for (at, message) in request.messages.iter().enumerate() {
        match message.get("role").and_then(Value::as_str).unwrap_or_default() {
            "tool" => {
                let id = message.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
                let tool = tools.get(id).map_or(UNKNOWN_TOOL, String::as_str);
                outbound.push(screened(message, id, tool, session, gates).await);
            }
            "assistant" => {
                tools.extend(tool_names(message));
                push_assistant(&mut outbound, message, session, &mut used);
            }
            "user" => {
                let message = message.clone();
                let message = if told == Some(at) { stand_in::replaced(message, &session.envelope) } else { message };
                outbound.push(Passage::Exempt(Exempt::because(Reason::UserText, message)));
            }
            _ => outbound.push(Passage::Exempt(Exempt::because(Reason::SystemPrompt, message.clone()))),
        }
    }
    outbound
}

fn tool_names(message: &Value) -> Vec<(String, String)> {
    let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |call: &Value| Some((call.get("id")?.as_str()?.to_owned(), call.pointer("/function/name")?.as_str()?.to_owned()));
    calls.iter().filter_map(name).collect()
}

/// A tool message with nothing in it but what was cleared. Fields that are not known do not pass.
async fn screened(message: &Value, id: &str, tool: &str, session: &Session, gates: &dyn ToolGates) -> Passage {
    let frame = |content: String| json!({"role": "tool", "tool_call_id": id, "content": content});
    let text = result_text(message.get("content"));
    if text.is_empty() {
        return Passage::Own(frame(text));
    }
    match session.screen(gates, id, tool, &text).await {
        Screened::Deliver(cleared) => Passage::Judged(cleared.wrap(frame)),
        Screened::Withhold(message) => Passage::Own(frame(message)),
    }
}

/// A result's text, of whatever parts.
fn result_text(content: Option<&Value>) -> String {
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

/// A message of the model's, with what was refused before it and beside it.
fn push_assistant(outbound: &mut Outbound, message: &Value, session: &Session, used: &mut Vec<Arc<Splice>>) {
    let call_ids = repair::call_ids(message);
    let text = result_text(message.get("content"));
    let Some(splice) = session.splices.find(&call_ids, &text, used) else {
        return outbound.push(Passage::model(message.clone()));
    };
    splice.rounds.iter().flat_map(round).for_each(|passage| outbound.push(passage));
    let mut message = message.clone();
    message["content"] = rest_of_text(&splice, &text, message.get("content"));
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        for refused in &splice.beside {
            calls.insert(refused.position.min(calls.len()), wire_call(refused));
        }
    }
    outbound.push(Passage::model(message));
    results(&splice.beside).for_each(|result| outbound.push(result));
    used.push(splice);
}

/// The message's content without the text that belongs to the rounds before it, where the agent left that as it was.
fn rest_of_text(splice: &Splice, text: &str, content: Option<&Value>) -> Value {
    let mut rest = text;
    for round in &splice.rounds {
        match rest.trim_start().strip_prefix(round.text.trim()) {
            Some(after) => rest = after,
            None => return content.cloned().unwrap_or(Value::Null),
        }
    }
    match (splice.rounds.is_empty(), rest.trim()) {
        (true, _) => content.cloned().unwrap_or(Value::Null),
        (false, "") if splice.call_ids.is_empty() => super::repair::PLACEHOLDER.into(),
        (false, "") => Value::Null,
        (false, rest) => rest.into(),
    }
}

/// A message whose calls were all refused, as the upstream sent it, and the refusals.
pub(in crate::gateway) fn round(round: &Round) -> Vec<Passage> {
    let mut message = round.extra.clone();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), if round.text.trim().is_empty() { Value::Null } else { round.text.clone().into() });
    message.insert("tool_calls".into(), round.refused.iter().map(wire_call).collect());
    std::iter::once(Passage::model(Value::Object(message))).chain(results(&round.refused)).collect()
}

/// The refusals, as results of the calls.
fn results(refused: &[Refused]) -> impl Iterator<Item = Passage> + '_ {
    refused.iter().map(|r| Passage::Own(json!({"role": "tool", "tool_call_id": r.draft.id, "content": r.message})))
}

/// The call for the upstream's eyes: upstreams refuse a history with arguments that are no JSON.
fn wire_call(refused: &Refused) -> Value {
    let mut draft = refused.draft.clone();
    if parse_arguments(&draft.arguments).is_err() || draft.arguments.trim().is_empty() {
        draft.arguments = match draft.arguments.trim() {
            "" => "{}".into(),
            raw => json!({"unreadable": raw}).to_string(),
        };
    }
    call_value(&draft)
}
