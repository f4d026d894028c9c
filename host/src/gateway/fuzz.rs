//! Answers of upstreams in every dialect: whatever they are, a call that nobody allowed does not get to the agent.

use axum::http::HeaderMap;
use serde_json::json;

use super::dialect::{Answer, Dialect, Incoming, Intact};
use super::hosted::Expected;
use super::model::Message;
use super::{Repairs, sse};
use crate::fuzzing::Input;

/// One byte for the dialect, then the stream.
pub fn model(data: &[u8]) {
    let mut input = Input::new(data);
    let dialect = input.pick(&Dialect::ALL);
    let stream = input.rest();
    let mut answer = answer(dialect);
    let Some((mut out, message)) = read(&mut *answer, stream) else { return };
    out.push_str(&answer.finish(&message, &[], Intact::No));
    assert_none(dialect, &out);
    // Continued once: a text and no call.
    let mut answer = self::answer(dialect);
    let Some((mut out, message)) = read(&mut *answer, stream) else { return };
    out.push_str(&answer.set_aside(&message));
    out.push_str(&answer.stop("ended"));
    assert_none(dialect, &out);
}

fn answer(dialect: Dialect) -> Box<dyn Answer> {
    let body = json!({"messages": [], "input": [], "contents": [], "stream": true});
    let (headers, target, repairs) = (&HeaderMap::new(), "m:streamGenerateContent?alt=sse", Repairs::default());
    let question = dialect.parse(Incoming { body, headers, target, repairs }).expect("a request for a stream");
    question.answer(&repairs, &Expected::default())
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
    }
    Some((out, answer.end().ok()?))
}

fn assert_none(dialect: Dialect, out: &str) {
    if let Some((_, message)) = read(&mut *answer(dialect), out.as_bytes()) {
        assert!(message.calls.is_empty(), "a call that nobody allowed: {out}");
    }
}
