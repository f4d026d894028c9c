//! A policy's own tests: events and what must come of them. They run when a set is loaded; one that fails fails the load.
//!
//! ```yaml
//! - name: a recursive delete waits for people
//!   tool_call: { tool: shell, shell: "rm -rf build" }     # or prompt, tool_result, output, shape
//!   task: { labels: { environment: production } }         # optional: labels, marks, working_directory, permissions
//!   expect: { verdict: needs-approval, codes: [shell.rm] }
//! - name: a key in a result is masked
//!   tool_result: { tool: shell, content: "key=AKIAIOSFODNN7EXAMPLE" }
//!   expect: { verdict: replaced, content: "key=[masked]" }
//! ```
//! The same form in TOML (`[[case]]`) and JSON. `verdict` is a guard's (`allow`, `needs-approval`, `deny`) or a filter's
//! (`unchanged`, `replaced`, `withhold`) word; `codes` are all codes that must be reported, in any order, and no others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::bindings::Filtered;
use super::chain;
use super::compile::Loaded;
use super::contract::{Caller, Event, Finding, Permissions, Subject, TaskFacts, ToolCallSubject, Verdict};
use super::engine::Runtime;
use super::fault::Fault;
use crate::identity::ClientInfo;

const MAX_CASES: usize = 5_000;
/// 2026-01-01, so that a suite says the same every day.
const TIME_MS: u64 = 1_767_225_600_000;

/// The tests of one policy.
#[derive(Debug, Clone)]
pub(super) struct Suite {
    pub(super) policy: String,
    pub(super) cases: Vec<Case>,
}

