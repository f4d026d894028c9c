//! Hosted tools in an answer: what they answered waits for its verdict, and nothing after it goes on before.

use serde_json::Value;

use super::super::hosted::{as_left, found, hosted_tool, quoted, withheld};
use super::super::kind;
use super::{Event, Reading, draft};
use crate::gateway::dialect::{Malformed, malformed};
use crate::gateway::hosted::Answered;
use crate::gateway::memory::Screened;

/// Something of a hosted tool's answer.
#[derive(Debug)]
pub(super) enum Unjudged {
    /// This block.
    Block(usize),
    /// In this block, a quotation.
    Quotation(usize, Value),
}

impl Reading {
    /// What has no verdict yet, first come first.
    pub(in crate::gateway::messages) fn unjudged(&self) -> Option<Answered> {
        match self.unjudged.front()? {
            Unjudged::Block(at) => found(&self.blocks[*at], &self.expected),
            Unjudged::Quotation(_, citation) => quoted(citation, &self.expected),
        }
    }

    /// Puts the verdict on it into effect; gives the event that goes on now.
    pub(in crate::gateway::messages) fn judged(&mut self, verdict: &Screened) -> Option<Event> {
        let asked = self.unjudged()?.text;
        let left = match verdict {
            Screened::Deliver(cleared) => Some(cleared.get()),
            Screened::Withhold(_) => None,
        };
        let of = self.unjudged.pop_front()?;
        if left.is_none() || left != asked.as_ref() {
            self.leave_out(of, left);
        }
        if !self.unjudged.is_empty() {
            return None;
        }
        let (mut event, altered) = (self.waiting.take()?, std::mem::take(&mut self.altered));
        if altered {
            // A quotation that comes by itself goes; what a block begins with is as it is now.
            let begun = self.blocks.last().filter(|_| event.kind == "content_block_start")?;
            event.value["content_block"] = begun.clone();
            event.data = event.value.to_string();
        }
        self.pass(event)
    }

    /// Takes out what may not be read.
    fn leave_out(&mut self, of: Unjudged, left: Option<&String>) {
        (self.changed, self.altered) = (true, true);
        match of {
            Unjudged::Block(at) => {
                let block = &self.blocks[at];
                self.blocks[at] = left.and_then(|left| as_left(block, left)).unwrap_or_else(|| withheld(block));
            }
            Unjudged::Quotation(at, citation) => {
                if let Some(citations) = self.blocks[at]["citations"].as_array_mut() {
                    citations.retain(|other| *other != citation);
                }
            }
        }
    }

    /// Quotations that come with the begin of their text.
    pub(super) fn take_quotations(&mut self, block: &Value) {
        let at = self.blocks.len();
        let all = block.get("citations").and_then(Value::as_array).into_iter().flatten();
        let unjudged = all.filter(|citation| quoted(citation, &self.expected).is_some());
        self.unjudged.extend(unjudged.map(|citation| Unjudged::Quotation(at, citation.clone())));
    }

    /// A block of a hosted tool that is offered: its call, or what it answered.
    pub(super) fn take_hosted(&mut self, block: &Value) -> Result<(), Malformed> {
        let is_call = kind(block) == "server_tool_use";
        let id = block.get(if is_call { "id" } else { "tool_use_id" }).and_then(Value::as_str).unwrap_or_default();
        let of_another = |other: &Value| match kind(other) {
            "tool_use" => other["id"] == id,
            "server_tool_use" => other["id"] == id && (is_call || hosted_tool(other) != hosted_tool(block)),
            _ => false,
        };
        if id.is_empty() || self.blocks.iter().any(of_another) || holds_call(block) {
            return malformed("the upstream model mixed up the calls of hosted tools with others");
        }
        if found(block, &self.expected).is_some() {
            self.unjudged.push_back(Unjudged::Block(self.blocks.len()));
        }
        Ok(())
    }
}

/// What a hosted tool was asked, once it is complete.
pub(super) fn hosted_input(block: &Value, input: &str) -> Result<Value, Malformed> {
    let draft = draft(block, input)?;
    match serde_json::from_str(&draft.arguments) {
        Ok(input @ Value::Object(_)) => Ok(input),
        _ => malformed("the upstream model asked a hosted tool for what is no JSON object"),
    }
}

/// Whether there is a call of the agent's somewhere inside.
fn holds_call(value: &Value) -> bool {
    match value {
        Value::Object(fields) => kind(value) == "tool_use" || fields.values().any(holds_call),
        Value::Array(items) => items.iter().any(holds_call),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
