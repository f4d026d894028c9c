//! What the agent gets: one answer, though it may have taken several of the upstream's. What no verdict changed leaves
//! byte for byte as it came; a continuation carries on under the first answer's id.

use serde_json::{Map, Value, json};

use super::reader::{Chunk, Head, StreamReader, Whole};
use super::{call_value, finish_reason};
use crate::gateway::dialect::Intact;
use crate::gateway::model::{Draft, Message, Tokens};
use crate::gateway::sse;

/// Between the texts of an answer and its continuation.
const BREAK: &str = "\n\n";

/// Where a message was read from.
#[derive(Debug)]
pub(in crate::gateway) enum Source {
    /// A stream; its text has gone on already, but for what was held.
    Stream(StreamReader),
    /// One document; nothing of it has gone on.
    Whole(Whole),
}

impl Source {
    /// Whether the calls must be written anew.
    fn rewritten(&self) -> bool {
        match self {
            Source::Stream(reader) => reader.rewritten,
            Source::Whole(whole) => whole.rewritten,
        }
    }

    fn head(&self) -> Head {
        match self {
            Source::Stream(reader) => reader.head.clone().unwrap_or_default(),
            Source::Whole(whole) => {
                let keep = ["id", "created", "model", "system_fingerprint"];
                Head(keep.iter().filter_map(|key| Some(((*key).to_owned(), whole.body.get(*key)?.clone()))).collect())
            }
        }
    }

    fn finish(&self) -> Option<&str> {
        match self {
            Source::Stream(reader) => reader.finish.as_deref(),
            Source::Whole(whole) => whole.body.pointer("/choices/0/finish_reason").and_then(Value::as_str),
        }
    }

    /// Text that the agent has not got yet.
    fn unsent<'a>(&'a self, message: &'a Message) -> &'a str {
        match self {
            Source::Stream(reader) => &reader.held_text,
            Source::Whole(_) => &message.text,
        }
    }
}

/// Writes one answer.
#[derive(Debug)]
pub(in crate::gateway) struct Writer {
    stream: bool,
    fix_finish: bool,
    head: Option<Head>,
    /// All text that the agent got.
    text: String,
    /// Whether this is a continuation, and whether its text has begun.
    continued: bool,
    text_begun: bool,
    tokens: Tokens,
}

impl Writer {
    /// Of an answer that is to be a stream, or not.
    pub(in crate::gateway) fn new(stream: bool, fix_finish: bool) -> Self {
        Self {
            stream,
            fix_finish,
            head: None,
            text: String::new(),
            continued: false,
            text_begun: false,
            tokens: Tokens::default(),
        }
    }

    /// All text of the answer so far.
    pub(in crate::gateway) fn text(&self) -> &str {
        &self.text
    }

    /// A chunk that goes on at once. Empty where the agent gets all at the end.
    pub(in crate::gateway) fn through(&mut self, chunk: Chunk, reader: &StreamReader) -> String {
        let head = self.head.get_or_insert_with(|| reader.head.clone().unwrap_or_default()).clone();
        let Chunk { data, mut value } = chunk;
        let text = value.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default().to_owned();
        let text = self.add_text(&text);
        if !self.stream {
            return String::new();
        }
        if !self.continued {
            return sse::event(&data);
        }
        for (key, field) in head.0 {
            value[key] = field;
        }
        if let Some(delta) = value.pointer_mut("/choices/0/delta").and_then(Value::as_object_mut) {
            delta.remove("role");
            if !text.is_empty() {
                delta.insert("content".into(), text.into());
            }
        }
        sse::event(&value.to_string())
    }

    /// Takes note of text, and gives it as the agent gets it.
    fn add_text(&mut self, text: &str) -> String {
        let breaks = self.continued && !self.text_begun && !text.is_empty() && !self.text.trim().is_empty();
        self.text_begun |= !text.is_empty();
        let text = if breaks { format!("{BREAK}{text}") } else { text.to_owned() };
        self.text.push_str(&text);
        text
    }

    /// A message whose calls were all refused: its text is the agent's, its calls are not.
    pub(in crate::gateway) fn set_aside(&mut self, source: &Source, message: &Message) -> String {
        self.head.get_or_insert_with(|| source.head());
        self.add_tokens(message);
        let text = self.add_text(source.unsent(message));
        let out = if self.stream && !text.is_empty() { self.chunk(json!({"content": text}), None) } else { String::new() };
        self.continued = true;
        self.text_begun = false;
        out
    }

    fn add_tokens(&mut self, message: &Message) {
        let tokens = message.tokens.unwrap_or_default();
        self.tokens.input += tokens.input;
        self.tokens.output += tokens.output;
    }

    /// The end of the answer: a message with the calls that may run. `intact`: all of them, as they came.
    pub(in crate::gateway) fn finish(
        &mut self,
        source: &Source,
        message: &Message,
        released: &[Draft],
        intact: Intact,
    ) -> String {
        self.head.get_or_insert_with(|| source.head());
        self.add_tokens(message);
        let as_it_came = !self.continued && !source.rewritten() && intact == Intact::Yes;
        let came = source.finish();
        // Where all calls were refused, `tool_calls` would have the agent wait for calls that never come.
        let came = came.filter(|_| !(released.is_empty() && came == Some("tool_calls") && !message.calls.is_empty()));
        let reason = finish_reason(came, !released.is_empty(), self.fix_finish).to_owned();
        match (self.stream, source) {
            (true, Source::Stream(reader)) if as_it_came => {
                self.text.push_str(&reader.held_text);
                stream_as_it_came(reader, &reason, self)
            }
            (true, _) => self.stream_anew(source, message, released, &reason),
            (false, Source::Whole(whole)) if as_it_came && whole_reason(whole) == Some(reason.as_str()) => {
                self.text.push_str(&message.text);
                whole.raw.clone()
            }
            (false, _) => self.whole_anew(source, message, released, &reason),
        }
    }

