//! Repairs of a history, each a setting: every call has one output, after it, and every output a call.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{call_id, is_call, is_output, kind, output};
use crate::gateway::Repairs;
use crate::gateway::results::MISSING;

/// A history as strict upstreams want it.
pub(super) fn repaired(items: Vec<Value>, repairs: &Repairs) -> Vec<Value> {
    let items = if repairs.drop_orphaned_results { without_orphans(items) } else { items };
    if repairs.complete_missing_results { with_missing_results(items) } else { items }
}

/// Without outputs whose call is not before them, or has one already.
fn without_orphans(items: Vec<Value>) -> Vec<Value> {
    let mut open: HashMap<String, String> = HashMap::new();
    let stays = |item: &Value| {
        if is_call(kind(item)) {
            open.insert(call_id(item).to_owned(), format!("{}_output", kind(item)));
        }
        !is_output(kind(item)) || open.remove(call_id(item)).is_some_and(|wanted| wanted == kind(item))
    };
    let mut stays = stays;
    items.into_iter().filter(|item| stays(item)).collect()
}

/// With a stand-in for each output that is not there, after the calls that were made together.
fn with_missing_results(items: Vec<Value>) -> Vec<Value> {
    let given: HashSet<String> = items.iter().filter(|item| is_output(kind(item))).map(|item| call_id(item).to_owned()).collect();
    let mut whole = Vec::with_capacity(items.len());
    let mut missing: Vec<Value> = Vec::new();
    for item in items {
        if !is_call(kind(&item)) {
            whole.append(&mut missing);
        } else if !given.contains(call_id(&item)) {
            missing.push(output(&item, MISSING.to_owned()));
        }
        whole.push(item);
    }
    whole.append(&mut missing);
    whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn orphaned_outputs_go_and_missing_ones_are_made_up() {
        let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "t", "arguments": "{}"});
        let out = |id: &str, text: &str| json!({"type": "function_call_output", "call_id": id, "output": text});
        let given = vec![out("x", "orphan"), call("a"), call("b"), out("b", ""), out("b", "twice"), call("c")];
        let expected = vec![call("a"), call("b"), out("a", MISSING), out("b", ""), call("c"), out("c", MISSING)];
        assert_eq!(repaired(given, &Repairs::default()), expected);
    }
}
