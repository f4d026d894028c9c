//! The dialect OpenAI Chat Completions, streaming and not. All that the gateway knows of its wire form is here:
//!
//! - `request`: what the agent asks, mended and without hosted tools;
//! - `history`: the agent's messages as the upstream may read them: results screened, refused calls put back;
//! - `stand_in`: the envelope in the place of the words that stand for it;
//! - `reader`: what the model answers: text that goes on at once, calls that are held until they are complete;
//! - `writer`: what the agent gets: as it came where nothing was changed, else rendered anew.

mod history;
mod reader;
mod repair;
mod request;
mod stand_in;
mod writer;

pub(in crate::gateway) use history::{compose, round};
pub(in crate::gateway) use reader::{Malformed, StreamReader, Whole};
pub(in crate::gateway) use request::Request;
pub(in crate::gateway) use writer::{Intact, Source, Writer};

use serde_json::{Value, json};

use super::model::Draft;

/// Path below the upstream's base address.
pub(in crate::gateway) const PATH: &str = "/chat/completions";

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
