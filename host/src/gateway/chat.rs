//! The dialect OpenAI Chat Completions, streaming and not. All that the gateway knows of its wire form is here:
//!
//! - `request`: what the agent asks, mended and without hosted tools;
//! - `history`: the agent's messages as the upstream may read them: results screened, refused calls put back;
//! - `reader`: what the model answers: text that goes on at once, calls that are held until they are complete;
//! - `writer`: what the agent gets: as it came where nothing was changed, else rendered anew.

mod history;
mod reader;
mod repair;
mod request;
mod writer;

#[cfg(test)]
pub(in crate::gateway) use reader::StreamReader;
pub(in crate::gateway) use request::Request;
#[cfg(test)]
pub(in crate::gateway) use writer::{Source, Writer};

use serde_json::{Value, json};

use super::Repairs;
use super::dialect::{self, Clearing, Intact, Malformed, malformed};
use super::hosted::{Declaration, Expected};
use super::memory::Round;
use super::model::{Draft, Message};
use super::outbound::{Outbound, Passage};
use crate::gates::Pending;

impl dialect::Question for Request {
    fn stream(&self) -> bool {
        self.stream
    }

    fn path(&self, _: Option<&str>) -> String {
        "/chat/completions".into()
    }

    fn hosted(&self) -> &[Declaration] {
        &self.hosted
    }

    fn compose<'a>(&'a self, by: Clearing<'a>) -> Pending<'a, Outbound> {
        Box::pin(history::compose(self, by))
    }

    fn round<'a>(&'a self, round: &'a Round, _: Clearing<'a>) -> Pending<'a, Vec<Passage>> {
        Box::pin(std::future::ready(history::round(round)))
    }

    fn answer(&self, repairs: &Repairs, _: &Expected) -> Box<dyn dialect::Answer> {
        let writer = writer::Writer::new(self.stream, repairs.fix_finish_reason);
        let source = writer::Source::Stream(reader::StreamReader::default());
        Box::new(Answer { source, writer, repairs: *repairs })
    }
}

/// Reader and writer of one answer.
struct Answer {
    source: writer::Source,
    writer: writer::Writer,
    repairs: Repairs,
}

impl Answer {
    fn reader(&self) -> Option<&reader::StreamReader> {
        match &self.source {
            writer::Source::Stream(reader) => Some(reader),
            writer::Source::Whole(_) => None,
        }
    }
}

impl dialect::Answer for Answer {
    fn begin(&mut self) {
        self.source = writer::Source::Stream(reader::StreamReader::default());
    }

    fn event(&mut self, data: &str) -> Result<String, Malformed> {
        let writer::Source::Stream(reader) = &mut self.source else { return malformed("an event after a whole answer") };
        Ok(match reader.event(data)? {
            Some(chunk) => self.writer.through(chunk, reader),
            None => String::new(),
        })
    }

    fn is_done(&self) -> bool {
        self.reader().is_none_or(reader::StreamReader::is_done)
    }

    fn is_finished(&self) -> bool {
        self.reader().is_none_or(reader::StreamReader::is_finished)
    }

    fn end(&mut self) -> Result<Message, Malformed> {
        match &mut self.source {
            writer::Source::Stream(reader) => reader.message(&self.repairs),
            writer::Source::Whole(_) => malformed("the end of a stream after a whole answer"),
        }
    }

    fn whole(&mut self, body: &[u8]) -> Result<Message, Malformed> {
        let (whole, message) = reader::Whole::read(body, &self.repairs)?;
        self.source = writer::Source::Whole(whole);
        Ok(message)
    }

    fn set_aside(&mut self, message: &Message) -> String {
        self.writer.set_aside(&self.source, message)
    }

    fn finish(&mut self, message: &Message, released: &[Draft], intact: Intact) -> String {
        self.writer.finish(&self.source, message, released, intact)
    }

    fn stop(&mut self, words: &str) -> String {
        self.writer.stop(words)
    }

    fn text(&self) -> &str {
        self.writer.text()
    }
}

/// A call as the wire has it.
fn call_value(draft: &Draft) -> Value {
    let mut call = draft.extra.clone();
    call.insert("id".into(), draft.id.clone().into());
    call.insert("type".into(), "function".into());
    call.insert("function".into(), json!({"name": draft.name, "arguments": draft.arguments}));
    Value::Object(call)
}

/// A reason to finish, where there are calls: several upstreams say `stop`.
fn finish_reason(came: Option<&str>, has_calls: bool, fix: bool) -> &str {
    match came {
        Some("stop" | "function_call") | None if has_calls && fix => "tool_calls",
        Some(reason) => reason,
        None => "stop",
    }
}