/// One test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    name: String,
    prompt: Option<PromptCase>,
    tool_call: Option<ToolCallCase>,
    tool_result: Option<ToolResultCase>,
    output: Option<Json>,
    shape: Option<ShapeCase>,
    #[serde(default)]
    task: TaskCase,
    expect: Expect,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptCase {
    text: String,
    #[serde(default)]
    context: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolCallCase {
    tool: String,
    arguments: Option<Json>,
    shell: Option<String>,
    sql: Option<String>,
    #[serde(default)]
    paths: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolResultCase {
    tool: String,
    content: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeCase {
    client: String,
    tool: String,
    output: Json,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TaskCase {
    labels: BTreeMap<String, String>,
    marks: BTreeMap<String, String>,
    roles: Vec<String>,
    working_directory: String,
    permissions: Permissions,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    verdict: Option<String>,
    codes: Option<Vec<String>>,
    content: Option<String>,
    contains: Option<String>,
    marks: Option<BTreeMap<String, String>>,
}

/// What a policy answered, in the words of a suite.
#[derive(Default)]
struct Answer {
    verdict: String,
    findings: Vec<Finding>,
    content: Option<String>,
}

impl Suite {
    /// Names of files that are looked for.
    pub(super) const EXTENSIONS: [&'static str; 4] = ["yaml", "yml", "toml", "json"];

    /// Reads a suite.
    pub(super) fn parse(policy: &str, extension: &str, text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Cases {
            case: Vec<Case>,
        }
        let cases: Vec<Case> = match extension {
            "toml" => toml::from_str::<Cases>(text).map_err(|e| e.to_string())?.case,
            "json" => serde_json::from_str(text).map_err(|e| e.to_string())?,
            _ => serde_saphyr::from_str(text).map_err(|e| e.to_string())?,
        };
        if cases.is_empty() || cases.len() > MAX_CASES {
            return Err(format!("it has {} cases, and must have 1 to {MAX_CASES}", cases.len()));
        }
        if let Some(case) = cases.iter().find(|case| case.questions() != 1) {
            return Err(format!("case '{}' must have exactly one of prompt, tool_call, tool_result, output, shape", case.name));
        }
        Ok(Self { policy: policy.to_owned(), cases })
    }

    /// Runs every case; the texts of those that fail.
    pub(super) fn run(&self, runtime: &Runtime, policy: &Loaded) -> Vec<String> {
        let failed =
            |case: &Case| case.run(runtime, policy).err().map(|why| format!("{}: case '{}': {why}", self.policy, case.name));
        self.cases.iter().filter_map(failed).collect()
    }
}

impl Case {
    fn questions(&self) -> usize {
        let asked = [
            self.prompt.is_some(),
            self.tool_call.is_some(),
            self.tool_result.is_some(),
            self.output.is_some(),
            self.shape.is_some(),
        ];
        asked.into_iter().filter(|asked| *asked).count()
    }

    fn run(&self, runtime: &Runtime, policy: &Loaded) -> Result<(), String> {
        let answer = self.ask(runtime, policy).map_err(|fault| fault.to_string())?;
        self.expect.check(&answer)
    }

    fn ask(&self, runtime: &Runtime, policy: &Loaded) -> Result<Answer, Fault> {
        if let Some(shape) = &self.shape {
            let client = ClientInfo { shape: shape.client.clone(), ..ClientInfo::default() };
            let asked = policy.guest.shape_output(runtime, &client, &shape.tool, &shape.output.to_string());
            let (text, structured) = asked.result?;
            return Ok(Answer { verdict: "shaped".into(), content: Some(structured.unwrap_or(text)), ..Answer::default() });
        }
        let mut event = self.event();
        let mut answer = Answer::default();
        if policy.guest.is_filter() {
            match chain::ask_filter(runtime, policy, &event).result? {
                Filtered::Unchanged(found) => answer.findings = found,
                Filtered::Replaced(new, found) => {
                    answer = Answer { verdict: "replaced".into(), findings: found, content: Some(new.clone()) };
                    event.subject.set_content(new);
                }
                Filtered::Withhold(found) => return Ok(Answer { verdict: "withhold".into(), findings: found, content: None }),
            }
            if answer.verdict.is_empty() {
                answer.verdict = "unchanged".into();
            }
        }
        if policy.guest.is_guard() {
            let verdict: Verdict = chain::ask_guard(runtime, policy, &event, &answer.findings).result?;
            verdict.as_str().clone_into(&mut answer.verdict);
            answer.findings.extend_from_slice(verdict.findings());
        }
        Ok(answer)
    }

    fn event(&self) -> Event {
        let subject = if let Some(prompt) = &self.prompt {
            Subject::Prompt { text: prompt.text.clone(), context: prompt.context.clone() }
        } else if let Some(call) = &self.tool_call {
            Subject::ToolCall(call.subject())
        } else if let Some(result) = &self.tool_result {
            Subject::ToolResult { call_id: "call-1".into(), tool: result.tool.clone(), content: result.content.clone() }
        } else {
            Subject::Output { content: self.output.clone().unwrap_or_default().to_string() }
        };
        Event {
            id: "test".into(),
            time_ms: TIME_MS,
            seed: 1,
            seq: 0,
            tenant: crate::identity::DEFAULT_TENANT.into(),
            caller: Caller { principal: "someone@example.com".into(), roles: self.task.roles.clone(), ..Caller::default() },
            task: TaskFacts {
                id: "task_00000000000000000000000000000001".into(),
                session_id: "sess_00000000000000000000000000000001".into(),
                agent: "runbook".into(),
                attempt: 1,
                labels: self.task.labels.clone(),
                marks: self.task.marks.clone(),
                working_directory: self.task.working_directory.clone(),
                permissions: self.task.permissions,
                ..TaskFacts::default()
            },
            subject,
        }
    }
}

impl ToolCallCase {
    /// Arguments that are not given follow from the command or the statement.
    fn subject(&self) -> ToolCallSubject {
        let derived = || match (&self.shell, &self.sql) {
            (Some(command), _) => serde_json::json!({ "command": command }),
            (None, Some(statement)) => serde_json::json!({ "statement": statement }),
            (None, None) => serde_json::json!({}),
        };
        ToolCallSubject {
            id: "call-1".into(),
            tool: self.tool.clone(),
            arguments: self.arguments.clone().unwrap_or_else(derived).to_string(),
            shell: self.shell.clone(),
            paths: self.paths.clone(),
            sql: self.sql.clone(),
        }
    }
}

impl Expect {
    fn check(&self, answer: &Answer) -> Result<(), String> {
        let codes = sorted(answer.findings.iter().map(|finding| finding.code.as_str()));
        if let Some(wanted) = self.verdict.as_deref().filter(|wanted| *wanted != answer.verdict) {
            return Err(format!("expected {wanted}, got {} with {codes:?}", answer.verdict));
        }
        if let Some(wanted) = &self.codes {
            let wanted = sorted(wanted.iter().map(String::as_str));
            if wanted != codes {
                return Err(format!("expected the codes {wanted:?}, got {codes:?}"));
            }
        }
        let content = answer.content.as_deref().unwrap_or_default();
        if let Some(wanted) = self.content.as_deref().filter(|wanted| *wanted != content) {
            return Err(format!("expected the content {wanted:?}, got {content:?}"));
        }
        if let Some(wanted) = self.contains.as_deref().filter(|wanted| !content.contains(*wanted)) {
            return Err(format!("expected {wanted:?} in the content {content:?}"));
        }
        if let Some(wanted) = &self.marks {
            let marks: BTreeMap<String, String> = answer.findings.iter().flat_map(|finding| finding.marks.clone()).collect();
            if *wanted != marks {
                return Err(format!("expected the marks {wanted:?}, got {marks:?}"));
            }
        }
        Ok(())
    }
}

fn sorted<'a>(codes: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut codes: Vec<_> = codes.collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
