//! What the model answers, item by item. Reasoning and text go on at once; from the first call on, everything is held until
//! the answer is complete. A call is said up to five times (when it begins, in pieces, at the end of the pieces, with its
//! item, in the whole response): where these differ, readers differ, and the answer is an error.

mod hosted;

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::hosted::{found, is_expected, progress};
use super::{call_id, draft, is_call, is_speech, kind, readable_item, said, text};
use crate::gateway::dialect::{Malformed, malformed};
use crate::gateway::hosted::Expected;
use crate::gateway::model::{Message, Tokens, resembles_call, typed_event, unique_object};

/// More items in one answer are an error.
const MAX_ITEMS: usize = 1024;
/// More calls in one answer are an error.
const MAX_CALLS: usize = 128;

/// One answer of the upstream, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The response as it was said to be created.
    pub(super) head: Option<Map<String, Value>>,
    slots: Vec<Slot>,
    /// The items, complete, once the message is.
    pub(super) items: Vec<Value>,
    holding: bool,
    /// Events that are held, as they came.
    pub(super) held: Vec<Event>,
    /// Hosted tools that may show.
    expected: Expected,
    /// Slots of theirs that have no verdict yet.
    unjudged: VecDeque<usize>,
    /// The event that the first of them came in.
    waiting: Option<Event>,
    /// Whether a verdict left something of the answer out.
    pub(super) changed: bool,
    /// The last event, with the whole response.
    pub(super) end: Option<Event>,
}

/// An item that is arriving.
#[derive(Debug, Default)]
struct Slot {
    kind: String,
    /// The item as it began.
    begun: Option<Value>,
    /// Of a call: its arguments in pieces, and as the end of the pieces says them.
    pieces: String,
    said: Option<String>,
    item: Option<Value>,
    /// The item as it came, where a verdict left something of it out.
    came: Option<Value>,
}

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) data: String,
    pub(super) value: Value,
    /// The item that it is about.
    pub(super) at: Option<usize>,
}