    fn stream_anew(&mut self, source: &Source, message: &Message, released: &[Draft], reason: &str) -> String {
        let text = self.add_text(source.unsent(message));
        let mut out = String::new();
        if !text.is_empty() {
            out.push_str(&self.chunk(json!({"role": "assistant", "content": text}), None));
        }
        for (index, call) in released.iter().enumerate() {
            let mut call = call_value(call);
            call["index"] = index.into();
            out.push_str(&self.chunk(json!({"tool_calls": [call]}), None));
        }
        out.push_str(&self.chunk(json!({}), Some(reason)));
        if let Source::Stream(reader) = source {
            out.extend(reader.tail.iter().map(|data| sse::event(&self.tail(data))));
        }
        out.push_str(&sse::event("[DONE]"));
        out
    }

    /// A chunk without a choice, under the first answer's id, with the tokens of all rounds.
    fn tail(&self, data: &str) -> String {
        let Ok(mut chunk) = serde_json::from_str::<Value>(data) else { return data.to_owned() };
        for (key, field) in &self.head.clone().unwrap_or_default().0 {
            chunk[key] = field.clone();
        }
        if let Some(usage) = chunk.get_mut("usage").and_then(Value::as_object_mut) {
            self.put_usage(usage);
        }
        chunk.to_string()
    }

    fn put_usage(&self, usage: &mut Map<String, Value>) {
        usage.insert("prompt_tokens".into(), self.tokens.input.into());
        usage.insert("completion_tokens".into(), self.tokens.output.into());
        usage.insert("total_tokens".into(), (self.tokens.input + self.tokens.output).into());
    }

    fn chunk(&self, delta: Value, reason: Option<&str>) -> String {
        let mut chunk = self.head.clone().unwrap_or_default().0;
        chunk.insert("object".into(), "chat.completion.chunk".into());
        chunk.insert("choices".into(), json!([{"index": 0, "delta": delta, "finish_reason": reason}]));
        sse::event(&Value::Object(chunk).to_string())
    }

    fn whole_anew(&mut self, source: &Source, message: &Message, released: &[Draft], reason: &str) -> String {
        if let Source::Whole(_) = source {
            self.add_text(&message.text);
        } else {
            self.add_text(source.unsent(message));
        }
        let mut body = match source {
            Source::Whole(whole) => whole.body.as_object().cloned().unwrap_or_default(),
            Source::Stream(_) => Map::new(),
        };
        body.extend(self.head.clone().unwrap_or_default().0);
        body.insert("object".into(), "chat.completion".into());
        let mut answer = match source {
            Source::Whole(whole) => {
                whole.body.pointer("/choices/0/message").and_then(Value::as_object).cloned().unwrap_or_default()
            }
            Source::Stream(_) => Map::new(),
        };
        answer.insert("role".into(), "assistant".into());
        answer.insert("content".into(), if self.text.is_empty() { Value::Null } else { self.text.clone().into() });
        answer.remove("tool_calls");
        if !released.is_empty() {
            answer.insert("tool_calls".into(), released.iter().map(call_value).collect());
        }
        body.insert("choices".into(), json!([{"index": 0, "message": answer, "finish_reason": reason}]));
        if self.tokens != Tokens::default() {
            let mut usage = body.get("usage").and_then(Value::as_object).cloned().unwrap_or_default();
            self.put_usage(&mut usage);
            body.insert("usage".into(), Value::Object(usage));
        }
        Value::Object(body).to_string()
    }

    /// Ends an answer with words of coda's own.
    pub(in crate::gateway) fn stop(&mut self, words: &str) -> String {
        let text = self.add_text(words);
        if self.stream {
            let mut out = self.chunk(json!({"content": text}), None);
            out.push_str(&self.chunk(json!({}), Some("stop")));
            out.push_str(&sse::event("[DONE]"));
            return out;
        }
        let mut body = self.head.clone().unwrap_or_default().0;
        body.insert("object".into(), "chat.completion".into());
        let answer = json!({"role": "assistant", "content": self.text});
        body.insert("choices".into(), json!([{"index": 0, "message": answer, "finish_reason": "stop"}]));
        let mut usage = Map::new();
        self.put_usage(&mut usage);
        body.insert("usage".into(), Value::Object(usage));
        Value::Object(body).to_string()
    }
}

fn whole_reason(whole: &Whole) -> Option<&str> {
    whole.body.pointer("/choices/0/finish_reason").and_then(Value::as_str)
}

/// The held chunks in their order, with the reason to finish mended, and what came after them.
fn stream_as_it_came(reader: &StreamReader, reason: &str, writer: &Writer) -> String {
    let mut out = String::new();
    for data in &reader.held {
        let mut chunk: Value = serde_json::from_str(data).unwrap_or_default();
        let came = chunk.pointer("/choices/0/finish_reason").and_then(Value::as_str);
        if came.is_none_or(|came| came == reason) {
            out.push_str(&sse::event(data));
        } else {
            chunk["choices"][0]["finish_reason"] = reason.into();
            out.push_str(&sse::event(&chunk.to_string()));
        }
    }
    if reader.finish.is_none() {
        out.push_str(&writer.chunk(json!({}), Some(reason)));
    }
    out.extend(reader.tail.iter().map(|data| sse::event(data)));
    out.push_str(&sse::event("[DONE]"));
    out
}
