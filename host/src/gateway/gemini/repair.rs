//! Repairs of a history, each a setting: a content with calls is followed by one with as many responses.

use serde_json::{Value, json};

use super::request::is_empty;
use super::{is_call, named, parts, response};
use crate::gateway::Repairs;
use crate::gateway::results::MISSING;

/// A history as strict upstreams want it.
pub(super) fn repaired(contents: Vec<Value>, repairs: &Repairs) -> Vec<Value> {
    let mut whole: Vec<Value> = Vec::with_capacity(contents.len());
    let mut open: Vec<(String, String)> = Vec::new();
    for mut content in contents {
        let mut given = Vec::new();
        if let Some(parts) = content.get_mut("parts").and_then(Value::as_array_mut) {
            parts.retain(|part| {
                if part.get("functionResponse").is_none() {
                    return true;
                }
                let found = open.iter().position(|call| is_of(&named(part, "functionResponse"), call));
                given.extend(found.map(|at| open.remove(at)));
                found.is_some() || !repairs.drop_orphaned_results
            });
            if repairs.complete_missing_results && !given.is_empty() {
                drop(parts.splice(0..0, open.drain(..).map(missing)));
            }
        }
        if is_empty(&content) {
            continue;
        }
        settle(&mut whole, &mut open, repairs);
        open = parts(&content).iter().filter(|part| is_call(part)).map(|part| named(part, "functionCall")).collect();
        whole.push(content);
    }
    settle(&mut whole, &mut open, repairs);
    whole
}

/// Whether a response is that of a call.
fn is_of(response: &(String, String), call: &(String, String)) -> bool {
    match response.0.is_empty() || call.0.is_empty() {
        true => response.1 == call.1,
        false => response.0 == call.0,
    }
}

/// Calls that no response came for at all.
fn settle(whole: &mut Vec<Value>, open: &mut Vec<(String, String)>, repairs: &Repairs) {
    let missing: Vec<Value> = open.drain(..).map(missing).collect();
    if repairs.complete_missing_results && !missing.is_empty() {
        whole.push(json!({"role": "user", "parts": missing}));
    }
}

fn missing((id, name): (String, String)) -> Value {
    response(&id, &name, json!({"error": MISSING}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphaned_responses_go_and_missing_ones_are_made_up() {
        let call = |id: &str| json!({"functionCall": {"id": id, "name": "t", "args": {}}});
        let text = json!({"text": "go on"});
        let content = |role: &str, parts: Vec<Value>| json!({"role": role, "parts": parts});
        let given = |id: &str| response(id, "t", json!({"output": "x"}));
        let missing = |id: &str| response(id, "t", json!({"error": MISSING}));
        let contents = vec![
            content("user", vec![given("x")]),
            content("model", vec![call("a"), call("b")]),
            content("user", vec![given("b"), given("b"), text.clone()]),
            content("model", vec![call("c")]),
            content("user", vec![text.clone()]),
            content("model", vec![json!({"functionCall": {"name": "t"}})]),
            content("user", vec![given("own")]),
        ];
        let expected = vec![
            content("model", vec![call("a"), call("b")]),
            content("user", vec![missing("a"), given("b"), text.clone()]),
            content("model", vec![call("c")]),
            content("user", vec![missing("c")]),
            content("user", vec![text]),
            content("model", vec![json!({"functionCall": {"name": "t"}})]),
            content("user", vec![given("own")]),
        ];
        assert_eq!(repaired(contents, &Repairs::default()), expected);
    }
}
