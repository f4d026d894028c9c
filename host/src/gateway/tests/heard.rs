//! What a simple client makes of an answer in Chat Completions.

use serde_json::Value;

/// What a client makes of a stream.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heard {
    pub(super) text: String,
    /// Id, name, arguments.
    pub(super) calls: Vec<(String, String, String)>,
    pub(super) finish: Option<String>,
    pub(super) usage: Option<Value>,
    pub(super) error: Option<String>,
    pub(super) done: bool,
    pub(super) ids: Vec<String>,
}

/// Reads a stream as a simple client does.
pub(super) fn heard(body: &str) -> Heard {
    let mut heard = Heard::default();
    for event in body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")) {
        if event == "[DONE]" {
            heard.done = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(event).expect("an event is JSON");
        if let Some(error) = chunk["error"]["message"].as_str() {
            heard.error = Some(error.to_owned());
            continue;
        }
        let id = chunk["id"].as_str().unwrap_or_default().to_owned();
        if !heard.ids.contains(&id) {
            heard.ids.push(id);
        }
        if chunk["usage"].is_object() {
            heard.usage = Some(chunk["usage"].clone());
        }
        let choice = &chunk["choices"][0];
        heard.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(piece["index"].as_u64().expect("an index")).expect("small");
            if heard.calls.len() <= index {
                heard.calls.resize(index + 1, Default::default());
            }
            let call = &mut heard.calls[index];
            call.0.push_str(piece["id"].as_str().unwrap_or_default());
            call.1.push_str(piece["function"]["name"].as_str().unwrap_or_default());
            call.2.push_str(piece["function"]["arguments"].as_str().unwrap_or_default());
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            heard.finish = Some(reason.to_owned());
        }
    }
    heard
}
