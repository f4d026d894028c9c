//! The agent's items as the upstream may read them: every output screened, and the calls that were refused, which the
//! agent never saw, back in their places with their refusals. What the model made in a row is one message here.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::hosted::{as_left, found, is_expected};
use super::{Request, call_id, is_call, is_hosted, is_output, kind, output, readable_item, said, tool_name};
use crate::gateway::dialect::Clearing;
use crate::gateway::memory::{Refused, Round, Screened, Splice};
use crate::gateway::outbound::{Form, Outbound, Passage};
use crate::gateway::results::{self, UNKNOWN_TOOL};
use crate::gateway::stand_in;
use crate::gateway::units::{self, Kinds};
use crate::policy::{Exempt, Reason};

const FORM: Form = Form { messages: "input", model: Some("model") };
const KINDS: Kinds = Kinds { is_call: |item| is_call(kind(item)), is_same };

/// The request as it may leave.
pub(super) async fn compose(request: &Request, by: Clearing<'_>) -> Outbound {
    let expected = &by.offered.expected;
    let mut outbound = Outbound::new(Exempt::because(Reason::SystemPrompt, request.frame(by.offered)), FORM);
    let mut items = request.items.clone();
    // What hosted tools did is no part of a conversation in which they are stripped.
    items.retain(|item| !is_hosted(kind(item)) || is_expected(kind(item), expected));
    by.session.asked(stand_in::put(said_by_user(&mut items), &by.session.told));
    let calls = items.iter().filter(|item| is_call(kind(item)));
    let tools: HashMap<String, String> = calls.map(|item| (call_id(item).to_owned(), tool_name(item))).collect();
    let mut used: Vec<Arc<Splice>> = Vec::new();
    let mut rest = items.as_slice();
    while let Some(item) = rest.first() {
        let made = rest.iter().take_while(|item| is_models(item)).count();
        if made > 0 {
            push_models(&mut outbound, &rest[..made], by, &mut used).await;
        } else if is_output(kind(item)) {
            outbound.push(screened(item, &tools, by).await);
        } else {
            let reason = if item["role"] == "user" { Reason::UserText } else { Reason::SystemPrompt };
            outbound.push(Passage::Exempt(Exempt::because(reason, item.clone())));
        }
        rest = &rest[made.max(1)..];
    }
    outbound
}

/// Whether the model made it.
fn is_models(item: &Value) -> bool {
    match kind(item) {
        "message" => item["role"] == "assistant",
        other => !is_output(other),
    }
}

/// The texts of the user, in order.
fn said_by_user(items: &mut [Value]) -> Vec<&mut Value> {
    let mut texts = Vec::new();
    for item in items.iter_mut().filter(|item| kind(item) == "message" && item["role"] == "user") {
        match item.get_mut("content") {
            Some(Value::Array(parts)) => texts.extend(parts.iter_mut().filter_map(|part| part.get_mut("text"))),
            Some(content) => texts.push(content),
            None => {}
        }
    }
    texts
}

/// An output with nothing in it but what was cleared. Fields that are not known do not pass.
async fn screened(item: &Value, tools: &HashMap<String, String>, by: Clearing<'_>) -> Passage {
    let id = call_id(item);
    let frame = |content: String| json!({"type": kind(item), "call_id": id, "output": content});
    let text = results::text(item.get("output"));
    if text.is_empty() {
        return Passage::Own(frame(text));
    }
    let tool = tools.get(id).map_or(UNKNOWN_TOOL, String::as_str);
    match by.session.screen(by.gates, id, tool, &text).await {
        Screened::Deliver(cleared) => Passage::Judged(cleared.wrap(frame)),
        Screened::Withhold(message) => Passage::Own(frame(message)),
    }
}

/// What the model made in a row, with what was refused before it and beside it.
async fn push_models(outbound: &mut Outbound, items: &[Value], by: Clearing<'_>, used: &mut Vec<Arc<Splice>>) {
    let call_ids: Vec<&str> = items.iter().filter(|item| is_call(kind(item))).map(call_id).collect();
    let text: String = items.iter().filter(|item| kind(item) == "message").map(said).collect();
    let Some(splice) = by.session.splices.find_first_part(&call_ids, &text, used) else {
        for item in items {
            outbound.push(by_model(item, by).await);
        }
        return;
    };
    for earlier in &splice.rounds {
        round(earlier, by).await.into_iter().for_each(|passage| outbound.push(passage));
    }
    let mut units = units::without_rounds(items.to_vec(), &splice.rounds, KINDS);
    for refused in &splice.beside {
        let mut calls = units.iter().enumerate().filter(|(_, item)| is_call(kind(item))).map(|(at, _)| at);
        let at = calls.nth(refused.position).unwrap_or(units.len());
        units.insert(at, readable_item(&refused.draft));
    }
    for item in &units {
        outbound.push(by_model(item, by).await);
    }
    refusals(&splice.beside).for_each(|refusal| outbound.push(refusal));
    used.push(splice);
}

/// Whether the first item is the second, as an agent sends it back: some leave ids and states out.
fn is_same(item: &Value, sent: &Value) -> bool {
    let same = |key: &str| item.get(key).is_some_and(|value| !value.is_null()) && item.get(key) == sent.get(key);
    kind(item) == kind(sent)
        && match kind(sent) {
            "message" => said(item).trim() == said(sent).trim(),
            _ => same("id") || same("encrypted_content") || same("summary"),
        }
}

/// An item of the model's. What came of a hosted tool in it is judged as any tool's result.
async fn by_model(item: &Value, by: Clearing<'_>) -> Passage {
    let Some(found) = found(item, &by.offered.expected) else { return Passage::model(item.clone()) };
    match by.session.screen_found(by.gates, &found).await {
        Screened::Deliver(cleared) => Passage::Judged(cleared.wrap(|left| as_left(item, Some(&left)))),
        Screened::Withhold(_) => Passage::Own(as_left(item, None)),
    }
}

/// Items all of whose calls were refused, as the agent has them, and the refusals.
pub(super) async fn round(round: &Round, by: Clearing<'_>) -> Vec<Passage> {
    let mut passages = Vec::new();
    for item in &units::of(round) {
        passages.push(by_model(item, by).await);
    }
    passages.extend(refusals(&round.refused));
    passages
}

/// The refusals, as outputs of the calls.
fn refusals(refused: &[Refused]) -> impl Iterator<Item = Passage> + '_ {
    refused.iter().map(|r| Passage::Own(output(&Value::Object(r.draft.extra.clone()), r.message.clone())))
}
