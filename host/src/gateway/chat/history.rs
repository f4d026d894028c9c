//! The agent's messages as the upstream may read them: every tool result screened, and the calls that were refused,
//! which the agent never saw, back in their places with their refusals, so that every call has a result and the model
//! knows what it tried; and the envelope where the agent was told a stand-in of it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Request, call_value, repair};
use crate::gates::ToolGates;
use crate::gateway::dialect::Clearing;
use crate::gateway::memory::{Refused, Round, Screened, Splice};
use crate::gateway::model::{Draft, readable_arguments};
use crate::gateway::outbound::{Form, Outbound, Passage};
use crate::gateway::results::{self, UNKNOWN_TOOL};
use crate::gateway::session::Session;
use crate::gateway::stand_in;
use crate::policy::{Exempt, Reason};

const FORM: Form = Form { messages: "messages", model: Some("model") };

/// The request as it may leave. Takes as long as the verdicts on new results take.
pub(super) async fn compose(request: &Request, by: Clearing<'_>) -> Outbound {
    let Clearing { session, gates, offered } = by;
    let mut outbound = Outbound::new(request.exempt_frame(offered), FORM);
    let mut tools: HashMap<String, String> = HashMap::new();
    let mut used: Vec<Arc<Splice>> = Vec::new();
    let mut messages = request.messages.clone();
    session.asked(stand_in::put(said_by_user(&mut messages), &session.told));
    for message in &messages {
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
            "user" => outbound.push(Passage::Exempt(Exempt::because(Reason::UserText, message.clone()))),
            _ => outbound.push(Passage::Exempt(Exempt::because(Reason::SystemPrompt, message.clone()))),
        }
    }
    outbound
}

/// The texts of the user, in order.
fn said_by_user(messages: &mut [Value]) -> Vec<&mut Value> {
    let mut texts = Vec::new();
    for message in messages.iter_mut().filter(|message| message["role"] == "user") {
        match message.get_mut("content") {
            Some(Value::Array(parts)) => texts.extend(parts.iter_mut().filter_map(|part| part.get_mut("text"))),
            Some(content) => texts.push(content),
            None => {}
        }
    }
    texts
}

fn tool_names(message: &Value) -> Vec<(String, String)> {
    let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |call: &Value| Some((call.get("id")?.as_str()?.to_owned(), call.pointer("/function/name")?.as_str()?.to_owned()));
    calls.iter().filter_map(name).collect()
}

/// A tool message with nothing in it but what was cleared. Fields that are not known do not pass.
async fn screened(message: &Value, id: &str, tool: &str, session: &Session, gates: &dyn ToolGates) -> Passage {
    let frame = |content: String| json!({"role": "tool", "tool_call_id": id, "content": content});
    let text = results::text(message.get("content"));
    if text.is_empty() {
        return Passage::Own(frame(text));
    }
    match session.screen(gates, id, tool, &text).await {
        Screened::Deliver(cleared) => Passage::Judged(cleared.wrap(frame)),
        Screened::Withhold(message) => Passage::Own(frame(message)),
    }
}

/// A message of the model's, with what was refused before it and beside it.
fn push_assistant(outbound: &mut Outbound, message: &Value, session: &Session, used: &mut Vec<Arc<Splice>>) {
    let call_ids = repair::call_ids(message);
    let text = results::text(message.get("content"));
    let Some(splice) = session.splices.find(&call_ids, &text, used) else {
        return outbound.push(Passage::model(message.clone()));
    };
    splice.rounds.iter().flat_map(round).for_each(|passage| outbound.push(passage));
    let mut message = message.clone();
    message["content"] = rest_of_text(&splice, &text, message.get("content"));
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        for refused in &splice.beside {
            calls.insert(refused.position.min(calls.len()), wire_call(&refused.draft));
        }
    }
    outbound.push(Passage::model(message));
    refusals(&splice.beside).for_each(|result| outbound.push(result));
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

/// A message as the history has it.
pub(super) fn wire(text: &str, calls: &[Draft], extra: Map<String, Value>) -> Value {
    let mut message = extra;
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), if text.trim().is_empty() { Value::Null } else { text.into() });
    message.insert("tool_calls".into(), calls.iter().map(wire_call).collect());
    Value::Object(message)
}

/// A message whose calls were all refused, as the upstream sent it, and the refusals.
pub(super) fn round(round: &Round) -> Vec<Passage> {
    std::iter::once(Passage::model(round.wire.clone())).chain(refusals(&round.refused)).collect()
}

/// The refusals, as results of the calls.
fn refusals(refused: &[Refused]) -> impl Iterator<Item = Passage> + '_ {
    refused.iter().map(|r| Passage::Own(json!({"role": "tool", "tool_call_id": r.draft.id, "content": r.message})))
}

/// The call for the upstream's eyes.
fn wire_call(draft: &Draft) -> Value {
    let arguments = readable_arguments(&draft.arguments).map(|value| value.to_string());
    match arguments {
        Some(arguments) => call_value(&Draft { arguments, ..draft.clone() }),
        None => call_value(draft),
    }
}
