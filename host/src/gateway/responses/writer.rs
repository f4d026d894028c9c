//! What the agent gets: one response, though it may have taken several of the upstream's. What no verdict changed leaves as
//! it came; where an item is missing, or is not of the first answer, items and events are numbered anew.

use serde_json::{Map, Value, json};

use super::reader::{Event, Reading};
use super::{call_item, draft, is_call, kind, said};
use crate::env;
use crate::gateway::dialect::{Answer, Intact, Malformed};
use crate::gateway::hosted::{Answered, Expected};
use crate::gateway::memory::Screened;
use crate::gateway::model::{Draft, Message, add_counts};
use crate::gateway::sse;

/// Reads and writes one answer.
#[derive(Debug)]
pub(in crate::gateway) struct Writer {
    stream: bool,
    reading: Reading,
    /// A whole answer as it came.
    raw: Option<String>,
    /// What the first response says of itself.
    head: Option<Map<String, Value>>,
    /// Items of the answers before, which the agent has.
    sent: Vec<Value>,
    text: String,
    /// Counters of the answers before.
    usage: Value,
    continued: bool,
    /// Number of the next event, where they are numbered anew.
    next: u64,
    renumber: bool,
}

impl Writer {
    /// Of an answer that is to be a stream, or not, and in which these hosted tools may show.
    pub(in crate::gateway) fn new(stream: bool, expected: Expected) -> Self {
        Self {
            stream,
            reading: Reading::expecting(expected),
            raw: None,
            head: None,
            sent: Vec::new(),
            text: String::new(),
            usage: Value::Null,
            continued: false,
            next: 0,
            renumber: false,
        }
    }

    /// The event as the agent gets it: about this item, if about one.
    fn write(&mut self, event: &Event, at: Option<usize>) -> String {
        if !self.stream {
            return String::new();
        }
        let moved = at != event.at;
        let numbered = event.value.get("sequence_number").and_then(Value::as_u64);
        if !moved && (!self.renumber || numbered.is_none()) {
            self.next = numbered.map_or(self.next, |number| number + 1);
            return sse::named_event(&event.kind, &event.data);
        }
        let mut value = event.value.clone();
        if let Some(at) = at.filter(|_| value.get("output_index").is_some()) {
            value["output_index"] = at.into();
        }
        self.event_of(value)
    }

    /// An event with the next number.
    fn event_of(&mut self, mut value: Value) -> String {
        if !self.stream {
            return String::new();
        }
        value["sequence_number"] = self.next.into();
        self.next += 1;
        sse::named_event(kind(&value), &value.to_string())
    }

    /// The items of this answer that the agent gets, by their place in it: as they came, or with other arguments.
    fn kept(&self, released: &[Draft]) -> Vec<Option<Value>> {
        let keep = |item: &Value| match is_call(kind(item)) {
            true => {
                let came = draft(item);
                released.iter().find(|draft| draft.id == came.id).map(call_item)
            }
            false => Some(item.clone()),
        };
        self.reading.items.iter().map(keep).collect()
    }

    /// The held events of the items that the agent gets.
    fn held(&mut self, kept: &[Option<Value>]) -> String {
        let mut out = String::new();
        for event in std::mem::take(&mut self.reading.held) {
            let Some(at) = event.at else {
                out.push_str(&self.write(&event, None));
                continue;
            };
            let Some(Some(item)) = kept.get(at) else {
                self.renumber = true;
                continue;
            };
            let index = self.sent.len() + kept[..at].iter().flatten().count();
            let changed = self.reading.items.get(at) != Some(item);
            self.renumber |= changed;
            match event.kind.as_str() {
                "response.output_item.done" if changed => out.push_str(&self.call_anew(item, index)),
                _ if changed => {}
                _ => out.push_str(&self.write(&event, Some(index))),
            }
        }
        out
    }

    /// A call whose arguments a verdict changed, from begin to end.
    fn call_anew(&mut self, item: &Value, index: usize) -> String {
        let (field, name) = match kind(item) {
            "function_call" => ("arguments", "function_call_arguments"),
            "custom_tool_call" => ("input", "custom_tool_call_input"),
            _ => ("", ""),
        };
        let mut begin = item.clone();
        let mut out = Vec::new();
        if !field.is_empty() {
            begin[field] = "".into();
            let at =
                |kind: &str| json!({"type": format!("response.{name}.{kind}"), "item_id": item["id"], "output_index": index});
            let (mut delta, mut done) = (at("delta"), at("done"));
            delta["delta"] = item[field].clone();
            done[field] = item[field].clone();
            out.extend([delta, done]);
        }
        out.insert(0, json!({"type": "response.output_item.added", "output_index": index, "item": begin}));
        out.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        out.into_iter().map(|event| self.event_of(event)).collect()
    }

