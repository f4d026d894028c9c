//! What coda knows of the tools that agents bring: which argument is a shell command, which is SQL, which are paths that
//! are written. A tool that is not listed is judged by its arguments as text.

use serde_json::Value;

use crate::approval::request::canonical;
use crate::gates::ToolCall;
use crate::policy::contract::ToolCallSubject;

/// Tools that run a shell command, by lower-case name.
const SHELL: [&str; 14] = [
    "shell",
    "bash",
    "terminal",
    "exec",
    "exec_command",
    "run_command",
    "run_shell_command",
    "run_terminal_cmd",
    "local_shell",
    "developer__shell",
    "execute_command",
    "process",
    // What is typed into a command that runs, which may be a shell.
    "write_stdin",
    // Runs on beside its agent.
    "monitor",
];
const SHELL_ARGUMENTS: [&str; 5] = ["command", "cmd", "script", "data", "chars"];

/// Tools that run SQL.
const SQL: [&str; 6] = ["sql", "execute_sql", "execute_query", "run_query", "query", "databricks_sql"];
const SQL_ARGUMENTS: [&str; 3] = ["statement", "sql", "query"];

/// Tools that write files.
const WRITE: [&str; 12] = [
    "write_file",
    "write",
    "edit",
    "edit_file",
    "multiedit",
    "notebookedit",
    "patch",
    "apply_patch",
    "str_replace_editor",
    "text_editor",
    "replace",
    "create_file",
];
const PATH_ARGUMENTS: [&str; 6] = ["path", "file_path", "filePath", "notebook_path", "filename", "target_file"];

/// The call as policies see it.
#[must_use]
pub fn subject(call: &ToolCall) -> ToolCallSubject {
    let tool = bare_name(&call.tool);
    ToolCallSubject {
        id: call.id.clone(),
        tool: call.tool.clone(),
        arguments: canonical(&call.arguments),
        shell: SHELL.contains(&tool.as_str()).then(|| text_of(&call.arguments, &SHELL_ARGUMENTS)).flatten(),
        paths: if WRITE.contains(&tool.as_str()) { texts_of(&call.arguments, &PATH_ARGUMENTS) } else { Vec::new() },
        sql: SQL.contains(&tool.as_str()).then(|| text_of(&call.arguments, &SQL_ARGUMENTS)).flatten(),
    }
}

/// Parses a call anew whose arguments a policy rewrote.
pub fn reparse(call: &mut ToolCallSubject) {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or(Value::Null);
    *call = subject(&ToolCall { id: call.id.clone(), tool: call.tool.clone(), arguments, working_directory: None });
}

/// The call with the arguments that filters left for people to see.
#[must_use]
pub fn screened(call: &ToolCallSubject, arguments: &str) -> ToolCallSubject {
    let mut seen = ToolCallSubject { arguments: arguments.to_owned(), ..call.clone() };
    reparse(&mut seen);
    seen
}

/// What a person should read: the command, the statement, or the arguments.
#[must_use]
pub fn shown(subject: &ToolCallSubject) -> &str {
    subject.shell.as_deref().or(subject.sql.as_deref()).unwrap_or(&subject.arguments)
}

/// The other arguments, one per line, each as JSON: what a person needs beside `shown`. Empty where that is all.
#[must_use]
pub fn more(subject: &ToolCallSubject) -> String {
    let names = match (&subject.shell, &subject.sql) {
        (Some(_), _) => &SHELL_ARGUMENTS[..],
        (None, Some(_)) => &SQL_ARGUMENTS,
        (None, None) => return String::new(),
    };
    let Ok(Value::Object(mut arguments)) = serde_json::from_str(&subject.arguments) else { return String::new() };
    if let Some(name) = names.iter().find(|name| arguments.get(**name).is_some_and(|value| text(value).is_some())) {
        arguments.remove(*name);
    }
    arguments.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
}

/// Whether an argument of this name is the command of a shell tool.
pub(crate) fn names_command(key: &str) -> bool {
    SHELL_ARGUMENTS.contains(&key)
}

/// Whether a tool types into a command that runs, in place of beginning one.
pub(crate) fn is_typing(tool: &str) -> bool {
    ["write_stdin", "process"].contains(&bare_name(tool).as_str())
}

/// Without the prefix that agents give to tools of MCP servers.
pub(crate) fn bare_name(tool: &str) -> String {
    tool.rsplit("__").next().unwrap_or(tool).to_ascii_lowercase()
}

fn text_of(arguments: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| text(arguments.get(name)?))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // An argument vector: words are quoted again, so that the command means the same.
        Value::Array(words) => words.iter().map(|w| w.as_str().map(quote)).collect::<Option<Vec<_>>>().map(|w| w.join(" ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn texts_of(arguments: &Value, names: &[&str]) -> Vec<String> {
    names.iter().filter_map(|name| arguments.get(name)?.as_str().map(str::to_owned)).collect()
}

fn quote(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:,@+%".contains(&b));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(tool: &str, arguments: Value) -> ToolCall {
        ToolCall { id: "1".into(), tool: tool.into(), arguments, working_directory: None }
    }

    #[test]
    fn the_command_of_a_shell_tool_is_found_whatever_its_argument_is_called() {
        for (tool, arguments) in [
            ("terminal", json!({"command": "rm -rf x"})),
            ("Bash", json!({"command": "rm -rf x"})),
            ("exec_command", json!({"cmd": "rm -rf x"})),
            ("mcp__box__shell", json!({"command": ["rm", "-rf", "x"]})),
        ] {
            assert_eq!(subject(&call(tool, arguments)).shell.as_deref(), Some("rm -rf x"), "{tool}");
        }
        assert_eq!(subject(&call("shell", json!({"command": ["echo", "a b"]}))).shell.as_deref(), Some("echo 'a b'"));
        assert_eq!(subject(&call("read_file", json!({"path": "x"}))).shell, None);
    }

    #[test]
    fn people_see_the_command_that_filters_left() {
        let asked = subject(&call("terminal", json!({"command": "T=abc rm x", "workdir": "abc"})));
        let seen = screened(&asked, r#"{"command":"T=*** rm x","workdir":"***"}"#);
        assert_eq!((shown(&seen), more(&seen).as_str()), ("T=*** rm x", "workdir: \"***\""));
        assert_eq!(shown(&screened(&asked, "")), "null", "nothing was left");
    }

    #[test]
    fn what_a_command_comes_with_is_told_too() {
        let of = |tool, arguments| more(&subject(&call(tool, arguments)));
        assert_eq!(
            of("terminal", json!({"command": "rm x", "workdir": "../p", "stdin": "a\nb"})),
            "stdin: \"a\\nb\"\nworkdir: \"../p\""
        );
        assert_eq!(of("terminal", json!({"command": 7, "cmd": "rm x"})), "command: 7");
        assert_eq!(of("execute_sql", json!({"statement": "drop table t", "catalog": "prod"})), "catalog: \"prod\"");
        assert_eq!(of("terminal", json!({"command": "rm x"})), "");
        assert_eq!(of("write_file", json!({"path": "x"})), "");
    }

    #[test]
    fn canonical_arguments_do_not_depend_on_the_order_of_keys() {
        let a: Value = serde_json::from_str(r#"{"b":1,"a":{"d":2,"c":3}}"#).expect("json");
        let b: Value = serde_json::from_str(r#"{"a":{"c":3,"d":2},"b":1}"#).expect("json");
        assert_eq!(canonical(&a), canonical(&b));
    }
}
