//! The three tools as clients see them: names, descriptions, schemas, annotations.
//!
//! Schemas are written by hand and kept to what every client understands: one flat object, one type per parameter,
//! enums and defaults, no `$ref`, no formats. Some accepted arguments are not listed (see `arguments`).

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::Settings;
use crate::task::Status;

/// Which tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolName {
    Run,
    Inbox,
    GetResult,
}

impl ToolName {
    /// All, in the order of the list, which never changes: clients cache it.
    pub(super) const ALL: [ToolName; 3] = [ToolName::Run, ToolName::Inbox, ToolName::GetResult];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            ToolName::Run => "coda_run",
            ToolName::Inbox => "coda_inbox",
            ToolName::GetResult => "coda_get_result",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }

    /// Keys that every successful answer has; the output schema says so, and a shape may not take them away.
    pub(super) fn required_keys(self) -> &'static [&'static str] {
        match self {
            ToolName::Run | ToolName::GetResult => &["task_id", "session_id", "status", "viewer_url", "next"],
            ToolName::Inbox => &["tasks", "counts", "next"],
        }
    }
}

const RUN: &str = "Hands a task to a coding agent that works in the background, and answers at once with task_id, session_id and \
viewer_url. Do not wait or poll afterwards: tell the user, show the link, go on. The agent sees only the prompt and the context, so \
make them complete. Some tasks wait for people's approval first.";
const INBOX: &str = "Lists your tasks of the last day and everything that still waits, newest first, with status, progress, summary, \
link and counts per status. Call it only when the user asks how things stand; one call shows every task. Not for waiting: do not \
call it in a loop.";
const GET_RESULT: &str = "Gives one task's result: status, summary, changed files, artifacts and errors, the agent's question when it \
needs information, who must decide when it waits for approval. Call it for a task that has ended or that the user asks about, never \
repeatedly to wait for the end.";

/// The full list.
pub(super) fn list(settings: &Settings) -> Vec<Tool> {
    ToolName::ALL.into_iter().map(|name| tool(name, settings)).collect()
}

/// The same tools with name, description and input schema only: Genie Code silently refuses to save anything more.
pub(super) fn plain(tools: Vec<Tool>) -> Vec<Tool> {
    let bare = |tool: Tool| Tool::new_with_raw(tool.name, tool.description, tool.input_schema);
    tools.into_iter().map(bare).collect()
}

fn tool(name: ToolName, settings: &Settings) -> Tool {
    let (title, description, input, annotations) = match name {
        ToolName::Run => ("Hand over a coding task", RUN, run_schema(settings), writes()),
        ToolName::Inbox => ("List tasks", INBOX, inbox_schema(), reads()),
        ToolName::GetResult => ("Read a task's result", GET_RESULT, get_result_schema(), reads()),
    };
    Tool::new(name.as_str(), description, object(input))
        .with_title(title)
        .with_annotations(annotations)
        .with_raw_output_schema(object(output_schema(name)))
}

fn writes() -> ToolAnnotations {
    ToolAnnotations::new().read_only(false).destructive(false).idempotent(false).open_world(true)
}

fn reads() -> ToolAnnotations {
    ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false)
}

fn run_schema(settings: &Settings) -> Value {
    let mut agent = json!({ "type": "string", "default": settings.default_agent, "description": "Agent that does the work." });
    if !settings.agents.is_empty() {
        agent["enum"] = json!(settings.agents);
    }
    json!({
        "type": "object",
        "properties": {
            "prompt": { "type": "string", "description": "The task in plain words, complete in itself: goal, places, how to tell that it is done." },
            "context": { "type": "string", "default": "", "description": "Facts for the agent as JSON text, such as catalog, schema and table names." },
            "previous_session_id": { "type": "string", "default": "", "description": "session_id of an earlier task of yours to build on, or to answer its question." },
            "agent": agent,
            "workspace": { "type": "string", "default": "", "description": "Name of a workspace that the operator has set up; empty for a fresh one." },
            "permissions": { "type": "string", "enum": ["smart", "yolo"], "default": "smart", "description": "yolo turns the agent's own questions off. It never loosens coda's rules." },
            "timeout_s": { "type": "integer", "minimum": 1, "default": settings.default_timeout_s, "description": "Bound on the agent's running time in seconds." },
        },
        "required": ["prompt"],
    })
}

