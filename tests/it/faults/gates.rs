//! The four gates, and for each a task that must not get past it.

use std::fmt;

use serde_json::Value;

use crate::server::{Server, field, text};

/// A gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Prompt,
    ToolCall,
    ToolResult,
    Output,
}

pub const GATES: [Gate; 4] = [Gate::Prompt, Gate::ToolCall, Gate::ToolResult, Gate::Output];

impl fmt::Display for Gate {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Gate::Prompt => "prompt",
            Gate::ToolCall => "tool-call",
            Gate::ToolResult => "tool-result",
            Gate::Output => "output",
        })
    }
}

/// What must not come out, and does not stand in any command.
const SECRET: &str = "SECRET-word";

/// A task that one gate must stop.
pub struct Probe {
    gate: Gate,
    task: Value,
}

impl Probe {
    pub fn start(server: &Server, gate: Gate) -> Self {
        let commands = match gate {
            Gate::Prompt => "echo ran >> canary # FAULT-prompt".to_owned(),
            Gate::ToolCall => "echo before\necho FAULT-tool-call >> canary".to_owned(),
            // The words are put together by the command, so that only its output says them.
            Gate::ToolResult | Gate::Output => format!("printf 'FAULT-%s SECRET-%s\\n' {gate} word"),
        };
        // `FAULT-tool-call` stands in the prompt, too; the policy at the prompt looks for its own word.
        Self { gate, task: server.submit(&commands) }
    }

    pub fn id(&self) -> String {
        field(&self.task, "task_id")
    }

    /// It did not get past its gate, and what says no is this rule.
    pub fn is_stopped(&self, server: &Server, fault: &str, code: &str) {
        let Self { gate, task } = self;
        let ended = server.watch(&self.id());
        let result = server.json(&["result", &self.id()]);
        let what = format!("{fault}, {gate}: {result:#}");
        let wanted = if *gate == Gate::Prompt { "denied" } else { "failed" };
        match gate {
            // What a withheld tool result is replaced by goes to the agent, which goes on and ends well.
            Gate::ToolResult => assert!(["completed", "failed"].contains(&field(&ended, "status").as_str()), "{what}"),
            Gate::Prompt | Gate::ToolCall | Gate::Output => assert_eq!(field(&ended, "status"), wanted, "{what}"),
        }
        assert!(!server.in_workspace(task, "canary").exists(), "{what}");
        assert!(!result.to_string().contains(SECRET), "{what}");
        let decisions = server.json(&["audit", "show", "--task", &self.id(), "--limit", "1000"]);
        let records = decisions["records"].as_array().cloned().unwrap_or_default();
        let refused = records.iter().any(|record| {
            record["kind"] == "decision"
                && record["body"]["gate"] == gate.to_string()
                && record["body"]["verdict"] == "deny"
                && record["body"]["codes"].to_string().contains(code)
        });
        assert!(refused, "{fault}, {gate}: no decision that denies with {code}: {decisions:#}");
    }
}

/// A harmless task passes all four gates.
pub fn served(server: &Server, fault: &str) {
    let task = server.runbook("echo fine");
    assert_eq!(field(&task, "status"), "completed", "after {fault}: {task:#}");
    let ready = server.coda(&["policy", "status"]);
    assert!(ready.status.success(), "after {fault}: {}", text(&ready));
}
