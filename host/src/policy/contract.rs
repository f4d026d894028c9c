//! The contract of `wit/0.1/policy.wit` as the host's own types. What crosses the sandbox is converted by hand in
//! `bindings`; everything else in coda speaks these types. Their JSON form is what the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::env::Millis;

/// A place where the host asks for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Before a task is accepted.
    Prompt,
    /// Before the agent may act.
    ToolCall,
    /// Before the model may read.
    ToolResult,
    /// Before a result is stored.
    Output,
}

impl Gate {
    /// All, in the order a task meets them.
    pub const ALL: [Gate; 4] = [Gate::Prompt, Gate::ToolCall, Gate::ToolResult, Gate::Output];

    /// The word used everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Gate::Prompt => "prompt",
            Gate::ToolCall => "tool-call",
            Gate::ToolResult => "tool-result",
            Gate::Output => "output",
        }
    }
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One question put to a chain of policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique id of the evaluation; the decision carries it on.
    pub id: String,
    /// Wall time.
    pub time_ms: Millis,
    /// Seed of the guests' random numbers.
    pub seed: u64,
    /// Position among the task's events.
    pub seq: u64,
    /// Tenant.
    pub tenant: String,
    /// On whose behalf.
    pub caller: Caller,
    /// Which task.
    pub task: TaskFacts,
    /// What is to be judged.
    pub subject: Subject,
}

impl Event {
    /// The gate that this event stands at.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self.subject {
            Subject::Prompt { .. } => Gate::Prompt,
            Subject::ToolCall(_) => Gate::ToolCall,
            Subject::ToolResult { .. } => Gate::ToolResult,
            Subject::Output { .. } => Gate::Output,
        }
    }
}

/// Who handed the task over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The client's self-given name.
    pub client: String,
    /// The client's self-given version.
    pub client_version: String,
    /// The authenticated principal.
    pub principal: String,
    /// Roles for this task, sorted.
    pub roles: Vec<String>,
}

/// What the submitter asked for; never loosens a gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permissions {
    /// The agent asks its own questions.
    #[default]
    Smart,
    /// The agent's own questions are off.
    Yolo,
}

/// The task an event belongs to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskFacts {
    /// Task id.
    pub id: String,
    /// Session id.
    pub session_id: String,
    /// Agent.
    pub agent: String,
    /// Permissions.
    pub permissions: Permissions,
    /// Where the subject takes effect; empty at the prompt gate.
    pub working_directory: String,
    /// 1 for the first.
    pub attempt: u32,
    /// Session that is continued.
    pub chained_from: Option<String>,
    /// From the operator's configuration.
    pub labels: BTreeMap<String, String>,
    /// From policies.
    pub marks: BTreeMap<String, String>,
    /// Counters.
    pub usage: Usage,
}

/// Counters of one task over all attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Calls released to run.
    pub tool_calls: u32,
    /// Tokens read by the model.
    pub input_tokens: u64,
    /// Tokens written by the model.
    pub output_tokens: u64,
    /// Millionths of a US dollar, of tokens that have a price.
    pub cost_micro_usd: u64,
    /// Of all tokens, coda's estimate where an upstream did not say. Policies don't see it.
    #[serde(default)]
    pub estimated_tokens: u64,
    /// Of all tokens, those without a price. Policies don't see it.
    #[serde(default)]
    pub unpriced_tokens: u64,
}

/// What is to be judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Subject {
    /// At the prompt gate.
    Prompt {
        /// What to do.
        text: String,
        /// JSON text or empty.
        context: String,
    },
    /// At the tool-call gate.
    ToolCall(ToolCallSubject),
    /// At the tool-result gate.
    ToolResult {
        /// The agent's id of the call.
        call_id: String,
        /// Tool name.
        tool: String,
        /// The answer.
        content: String,
    },
    /// At the output gate.
    Output {
        /// The result as JSON text.
        content: String,
    },
}

