//! Answers of upstreams in every dialect: whatever they are, a call that nobody allowed does not get to the agent.

use axum::http::HeaderMap;
use serde_json::json;

use super::dialect::{Answer, Dialect, Incoming, Intact};
use super::hosted::Expected;
use super::memory::Screened;
use super::model::Message;
use super::{Repairs, sse};
use crate::fuzzing::Input;
use crate::policy::Cleared;

/// Whether the hosted tools that a request declares are offered.
#[derive(Debug, Clone, Copy)]
enum Hosted {
    Stripped,
    Offered,
}

/// One byte for the dialect, then the stream.
pub fn model(data: &[u8]) {
    let mut input = Input::new(data);
    let dialect = input.pick(&Dialect::ALL);
    let stream = input.rest();
    for hosted in [Hosted::Stripped, Hosted::Offered] {
        let mut answer = answer(dialect, hosted);
        let Some((mut out, message)) = read(&mut *answer, stream) else { continue };
        out.push_str(&answer.finish(&message, &[], Intact::No));
        assert_none(dialect, hosted, &out);
        // Continued once: a text and no call.
        let mut answer = self::answer(dialect, hosted);
        let Some((mut out, message)) = read(&mut *answer, stream) else { continue };
        out.push_str(&answer.set_aside(&message));
        out.push_str(&answer.stop("ended"));
        assert_none(dialect, hosted, &out);
    }
}

fn answer(dialect: Dialect, hosted: Hosted) -> Box<dyn Answer> {
    // Each dialect takes those that it knows.
    let tools = json!([{"type": "web_search_20250305", "name": "web_search"}, {"type": "code_execution_20250825", "name": "code_execution"},
        {"type": "web_search"}, {"type": "code_interpreter"}, {"googleSearch": {}}, {"codeExecution": {}}]);
    let body = json!({"messages": [], "input": [], "contents": [], "stream": true, "tools": tools});
    let (headers, target, repairs) = (&HeaderMap::new(), "m:streamGenerateContent?alt=sse", Repairs::default());
    let question = dialect.parse(Incoming { body, headers, target, repairs }).expect("a request for a stream");
    let expected = match hosted {
        Hosted::Stripped => Expected::default(),
        Hosted::Offered => Expected::all(question.hosted()),
    };
    question.answer(&repairs, &expected)
}

/// What goes on at once, and the message, if the stream is one.
fn read(answer: &mut dyn Answer, stream: &[u8]) -> Option<(String, Message)> {
    let (mut parser, mut out) = (sse::Parser::default(), String::new());
    answer.begin();
    let mut events = parser.push(stream).ok()?;
    events.extend(parser.finish().ok()?);
    for event in events {
        if answer.is_done() {
            break;
        }
        out.push_str(&answer.event(&event).ok()?);
        while let Some(found) = answer.unjudged() {
            let verdict = match found.text {
                Some(text) => Screened::Deliver(Cleared::for_test(text.replace('a', "*"))),
                None => Screened::Withhold(String::new()),
            };
            out.push_str(&answer.judged(verdict));
        }
    }
    Some((out, answer.end().ok()?))
}

fn assert_none(dialect: Dialect, hosted: Hosted, out: &str) {
    if let Some((_, message)) = read(&mut *answer(dialect, hosted), out.as_bytes()) {
        assert!(message.calls.is_empty(), "a call that nobody allowed: {out}");
    }
}
