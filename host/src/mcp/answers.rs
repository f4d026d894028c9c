//! Answers: what the service says, as one JSON object per tool, and what is left of it when shaping fails.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value, json};

use super::tools::ToolName;
use crate::service::{InboxPage, ServiceError, TaskView};
use crate::task::Status;

/// An answer in a client's form.
#[derive(Debug, Clone, PartialEq)]
pub struct Shaped {
    /// The text block.
    pub text: String,
    /// The structured content; none where this client takes only text.
    pub structured: Option<Value>,
}

/// What coda_run says of the task it made.
pub(super) fn run(view: &TaskView, warnings: Vec<String>) -> Value {
    let mut answer = task(view);
    for key in ["result", "files_changed"] {
        answer.remove(key);
    }
    add_warnings(&mut answer, warnings);
    Value::Object(answer)
}

/// What coda_inbox says.
pub(super) fn inbox(page: &InboxPage, warnings: Vec<String>) -> Value {
    let tasks: Vec<Value> = page
        .tasks
        .iter()
        .map(|view| {
            let mut line = task(view);
            line.remove("result");
            Value::Object(line)
        })
        .collect();
    let mut answer = Map::new();
    answer.insert("next".into(), json!(next_of(page)));
    answer.insert("counts".into(), json!(page.counts));
    answer.insert("tasks".into(), Value::Array(tasks));
    if let Some(cursor) = &page.next_cursor {
        answer.insert("next_cursor".into(), json!(cursor));
    }
    add_warnings(&mut answer, warnings);
    Value::Object(answer)
}

/// What coda_get_result says: the parts of the agent's result lie flat beside the task's, as they always did;
/// what the agent wrote beyond them stays below `result`.
pub(super) fn get_result(view: &TaskView, warnings: Vec<String>) -> Value {
    let mut answer = task(view);
    match answer.remove("result") {
        Some(Value::Object(result)) => flatten(&mut answer, result),
        Some(other) => _ = answer.insert("result".into(), other),
        None => _ = answer.insert("message".into(), json!(no_result(view.status))),
    }
    add_warnings(&mut answer, warnings);
    Value::Object(answer)
}

/// Puts the agent's result beside what the host says. Where both say something, the host's word counts: status, ids,
/// links and files are never the agent's to say.
fn flatten(answer: &mut Map<String, Value>, mut result: Map<String, Value>) {
    for key in ["status", "task_id", "session_id", "viewer_url", "next"] {
        result.remove(key);
    }
    for (key, default) in [
        ("summary", Some(json!(""))),
        ("feedback", None),
        ("files_changed", Some(json!([]))),
        ("artifacts", Some(json!({}))),
        ("errors", Some(json!([]))),
    ] {
        let written = result.remove(key).or(default);
        if let (Some(written), false) = (written, answer.contains_key(key)) {
            answer.insert(key.into(), written);
        }
    }
    if !result.is_empty() {
        answer.insert("result".into(), Value::Object(result));
    }
}

/// What is left when shaping failed: ids, status and links, nothing that an agent or a person wrote.
pub(super) fn bare(tool: ToolName, answer: &Value) -> Shaped {
    const KEPT: [&str; 6] = ["task_id", "session_id", "status", "viewer_url", "created_at", "elapsed_s"];
    let keep = |from: &Value| -> Map<String, Value> {
        KEPT.iter().filter_map(|key| from.get(key).map(|value| ((*key).to_owned(), value.clone()))).collect()
    };
    let mut kept = keep(answer);
    if tool == ToolName::Inbox {
        let tasks = answer.get("tasks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        kept.insert("tasks".into(), tasks.iter().map(|task| Value::Object(keep(task))).collect());
        for key in ["counts", "next_cursor"] {
            kept.extend(answer.get(key).map(|value| (key.to_owned(), value.clone())));
        }
    }
    kept.insert("next".into(), json!("The contents could not be prepared for this client; they are in the viewer."));
    let structured = Value::Object(kept);
    Shaped { text: structured.to_string(), structured: Some(structured) }
}

/// A shaped answer with what every client may rely on: keys of the output schema that the shape left out are put back,
/// where coda itself wrote them. `None` where it changed an id, the status or the link, or left no list of tasks: a shape
/// leaves out and words differently, it never changes what happened.
pub(super) fn with_promises(tool: ToolName, answer: &Value, mut shaped: Shaped) -> Option<Shaped> {
    let Some(structured) = &mut shaped.structured else { return Some(shaped) };
    let structured = structured.as_object_mut()?;
    for key in tool.required_keys() {
        let (given, kept) = (answer.get(key)?, structured.get(*key));
        match kept {
            Some(_) if ["next", "tasks", "counts"].contains(key) => {}
            Some(kept) if kept == given => {}
            Some(_) => return None,
            None if *key == "tasks" => return None,
            None => _ = structured.insert((*key).to_owned(), given.clone()),
        }
    }
    Some(shaped)
}

/// A shaped answer on the wire.
pub(super) fn result(shaped: Shaped) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(shaped.text)]);
    result.structured_content = shaped.structured;
    result
}

