//! The dialect Gemini generateContent, streaming and not. All that the gateway knows of its wire form is here:
//!
//! - `request`: what the agent asks, of hosted tools those that are offered, and without what refers to a history kept elsewhere;
//! - `hosted`: what tools that run at the provider leave, where these are offered;
//! - `repair`: a history as strict upstreams want it;
//! - `history`: the agent's contents as the upstream may read them: responses screened, refused calls put back;
//! - `reader`: what the model answers, part by part: held from the first `functionCall` on;
//! - `writer`: what the agent gets: chunks as they came, without the calls that may not run.
//!
//! Upstreams need not name their calls. Where one does not, the agent gets a name of coda's, which does not go upstream.

mod history;
mod hosted;
mod reader;
mod repair;
mod request;
mod writer;

pub(in crate::gateway) use request::Request;
pub(in crate::gateway) use writer::Writer;

use serde_json::{Value, json};

use super::failure::Failure;
use super::model::{Draft, readable_arguments};
use crate::env;

/// Begin of a call's name that is coda's own.
const OWN_ID: &str = "coda_call_";

/// The body of an error.
pub(in crate::gateway) fn error(failure: &Failure) -> Value {
    let status = match failure.status.as_u16() {
        400 | 413 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        404 | 405 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        _ => "INTERNAL",
    };
    json!({"error": failure.words(json!({"code": failure.status.as_u16(), "message": failure.message, "status": status}))})
}

fn parts(content: &Value) -> &[Value] {
    content.get("parts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is_call(part: &Value) -> bool {
    part.get("functionCall").is_some()
}

/// Text that is no thought.
fn said(part: &Value) -> &str {
    let is_thought = part.get("thought") == Some(&Value::Bool(true));
    part.get("text").and_then(Value::as_str).filter(|_| !is_thought).unwrap_or_default()
}

/// Id and tool of a call, or of the response to one.
fn named(part: &Value, key: &str) -> (String, String) {
    let field = |field: &str| part.get(key).and_then(|of| of.get(field)?.as_str()).unwrap_or_default().to_owned();
    (field("id"), field("name"))
}

fn own_id() -> String {
    format!("{OWN_ID}{}", env::hex(&env::random_bytes::<12>()))
}

/// The part without a name that the upstream did not give.
fn without_own_id(mut part: Value, key: &str) -> Value {
    if let Some(of) = part.get_mut(key).and_then(Value::as_object_mut)
        && of.get("id").and_then(Value::as_str).is_some_and(|id| id.starts_with(OWN_ID))
    {
        of.remove("id");
    }
    part
}

/// The part of a call, with what was judged as its arguments.
fn call_part(draft: &Draft) -> Value {
    let mut part = Value::Object(draft.extra.clone());
    let judged = readable_arguments(&draft.arguments).or_else(|| serde_json::from_str(&draft.arguments).ok());
    if let Some(judged) = judged.filter(|judged| part["functionCall"].get("args").is_none_or(|args| args != judged)) {
        part["functionCall"]["args"] = judged;
    }
    part
}

/// A response to a call.
fn response(id: &str, name: &str, response: Value) -> Value {
    let mut of = json!({"name": name, "response": response});
    if !id.is_empty() {
        of["id"] = id.into();
    }
    without_own_id(json!({"functionResponse": of}), "functionResponse")
}
