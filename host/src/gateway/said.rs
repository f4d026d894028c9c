//! A recorded answer as people read it: the model's text and its calls, whichever dialect it came in.

use axum::http::HeaderMap;
use serde_json::Value;

use super::Repairs;
use super::dialect::{Answer, Dialect, Incoming};
use super::hosted::Expected;
use super::memory::Screened;
use super::model::Message;
use super::replay::{MESSAGES, Recorded};
use super::sse;

/// What a model said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its words.
    pub text: String,
    /// Id, tool and arguments of its calls.
    pub calls: Vec<(String, String, String)>,
}

impl Recorded {
    /// What the model said; `None` where nothing is recorded that reads as an answer.
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        let message = self.message()?;
        let calls = message.calls.into_iter().map(|call| (call.id, call.name, call.arguments)).collect();
        Some(Said { text: message.text, calls })
    }

    fn message(&self) -> Option<Message> {
        let answer = self.answer.as_ref().filter(|answer| answer.failed.is_none())?;
        let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.name() == self.dialect)?;
        let mut body = self.frame.clone();
        let key = match dialect {
            Dialect::Chat | Dialect::Messages => MESSAGES[0],
            Dialect::Responses => MESSAGES[1],
            Dialect::Gemini => MESSAGES[2],
        };
        body.as_object_mut()?.insert(key.to_owned(), Value::Array(self.messages.clone()));
        let (headers, repairs) = (HeaderMap::new(), Repairs::default());
        let target = self.path.strip_prefix("/models/").unwrap_or_default();
        let question = dialect.parse(Incoming { body, headers: &headers, target, repairs }).ok()?;
        let mut reading = question.answer(&repairs, &Expected::all(question.hosted()));
        if !answer.stream {
            let message = reading.whole(answer.body.as_bytes()).ok()?;
            return if reading.unjudged().is_none() { Some(message) } else { passed_over(&mut *reading).end().ok() };
        }
        let mut parser = sse::Parser::default();
        let mut events = parser.push(answer.body.as_bytes()).ok()?;
        events.extend(parser.finish().ok()?);
        reading.begin();
        for event in events {
            if reading.is_done() {
                break;
            }
            reading.event(&event).ok()?;
            passed_over(&mut *reading);
        }
        reading.end().ok()
    }
}

/// Without what hosted tools answered: that is neither the model's words nor a call.
fn passed_over(reading: &mut dyn Answer) -> &mut dyn Answer {
    while reading.unjudged().is_some() {
        reading.judged(Screened::Withhold(String::new()));
    }
    reading
}
