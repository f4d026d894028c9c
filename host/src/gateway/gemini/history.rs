//! The agent's contents as the upstream may read them: every response screened, and the calls that were refused, which the
//! agent never saw, back in their places with their refusals.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::hosted::{as_left, found, is_expected, is_known};
use super::{Request, call_part, is_call, named, parts, repair, response, said, without_own_id};
use crate::gateway::dialect::Clearing;
use crate::gateway::memory::{Refused, Round, Screened, Splice};
use crate::gateway::outbound::{Form, Outbound, Passage};
use crate::gateway::results::NO_TEXT;
use crate::gateway::stand_in;
use crate::gateway::units::{self, Kinds};
use crate::policy::{Exempt, Reason};

const FORM: Form = Form { messages: "contents", model: None };
const KINDS: Kinds = Kinds { is_call, is_same };

/// The request as it may leave.
pub(super) async fn compose(request: &Request, by: Clearing<'_>) -> Outbound {
    let mut outbound = Outbound::new(Exempt::because(Reason::SystemPrompt, request.frame(by.offered)), FORM);
    let mut contents = request.contents.clone();
    for parts in contents.iter_mut().filter_map(|content| content["parts"].as_array_mut()) {
        // What hosted tools did is no part of a conversation in which they are stripped.
        parts.retain(|part| !is_known(part) || is_expected(part, &by.offered.expected));
    }
    let mut contents = repair::repaired(contents, &request.repairs);
    by.session.asked(stand_in::put(said_by_user(&mut contents), &by.session.told));
    let mut used: Vec<Arc<Splice>> = Vec::new();
    // Refusals of the calls in the content before.
    let mut owed: Vec<Passage> = Vec::new();
    for content in &contents {
        if content["role"] == "model" {
            settle(&mut outbound, &mut owed);
            owed = push_model(&mut outbound, content, by, &mut used).await;
            continue;
        }
        let mut passages = std::mem::take(&mut owed);
        for part in parts(content) {
            passages.push(match part.get("functionResponse") {
                Some(of) => screened(part, of, by).await,
                None => Passage::Exempt(Exempt::because(Reason::UserText, part.clone())),
            });
        }
        outbound.push(by_user(passages));
    }
    settle(&mut outbound, &mut owed);
    outbound
}

/// The texts of the user, in order.
fn said_by_user(contents: &mut [Value]) -> Vec<&mut Value> {
    let users = contents.iter_mut().filter(|content| content["role"] == "user");
    users.filter_map(|content| content["parts"].as_array_mut()).flatten().filter_map(|part| part.get_mut("text")).collect()
}

fn by_user(parts: Vec<Passage>) -> Passage {
    let shell = Map::from_iter([("role".to_owned(), Value::from("user"))]);
    Passage::Parts { shell, key: "parts", parts }
}

/// Refusals that no content of the user's came for.
fn settle(outbound: &mut Outbound, owed: &mut Vec<Passage>) {
    if !owed.is_empty() {
        outbound.push(by_user(std::mem::take(owed)));
    }
}

/// A response with nothing in it but what was cleared. Fields that are not known do not pass.
async fn screened(part: &Value, of: &Value, by: Clearing<'_>) -> Passage {
    let (id, name) = named(part, "functionResponse");
    let given = of.get("response").cloned().unwrap_or_default();
    let mut text = as_text(&given);
    let has_more = of.get("parts").and_then(Value::as_array).is_some_and(|parts| !parts.is_empty());
    if has_more {
        text = format!("{text}\n{NO_TEXT}");
    }
    if text.is_empty() {
        return Passage::Own(response(&id, &name, json!({"output": ""})));
    }
    match by.session.screen(by.gates, &id, &name, &text).await {
        Screened::Deliver(cleared) => Passage::Judged(cleared.wrap(|cleared| {
            let delivered = match (single(&given), cleared == text && given.is_object() && !has_more) {
                // All of its text was judged, and passed as it is.
                (_, true) => given.clone(),
                (Some(key), false) => json!({key: cleared}),
                (None, false) => json!({"output": cleared}),
            };
            response(&id, &name, delivered)
        })),
        Screened::Withhold(message) => Passage::Own(response(&id, &name, json!({"error": message}))),
    }
}