impl Subject {
    /// The text that filters change and spans refer to.
    #[must_use]
    pub fn content(&self) -> &str {
        match self {
            Subject::Prompt { text, .. } => text,
            Subject::ToolCall(call) => &call.arguments,
            Subject::ToolResult { content, .. } | Subject::Output { content } => content,
        }
    }

    /// The text that a finding's spans refer to: the content, or another part that the annotation `span-of` names.
    #[must_use]
    pub fn spanned(&self, finding: &Finding) -> &str {
        match (self, finding.annotations.get("span-of").map(String::as_str)) {
            (Subject::ToolCall(call), Some("shell")) => call.shell.as_deref().unwrap_or_default(),
            (Subject::ToolCall(call), Some("sql")) => call.sql.as_deref().unwrap_or_default(),
            (Subject::Prompt { context, .. }, Some("context")) => context,
            _ => self.content(),
        }
    }

    /// Puts another text in its place.
    pub fn set_content(&mut self, new: String) {
        match self {
            Subject::Prompt { text, .. } => *text = new,
            Subject::ToolCall(call) => call.arguments = new,
            Subject::ToolResult { content, .. } | Subject::Output { content } => *content = new,
        }
    }
}

/// A call that an agent wants to make.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCallSubject {
    /// The agent's id.
    pub id: String,
    /// Tool name.
    pub tool: String,
    /// Canonical JSON text.
    pub arguments: String,
    /// Shell command in the arguments, where the tool runs one.
    pub shell: Option<String>,
    /// Paths that the tool writes.
    pub paths: Vec<String>,
    /// SQL in the arguments, where the tool runs SQL.
    pub sql: Option<String>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "documented in the WIT")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

/// What would happen to the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "documented in the WIT")]
pub enum Effect {
    None,
    Read,
    Create,
    Modify,
    Overwrite,
    Delete,
    PermissionChange,
    RemoteExec,
    Exfiltrate,
    Disclose,
    Disrupt,
    Persist,
    Inject,
    Other,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// Kind, such as `table`.
    pub kind: String,
    /// Name as found.
    pub name: String,
    /// Environment or empty.
    pub environment: String,
}

/// Whether the effect can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "documented in the WIT")]
pub enum Reversible {
    Yes,
    No,
    Unknown,
}

/// How much of the subject a finding rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "documented in the WIT")]
pub enum Coverage {
    Full,
    Partial,
}

/// One thing that a policy noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Rule code.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What would happen.
    pub effect: Effect,
    /// To what.
    pub resource: Option<Resource>,
    /// Whether it can be undone.
    pub reversible: Reversible,
    /// How much was understood.
    pub coverage: Coverage,
    /// For a person.
    pub message: String,
    /// Byte ranges, start included, end excluded.
    pub spans: Vec<(u32, u32)>,
    /// For machines.
    pub annotations: BTreeMap<String, String>,
    /// To be stored with the task.
    pub marks: BTreeMap<String, String>,
}

/// People who must agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// Role.
    pub role: String,
    /// Different principals, at least 1.
    pub count: u32,
}

/// A request for approval by people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Why.
    pub findings: Vec<Finding>,
    /// Who; empty = the configured default.
    pub approvals: Vec<Requirement>,
    /// Whether the submitter counts.
    pub allow_requester: bool,
    /// 0 = the configured default.
    pub expires_after_s: u32,
    /// One sentence.
    pub reason: String,
}

/// A guard's answer, or a chain's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// May pass.
    Allow {
        /// Warnings.
        findings: Vec<Finding>,
    },
    /// Waits for people.
    NeedsApproval(Demand),
    /// Must not pass.
    Deny {
        /// Why.
        findings: Vec<Finding>,
    },
}

impl Verdict {
    /// The word used in logs, answers and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Verdict::Allow { .. } => "allow",
            Verdict::NeedsApproval(_) => "needs-approval",
            Verdict::Deny { .. } => "deny",
        }
    }

    /// The findings of any verdict.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match self {
            Verdict::Allow { findings } | Verdict::Deny { findings } => findings,
            Verdict::NeedsApproval(demand) => &demand.findings,
        }
    }
}
