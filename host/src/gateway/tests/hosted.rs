//! Hosted tools: stripped, unless the operator lists them for the agent and the gates allow their declaration; then what
//! they leave in answers and histories is judged like any tool's result.

mod chat;
mod gemini;
mod messages;
mod responses;

use serde_json::Value;

use super::speech::Speech;
use super::stand::Stand;
use crate::gateway::dialect::{Answer, Dialect, Incoming, Intact};
use crate::gateway::hosted::Expected;
use crate::gateway::memory::Screened;
use crate::gateway::{HostedTools, Repairs, Settings, sse};
use crate::policy::Cleared;

/// A stand whose agent may ask for these.
async fn listing(dialect: Dialect, entries: &[&str]) -> Stand {
    let stand = Stand::speaking(dialect, Settings::default()).await;
    let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    stand.access.as_ref().expect("open").let_ask_for(HostedTools::parse(&entries).expect("known names"));
    stand
}

/// A request with these hosted tools beside the agent's own.
fn asking(speech: Speech, stream: bool, tools: &[Value], more: &[Value]) -> Value {
    let mut body = (speech.asking)(stream, more);
    body["tools"].as_array_mut().expect("tools").extend_from_slice(tools);
    body
}

/// An answer in the making to this request, all of whose hosted tools are offered.
fn answering(dialect: Dialect, body: Value, target: &str) -> Box<dyn Answer> {
    let (headers, repairs) = (axum::http::HeaderMap::new(), Repairs::default());
    let question = dialect.parse(Incoming { body, headers: &headers, target, repairs }).expect("a request");
    question.answer(&repairs, &Expected::all(question.hosted()))
}

/// What an agent gets of a stream in pieces, all of which passes; and how much came before anything was judged.
fn through(answer: &mut dyn Answer, pieces: &[&[u8]]) -> Result<String, String> {
    let (mut parser, mut out, mut events) = (sse::Parser::default(), String::new(), Vec::new());
    let no_text = |_: sse::NotText| "no text".to_owned();
    for piece in pieces {
        events.extend(parser.push(piece).map_err(no_text)?);
    }
    events.extend(parser.finish().map_err(no_text)?);
    answer.begin();
    for event in events {
        out.push_str(&answer.event(&event).map_err(|e| e.0)?);
        while let Some(found) = answer.unjudged() {
            let text = found.text.clone().unwrap_or_default();
            assert!(text.is_empty() || !out.contains(&text), "before its verdict: {out}");
            out.push_str(&answer.judged(Screened::Deliver(Cleared::for_test(text))));
        }
    }
    let message = answer.end().map_err(|e| e.0)?;
    let released = message.calls.clone();
    Ok(out + &answer.finish(&message, &released, Intact::Yes))
}

/// Cut anywhere, it is the same stream to the agent.
fn is_the_same_cut_anywhere(stream: &str, answer: &dyn Fn() -> Box<dyn Answer>) {
    for at in 0..=stream.len() {
        let (left, right) = stream.as_bytes().split_at(at);
        assert_eq!(through(&mut *answer(), &[left, right]).as_deref(), Ok(stream), "cut at {at}");
    }
    for at in 0..stream.len() {
        // Broken off, it is an error or, after its last word, the whole: never a panic, never a part as the whole.
        let _ = through(&mut *answer(), &[&stream.as_bytes()[..at]]);
    }
}
