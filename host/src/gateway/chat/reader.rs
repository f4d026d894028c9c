//! What the model answers. Text goes on at once; from the first piece of a tool call on, everything that belongs to
//! calls is held until the answer is complete. What the reader does not understand is an error, not something to pass
//! on: another reader might take it for a call.

use serde_json::{Map, Value};

use crate::env;
use crate::gateway::Repairs;
use crate::gateway::dialect::{Malformed, malformed};
use crate::gateway::model::{Draft, Message, Tokens, resembles_call, unique_object};

/// More calls in one message are an error.
const MAX_CALLS: usize = 128;

/// What the first chunk says of the whole answer; a continuation carries it on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::gateway) struct Head(pub(super) Map<String, Value>);

/// Reads a streamed answer.
#[derive(Debug, Default)]
pub(in crate::gateway) struct StreamReader {
    pub(super) head: Option<Head>,
    text: String,
    extra: Map<String, Value>,
    calls: Vec<Building>,
    /// Chunks that hold pieces of calls or the end, as they came.
    pub(super) held: Vec<String>,
    /// Text within the held chunks.
    pub(super) held_text: String,
    /// Chunks without a choice, such as the usage.
    pub(super) tail: Vec<String>,
    pub(super) finish: Option<String>,
    tokens: Option<Tokens>,
    done: bool,
    /// Whether the calls differ from what the held chunks say.
    pub(in crate::gateway) rewritten: bool,
}

/// A chunk that goes on at once.
#[derive(Debug, PartialEq)]
pub(in crate::gateway) struct Chunk {
    /// As it came.
    pub(super) data: String,
    pub(super) value: Value,
}

/// A call that is arriving.
#[derive(Debug)]
struct Building {
    index: u64,
    draft: Draft,
}

