//! What the agent gets: one answer, though it may have taken several of the upstream's. What no verdict changed leaves as
//! it came; else chunks leave without the calls that may not run, and with the first answer's id.

use serde_json::{Map, Value, json};

use super::reader::{Chunk, Reading, chunk, parts_of};
use super::{call_part, is_call, named, said};
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
    head: Option<Map<String, Value>>,
    /// Parts of the answers before, which the agent has.
    sent: Vec<Value>,
    text: String,
    /// Counters of the answers before.
    usage: Value,
    continued: bool,
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
        }
    }

    /// A chunk that goes on at once.
    fn go_on(&self, Chunk { data, mut value }: Chunk) -> String {
        if !self.continued || !self.stream {
            return if self.stream { sse::event(&data) } else { String::new() };
        }
        self.put_head(&mut value, false);
        self.write(&value)
    }

    fn head(&self) -> Map<String, Value> {
        self.head.clone().unwrap_or_default()
    }

    fn write(&self, value: &Value) -> String {
        if self.stream { sse::event(&value.to_string()) } else { String::new() }
    }

    /// Parts that the agent gets: calls if they may run, with what was judged as their arguments.
    fn kept(parts: &[Value], released: &[Draft]) -> Vec<Value> {
        let keep = |part: &Value| match is_call(part) {
            true => {
                let (id, _) = named(part, "functionCall");
                released.iter().find(|draft| draft.id == id).map(call_part)
            }
            false => Some(part.clone()),
        };
        parts.iter().filter_map(keep).collect()
    }

    /// The held chunks with the parts that the agent gets; the last with the reason to finish and all counters.
    fn held_anew(&self, released: &[Draft]) -> String {
        let last = self.reading.held.len().saturating_sub(1);
        let mut out = String::new();
        for (at, Chunk { value, .. }) in self.reading.held.iter().enumerate() {
            let parts = Self::kept(parts_of(value), released);
            let mut value = value.clone();
            if let Some(content) = value.pointer_mut("/candidates/0/content").filter(|content| content.is_object()) {
                content["parts"] = parts.clone().into();
            }
            let says_more = value.pointer("/candidates/0/finishReason").is_some();
            if parts.is_empty() && !says_more && at != last {
                continue;
            }
            self.put_head(&mut value, at == last);
            out.push_str(&self.write(&value));
        }
        out
    }

    /// Makes a chunk one of the first answer.
    fn put_head(&self, chunk: &mut Value, with_usage: bool) {
        let Some(fields) = chunk.as_object_mut().filter(|_| self.continued) else { return };
        fields.extend(self.head());
        match with_usage && !self.usage.is_null() {
            true => fields.insert("usageMetadata".into(), self.usage.clone()),
            false => fields.remove("usageMetadata"),
        };
    }

    fn document(&self, parts: Vec<Value>, reason: &str) -> Value {
        let mut document = chunk(&self.head(), parts);
        document["candidates"][0]["finishReason"] = reason.into();
        if !self.usage.is_null() {
            document["usageMetadata"] = self.usage.clone();
        }
        document
    }

    fn note_text(&mut self, parts: &[Value]) {
        self.text.extend(parts.iter().map(said));
    }
}

impl Answer for Writer {
    fn begin(&mut self) {
        self.reading = Reading::expecting(self.reading.expected().clone());
    }

    fn event(&mut self, data: &str) -> Result<String, Malformed> {
        let came = self.reading.event(data)?;
        self.head.get_or_insert_with(|| self.reading.head.clone().unwrap_or_default());
        Ok(came.map_or_else(String::new, |chunk| self.go_on(chunk)))
    }

    /// The end of the stream is the end of the connection.
    fn is_done(&self) -> bool {
        false
    }

    fn is_finished(&self) -> bool {
        self.reading.finish.is_some()
    }

    fn end(&mut self) -> Result<Message, Malformed> {
        self.reading.message()
    }

    fn whole(&mut self, body: &[u8]) -> Result<Message, Malformed> {
        let raw = String::from_utf8_lossy(body).into_owned();
        let mut reading = Reading::expecting(self.reading.expected().clone());
        if let Some(chunk) = reading.event(&raw)? {
            reading.held.push(chunk);
        }
        // With names for calls that had none.
        let is_same = reading.held.iter().all(|chunk| serde_json::from_str::<Value>(&raw).is_ok_and(|came| came == chunk.value));
        self.raw = is_same.then_some(raw);
        self.head.get_or_insert_with(|| reading.head.clone().unwrap_or_default());
        self.reading = reading;
        // What has to be judged first is a message afterwards.
        if self.reading.unjudged().is_none() { self.reading.message() } else { Ok(Message::default()) }
    }

    fn unjudged(&self) -> Option<Answered> {
        self.reading.unjudged()
    }

    fn judged(&mut self, verdict: Screened) -> String {
        let Some(chunk) = self.reading.judged(&verdict) else { return String::new() };
        if self.stream {
            return self.go_on(chunk);
        }
        self.reading.held.push(chunk);
        String::new()
    }

    fn set_aside(&mut self, _: &Message) -> String {
        let all = Self::kept(self.reading.parts(), &[]);
        self.note_text(&all);
        self.sent.extend(all);
        add_counts(&mut self.usage, &self.reading.usage);
        self.continued = true;
        let unsent: Vec<Value> = self.reading.held.iter().flat_map(|held| Self::kept(parts_of(&held.value), &[])).collect();
        let unsent: Vec<Value> = unsent.into_iter().filter(|part| part.get("text") != Some(&json!(""))).collect();
        if unsent.is_empty() { String::new() } else { self.write(&chunk(&self.head(), unsent)) }
    }

    fn finish(&mut self, _: &Message, released: &[Draft], intact: Intact) -> String {
        let all = Self::kept(self.reading.parts(), released);
        self.note_text(&all);
        add_counts(&mut self.usage, &self.reading.usage);
        let as_it_came = !self.continued && intact == Intact::Yes;
        if self.stream {
            return match as_it_came {
                true => self.reading.held.iter().map(|chunk| sse::event(&chunk.data)).collect(),
                false => self.held_anew(released),
            };
        }
        if let (Some(raw), true) = (&self.raw, as_it_came && !self.reading.changed) {
            return raw.clone();
        }
        if let (Some(only), false) = (self.reading.held.first(), self.continued) {
            let mut document = only.value.clone();
            if let Some(content) = document.pointer_mut("/candidates/0/content").filter(|content| content.is_object()) {
                content["parts"] = all.into();
            }
            return document.to_string();
        }
        let parts = self.sent.iter().cloned().chain(all).collect();
        self.document(parts, self.reading.finish.as_deref().unwrap_or("STOP")).to_string()
    }

    fn stop(&mut self, words: &str) -> String {
        let part = json!({"text": words});
        self.note_text(std::slice::from_ref(&part));
        if self.stream {
            return self.write(&self.document(vec![part], "STOP"));
        }
        self.sent.push(part);
        self.document(self.sent.clone(), "STOP").to_string()
    }

    fn text(&self) -> &str {
        &self.text
    }
}
