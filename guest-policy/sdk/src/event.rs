//! Events for tests, with plausible values everywhere that a test does not set.

use crate::types::{Caller, Event, Label, Mark, Output, Permissions, Prompt, Subject, Task, ToolCall, ToolResult, Usage};

/// A task's prompt.
#[must_use]
pub fn prompt(text: &str) -> Event {
    with(Subject::Prompt(Prompt { text: text.to_owned(), context: String::new() }))
}

/// A call of the tool `shell` with a command.
#[must_use]
pub fn shell(command: &str) -> Event {
    let arguments = serde_json::json!({ "command": command }).to_string();
    with(Subject::ToolCall(ToolCall { shell: Some(command.to_owned()), ..plain_call("shell", arguments) }))
}

/// A call of the tool `sql` with a statement.
#[must_use]
pub fn sql(statement: &str) -> Event {
    let arguments = serde_json::json!({ "statement": statement }).to_string();
    with(Subject::ToolCall(ToolCall { sql: Some(statement.to_owned()), ..plain_call("sql", arguments) }))
}

/// A call of any tool with arguments as JSON text, of which the host knows nothing more.
#[must_use]
pub fn call(tool: &str, arguments: &str) -> Event {
    with(Subject::ToolCall(plain_call(tool, arguments.to_owned())))
}

/// What a tool answered.
#[must_use]
pub fn result(content: &str) -> Event {
    with(Subject::ToolResult(ToolResult { call_id: "call_1".to_owned(), tool: "shell".to_owned(), content: content.to_owned() }))
}

/// A task's result as JSON text.
#[must_use]
pub fn output(content: &str) -> Event {
    with(Subject::Output(Output { content: content.to_owned() }))
}

fn plain_call(tool: &str, arguments: String) -> ToolCall {
    ToolCall { id: "call_1".to_owned(), tool: tool.to_owned(), arguments, shell: None, paths: Vec::new(), sql: None }
}

fn with(subject: Subject) -> Event {
    let working_directory = if matches!(subject, Subject::Prompt(_)) { "" } else { "/srv/task" };
    Event {
        id: "dec_00000000000000000000000000000001".to_owned(),
        time_ms: 1_767_225_600_000,
        seed: 1,
        seq: 0,
        tenant: "default".to_owned(),
        caller: Caller {
            client: "test".to_owned(),
            client_version: "1".to_owned(),
            principal: "ann@example.com".to_owned(),
            roles: vec!["submitter".to_owned()],
        },
        task: Task {
            id: "task_00000000000000000000000000000001".to_owned(),
            session_id: "sess_00000000000000000000000000000001".to_owned(),
            agent: "runbook".to_owned(),
            permissions: Permissions::Smart,
            working_directory: working_directory.to_owned(),
            attempt: 1,
            chained_from: None,
            labels: Vec::new(),
            marks: Vec::new(),
            usage: Usage { tool_calls: 0, input_tokens: 0, output_tokens: 0, cost_micro_usd: 0 },
        },
        subject,
    }
}

impl Event {
    /// The same event of a task with this mark. For tests.
    #[must_use]
    pub fn with_mark(mut self, name: &str, value: &str) -> Self {
        self.task.marks.push(Mark { name: name.to_owned(), value: value.to_owned() });
        self
    }

    /// The same event of a task with this label. For tests.
    #[must_use]
    pub fn with_label(mut self, name: &str, value: &str) -> Self {
        self.task.labels.push(Label { name: name.to_owned(), value: value.to_owned() });
        self
    }

    /// The same event in another working directory. For tests.
    #[must_use]
    pub fn in_directory(mut self, path: &str) -> Self {
        path.clone_into(&mut self.task.working_directory);
        self
    }

    /// The same call, of a tool that is known to write these paths. For tests.
    #[must_use]
    pub fn writing(mut self, paths: &[&str]) -> Self {
        if let Subject::ToolCall(call) = &mut self.subject {
            call.paths = paths.iter().map(|path| (*path).to_owned()).collect();
        }
        self
    }
}