    /// The whole response.
    fn response(&self, items: Vec<Value>) -> Value {
        let mut response = self.reading.response();
        for key in ["id", "created_at"] {
            if let Some(value) = self.head.as_ref().and_then(|head| head.get(key)) {
                response.insert(key.into(), value.clone());
            }
        }
        response.insert("output".into(), items.into());
        if self.continued && !self.usage.is_null() {
            response.insert("usage".into(), self.usage.clone());
        }
        Value::Object(response)
    }

    fn add_usage(&mut self) {
        if let Some(usage) = self.reading.response().get("usage") {
            add_counts(&mut self.usage, usage);
        }
    }

    fn note_text(&mut self, items: &[Value]) {
        self.text.extend(items.iter().filter(|item| kind(item) == "message").map(said));
    }
}

impl Answer for Writer {
    fn begin(&mut self) {
        self.reading = Reading::expecting(self.reading.expected().clone());
    }

    fn event(&mut self, data: &str) -> Result<String, Malformed> {
        let Some(event) = self.reading.event(data)? else { return Ok(String::new()) };
        if matches!(event.kind.as_str(), "response.created" | "response.in_progress" | "response.queued") {
            if self.continued {
                return Ok(String::new());
            }
            self.head.clone_from(&self.reading.head);
        }
        let at = event.at.map(|at| at + self.sent.len());
        Ok(self.write(&event, at))
    }

    fn is_done(&self) -> bool {
        self.reading.end.is_some()
    }

    fn is_finished(&self) -> bool {
        self.reading.end.is_some()
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
        let at = event.at.map(|at| at + self.sent.len());
        self.write(&event, at)
    }

    fn set_aside(&mut self, _: &Message) -> String {
        let kept = self.kept(&[]);
        let out = self.held(&kept);
        let kept: Vec<Value> = kept.into_iter().flatten().collect();
        self.note_text(&kept);
        self.sent.extend(kept);
        self.add_usage();
        (self.continued, self.renumber) = (true, true);
        out
    }

    fn finish(&mut self, _: &Message, released: &[Draft], intact: Intact) -> String {
        let kept = self.kept(released);
        let items: Vec<Value> = kept.iter().flatten().cloned().collect();
        self.note_text(&items);
        self.add_usage();
        let as_it_came = !self.continued && !self.reading.changed && intact == Intact::Yes;
        if let (Some(raw), true) = (&self.raw, as_it_came) {
            return raw.clone();
        }
        let mut out = self.held(&kept);
        let all = self.sent.iter().cloned().chain(items).collect();
        if !self.stream {
            return self.response(all).to_string();
        }
        match self.reading.end.clone() {
            Some(end) if as_it_came => out.push_str(&self.write(&end, None)),
            end => {
                let mut value = end.map_or_else(|| json!({"type": "response.completed"}), |end| end.value);
                value["response"] = self.response(all);
                out.push_str(&self.event_of(value));
            }
        }
        out
    }

    fn stop(&mut self, words: &str) -> String {
        let id = format!("msg_{}", env::hex(&env::random_bytes::<12>()));
        let part = json!({"type": "output_text", "text": words, "annotations": []});
        let item = json!({"id": id, "type": "message", "role": "assistant", "status": "completed", "content": [part]});
        self.note_text(std::slice::from_ref(&item));
        let index = self.sent.len();
        self.sent.push(item.clone());
        let mut response = self.response(self.sent.clone());
        response["status"] = "completed".into();
        if !self.stream {
            return response.to_string();
        }
        let (mut begun, mut empty) = (item.clone(), part.clone());
        begun["content"] = json!([]);
        empty["text"] = "".into();
        let at = |kind: &str, key: &str, value: Value| {
            let mut event = json!({"type": kind, "item_id": id, "output_index": index, "content_index": 0});
            event[key] = value;
            event
        };
        let events = [
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
            at("response.content_part.added", "part", empty),
            at("response.output_text.delta", "delta", words.into()),
            at("response.output_text.done", "text", words.into()),
            at("response.content_part.done", "part", part),
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
            json!({"type": "response.completed", "response": response}),
        ];
        events.into_iter().map(|event| self.event_of(event)).collect()
    }

    fn text(&self) -> &str {
        &self.text
    }
}