/// The key of a response that is one text, as most agents send them.
fn single(given: &Value) -> Option<String> {
    let fields = given.as_object().filter(|fields| fields.len() == 1)?;
    fields.iter().next().filter(|(_, value)| value.is_string()).map(|(key, _)| key.clone())
}

/// A response as a policy can read it: texts as they are, not as JSON writes them, so that nothing hides in an escape.
fn as_text(given: &Value) -> String {
    match given {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) if single(given).is_some() => fields.values().map(as_text).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}: {}", as_text(value))).collect::<Vec<_>>().join("\n")
        }
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join("\n"),
        Value::Bool(_) | Value::Number(_) => given.to_string(),
    }
}

/// A content of the model's, with what was refused before it and beside it. Gives the refusals that follow it.
async fn push_model(outbound: &mut Outbound, content: &Value, by: Clearing<'_>, used: &mut Vec<Arc<Splice>>) -> Vec<Passage> {
    let ids: Vec<String> = parts(content).iter().filter(|part| is_call(part)).map(|part| named(part, "functionCall").0).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let text: String = parts(content).iter().map(said).collect();
    let Some(splice) = by.session.splices.find(&ids, &text, used) else {
        outbound.push(by_model(parts(content).to_vec(), by).await);
        return Vec::new();
    };
    for earlier in &splice.rounds {
        round(earlier, by).await.into_iter().for_each(|passage| outbound.push(passage));
    }
    let mut units = units::without_rounds(parts(content).to_vec(), &splice.rounds, KINDS);
    for refused in &splice.beside {
        let mut calls = units.iter().enumerate().filter(|(_, part)| is_call(part)).map(|(at, _)| at);
        let at = calls.nth(refused.position).unwrap_or(units.len());
        units.insert(at, call_part(&refused.draft));
    }
    if units.is_empty() {
        units.push(json!({"text": "."}));
    }
    outbound.push(by_model(units, by).await);
    let owed = refusals(&splice.beside).collect();
    used.push(splice);
    owed
}

/// A content of the model's. What its code printed at the provider is judged as any tool's result.
async fn by_model(parts: Vec<Value>, by: Clearing<'_>) -> Passage {
    let expected = &by.offered.expected;
    if !parts.iter().any(|part| found(part, expected).is_some()) {
        let parts: Vec<Value> = parts.into_iter().map(|part| without_own_id(part, "functionCall")).collect();
        return Passage::model(json!({"role": "model", "parts": parts}));
    }
    let mut passages = Vec::new();
    for part in parts {
        passages.push(match found(&part, expected) {
            None => Passage::model(without_own_id(part, "functionCall")),
            Some(found) => match by.session.screen_found(by.gates, &found).await {
                Screened::Deliver(cleared) => Passage::Judged(cleared.wrap(|left| as_left(&part, Some(&left)))),
                Screened::Withhold(_) => Passage::Own(as_left(&part, None)),
            },
        });
    }
    let shell = Map::from_iter([("role".to_owned(), Value::from("model"))]);
    Passage::Parts { shell, key: "parts", parts: passages }
}

/// Whether the first part is the second, as an agent sends it back.
fn is_same(part: &Value, sent: &Value) -> bool {
    let same = |key: &str| part.get(key) == sent.get(key);
    part == sent || (sent.get("text").is_some() && same("text") && same("thought"))
}

/// A content all of whose calls were refused, as the agent has it, and the refusals.
pub(super) async fn round(round: &Round, by: Clearing<'_>) -> Vec<Passage> {
    vec![by_model(units::of(round), by).await, by_user(refusals(&round.refused).collect())]
}

/// The refusals, as responses to the calls.
fn refusals(refused: &[Refused]) -> impl Iterator<Item = Passage> + '_ {
    let own = |r: &Refused| response(&r.draft.id, &r.draft.name, json!({"error": r.message}));
    refused.iter().map(move |r| Passage::Own(own(r)))
}