fn inbox_schema() -> Value {
    let words: Vec<&str> = std::iter::once("").chain(Status::ALL.iter().map(|s| s.as_str())).collect();
    json!({
        "type": "object",
        "properties": {
            "status": { "type": "string", "enum": words, "default": "", "description": "Only tasks with this status; empty for all." },
            "limit": { "type": "integer", "minimum": 1, "maximum": 200, "default": 50, "description": "At most so many tasks." },
            "cursor": { "type": "string", "default": "", "description": "next_cursor of the answer before, for the next page." },
            "all": { "type": "boolean", "default": false, "description": "Also other people's tasks, where your role allows it." },
        },
    })
}

fn get_result_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "task_id": { "type": "string", "description": "From coda_run or coda_inbox." },
            "session_id": { "type": "string", "default": "", "description": "The task's session_id; may be left out." },
        },
        "required": ["task_id"],
    })
}

/// Loose on purpose: what a client may rely on, not what else it may get.
fn output_schema(name: ToolName) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let properties = match name {
        ToolName::Run | ToolName::GetResult => json!({
            "task_id": text("The task."),
            "session_id": text("Pass it as previous_session_id to build on the task."),
            "status": text("queued, running, needs_approval, info_needed, completed, failed, timed_out, cancelled or denied."),
            "viewer_url": text("Where a person watches or replays the task."),
            "next": text("What the user can do now."),
        }),
        ToolName::Inbox => json!({
            "tasks": { "type": "array", "items": { "type": "object" }, "description": "Newest first." },
            "counts": { "type": "object", "description": "Tasks per status." },
            "next": text("What the user can do now."),
        }),
    };
    json!({ "type": "object", "properties": properties, "required": name.required_keys() })
}

fn object(schema: Value) -> Arc<JsonObject> {
    match schema {
        Value::Object(map) => Arc::new(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key and value anywhere in a schema, as text.
    fn walk(value: &Value, seen: &mut Vec<(String, Value)>) {
        if let Value::Object(map) = value {
            for (key, value) in map {
                seen.push((key.clone(), value.clone()));
                walk(value, seen);
            }
        }
    }

    #[test]
    fn every_client_can_read_the_list() {
        let settings = Settings { agents: vec!["hermes".into(), "runbook".into()], ..Settings::default() };
        let tools = list(&settings);
        let names: Vec<&str> = tools.iter().map(|t| t.name.as_ref()).collect();
        assert_eq!(names, ["coda_run", "coda_inbox", "coda_get_result"]);
        for tool in &tools {
            let description = tool.description.as_deref().unwrap_or_default();
            assert!((200..=400).contains(&description.len()), "{}: {} characters", tool.name, description.len());
            let schema = tool.schema_as_json_value();
            assert_eq!(schema["type"], "object");
            assert!(schema["properties"].as_object().is_some_and(|p| p.len() <= 7), "{}", tool.name);
            let mut seen = Vec::new();
            walk(&schema, &mut seen);
            for (key, value) in seen {
                assert!(
                    !["$ref", "$defs", "$schema", "format", "anyOf", "oneOf"].contains(&key.as_str()),
                    "{}: {key}",
                    tool.name
                );
                assert!(key != "type" || value.is_string(), "{}: type {value}", tool.name);
            }
        }
        assert_eq!(tools[0].schema_as_json_value()["properties"]["agent"]["enum"], json!(["hermes", "runbook"]));
    }

    #[test]
    fn the_plain_list_has_three_keys_per_tool() {
        for tool in plain(list(&Settings::default())) {
            let json = serde_json::to_value(&tool).expect("a tool is JSON");
            let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
            assert_eq!(keys, ["description", "inputSchema", "name"]);
        }
    }
}
