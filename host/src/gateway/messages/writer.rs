//! What the agent gets: one message, though it may have taken several of the upstream's. What no verdict changed leaves as
//! it came; where a block is missing, or is not of the first answer, those after it are numbered anew.

use serde_json::{Map, Value, json};

use super::reader::{Event, Reading};
use super::{call_block, kind};
use crate::gateway::dialect::{Answer, Intact, Malformed};
use crate::gateway::hosted::{Answered, Expected};
use crate::gateway::memory::Screened;
use crate::gateway::model::{Draft, Message};
use crate::gateway::sse;

/// Reads and writes one answer.
#[derive(Debug)]
pub(in crate::gateway) struct Writer {
    stream: bool,
    fix_reason: bool,
    reading: Reading,
    /// A whole answer as it came.
    raw: Option<String>,
    /// What the first message says of itself.
    head: Option<Map<String, Value>>,
    /// Blocks of the answers before, which the agent has.
    sent: Vec<Value>,
    text: String,
    /// Counters of the answers before.
    usage: Map<String, Value>,
    continued: bool,
}

impl Writer {
    /// Of an answer that is to be a stream, or not, and in which these hosted tools may show.
    pub(in crate::gateway) fn new(stream: bool, fix_reason: bool, expected: Expected) -> Self {
        Self {
            stream,
            fix_reason,
            reading: Reading::expecting(expected),
            raw: None,
            head: None,
            sent: Vec::new(),
            text: String::new(),
            usage: Map::new(),
            continued: false,
        }
    }

    /// The event as the agent gets it.
    fn write(&self, event: &Event, index: Option<usize>) -> String {
        if !self.stream {
            return String::new();
        }
        match index.filter(|index| event.index() != Some(*index)) {
            None => sse::named_event(&event.kind, &event.data),
            Some(index) => {
                let mut value = event.value.clone();
                value["index"] = index.into();
                sse::named_event(&event.kind, &value.to_string())
            }
        }
    }

    fn event_of(&self, value: &Value) -> String {
        if self.stream { sse::named_event(kind(value), &value.to_string()) } else { String::new() }
    }

    /// The blocks of this answer that the agent gets, by their place in it: as they came, or with other input.
    fn kept(&self, released: &[Draft]) -> Vec<Option<Value>> {
        let keep = |block: &Value| match kind(block) {
            "tool_use" => released.iter().find(|draft| block["id"] == draft.id.as_str()).map(|draft| {
                let judged = call_block(draft);
                if judged["input"] == block["input"] { block.clone() } else { judged }
            }),
            _ => Some(block.clone()),
        };
        self.reading.blocks.iter().map(keep).collect()
    }

    /// The held events of the blocks that the agent gets.
    fn held(&self, kept: &[Option<Value>]) -> String {
        let mut out = String::new();
        for event in &self.reading.held {
            let Some(at) = event.index().filter(|_| event.kind.starts_with("content_block_")) else {
                out.push_str(&self.write(event, None));
                continue;
            };
            let Some(Some(block)) = kept.get(at) else { continue };
            let index = self.sent.len() + kept[..at].iter().flatten().count();
            let changed = *block != self.reading.blocks[at];
            match event.kind.as_str() {
                "content_block_start" if changed => out.push_str(&self.call_anew(block, index)),
                _ if changed => {}
                _ => out.push_str(&self.write(event, Some(index))),
            }
        }
        out
    }

    /// A call whose input a verdict changed, from begin to end.
    fn call_anew(&self, block: &Value, index: usize) -> String {
        let input = block["input"].to_string();
        let mut begin = block.clone();
        begin["input"] = json!({});
        [
            json!({"type": "content_block_start", "index": index, "content_block": begin}),
            json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": input}}),
            json!({"type": "content_block_stop", "index": index}),
        ]
        .iter()
        .map(|event| self.event_of(event))
        .collect()
    }

    fn add_usage(&mut self) {
        for (key, count) in self.reading.usage() {
            let sum = self.usage.get(key).and_then(Value::as_u64).unwrap_or(0) + count.as_u64().unwrap_or(0);
            self.usage.insert(key.clone(), sum.into());
        }
    }

    /// Usage with the sums of all answers in it.
    fn summed(&self, usage: Option<&Value>) -> Value {
        let mut usage = usage.and_then(Value::as_object).cloned().unwrap_or_default();
        if self.continued {
            usage.extend(self.usage.clone());
        }
        Value::Object(usage)
    }

    /// The event with the reason to stop, and the last.
    fn end_of_stream(&self, reason: &Value) -> String {
        let mut out = match &self.reading.stop {
            Some(stop) if !self.continued && stop.value.pointer("/delta/stop_reason") == Some(reason) => self.write(stop, None),
            stop => {
                let mut value = stop.as_ref().map(|stop| stop.value.clone()).unwrap_or_else(|| json!({"delta": {}}));
                value["type"] = "message_delta".into();
                value["delta"]["stop_reason"] = reason.clone();
                value["usage"] = self.summed(value.get("usage"));
                self.event_of(&value)
            }
        };
        out.push_str(&self.event_of(&json!({"type": "message_stop"})));
        out
    }