impl StreamReader {
    /// Takes one event and gives the chunk that goes on at once, if it is one.
    pub(in crate::gateway) fn event(&mut self, data: &str) -> Result<Option<Chunk>, Malformed> {
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(None);
        }
        let Some(chunk) = unique_object(data) else {
            return malformed("the upstream model sent an event that is no JSON object, or holds a key twice");
        };
        if let Some(error) = chunk.get("error").filter(|e| !e.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
            return malformed(format!("the upstream model broke off with an error: {message}"));
        }
        if self.head.is_none() {
            let keep = ["id", "object", "created", "model", "system_fingerprint"];
            let head = keep.iter().filter_map(|key| Some(((*key).to_owned(), chunk.get(*key)?.clone())));
            self.head = Some(Head(head.collect()));
        }
        self.tokens = tokens(chunk.get("usage")).or(self.tokens);
        let choices = match chunk.get("choices") {
            Some(Value::Array(choices)) => choices.as_slice(),
            None | Some(Value::Null) => &[],
            Some(_) => return malformed("the upstream model sent choices that are no list"),
        };
        match choices {
            [] => {
                self.tail.push(one_line(data));
                Ok(None)
            }
            [choice] => {
                let held = self.choice(choice)?;
                if held {
                    self.held.push(one_line(data));
                    return Ok(None);
                }
                Ok(Some(Chunk { data: one_line(data), value: Value::Object(chunk) }))
            }
            _ => malformed("the upstream model sent more than one choice"),
        }
    }

    /// Whether the stream has said its last word.
    pub(in crate::gateway) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the message is complete, though usage may follow.
    pub(in crate::gateway) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Takes in one choice. True: the chunk is held.
    fn choice(&mut self, choice: &Value) -> Result<bool, Malformed> {
        if choice.get("index").is_some_and(|index| !index.is_null() && index.as_u64() != Some(0)) {
            return malformed("the upstream model sent a choice that was not asked for");
        }
        if choice.get("message").is_some_and(|m| !m.is_null()) {
            return malformed("the upstream model sent a whole message within a stream");
        }
        let none = Value::Null;
        let delta = choice.get("delta").unwrap_or(&none);
        if delta.get("function_call").is_some_and(|c| !c.is_null()) {
            return malformed("the upstream model sent a call in the older form, which the gateway does not serve");
        }
        let text = text_of(delta.get("content"))?;
        self.text.push_str(&text);
        self.keep_unknown(delta)?;
        let pieces = match delta.get("tool_calls") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(pieces)) => pieces.as_slice(),
            Some(_) => return malformed("the upstream model sent tool calls that are no list"),
        };
        if !pieces.is_empty() && self.finish.is_some() {
            return malformed("the upstream model went on with a call after its end");
        }
        for piece in pieces {
            self.piece(piece)?;
        }
        match choice.get("finish_reason") {
            None | Some(Value::Null) => {}
            Some(Value::String(reason)) => self.finish = Some(reason.clone()),
            Some(_) => return malformed("the upstream model sent a finish_reason that is no text"),
        }
        let held = !pieces.is_empty() || self.finish.is_some();
        if held {
            self.held_text.push_str(&text);
        }
        Ok(held)
    }

    /// Reasoning and the like: a message that goes back to the upstream must have them as they came.
    fn keep_unknown(&mut self, delta: &Value) -> Result<(), Malformed> {
        let known = ["role", "content", "tool_calls", "function_call", "refusal", "annotations", "audio"];
        let fields =
            delta.as_object().into_iter().flatten().filter(|(key, value)| !known.contains(&key.as_str()) && !value.is_null());
        for (key, value) in fields {
            if resembles_call(value) || may_be_call(key) {
                return malformed(format!("the upstream model sent what may be a call, as '{}'", short(key)));
            }
            match (self.extra.get_mut(key), value) {
                (Some(Value::String(kept)), Value::String(more)) => kept.push_str(more),
                (Some(Value::Array(kept)), Value::Array(more)) => kept.extend_from_slice(more),
                _ => {
                    self.extra.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Value) -> Result<(), Malformed> {
        // Another type, or its fields beside those of a function, would be another call to some readers.
        let is_function = piece.get("type").is_none_or(|kind| kind.is_null() || kind == "function" || kind == "");
        let fields = piece.as_object().into_iter().flatten();
        let known = |key: &str| matches!(key, "index" | "id" | "type" | "function");
        let mut unknown = fields.filter(|(key, value)| !known(key) && !value.is_null());
        if !is_function || unknown.any(|(key, value)| may_be_call(key) || resembles_call(value)) {
            return malformed("the upstream model sent a call of a kind that the gateway does not serve");
        }
        let id = piece.get("id").and_then(Value::as_str).unwrap_or_default();
        let index = match piece.get("index").and_then(Value::as_u64) {
            Some(index) => index,
            // Some upstreams send no index: a new id begins a new call.
            None => {
                self.rewritten = true;
                let last = self.calls.last().map(|c| c.index);
                match (last, self.calls.last().is_some_and(|c| id.is_empty() || c.draft.id == id)) {
                    (Some(last), true) => last,
                    (Some(last), false) => last + 1,
                    (None, _) => 0,
                }
            }
        };
        let at = match self.calls.iter().position(|c| c.index == index) {
            Some(at) => at,
            None if self.calls.len() >= MAX_CALLS => {
                return malformed(format!("the upstream model made more than {MAX_CALLS} calls"));
            }
            None => {
                let draft = Draft { id: String::new(), name: String::new(), arguments: String::new(), extra: Map::new() };
                self.calls.push(Building { index, draft });
                self.calls.len() - 1
            }
        };
        // One call after the other, counted from 0, each begun with its id and name: the one order in which every reader
        // puts the same calls together. In any other the calls are written anew.
        self.rewritten |= at + 1 != self.calls.len() || index != at as u64;
        let draft = &mut self.calls[at].draft;
        let function = piece.get("function");
        self.rewritten |= add(&mut draft.id, Some(id)) == Added::Again;
        let name = function.and_then(|f| f.get("name")).and_then(Value::as_str);
        self.rewritten |= add(&mut draft.name, name) == Added::Again;
        self.rewritten |= draft.id.is_empty() || draft.name.is_empty();
        match function.and_then(|f| f.get("arguments")) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => draft.arguments.push_str(text),
            Some(other) => {
                draft.arguments.push_str(&other.to_string());
                self.rewritten = true;
            }
        }
        if let Value::Object(fields) = piece {
            let unknown = fields.iter().filter(|(key, _)| !matches!(key.as_str(), "index" | "id" | "type" | "function"));
            draft.extra.extend(unknown.map(|(key, value)| (key.clone(), value.clone())));
        }
        Ok(())
    }

    /// The message, if it is complete.
    pub(in crate::gateway) fn message(&mut self, repairs: &Repairs) -> Result<Message, Malformed> {
        if self.finish.is_none() && !self.done {
            return malformed("the upstream model broke off within its answer");
        }
        self.calls.sort_by_key(|call| call.index);
        let mut calls: Vec<Draft> = std::mem::take(&mut self.calls).into_iter().map(|call| call.draft).collect();
        self.rewritten |= settle(&mut calls, repairs);
        let (text, extra) = (std::mem::take(&mut self.text), std::mem::take(&mut self.extra));
        Ok(Message { wire: super::history::wire(&text, &calls, extra), text, calls, tokens: self.tokens })
    }
}

/// Whether a field that comes once came again.
#[derive(PartialEq, Eq)]
enum Added {
    Once,
    Again,
}

/// Fills a field that usually comes once. Readers differ in what they make of a second piece, so the call is written
/// anew with exactly what is judged.
fn add(field: &mut String, piece: Option<&str>) -> Added {
    match piece.unwrap_or_default() {
        "" => Added::Once,
        piece if field.is_empty() => {
            piece.clone_into(field);
            Added::Once
        }
        piece if piece == field => Added::Again,
        piece => {
            field.push_str(piece);
            Added::Again
        }
    }
}

/// A whole answer, not streamed.
#[derive(Debug)]
pub(in crate::gateway) struct Whole {
    /// The body as it came.
    pub(super) raw: String,
    pub(super) body: Value,
    /// Whether the calls differ from what the body says.
    pub(in crate::gateway) rewritten: bool,
}

impl Whole {
    /// Reads a body.
    pub(in crate::gateway) fn read(bytes: &[u8], repairs: &Repairs) -> Result<(Self, Message), Malformed> {
        let raw = String::from_utf8_lossy(bytes).into_owned();
        let Some(body) = unique_object(&raw).map(Value::Object) else {
            return malformed("the upstream model's answer is no JSON object, or holds a key twice");
        };
        let Some([choice]) = body.get("choices").and_then(Value::as_array).map(Vec::as_slice) else {
            return malformed("the upstream model's answer has not exactly one choice");
        };
        let message = choice.get("message").unwrap_or(&Value::Null);
        if message.get("function_call").is_some_and(|c| !c.is_null()) || choice.get("delta").is_some() {
            return malformed("the upstream model's answer has a form that the gateway does not serve");
        }
        let text = text_of(message.get("content"))?;
        let mut reader = StreamReader::default();
        reader.keep_unknown(message)?;
        match message.get("tool_calls") {
            None | Some(Value::Null) => {}
            Some(Value::Array(calls)) => {
                for (index, call) in calls.iter().enumerate() {
                    let mut call = call.clone();
                    if let Some(call) = call.as_object_mut() {
                        call.insert("index".into(), index.into());
                    }
                    reader.piece(&call)?;
                }
            }
            Some(_) => return malformed("the upstream model sent tool calls that are no list"),
        }
        let mut calls: Vec<Draft> = reader.calls.into_iter().map(|call| call.draft).collect();
        let rewritten = settle(&mut calls, repairs) || reader.rewritten;
        let tokens = tokens(body.get("usage"));
        let wire = super::history::wire(&text, &calls, reader.extra);
        Ok((Self { raw, body, rewritten }, Message { text, calls, wire, tokens }))
    }
}

/// Mends complete calls. True: something was changed.
fn settle(calls: &mut [Draft], repairs: &Repairs) -> bool {
    let mut changed = false;
    let mut seen = std::collections::HashSet::new();
    for call in calls {
        if repairs.unwrap_databricks_calls && call.name == "databricks-tool-call" {
            changed |= unwrap_databricks(call);
        }
        if call.id.is_empty() || !seen.insert(call.id.clone()) {
            call.id = format!("call_{}", env::hex(&env::random_bytes::<12>()));
            seen.insert(call.id.clone());
            changed = true;
        }
    }
    changed
}

/// Some served models wrap every call: the real name is among the arguments.
fn unwrap_databricks(call: &mut Draft) -> bool {
    let Ok(Value::Object(mut arguments)) = crate::gateway::model::parse_arguments(&call.arguments) else { return false };
    let Some(Value::String(name)) = arguments.remove("name") else { return false };
    call.name = name;
    call.arguments = Value::Object(arguments).to_string();
    true
}

/// Text, also where it comes as a list of parts.
fn text_of(content: Option<&Value>) -> Result<String, Malformed> {
    match content {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(parts) if resembles_call(parts) => malformed("the upstream model sent what may be a call among its text"),
        Some(Value::Array(parts)) => Ok(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()),
        _ => Ok(String::new()),
    }
}

/// Names of fields that hold a call in some form of the dialect.
fn may_be_call(key: &str) -> bool {
    ["call", "tool", "custom"].iter().any(|word| key.contains(word))
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn tokens(usage: Option<&Value>) -> Option<Tokens> {
    let count = |key| usage?.get(key)?.as_u64();
    let input = count("prompt_tokens");
    let output = count("completion_tokens");
    (input.is_some() || output.is_some()).then(|| Tokens { input: input.unwrap_or(0), output: output.unwrap_or(0) })
}

/// Data as one line: JSON may hold line breaks between its tokens.
fn one_line(data: &str) -> String {
    match data.contains(['\n', '\r']) {
        false => data.to_owned(),
        true => serde_json::from_str::<Value>(data).map(|v| v.to_string()).unwrap_or_default(),
    }
}
