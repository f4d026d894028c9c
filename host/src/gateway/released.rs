//! What was released moments ago, so that an agent's own hook, which asks about the same call right before it runs, finds
//! the verdict that the gateway has given. Each release can be found once; what is not found is judged as a new call.
//!
//! INVARIANT: an id alone finds nothing: what is asked about must be what was released.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::model::{named_directory, names_directory};
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
    /// `workspace`: where calls run that name no directory.
    pub(in crate::gateway) fn take(&self, asked: &ToolCall, workspace: &Path) -> bool {
        let is_same = |released: &ToolCall| is_same(released, asked, workspace);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(at, _)| at.elapsed() < self.window);
        let of_this_id = kept.iter().position(|(_, call)| call.id == asked.id);
        let found = match of_this_id {
            Some(place) => Some(place).filter(|place| is_same(&kept[*place].1)),
            None => kept.iter().position(|(_, call)| is_same(call)),
        };
        found.and_then(|place| kept.remove(place)).is_some()
    }
}

/// Whether an agent's hook asks about what the gateway released. Agents rename their tools for their hooks and add
/// arguments that change nothing. Where it is not plain that two calls are one, they are two, and the second is judged.
fn is_same(released: &ToolCall, asked: &ToolCall, workspace: &Path) -> bool {
    let (before, now) = (tools::subject(released), tools::subject(asked));
    match (&before.shell, &now.shell) {
        (Some(before), Some(now)) => {
            before == now
                && tools::is_typing(&released.tool) == tools::is_typing(&asked.tool)
                && adds_nothing(released, asked)
                && place(released, None, workspace) == place(asked, asked.working_directory.as_deref(), workspace)
        }
        (None, None) => is_same_tool(&released.tool, &asked.tool) && lean(&released.arguments) == lean(&asked.arguments),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The prefix that says whose tool it is may be missing on one side, never differ.
fn is_same_tool(released: &str, asked: &str) -> bool {
    let both_are_prefixed = released.contains("__") && asked.contains("__");
    if both_are_prefixed { released.eq_ignore_ascii_case(asked) } else { tools::bare_name(released) == tools::bare_name(asked) }
}

/// Where a shell call runs: what it names, seen from where the agent is, which is its workspace unless its hook says else.
/// Resolved, as an agent may know a folder by another way than coda does.
fn place(call: &ToolCall, agent_is: Option<&str>, workspace: &Path) -> PathBuf {
    let from = workspace.join(agent_is.unwrap_or_default());
    let named = from.join(named_directory(&call.arguments).unwrap_or_default());
    // One that does not exist is compared as it is written.
    named.canonicalize().unwrap_or(named)
}

/// Whether a shell call as a hook tells of it has no argument that could change what runs, beside those that were judged.
fn adds_nothing(released: &ToolCall, asked: &ToolCall) -> bool {
    let Value::Object(asked) = &asked.arguments else { return false };
    let is_known = |key: &str| tools::names_command(key) || names_directory(key) || IDLE.contains(&key);
    asked.iter().all(|(key, value)| is_known(key) || is_empty(value) || released.arguments.get(key) == Some(value))
}

/// Arguments of shells that change nothing but how long one waits, and what people read.
const IDLE: [&str; 8] =
    ["description", "timeout", "timeout_ms", "timeoutMs", "run_in_background", "is_background", "background", "title"];

/// What agents add to calls of their own tools, with a value that changes nothing.
fn is_default(key: &str, value: &Value) -> bool {
    is_empty(value) || (key == "replace_all" && value == &Value::Bool(false))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(_) | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The arguments that say something.
fn lean(arguments: &Value) -> Value {
    match arguments {
        Value::Object(members) => {
            members.iter().filter(|(key, value)| !is_default(key, value)).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
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

    fn workspace() -> &'static Path {
        Path::new("/srv/task")
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
        assert!(kept.take(&ls(), workspace()));
        assert!(!kept.take(&ls(), workspace()), "once per layer");
    }

    #[test]
    fn an_id_finds_nothing_else_than_its_own_call() {
        let kept =
            released(&[call("1", "terminal", json!({"command": "ls"})), call("2", "terminal", json!({"command": "rm -rf x"}))]);
        assert!(!kept.take(&call("1", "terminal", json!({"command": "rm -rf x"})), workspace()), "the id of a harmless call");
        assert!(kept.take(&call("another", "terminal", json!({"command": "rm -rf x"})), workspace()), "an agent's own id");
    }

    #[test]
    fn agents_rename_tools_and_add_what_says_nothing() {
        let same = |a: ToolCall, b: ToolCall| released(&[a]).take(&b, workspace());
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
        assert!(!released(&[here("/a".into())]).take(&here("/b".into()), workspace()));
        assert!(!released(&[call("1", "shell", json!({"command": "rm x"}))]).take(&here("/b".into()), workspace()));
        let asked = ToolCall { working_directory: Some("/a".into()), ..call("1", "Bash", json!({"command": "rm x"})) };
        assert!(released(&[here("/a".into())]).take(&asked, workspace()), "the hook says it in another way");
    }

    #[test]
    fn a_shell_that_has_gone_elsewhere_runs_another_command() {
        let asked_at = |directory: &str| ToolCall {
            working_directory: Some(directory.into()),
            ..call("1", "Bash", json!({"command": "rm x"}))
        };
        let kept = || released(&[call("1", "shell", json!({"command": "rm x"}))]);
        assert!(kept().take(&asked_at("/srv/task"), workspace()));
        assert!(!kept().take(&asked_at("/srv/task/sub"), workspace()), "people read another directory");
        assert!(!kept().take(&asked_at("/elsewhere"), workspace()));
    }

    #[test]
    fn calls_that_only_resemble_one_another_are_two() {
        let same = |a: ToolCall, b: ToolCall| released(&[a]).take(&b, workspace());
        let drop = |tool: &str, arguments: Value| call("1", tool, arguments);
        assert!(!same(drop("mcp__staging__drop", json!({"t": 1})), drop("mcp__prod__drop", json!({"t": 1}))));
        assert!(same(drop("developer__drop", json!({"t": 1})), drop("drop", json!({"t": 1}))));
        assert!(!same(drop("drop", json!({"t": 1})), drop("drop", json!({"t": 1, "dry_run": false}))));
        assert!(!same(drop("drop", json!({"t": 1})), drop("drop", json!({"t": 1, "where": ""}))));
        let shell = |tool: &str, more: Value| {
            let mut call = call("1", tool, json!({"command": "make"}));
            if let (Value::Object(arguments), Value::Object(more)) = (&mut call.arguments, more) {
                arguments.extend(more);
            }
            call
        };
        assert!(same(shell("Bash", json!({})), shell("Bash", json!({"description": "builds", "timeout": 5, "env": {}}))));
        assert!(!same(shell("Bash", json!({})), shell("Bash", json!({"env": {"PATH": "/tmp"}}))));
        assert!(!same(shell("Bash", json!({})), shell("write_stdin", json!({}))));
    }

    #[test]
    fn without_a_window_nothing_is_found() {
        let none = Released::new(8, Duration::ZERO);
        let ls = call("1", "terminal", json!({"command": "ls"}));
        none.keep(ls.clone());
        assert!(!none.take(&ls, workspace()));
    }
}
