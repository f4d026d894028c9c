//! A policy's own tests: events and what must come of them. They run when a set is loaded; one that fails fails the load.
//!
//! ```yaml
//! - name: a recursive delete waits for people
//!   gate: tool-call                       # with tool, and shell, sql, paths or arguments
//!   tool: shell
//!   shell: rm -rf build
//!   task: { labels: { environment: production } }      # optional: labels, marks, roles, working_directory, permissions
//!   expect: { verdict: needs-approval, codes: [shell.rm] }
//! - name: a password in an address is masked
//!   gate: tool-result                     # with tool and content; prompt has text and context, output has content
//!   tool: shell
//!   content: "postgres://app:h8Kq2-zL@db/prod"
//!   expect: { verdict: replaced, content: "postgres://app:****@db/prod" }
//! - name: a client that reads flat text
//!   shape: genie-code                     # with tool and output
//!   tool: coda_get_result
//!   output: '{"status":"completed"}'
//!   expect: { text: "status: completed" }
//! ```
//! The same form in TOML (`[[case]]`) and JSON. `verdict` is a guard's word (`allow`, `needs-approval`, `deny`) or a
//! filter's (`unchanged`, `replaced`, `withhold`); `codes` must all be reported; `content` is the whole text afterwards.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::bindings::Filtered;
use super::chain;
use super::compile::Loaded;
use super::contract::{Caller, Event, Finding, Gate, Permissions, Subject, TaskFacts, ToolCallSubject, Verdict};
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
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Case {
    pub(super) name: String,
    gate: Option<Gate>,
    text: String,
    context: String,
    tool: String,
    arguments: Option<Json>,
    shell: Option<String>,
    sql: Option<String>,
    paths: Vec<String>,
    content: String,
    shape: Option<String>,
    output: String,
    task: TaskCase,
    expect: Expect,
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
    codes: Vec<String>,
    content: Option<String>,
    text: Option<String>,
    marks: Option<BTreeMap<String, String>>,
}

/// What a policy answered, in the words of a suite.
#[derive(Default)]
struct Answer {
    verdict: String,
    findings: Vec<Finding>,
    /// The text afterwards.
    content: String,
    /// The text block of a shaped answer.
    text: String,
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
        if let Some(case) = cases.iter().find(|case| case.name.is_empty() || case.gate.is_some() == case.shape.is_some()) {
            return Err(format!("case '{}' must have a name, and either a gate or a shape", case.name));
        }
        Ok(Self { policy: policy.to_owned(), cases })
    }

    /// Runs every case; the texts of those that fail.
    pub(super) fn run(&self, runtime: &Runtime, policy: &Loaded) -> Vec<String> {
        let failed =
            |case: &Case| case.run(runtime, policy).err().map(|why| format!("{}: case '{}': {why}", self.policy, case.name));
        self.cases.iter().filter_map(failed).collect()
    }

    /// Runs one case and says how it went.
    pub(super) fn report(&self, case: &Case, runtime: &Runtime, policy: &Loaded) -> CaseReport {
        let started = Instant::now();
        let failure = case.run(runtime, policy).err();
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        CaseReport { policy: self.policy.clone(), name: case.name.clone(), failure, micros }
    }
}

/// How one case went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// Name of the policy.
    pub policy: String,
    /// Name of the case.
    pub name: String,
    /// What was expected and what came; none where it passed.
    pub failure: Option<String>,
    /// Wall time.
    pub micros: u64,
}

/// An event of nobody's task: the same every day.
pub(super) fn specimen(subject: Subject, task: TaskFacts, roles: Vec<String>) -> Event {
    Event {
        id: "test".into(),
        time_ms: TIME_MS,
        seed: 1,
        seq: 0,
        tenant: crate::identity::DEFAULT_TENANT.into(),
        caller: Caller { principal: "someone@example.com".into(), roles, ..Caller::default() },
        task: TaskFacts {
            id: "task_00000000000000000000000000000001".into(),
            session_id: "sess_00000000000000000000000000000001".into(),
            agent: "runbook".into(),
            attempt: 1,
            ..task
        },
        subject,
    }
}

impl Case {
    fn run(&self, runtime: &Runtime, policy: &Loaded) -> Result<(), String> {
        let answer = self.ask(runtime, policy).map_err(|fault| fault.to_string())?;
        self.expect.check(&answer)
    }

    fn ask(&self, runtime: &Runtime, policy: &Loaded) -> Result<Answer, Fault> {
        match (&self.shape, self.gate) {
            (Some(shape), _) => {
                let client = ClientInfo { shape: shape.clone(), ..ClientInfo::default() };
                let (text, structured) = policy.guest.shape_output(runtime, &client, &self.tool, &self.output).result?;
                Ok(Answer { verdict: "shaped".into(), content: structured.unwrap_or_default(), text, ..Answer::default() })
            }
            (None, Some(gate)) => Self::judge(runtime, policy, self.event(gate)),
            (None, None) => Ok(Answer::default()),
        }
    }

    fn judge(runtime: &Runtime, policy: &Loaded, mut event: Event) -> Result<Answer, Fault> {
        let mut answer = Answer::default();
        if policy.guest.is_filter() {
            let (verdict, findings) = match chain::ask_filter(runtime, policy, &event).result? {
                Filtered::Unchanged(found) => ("unchanged", found),
                Filtered::Withhold(found) => ("withhold", found),
                Filtered::Replaced(new, found) => {
                    event.subject.set_content(new);
                    ("replaced", found)
                }
            };
            answer = Answer { verdict: verdict.into(), findings, ..answer };
        }
        if policy.guest.is_guard() && answer.verdict != "withhold" {
            let verdict: Verdict = chain::ask_guard(runtime, policy, &event, &answer.findings).result?;
            verdict.as_str().clone_into(&mut answer.verdict);
            answer.findings.extend_from_slice(verdict.findings());
        }
        event.subject.content().clone_into(&mut answer.content);
        Ok(answer)
    }

    fn event(&self, gate: Gate) -> Event {
        let (tool, content) = (self.tool.clone(), self.content.clone());
        let subject = match gate {
            Gate::Prompt => Subject::Prompt { text: self.text.clone(), context: self.context.clone() },
            Gate::ToolCall => Subject::ToolCall(self.call()),
            Gate::ToolResult => Subject::ToolResult { call_id: "call-1".into(), tool, content },
            Gate::Output => Subject::Output { content },
        };
        let task = TaskFacts {
            labels: self.task.labels.clone(),
            marks: self.task.marks.clone(),
            working_directory: self.task.working_directory.clone(),
            permissions: self.task.permissions,
            ..TaskFacts::default()
        };
        specimen(subject, task, self.task.roles.clone())
    }

    /// Arguments that are not given follow from the command or the statement.
    fn call(&self) -> ToolCallSubject {
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
        if let Some(missing) = self.codes.iter().find(|code| !codes.contains(&code.as_str())) {
            return Err(format!("expected the code {missing}, got {} with {codes:?}", answer.verdict));
        }
        for (what, wanted, got) in [("content", &self.content, &answer.content), ("text", &self.text, &answer.text)] {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != got) {
                return Err(format!("expected the {what} {wanted:?}, got {got:?}"));
            }
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
