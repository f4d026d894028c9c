//! What the model answers, part by part. Text goes on at once; from the first `functionCall` on, and with the reason to
//! finish, everything is held until the answer is complete. Calls come whole.

mod hosted;

use std::collections::VecDeque;

use hosted::Unjudged;
use serde_json::{Map, Value, json};

use super::hosted::{found, is_expected};
use super::{is_call, named, own_id, parts, said};
use crate::gateway::dialect::{Malformed, malformed};
use crate::gateway::hosted::Expected;
use crate::gateway::model::{Draft, Message, Tokens, resembles_call, unique_object};

/// More calls in one answer are an error.
const MAX_CALLS: usize = 128;

/// One answer of the upstream, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What the first chunk says of the whole answer.
    pub(super) head: Option<Map<String, Value>>,
    /// Parts, with texts in a row as one.
    parts: Vec<Value>,
    calls: Vec<Draft>,
    /// Chunks that are held.
    pub(super) held: Vec<Chunk>,
    pub(super) finish: Option<String>,
    /// Counters, as the last chunk has them.
    pub(super) usage: Value,
    holding: bool,
    /// Hosted tools that may show.
    expected: Expected,
    /// What came of them and has no verdict yet.
    unjudged: VecDeque<Unjudged>,
    /// The chunk that it came in.
    waiting: Option<Chunk>,
    /// Whether a verdict left something of that chunk out.
    altered: bool,
    /// Whether one left something of the answer out.
    pub(super) changed: bool,
}

/// One chunk.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// As it came; where a call had no name, as the agent gets it.
    pub(super) data: String,
    pub(super) value: Value,
}

