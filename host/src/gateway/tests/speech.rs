//! The dialects as an agent's client and an upstream speak them, in one form: what must hold in each is tested once.

mod chat;
mod gemini;
mod messages;
mod responses;

use axum::http::HeaderMap;
use serde_json::Value;

use crate::gateway::dialect::{Answer, Incoming};
use crate::gateway::hosted::Expected;
use crate::gateway::{Dialect, Repairs};

/// Ids and commands of calls, or ids and texts of results.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// One dialect.
#[derive(Clone, Copy)]
pub(super) struct Speech {
    pub(super) dialect: Dialect,
    /// Where a request has its messages.
    pub(super) list: &'static str,
    /// Where an agent asks for a stream, and for a whole answer.
    pub(super) path: &'static str,
    pub(super) whole_path: &'static str,
    /// A request with a user's message and more after it.
    pub(super) asking: fn(bool, &[Value]) -> Value,
    /// An upstream's stream: signed reasoning, a text and calls with their commands, in small pieces.
    pub(super) streamed: fn(&str, Pairs<'_>) -> String,
    /// The same as one document.
    pub(super) whole: fn(&str, Pairs<'_>) -> Value,
    /// What a client makes of a stream.
    pub(super) heard: fn(&str) -> Got,
    /// What it makes of a document.
    pub(super) heard_whole: fn(&Value) -> Got,
    /// An answer in the making, to a request for a stream.
    pub(super) answer: fn(&Repairs) -> Box<dyn Answer>,
    /// An answer and the results of its calls, as the agent sends them back.
    pub(super) history: fn(&Got, Pairs<'_>) -> Vec<Value>,
    /// What the user says.
    pub(super) said: fn(&str) -> Value,
    /// The rule of a strict upstream that a request breaks.
    pub(super) broken_rule: fn(&Value) -> Option<String>,
    /// Words of the event that ends an answer.
    pub(super) last: &'static str,
    /// Events that are no event of this dialect, or must not be passed on, after a text.
    pub(super) bad_events: fn() -> Vec<Value>,
    /// One event that nobody knows and that can be no call.
    pub(super) unknown_event: fn() -> Value,
    /// A tool that runs at the provider.
    pub(super) hosted_tool: fn() -> Value,
}

/// What a client got.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Got {
    pub(super) text: String,
    /// Id and command.
    pub(super) calls: Vec<(String, String)>,
    /// Everything of the message, in order.
    pub(super) units: Vec<Value>,
    /// Tokens, read and written.
    pub(super) usage: (u64, u64),
    pub(super) error: Option<String>,
    pub(super) done: bool,
}

/// All that have units.
pub(super) fn all() -> [Speech; 3] {
    [messages::speech(), responses::speech(), gemini::speech()]
}

/// Each of the dialects. Chat Completions have no units.
pub(super) fn four() -> [Speech; 4] {
    [chat::speech(), messages::speech(), responses::speech(), gemini::speech()]
}

/// An answer in the making to this request.
pub(super) fn answering(dialect: Dialect, body: Value, target: &str, repairs: &Repairs) -> Box<dyn Answer> {
    let incoming = Incoming { body, headers: &HeaderMap::new(), target, repairs: *repairs };
    dialect.parse(incoming).expect("a request").answer(repairs, &Expected::default())
}

/// The events of a stream: name and data.
pub(super) fn events(body: &str) -> Vec<(Option<String>, Value)> {
    let event = |event: &str| {
        let name = event.lines().find_map(|line| line.strip_prefix("event: ")).map(str::to_owned);
        let data = event.lines().find_map(|line| line.strip_prefix("data: "))?;
        Some((name, serde_json::from_str(data).expect("an event is JSON")))
    };
    body.split("\n\n").filter_map(event).collect()
}

/// What a provider signs a message with: whoever changes it is found out.
pub(super) fn signature(text: &str, calls: Pairs<'_>) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (text, calls).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A text in pieces of whole characters.
pub(super) fn pieces(text: &str, size: usize) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(size).map(|piece| piece.iter().collect()).collect()
}
