//! The seam between the gateway and the APIs that agents speak. `Dialect` says which; a `Question` is one request of an
//! agent, an `Answer` what it gets. Everything that is known of a wire form lies behind these, one folder per dialect;
//! what is decided, held and remembered knows none of them.

use axum::http::HeaderMap;
use serde_json::Value;

use super::failure::Failure;
use super::hosted::{Answered, Declaration, Expected, Offered};
use super::memory::{Round, Screened};
use super::model::{Draft, Message};
use super::outbound::{Outbound, Passage};
use super::session::Session;
use super::{Repairs, chat, gemini, messages, responses, sse};
use crate::gates::{Pending, ToolGates};

/// A model API, as agents and upstreams speak it. The gateway translates between none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI Chat Completions, and all that is compatible with it.
    #[default]
    Chat,
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// Gemini generateContent.
    Gemini,
}

/// How a credential is presented to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer`.
    #[default]
    Bearer,
    /// `x-api-key`.
    XApiKey,
    /// `x-goog-api-key`.
    XGoogApiKey,
}

/// What came with an agent's request.
pub(in crate::gateway) struct Incoming<'a> {
    /// Its JSON body.
    pub(in crate::gateway) body: Value,
    /// Its headers, of which few matter.
    pub(in crate::gateway) headers: &'a HeaderMap,
    /// What its path says beyond the route, such as a model and a method.
    pub(in crate::gateway) target: &'a str,
    /// What is to be mended.
    pub(in crate::gateway) repairs: Repairs,
}

impl Auth {
    /// All of them.
    pub const ALL: [Auth; 3] = [Auth::Bearer, Auth::XApiKey, Auth::XGoogApiKey];

    /// As `coda.toml` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Auth::Bearer => "bearer",
            Auth::XApiKey => "x-api-key",
            Auth::XGoogApiKey => "x-goog-api-key",
        }
    }
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 4] = [Dialect::Chat, Dialect::Messages, Dialect::Responses, Dialect::Gemini];

    /// As `coda.toml` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Chat => "chat",
            Dialect::Messages => "messages",
            Dialect::Responses => "responses",
            Dialect::Gemini => "gemini",
        }
    }

    /// Whether an answer in one form, whole or a stream, can be given in the other.
    pub(in crate::gateway) fn bridges(self) -> bool {
        self == Dialect::Chat
    }

    /// How its upstreams take a credential, unless something else is said.
    #[must_use]
    pub fn auth(self) -> Auth {
        match self {
            Dialect::Chat | Dialect::Responses => Auth::Bearer,
            Dialect::Messages => Auth::XApiKey,
            Dialect::Gemini => Auth::XGoogApiKey,
        }
    }

    /// Reads and mends a request. `Err` is for the agent.
    pub(in crate::gateway) fn parse(self, incoming: Incoming<'_>) -> Result<Box<dyn Question>, String> {
        Ok(match self {
            Dialect::Chat => Box::new(chat::Request::parse(incoming.body, &incoming.repairs)?),
            Dialect::Messages => Box::new(messages::Request::parse(incoming)?),
            Dialect::Responses => Box::new(responses::Request::parse(incoming)?),
            Dialect::Gemini => Box::new(gemini::Request::parse(incoming)?),
        })
    }

    /// The body of an error, in the shape that clients of this API read.
    pub(in crate::gateway) fn error(self, failure: &Failure) -> Value {
        match self {
            Dialect::Chat | Dialect::Responses => failure.openai(),
            Dialect::Messages => messages::error(failure),
            Dialect::Gemini => gemini::error(failure),
        }
    }

    /// The same as the last event of a stream that has begun.
    pub(in crate::gateway) fn error_event(self, failure: &Failure) -> String {
        match self {
            Dialect::Chat | Dialect::Gemini => sse::event(&self.error(failure).to_string()),
            Dialect::Messages => messages::error_event(failure),
            Dialect::Responses => responses::error_event(failure),
        }
    }

    /// What says on a quiet stream that it is alive: what the agents of the dialect bear longest. Codex waits for
    /// events, which comments are not; Gemini CLI reads none that follow a comment, and Google's Python client takes one for
    /// an error of the server.
    pub(in crate::gateway) fn keepalive(self) -> &'static str {
        match self {
            Dialect::Chat => sse::COMMENT,
            Dialect::Messages => messages::PING,
            Dialect::Responses => responses::PING,
            Dialect::Gemini => sse::BLANK,
        }
    }
}