    fn reason(&self, has_calls: bool) -> Value {
        let stop = self.reading.stop.as_ref().and_then(|stop| stop.value.pointer("/delta/stop_reason"));
        let came = stop.or_else(|| self.reading.head.as_ref()?.get("stop_reason")).cloned().unwrap_or_default();
        match came.as_str() {
            Some("end_turn" | "stop_sequence") | None if has_calls && self.fix_reason => "tool_use".into(),
            Some(_) => came,
            None => "end_turn".into(),
        }
    }

    /// The whole message.
    fn document(&self, blocks: Vec<Value>, reason: Value) -> String {
        let mut body = self.reading.head.clone().unwrap_or_default();
        if let Some(id) = self.head.as_ref().and_then(|head| head.get("id")) {
            body.insert("id".into(), id.clone());
        }
        body.insert("content".into(), blocks.into());
        body.insert("stop_reason".into(), reason);
        body.insert("usage".into(), self.summed(body.get("usage")));
        Value::Object(body).to_string()
    }

    fn note_text(&mut self, blocks: &[Value]) {
        let texts = blocks.iter().filter(|block| kind(block) == "text").filter_map(|block| block["text"].as_str());
        self.text.extend(texts);
    }
}

impl Answer for Writer {
    fn begin(&mut self) {
        self.reading = Reading::expecting(self.reading.expected().clone());
    }

    fn event(&mut self, data: &str) -> Result<String, Malformed> {
        let Some(event) = self.reading.event(data)? else { return Ok(String::new()) };
        if event.kind == "message_start" {
            if self.continued {
                return Ok(String::new());
            }
            self.head.clone_from(&self.reading.head);
        }
        let index = event.index().filter(|_| event.kind.starts_with("content_block_")).map(|index| index + self.sent.len());
        Ok(self.write(&event, index))
    }

    fn is_done(&self) -> bool {
        self.reading.done
    }

    fn is_finished(&self) -> bool {
        self.reading.is_finished()
    }

    fn end(&mut self) -> Result<Message, Malformed> {
        self.reading.message()
    }

    fn whole(&mut self, body: &[u8]) -> Result<Message, Malformed> {
        let (mut reading, raw) = Reading::whole(body, self.reading.expected().clone())?;
        // What has to be judged first is a message afterwards.
        let message = if reading.unjudged().is_none() { reading.message()? } else { Message::default() };
        self.head.get_or_insert_with(|| reading.head.clone().unwrap_or_default());
        (self.reading, self.raw) = (reading, Some(raw));
        Ok(message)
    }

    fn unjudged(&self) -> Option<Answered> {
        self.reading.unjudged()
    }

    fn judged(&mut self, verdict: Screened) -> String {
        let Some(event) = self.reading.judged(&verdict) else { return String::new() };
        self.write(&event, event.index().map(|index| index + self.sent.len()))
    }

    fn set_aside(&mut self, _: &Message) -> String {
        let kept = self.kept(&[]);
        let out = self.held(&kept);
        let kept: Vec<Value> = kept.into_iter().flatten().collect();
        self.note_text(&kept);
        self.sent.extend(kept);
        self.add_usage();
        self.continued = true;
        out
    }

    fn finish(&mut self, _: &Message, released: &[Draft], intact: Intact) -> String {
        let kept = self.kept(released);
        self.add_usage();
        let blocks: Vec<Value> = kept.iter().flatten().cloned().collect();
        self.note_text(&blocks);
        let reason = self.reason(!released.is_empty());
        if self.stream {
            return self.held(&kept) + &self.end_of_stream(&reason);
        }
        let came = self.reading.head.as_ref().and_then(|head| head.get("stop_reason"));
        let anew = self.continued || self.reading.changed || came != Some(&reason);
        if let (Some(raw), false, Intact::Yes) = (&self.raw, anew, intact) {
            return raw.clone();
        }
        let all = self.sent.iter().cloned().chain(blocks).collect();
        self.document(all, reason)
    }

    fn stop(&mut self, words: &str) -> String {
        let block = json!({"type": "text", "text": words});
        self.note_text(std::slice::from_ref(&block));
        let index = self.sent.len();
        self.reading.stop = None;
        if self.stream {
            let begin = json!({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}});
            let delta = json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": words}});
            let end = json!({"type": "content_block_stop", "index": index});
            let all: String = [begin, delta, end].iter().map(|event| self.event_of(event)).collect();
            return all + &self.end_of_stream(&"end_turn".into());
        }
        self.sent.push(block);
        self.document(self.sent.clone(), "end_turn".into())
    }

    fn text(&self) -> &str {
        &self.text
    }
}