impl Reading {
    /// Takes one event and gives it back where it goes on at once.
    pub(super) fn event(&mut self, data: &str) -> Result<Option<Event>, Malformed> {
        if self.end.is_some() || data.trim() == "[DONE]" {
            // The first end counts. Nothing after it is passed on.
            return Ok(None);
        }
        let (kind, data, value) = typed_event(data)?;
        let index = value.get("output_index").filter(|index| !index.is_null());
        let at = index.and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
        if index.is_some() && at.is_none() {
            return malformed("the upstream model sent an event about an item whose index is no number from 0 on");
        }
        let mut event = Event { kind, data, value, at };
        match event.kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => self.begin(&event.value)?,
            "response.output_item.added" => {
                let at = self.added(&event)?;
                self.slots[at].begun = event.value.get("item").cloned();
                event.at = Some(at);
            }
            "response.output_item.done" => event.at = Some(self.done(&event)?),
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.call(&event)?.pieces.push_str(text(&event.value, "delta"));
            }
            "response.function_call_arguments.done" => {
                self.call(&event)?.said = Some(text(&event.value, "arguments").to_owned());
            }
            "response.custom_tool_call_input.done" => self.call(&event)?.said = Some(text(&event.value, "input").to_owned()),
            "response.completed" | "response.incomplete" => {
                self.end = Some(event);
                return Ok(None);
            }
            "response.failed" | "error" => return self.failed(&event.value),
            _ if progress(&event.value).is_some_and(|of| is_expected(of, &self.expected)) => {
                self.progressed(progress(&event.value).unwrap_or_default(), &event)?;
            }
            other if resembles_call(&event.value) => {
                return malformed(format!("the upstream model sent an event that the gateway does not know: {}", short(other)));
            }
            _ => {}
        }
        if !self.unjudged.is_empty() {
            self.waiting = Some(event);
            return Ok(None);
        }
        Ok(self.pass(event))
    }

    /// The event, if it goes on at once.
    fn pass(&mut self, event: Event) -> Option<Event> {
        if self.holding {
            self.held.push(event);
            return None;
        }
        Some(event)
    }

    fn begin(&mut self, event: &Value) -> Result<(), Malformed> {
        let response = event.get("response").and_then(Value::as_object).cloned().unwrap_or_default();
        let is_empty = response.get("output").is_none_or(|output| output.as_array().is_some_and(Vec::is_empty));
        if !is_empty || !self.slots.is_empty() {
            return malformed("the upstream model began a response that is not empty");
        }
        self.head.get_or_insert(response);
        Ok(())
    }

    fn failed(&self, event: &Value) -> Result<Option<Event>, Malformed> {
        let said = ["/response/error/message", "/error/message", "/message"].iter().find_map(|at| event.pointer(at)?.as_str());
        malformed(format!("the upstream model broke off with an error: {}", said.unwrap_or("no message")))
    }

    fn added(&mut self, event: &Event) -> Result<usize, Malformed> {
        let next = self.slots.len();
        if event.at.unwrap_or(next) != next || self.slots.last().is_some_and(|slot| slot.item.is_none()) {
            return malformed("the upstream model began an item out of order");
        }
        let item = event.value.get("item").unwrap_or(&Value::Null);
        self.known(item)?;
        if event.kind == "response.output_item.added" && found(item, &self.expected).is_some() {
            return malformed("the upstream model began a hosted tool's call with what came of it");
        }
        self.slots.push(Slot { kind: kind(item).to_owned(), ..Slot::default() });
        Ok(next)
    }

    fn done(&mut self, event: &Event) -> Result<usize, Malformed> {
        if self.slots.last().is_none_or(|slot| slot.item.is_some()) {
            // Some upstreams say the whole item only.
            self.added(event)?;
        }
        let last = self.slots.len() - 1;
        let item = event.value.get("item").unwrap_or(&Value::Null);
        if event.at.unwrap_or(last) != last || self.slots[last].kind != kind(item) {
            return malformed("the upstream model ended an item that is not open");
        }
        self.slots[last].item = Some(item.clone());
        self.complete(last);
        Ok(last)
    }

    /// Whether an item may come, and what it changes.
    fn known(&mut self, item: &Value) -> Result<(), Malformed> {
        if self.slots.len() >= MAX_ITEMS {
            return malformed(format!("the upstream model sent more than {MAX_ITEMS} items"));
        }
        match kind(item) {
            call if is_call(call) => {
                self.holding = true;
                if self.slots.iter().filter(|slot| is_call(&slot.kind)).count() >= MAX_CALLS {
                    return malformed(format!("the upstream model made more than {MAX_CALLS} calls"));
                }
            }
            "message" if item.get("role").is_none_or(|role| role == "assistant") => {}
            speech if is_speech(speech) => {}
            hosted if is_expected(hosted, &self.expected) && text(item, "id").is_empty() => {
                return malformed("the upstream model called a hosted tool without an id");
            }
            hosted if is_expected(hosted, &self.expected) => {}
            other if other.is_empty() || other == "message" || resembles_call(item) => {
                return malformed(format!("the upstream model sent an item that nobody asked for: {}", short(other)));
            }
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, event: &Event) -> Result<&mut Slot, Malformed> {
        let last = self.slots.len().checked_sub(1);
        let open = last.filter(|last| event.at.is_none_or(|at| at == *last));
        // Some readers go by the item's id in place of its index.
        let is_of = |slot: &Slot| {
            let (of, begun) =
                (text(&event.value, "item_id"), slot.begun.as_ref().map(|item| text(item, "id")).unwrap_or_default());
            of.is_empty() || begun.is_empty() || of == begun
        };
        let open = open.filter(|last| is_of(&self.slots[*last]));
        match open.map(|last| &mut self.slots[last]).filter(|slot| is_call(&slot.kind) && slot.item.is_none()) {
            Some(slot) => Ok(slot),
            None => malformed("the upstream model sent a piece of a call that is not open"),
        }
    }

    /// Reads a whole answer.
    pub(super) fn whole(body: &[u8], expected: Expected) -> Result<(Self, String), Malformed> {
        let raw = String::from_utf8_lossy(body).into_owned();
        let Some(response) = unique_object(&raw) else {
            return malformed("the upstream model's answer is no JSON object, or holds a key twice");
        };
        let Some(Value::Array(items)) = response.get("output") else {
            return malformed("the upstream model's answer has no list of items");
        };
        let mut reading = Self::expecting(expected);
        for (at, item) in items.iter().enumerate() {
            reading.known(item)?;
            reading.slots.push(Slot { kind: kind(item).to_owned(), item: Some(item.clone()), ..Slot::default() });
            reading.complete(at);
        }
        reading.head = Some(response.clone());
        let value = serde_json::json!({"type": "response.completed", "response": response});
        reading.end = Some(Event { kind: "response.completed".into(), data: value.to_string(), value, at: None });
        Ok((reading, raw))
    }

    /// The response as the last event has it.
    pub(super) fn response(&self) -> Map<String, Value> {
        let response = self.end.as_ref().and_then(|end| end.value.get("response")).and_then(Value::as_object);
        response.or(self.head.as_ref()).cloned().unwrap_or_default()
    }

    /// The message, if it is complete.
    pub(super) fn message(&mut self) -> Result<Message, Malformed> {
        if self.end.is_none() || self.slots.iter().any(|slot| slot.item.is_none()) {
            return malformed("the upstream model broke off within its answer");
        }
        if !self.unjudged.is_empty() {
            return malformed("what came of a hosted tool has no verdict yet");
        }
        let (mut calls, mut came) = (Vec::new(), Vec::new());
        for slot in std::mem::take(&mut self.slots) {
            let item = slot.item.unwrap_or_default();
            came.push(slot.came.unwrap_or_else(|| item.clone()));
            if is_call(kind(&item)) {
                let arguments = text(&item, if kind(&item) == "custom_tool_call" { "input" } else { "arguments" });
                let differ = (!slot.pieces.is_empty() && slot.pieces != arguments)
                    || slot.said.is_some_and(|said| said != arguments)
                    || slot.begun.is_some_and(|begun| !begins(&begun, &item, &slot.pieces));
                let id = call_id(&item);
                if differ || id.is_empty() || self.items.iter().any(|other| is_call(kind(other)) && call_id(other) == id) {
                    return malformed("the upstream model said a call in two ways, or without an id of its own");
                }
                calls.push(draft(&item));
            }
            self.items.push(item);
        }
        let response = self.response();
        let listed: Vec<&Value> = response.get("output").and_then(Value::as_array).into_iter().flatten().collect();
        let known = |item: &&&Value| kind(item) == "message" || is_expected(kind(item), &self.expected) || !resembles_call(item);
        let same =
            listed.iter().filter(|item| !is_call(kind(item))).all(|item| known(&item)) && self.lists_as_judged(&listed, &came);
        let listed: Vec<_> = listed.into_iter().filter(|item| is_call(kind(item))).map(draft).collect();
        let as_judged = listed.len() == calls.len()
            && listed.iter().zip(&calls).all(|(l, c)| (&l.id, &l.name, &l.arguments) == (&c.id, &c.name, &c.arguments));
        if !same || !(listed.is_empty() || as_judged) {
            return malformed("the upstream model's response lists other calls than it made");
        }
        let text = self.items.iter().filter(|item| kind(item) == "message").map(said).collect();
        let mut drafts = calls.iter();
        let wire = |item: &Value| match is_call(kind(item)) {
            true => drafts.next().map_or_else(|| item.clone(), readable_item),
            false => item.clone(),
        };
        let wire = self.items.iter().map(wire).collect();
        Ok(Message { text, calls, wire, tokens: tokens(response.get("usage")) })
    }
}

/// Whether a call that began so is this one at its end: the same in everything but how far it had come.
fn begins(begun: &Value, item: &Value, pieces: &str) -> bool {
    let is_same = |(key, value): (&String, &Value)| match key.as_str() {
        "status" => true,
        // Nothing yet, or all of it; then pieces would be a second time.
        "arguments" | "input" => value == "" || value.is_null() || (item.get(key) == Some(value) && pieces.is_empty()),
        _ => value.is_null() || item.get(key) == Some(value),
    };
    begun.as_object().is_some_and(|fields| fields.iter().all(is_same))
}

fn tokens(usage: Option<&Value>) -> Option<Tokens> {
    let count = |key: &str| usage?.get(key)?.as_u64();
    let (input, output) = (count("input_tokens"), count("output_tokens"));
    (input.is_some() || output.is_some()).then(|| Tokens { input: input.unwrap_or(0), output: output.unwrap_or(0) })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
