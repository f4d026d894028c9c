//! What the model answers, block by block. Text and thinking go on at once; from the first `tool_use` on, everything is
//! held until the answer is complete. What the reader does not understand is an error where another reader might take
//! it for a call, and goes on where not.

mod hosted;

use std::collections::VecDeque;

use hosted::{Unjudged, hosted_input};
use serde_json::{Map, Value};

use super::hosted::{is_expected, quoted};
use super::{call_block, is_hosted, kind};
use crate::gateway::dialect::{Malformed, malformed};
use crate::gateway::hosted::Expected;
use crate::gateway::model::{Draft, Message, Tokens, resembles_call, typed_event, unique_object};

/// More blocks in one message are an error.
const MAX_BLOCKS: usize = 4096;
/// More calls in one message are an error.
const MAX_CALLS: usize = 128;

/// One answer of the upstream, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The message as its begin has it, without content.
    pub(super) head: Option<Map<String, Value>>,
    /// Its blocks; a call's input is in `inputs` until the end.
    pub(super) blocks: Vec<Value>,
    /// By block: the text of a call's input.
    inputs: Vec<String>,
    open: bool,
    holding: bool,
    /// Events that are held, as they came.
    pub(super) held: Vec<Event>,
    /// Hosted tools that may show.
    expected: Expected,
    /// What came of them and has no verdict yet.
    unjudged: VecDeque<Unjudged>,
    /// The event that it came in.
    waiting: Option<Event>,
    /// Whether a verdict left something of that event out.
    altered: bool,
    /// Whether a verdict left something of the answer out.
    pub(super) changed: bool,
    /// The event with the reason to stop.
    pub(super) stop: Option<Event>,
    usage: Map<String, Value>,
    pub(super) done: bool,
}

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) data: String,
    pub(super) value: Value,
}

impl Event {
    /// Which block it is about.
    pub(super) fn index(&self) -> Option<usize> {
        self.value.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok())
    }
}