/// A refusal on the wire: text only, because clients hold structured content to the output schema, errors included.
pub(super) fn error(error: &ServiceError) -> CallToolResult {
    let body = json!({
        "status": "error",
        "error": { "code": error.code(), "message": error.to_string() },
        "next": way_out(error),
    });
    CallToolResult::error(vec![ContentBlock::text(body.to_string())])
}

fn way_out(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Invalid(_) => "Correct the arguments as the message says and call again.",
        ServiceError::NotFound(_) => "Call coda_inbox for the tasks that you can see.",
        ServiceError::Forbidden(_) => {
            "Tell the user which right is missing; an operator can grant it. Calling again does not help."
        }
        ServiceError::Conflict(_) => "Call coda_inbox to see how things stand, then do what the message says.",
        ServiceError::Budget(_) => {
            "Nothing was started. Tell the user which budget is used up and when it begins anew; do not try again before."
        }
        ServiceError::Busy(_) => "Nothing was started. Tell the user and try again later, not in a loop.",
        ServiceError::Internal(_) => {
            "Tell the user that coda has a problem and whom to ask: its operator, with the number in the message."
        }
    }
}

fn task(view: &TaskView) -> Map<String, Value> {
    let mut answer = match serde_json::to_value(view) {
        Ok(Value::Object(answer)) => answer,
        // A view always serializes to an object; were it otherwise, the ids still reach the caller.
        Ok(_) | Err(_) => {
            Map::from_iter([("task_id".to_owned(), json!(view.task_id)), ("status".to_owned(), json!(view.status))])
        }
    };
    if let Some(waiting_for) = waiting_for(view) {
        answer.insert("waiting_for".into(), waiting_for);
    }
    answer
}

/// Who must act, until when, and where, while a task waits.
fn waiting_for(view: &TaskView) -> Option<Value> {
    if let Some(approval) = &view.approval {
        let who: Vec<String> = approval.requirements.iter().map(|r| format!("{} × {}", r.count, r.role)).collect();
        return Some(json!({ "who": who.join(" and "), "until": approval.expires_at, "link": approval.url }));
    }
    let asked = view.status == Status::InfoNeeded;
    asked.then(|| json!({ "who": view.principal, "link": view.viewer_url }))
}

fn add_warnings(answer: &mut Map<String, Value>, warnings: Vec<String>) {
    if warnings.is_empty() {
        return;
    }
    match answer.entry("warnings").or_insert_with(|| json!([])) {
        Value::Array(list) => list.extend(warnings.into_iter().map(Value::from)),
        other => *other = json!(warnings),
    }
}

fn no_result(status: Status) -> &'static str {
    match status {
        Status::Queued | Status::Running => {
            "No result yet: the task is not done. Do not wait for it; ask again when the user does."
        }
        Status::NeedsApproval => "No result yet: people must decide first.",
        Status::InfoNeeded => "No result yet: the agent waits for an answer to its question.",
        Status::Completed | Status::Failed | Status::TimedOut | Status::Cancelled | Status::Denied => {
            "There is no result: the task ended without one."
        }
    }
}

fn next_of(page: &InboxPage) -> String {
    let count = |status: Status| page.counts.get(status.as_str()).copied().unwrap_or(0);
    let (approval, info) = (count(Status::NeedsApproval), count(Status::InfoNeeded));
    let (queued, running) = (count(Status::Queued), count(Status::Running));
    let mut parts = Vec::new();
    if approval > 0 {
        parts.push(format!("{approval} waiting for people's approval"));
    }
    if info > 0 {
        parts.push(format!("{info} waiting for an answer from you"));
    }
    if running + queued > 0 {
        parts.push(format!("{} at work", running + queued));
    }
    match (parts.is_empty(), page.tasks.is_empty()) {
        (true, true) => "There are no tasks to show.".to_owned(),
        (true, false) => "Nothing waits; read a result with coda_get_result.".to_owned(),
        (false, _) => format!("Tell the user: {}. Do not poll; look again when the user asks.", parts.join(", ")),
    }
}