impl Reading {
    /// Takes one chunk and gives it back where it goes on at once.
    pub(super) fn event(&mut self, data: &str) -> Result<Option<Chunk>, Malformed> {
        let Some(fields) = unique_object(data) else {
            return malformed("the upstream model sent an event that is no JSON object, or holds a key twice");
        };
        if let Some(error) = fields.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
            return malformed(format!("the upstream model broke off with an error: {message}"));
        }
        let mut value = Value::Object(fields);
        let named_anew = self.take(&mut value)?;
        let one_line = !data.contains(['\n', '\r']) && !named_anew;
        let chunk = Chunk { data: if one_line { data.to_owned() } else { value.to_string() }, value };
        if !self.unjudged.is_empty() {
            self.waiting = Some(chunk);
            return Ok(None);
        }
        Ok(self.pass(chunk))
    }

    /// The chunk, if it goes on at once.
    fn pass(&mut self, chunk: Chunk) -> Option<Chunk> {
        if self.holding {
            self.held.push(chunk);
            return None;
        }
        Some(chunk)
    }

    /// Takes in a chunk. True: a call in it got a name.
    fn take(&mut self, chunk: &mut Value) -> Result<bool, Malformed> {
        let head =
            chunk.as_object().into_iter().flatten().filter(|(key, _)| !matches!(key.as_str(), "candidates" | "usageMetadata"));
        let head: Map<String, Value> = head.map(|(key, value)| (key.clone(), value.clone())).collect();
        if resembles_call(&Value::Object(head.clone())) {
            return malformed("the upstream model sent an event that the gateway does not know");
        }
        if let Some(reason) = head.get("promptFeedback").and_then(|feedback| feedback.get("blockReason")?.as_str()) {
            self.finish = Some(reason.to_owned());
        }
        self.head.get_or_insert(head);
        if let Some(usage) = chunk.get("usageMetadata") {
            self.usage = usage.clone();
        }
        let candidate = match chunk.get_mut("candidates") {
            None | Some(Value::Null) => None,
            Some(Value::Array(candidates)) if candidates.len() <= 1 => candidates.first_mut(),
            Some(_) => return malformed("the upstream model sent more than one candidate"),
        };
        let Some(candidate) = candidate else { return Ok(false) };
        if candidate.get("index").and_then(Value::as_u64).unwrap_or(0) != 0 {
            return malformed("the upstream model sent a candidate that was not asked for");
        }
        if let Some(reason) = candidate.get("finishReason").and_then(Value::as_str) {
            self.finish = Some(reason.to_owned());
            self.holding = true;
        }
        self.beside(candidate)?;
        let Some(content) = candidate.get_mut("content").filter(|content| !content.is_null()) else { return Ok(false) };
        let mut named_anew = false;
        match content.get_mut("parts") {
            None | Some(Value::Null) => {}
            Some(Value::Array(parts)) => {
                for (at, part) in parts.iter_mut().enumerate() {
                    named_anew |= self.part(part, at)?;
                }
            }
            Some(_) => return malformed("the upstream model sent parts that are no list"),
        }
        Ok(named_anew)
    }

    /// Takes in a part, by its place in the chunk.
    fn part(&mut self, part: &mut Value, at: usize) -> Result<bool, Malformed> {
        const PLAIN: [&str; 5] = ["text", "thought", "thoughtSignature", "inlineData", "fileData"];
        const HOSTED: [&str; 5] = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse", "functionResponse"];
        let keys: Vec<&str> = part.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        if is_expected(part, &self.expected) {
            if found(part, &self.expected).is_some() {
                self.unjudged.push_back(Unjudged::Part(at, self.parts.len()));
            }
            self.parts.push(part.clone());
            return Ok(false);
        }
        if let Some(hosted) = keys.iter().find(|key| HOSTED.contains(key)) {
            return malformed(format!("the upstream model used a tool that nobody offered: {hosted}"));
        }
        if !is_call(part) {
            if !keys.iter().all(|key| PLAIN.contains(key)) && resembles_call(part) {
                return malformed("the upstream model sent a part that the gateway does not know");
            }
            self.keep(part.clone());
            return Ok(false);
        }
        self.holding = true;
        if self.calls.len() >= MAX_CALLS {
            return malformed(format!("the upstream model made more than {MAX_CALLS} calls"));
        }
        let call = &part["functionCall"];
        let known = call.as_object().is_some_and(|call| call.keys().all(|key| matches!(key.as_str(), "id" | "name" | "args")));
        if !known || part.get("text").is_some() {
            return malformed("the upstream model sent a call that is not whole");
        }
        let arguments = call.get("args").filter(|args| !args.is_null()).map(Value::to_string).unwrap_or_default();
        let (mut id, name) = named(part, "functionCall");
        let named_anew = id.is_empty();
        if named_anew {
            id = own_id();
            part["functionCall"]["id"] = id.clone().into();
        }
        if self.calls.iter().any(|other| other.id == id) {
            return malformed("the upstream model made a call without an id of its own");
        }
        let extra = part.as_object().cloned().unwrap_or_default();
        self.calls.push(Draft { id, name, arguments, extra });
        self.parts.push(part.clone());
        Ok(named_anew)
    }

    /// A part that is no call: texts of a kind in a row are one, as clients keep them.
    fn keep(&mut self, part: Value) {
        let is_plain = |part: &Value| {
            part.as_object().is_some_and(|p| p.contains_key("text") && p.keys().all(|k| k == "text" || k == "thought"))
        };
        if let Some(last) =
            self.parts.last_mut().filter(|last| is_plain(last) && is_plain(&part) && last.get("thought") == part.get("thought"))
        {
            let text = format!("{}{}", last["text"].as_str().unwrap_or_default(), part["text"].as_str().unwrap_or_default());
            last["text"] = text.into();
        } else if part.get("text").and_then(Value::as_str) != Some("") || part.get("thoughtSignature").is_some() {
            self.parts.push(part);
        }
    }

    /// The message, if it is complete.
    pub(super) fn message(&self) -> Result<Message, Malformed> {
        if self.finish.is_none() {
            return malformed("the upstream model broke off within its answer");
        }
        if !self.unjudged.is_empty() {
            return malformed("what came of a hosted tool has no verdict yet");
        }
        let count = |key: &str| self.usage.get(key).and_then(Value::as_u64);
        let output = count("candidatesTokenCount").unwrap_or(0) + count("thoughtsTokenCount").unwrap_or(0);
        let tokens = count("promptTokenCount").map(|input| Tokens { input, output });
        let text = self.parts.iter().map(said).collect();
        Ok(Message { text, calls: self.calls.clone(), wire: Value::Array(self.parts.clone()), tokens })
    }

    /// All parts but calls, for an answer that is one document.
    pub(super) fn parts(&self) -> &[Value] {
        &self.parts
    }
}

/// A chunk with these parts.
pub(super) fn chunk(head: &Map<String, Value>, parts: Vec<Value>) -> Value {
    let mut chunk = head.clone();
    chunk.insert("candidates".into(), json!([{"content": {"role": "model", "parts": parts}, "index": 0}]));
    Value::Object(chunk)
}

/// The parts of a chunk.
pub(super) fn parts_of(chunk: &Value) -> &[Value] {
    chunk.pointer("/candidates/0/content").map(parts).unwrap_or_default()
}