impl Reading {
    /// Of an answer in which these hosted tools may show.
    pub(super) fn expecting(expected: Expected) -> Self {
        Self { expected, ..Self::default() }
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Takes one event and gives it back where it goes on at once.
    pub(super) fn event(&mut self, data: &str) -> Result<Option<Event>, Malformed> {
        if self.done {
            // Nothing after the end is passed on.
            return Ok(None);
        }
        let (kind, data, value) = typed_event(data)?;
        let event = Event { kind, data, value };
        match event.kind.as_str() {
            "ping" => return Ok(Some(event)),
            "message_start" => self.begin(&event.value)?,
            "content_block_start" => self.start(&event)?,
            "content_block_delta" => self.delta(&event)?,
            "content_block_stop" => self.close(&event)?,
            "message_delta" => {
                if self.open || self.head.is_none() {
                    return malformed("the upstream model ended a message within a block");
                }
                self.add_usage(event.value.get("usage"));
                if let Some(earlier) = self.stop.take() {
                    self.held.push(earlier);
                }
                self.stop = Some(event);
                return Ok(None);
            }
            "message_stop" => {
                self.done = true;
                return Ok(None);
            }
            "error" => {
                let message = event.value.pointer("/error/message").and_then(Value::as_str).unwrap_or("no message");
                return malformed(format!("the upstream model broke off with an error: {message}"));
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
        let Some(message) = event.get("message").and_then(Value::as_object).filter(|_| self.head.is_none()) else {
            return malformed("the upstream model began no message, or two");
        };
        if message.get("content").is_some_and(|content| content.as_array().is_none_or(|blocks| !blocks.is_empty())) {
            return malformed("the upstream model began a message that is not empty");
        }
        self.add_usage(message.get("usage"));
        self.head = Some(message.clone());
        Ok(())
    }

    fn start(&mut self, event: &Event) -> Result<(), Malformed> {
        let in_order = event.index() == Some(self.blocks.len()) && !self.open && self.stop.is_none() && self.head.is_some();
        if !in_order || self.blocks.len() >= MAX_BLOCKS {
            return malformed("the upstream model began a block out of order");
        }
        let block = event.value.get("content_block").cloned().unwrap_or_default();
        self.take(block)?;
        self.open = true;
        Ok(())
    }

    /// Takes in a block, or its begin.
    fn take(&mut self, block: Value) -> Result<(), Malformed> {
        match kind(&block) {
            "tool_use" => {
                self.holding = true;
                if self.blocks.iter().filter(|b| kind(b) == "tool_use").count() >= MAX_CALLS {
                    return malformed(format!("the upstream model made more than {MAX_CALLS} calls"));
                }
                let id = block.get("id").and_then(Value::as_str).unwrap_or_default();
                if id.is_empty() || self.blocks.iter().any(|b| matches!(kind(b), "tool_use" | "server_tool_use") && b["id"] == id)
                {
                    return malformed("the upstream model made a call without an id of its own");
                }
                let hosted = serde_json::json!({"type": "server_tool_use", "name": block.get("name")});
                if is_expected(&hosted, &self.expected) {
                    return malformed("the upstream model wants the agent to run a tool that runs at the provider");
                }
            }
            "text" => self.take_quotations(&block),
            "thinking" | "redacted_thinking" => {}
            hosted if is_hosted(hosted) && is_expected(&block, &self.expected) => self.take_hosted(&block)?,
            hosted if is_hosted(hosted) => {
                return malformed(format!("the upstream model used a tool that nobody offered: {}", short(hosted)));
            }
            other if other.is_empty() || resembles_call(&block) => {
                return malformed(format!("the upstream model sent a block that the gateway does not know: {}", short(other)));
            }
            _ => {}
        }
        self.blocks.push(block);
        self.inputs.push(String::new());
        Ok(())
    }

    fn delta(&mut self, event: &Event) -> Result<(), Malformed> {
        let last = self.blocks.len().checked_sub(1);
        let (Some(at), true) = (last.filter(|last| event.index() == Some(*last)), self.open) else {
            return malformed("the upstream model sent a piece of a block that is not open");
        };
        let none = Value::Null;
        let delta = event.value.get("delta").unwrap_or(&none);
        let text = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or_default();
        let block = &mut self.blocks[at];
        match (kind(block), kind(delta)) {
            ("tool_use" | "server_tool_use", "input_json_delta") => self.inputs[at].push_str(text("partial_json")),
            ("tool_use", other) | (_, other @ ("input_json_delta" | "")) => {
                return malformed(format!("the upstream model sent a piece in the wrong place: {}", short(other)));
            }
            (hosted, other) if is_hosted(hosted) => {
                return malformed(format!("the upstream model sent a hosted tool's answer in pieces: {}", short(other)));
            }
            (_, "text_delta") => append(block, "text", text("text")),
            (_, "thinking_delta") => append(block, "thinking", text("thinking")),
            (_, "signature_delta") => append(block, "signature", text("signature")),
            (_, "citations_delta") => {
                if !block["citations"].is_array() {
                    block["citations"] = Value::Array(Vec::new());
                }
                if let (Some(all), Some(one)) = (block["citations"].as_array_mut(), delta.get("citation")) {
                    all.push(one.clone());
                    if quoted(one, &self.expected).is_some() {
                        self.unjudged.push_back(Unjudged::Quotation(at, one.clone()));
                    }
                }
            }
            (_, other) if resembles_call(delta) => {
                return malformed(format!("the upstream model sent a piece that the gateway does not know: {}", short(other)));
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, event: &Event) -> Result<(), Malformed> {
        if !self.open || event.index().map(|index| index + 1) != Some(self.blocks.len()) {
            return malformed("the upstream model ended a block that is not open");
        }
        self.open = false;
        Ok(())
    }

    fn add_usage(&mut self, usage: Option<&Value>) {
        let counts = usage.and_then(Value::as_object).into_iter().flatten();
        self.usage.extend(counts.filter(|(_, count)| count.is_u64()).map(|(key, count)| (key.clone(), count.clone())));
    }

    /// The counters of this answer.
    pub(super) fn usage(&self) -> &Map<String, Value> {
        &self.usage
    }

    /// Reads a whole answer. What it says beside the content is the head.
    pub(super) fn whole(body: &[u8], expected: Expected) -> Result<(Self, String), Malformed> {
        let raw = String::from_utf8_lossy(body).into_owned();
        let Some(mut head) = unique_object(&raw) else {
            return malformed("the upstream model's answer is no JSON object, or holds a key twice");
        };
        let Some(Value::Array(blocks)) = head.remove("content") else {
            return malformed("the upstream model's answer has no list of blocks");
        };
        let mut reading = Self { done: true, ..Self::expecting(expected) };
        for block in blocks {
            reading.take(block)?;
        }
        reading.add_usage(head.get("usage"));
        reading.head = Some(head);
        Ok((reading, raw))
    }

    /// Whether the message is complete, though a last word may follow.
    pub(super) fn is_finished(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.value.pointer("/delta/stop_reason").is_some_and(Value::is_string))
    }

    /// The message, if it is complete.
    pub(super) fn message(&mut self) -> Result<Message, Malformed> {
        if self.head.is_none() || self.open || !(self.done || self.is_finished()) {
            return malformed("the upstream model broke off within its answer");
        }
        if !self.unjudged.is_empty() {
            return malformed("what a hosted tool answered has no verdict yet");
        }
        let mut calls = Vec::new();
        for (block, input) in self.blocks.iter_mut().zip(&self.inputs) {
            if kind(block) == "server_tool_use" && !input.is_empty() {
                block["input"] = hosted_input(block, input)?;
            }
            if kind(block) != "tool_use" {
                continue;
            }
            let draft = draft(block, input)?;
            // Readable at last: what goes back to the upstream must be an object.
            *block = call_block(&draft);
            calls.push(draft);
        }
        let text = self.blocks.iter().filter(|block| kind(block) == "text").filter_map(|block| block["text"].as_str()).collect();
        let wire = Value::Array(self.blocks.clone());
        Ok(Message { text, calls, wire, tokens: tokens(&self.usage) })
    }
}

/// A call. Its input comes in pieces, or with its begin, but not both: readers differ in what they make of that.
fn draft(block: &Value, input: &str) -> Result<Draft, Malformed> {
    let begun = block.get("input").filter(|input| !input.is_null());
    let is_empty = begun.is_none_or(|begun| begun.as_object().is_some_and(Map::is_empty));
    let arguments = match (is_empty, input.is_empty()) {
        (true, _) => input.to_owned(),
        (false, true) => begun.map(Value::to_string).unwrap_or_default(),
        (false, false) => return malformed("the upstream model sent the input of a call twice"),
    };
    let field = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut extra = block.as_object().cloned().unwrap_or_default();
    extra.retain(|key, _| !matches!(key.as_str(), "type" | "id" | "name" | "input"));
    Ok(Draft { id: field("id"), name: field("name"), arguments, extra })
}

fn append(block: &mut Value, key: &str, piece: &str) {
    let text = block.get(key).and_then(Value::as_str).unwrap_or_default();
    block[key] = format!("{text}{piece}").into();
}

fn tokens(usage: &Map<String, Value>) -> Option<Tokens> {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    let input = count("input_tokens") + count("cache_read_input_tokens") + count("cache_creation_input_tokens");
    (!usage.is_empty()).then(|| Tokens { input, output: count("output_tokens") })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
