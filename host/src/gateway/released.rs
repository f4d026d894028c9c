//! What was released moments ago, so that an agent's own hook, which asks about the same call right before it runs, finds
//! the verdict that the gateway has given. Each release can be found once; what is not found is judged as a new call.
//!
//! INVARIANT: an id alone finds nothing: what is asked about must be what was released.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::model::named_directory;
use crate::gates::{ToolCall, tools};

/// The releases of one task.
#[derive(Debug)]
pub(in crate::gateway) struct Released {
    limit: usize,
    window: Duration,
    // A std mutex: held for a look-up, never across an await.
    kept: Mutex<VecDeque<(Instant, ToolCall)>>,
}

impl Released {
    /// `window` = zero keeps nothing, so that every call is judged once more when its hook asks.
    pub(in crate::gateway) fn new(limit: usize, window: Duration) -> Self {
        Self { limit: limit.max(1), window, kept: Mutex::default() }
    }

    /// Notes a call that its agent is about to get.
    pub(in crate::gateway) fn keep(&self, call: ToolCall) {
        if self.window.is_zero() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.limit {
            kept.pop_front();
        }
        kept.push_back((Instant::now(), call));
    }

    /// Whether this call was released: the one of the same id, else the oldest of the same form. It is gone then.
    pub(in crate::gateway) fn take(&self, asked: &ToolCall) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(at, _)| at.elapsed() < self.window);
        let of_this_id = kept.iter().position(|(_, call)| call.id == asked.id);
        let found = match of_this_id {
            Some(place) => Some(place).filter(|place| is_same(&kept[*place].1, asked)),
            None => kept.iter().position(|(_, call)| is_same(call, asked)),
        };
        found.and_then(|place| kept.remove(place)).is_some()
    }
}

/// Whether an agent's hook asks about what the gateway released. Agents rename their tools for their hooks and add
/// arguments that say nothing, so shell commands are compared by command and place, other calls without what is empty.
fn is_same(released: &ToolCall, asked: &ToolCall) -> bool {
    let (before, now) = (tools::subject(released), tools::subject(asked));
    match (&before.shell, &now.shell) {
        (Some(before), Some(now)) => before == now && is_same_place(released, asked),
        (None, None) => {
            tools::bare_name(&released.tool) == tools::bare_name(&asked.tool)
                && lean(&released.arguments) == lean(&asked.arguments)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A hook may say where the agent is, where the call itself does not.
fn is_same_place(released: &ToolCall, asked: &ToolCall) -> bool {
    match (named_directory(&released.arguments), named_directory(&asked.arguments)) {
        (None, None) => true,
        (Some(before), Some(now)) => before == now,
        (Some(before), None) => asked.working_directory.as_deref() == Some(before),
        (None, Some(_)) => false,
    }
}

/// The arguments that say something.
fn lean(arguments: &Value) -> Value {
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    match arguments {
        Value::Object(members) => members.iter().filter(|(_, v)| !says_nothing(v)).map(|(k, v)| (k.clone(), v.clone())).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(id: &str, tool: &str, arguments: Value) -> ToolCall {
        ToolCall { id: id.into(), tool: tool.into(), arguments, working_directory: None }
    }

    fn released(calls: &[ToolCall]) -> Released {
        let released = Released::new(8, Duration::from_secs(60));
        calls.iter().cloned().for_each(|call| released.keep(call));
        released
    }

    #[test]
    fn a_release_is_found_once() {
        let ls = || call("1", "terminal", json!({"command": "ls"}));
        let kept = released(&[ls()]);
        assert!(kept.take(&ls()));
        assert!(!kept.take(&ls()), "once per layer");
    }

    #[test]
    fn an_id_finds_nothing_else_than_its_own_call() {
        let kept =
            released(&[call("1", "terminal", json!({"command": "ls"})), call("2", "terminal", json!({"command": "rm -rf x"}))]);
        assert!(!kept.take(&call("1", "terminal", json!({"command": "rm -rf x"}))), "the id of a harmless call");
        assert!(kept.take(&call("another", "terminal", json!({"command": "rm -rf x"}))), "an agent's own id");
    }

    #[test]
    fn agents_rename_tools_and_add_what_says_nothing() {
        let same = |a: ToolCall, b: ToolCall| released(&[a]).take(&b);
        assert!(same(call("1", "exec_command", json!({"cmd": "ls"})), call("", "Bash", json!({"command": "ls"}))));
        assert!(same(
            call("1", "Edit", json!({"file_path": "a", "old_string": "x"})),
            call("1", "edit", json!({"file_path": "a", "old_string": "x", "replace_all": false, "note": null})),
        ));
        assert!(!same(
            call("1", "Edit", json!({"file_path": "a"})),
            call("1", "Edit", json!({"file_path": "a", "replace_all": true}))
        ));
        assert!(!same(call("1", "write", json!({"path": "a"})), call("1", "edit", json!({"path": "a"}))));
    }

    #[test]
    fn a_command_elsewhere_is_another() {
        let here = |directory: Value| call("1", "shell", json!({"command": "rm x", "workdir": directory}));
        assert!(!released(&[here("/a".into())]).take(&here("/b".into())));
        assert!(!released(&[call("1", "shell", json!({"command": "rm x"}))]).take(&here("/b".into())));
        let asked = ToolCall { working_directory: Some("/a".into()), ..call("1", "Bash", json!({"command": "rm x"})) };
        assert!(released(&[here("/a".into())]).take(&asked), "the hook says it in another way");
    }

    #[test]
    fn without_a_window_nothing_is_found() {
        let none = Released::new(8, Duration::ZERO);
        let ls = call("1", "terminal", json!({"command": "ls"}));
        none.keep(ls.clone());
        assert!(!none.take(&ls));
    }
}