/// The upstream did not keep to its protocol; the text is for the agent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Malformed(pub(in crate::gateway) String);

/// For a return out of a reader.
pub(in crate::gateway) fn malformed<T>(what: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(what.into()))
}

/// Whether the calls to be released are all of the message's, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Intact {
    /// They are.
    Yes,
    /// Some were refused, or changed by a verdict.
    No,
}

/// By what the parts of a request get their clearance.
#[derive(Clone, Copy)]
pub(in crate::gateway) struct Clearing<'a> {
    /// The task, with what is remembered of it.
    pub(in crate::gateway) session: &'a Session,
    /// Who judges.
    pub(in crate::gateway) gates: &'a dyn ToolGates,
    /// The hosted tools of this request.
    pub(in crate::gateway) offered: &'a Offered,
}

/// A request of an agent for a model's turn.
pub(in crate::gateway) trait Question: Send + Sync {
    /// Whether the answer is to be a stream.
    fn stream(&self) -> bool;

    /// Path below the upstream's base address, where the upstream has this name for the model.
    fn path(&self, model: Option<&str>) -> String;

    /// The agent's headers that go on to the upstream.
    fn headers(&self) -> &[(&'static str, String)] {
        &[]
    }

    /// The hosted tools that the agent declares, of those that can be offered at all.
    fn hosted(&self) -> &[Declaration] {
        &[]
    }

    /// The request as it may leave: results screened, refused calls put back, the envelope in its place, of hosted tools
    /// those that are offered. Takes as long as the verdicts on new results take.
    fn compose<'a>(&'a self, by: Clearing<'a>) -> Pending<'a, Outbound>;

    /// A message all of whose calls were refused, as the agent has it, and the refusals.
    fn round<'a>(&'a self, round: &'a Round, by: Clearing<'a>) -> Pending<'a, Vec<Passage>>;

    /// An answer to be made, in which these hosted tools may show.
    fn answer(&self, repairs: &Repairs, expected: &Expected) -> Box<dyn Answer>;
}

/// One answer in the making, though it may take several of the upstream's. It reads what the upstream says and writes what
/// the agent gets: text at once, calls when they are released, everything as it came where no verdict changed it.
pub(in crate::gateway) trait Answer: Send {
    /// The upstream's next answer begins, as a stream of events.
    fn begin(&mut self);

    /// One event of the stream; gives what goes on at once.
    fn event(&mut self, data: &str) -> Result<String, Malformed>;

    /// Whether the stream has said its last word.
    fn is_done(&self) -> bool;

    /// Whether the message is complete, though usage may follow.
    fn is_finished(&self) -> bool;

    /// The stream has ended: its message, if it is complete.
    fn end(&mut self) -> Result<Message, Malformed>;

    /// The upstream's answer is one document. Where something in it is unjudged, `end` gives its message afterwards.
    fn whole(&mut self, body: &[u8]) -> Result<Message, Malformed>;

    /// What a hosted tool answered and nobody has judged, if there is anything: nothing of it has gone on. Asked after every
    /// event, until there is none.
    fn unjudged(&self) -> Option<Answered> {
        None
    }

    /// Puts the verdict on it into effect; gives what goes on now.
    fn judged(&mut self, verdict: Screened) -> String {
        let _ = verdict;
        String::new()
    }

    /// The message's calls were all refused: its text is the agent's, its calls are not.
    fn set_aside(&mut self, message: &Message) -> String;

    /// The end of the answer: a message with the calls that may run.
    fn finish(&mut self, message: &Message, released: &[Draft], intact: Intact) -> String;

    /// Ends an answer with words of coda's own.
    fn stop(&mut self, words: &str) -> String;

    /// All text of the answer so far.
    fn text(&self) -> &str;
}
