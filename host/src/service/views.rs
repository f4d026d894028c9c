//! What goes in and comes out of the verbs. The JSON form of the views is the REST API's and the tools' answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::request::Instead;
use crate::env::Millis;
use crate::id::{ApprovalId, SessionId, TaskId};
use crate::policy::contract::{Demand, Permissions, Requirement};
use crate::task::{Reason, Status, Waiting};

/// A task as a client hands it over.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// What to do.
    pub prompt: String,
    /// Any JSON value; `None`, `{}` and `""` mean none.
    pub context: Option<Value>,
    /// Session to continue: its results become readable, its workspace is kept.
    pub previous_session_id: Option<SessionId>,
    /// Agent name; `None` = the configured default.
    pub agent: Option<String>,
    /// Named workspace; `None` = one of the chain's own.
    pub workspace: Option<String>,
    /// Whether the agent asks its own questions.
    pub permissions: Permissions,
    /// Bound on running time, in seconds; `None` = the configured default.
    pub timeout_s: Option<u64>,
    /// Whether the envelope carries the workflow protocol.
    pub workflow_protocol: bool,
    /// A repeated submission with the same key returns the same task.
    pub idempotency_key: Option<String>,
}

/// Which tasks an inbox shows.
#[derive(Debug, Clone, Default)]
pub struct InboxQuery {
    /// Only these; empty = all.
    pub status: Vec<Status>,
    /// From the answer before.
    pub cursor: Option<String>,
    /// At most; `None` = 50, never more than 200.
    pub limit: Option<u32>,
    /// Tasks of every principal of the tenant (needs the role viewer or operator).
    pub all: bool,
}

/// One page of an inbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InboxPage {
    /// Newest first.
    pub tasks: Vec<TaskView>,
    /// Every status with its count, over the whole window, not only this page.
    pub counts: BTreeMap<String, u64>,
    /// The next page, where there is one.
    pub next_cursor: Option<String>,
}

/// A task as its owner sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskView {
    /// Id.
    pub task_id: TaskId,
    /// What to chain by.
    pub session_id: SessionId,
    /// Where it stands.
    pub status: Status,
    /// How it waits, while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Who handed it over.
    pub principal: String,
    /// Agent.
    pub agent: String,
    /// 0 before the first start.
    pub attempt: u32,
    /// What confines its agent, the tier first; told where one task is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Whether its attempt goes on in the conversation of the one before; told of a later attempt, where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// Whose rights its model sees: the submitter's, or a service identity; told where one task is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acting_as: Option<String>,
    /// What it used of its model, where it used one; told where one task is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// First characters of the screened prompt.
    pub prompt_summary: String,
    /// One paragraph from the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The agent's last progress line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Running time so far, in seconds; stands still after the end.
    pub elapsed_s: f64,
    /// Accepted at, RFC 3339.
    pub created_at: String,
    /// Session it continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_session_id: Option<SessionId>,
    /// Where a person watches or replays.
    pub viewer_url: String,
    /// One sentence: what the user can do now.
    pub next: String,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What waits for people, while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSummary>,
    /// The agent's question, while it waits for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<String>,
    /// The whole screened result; only in the answer to a question about one task, and only when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Files below the workspace that differ from the start, relative paths; as `result`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<Vec<String>>,
    /// What the caller should know of its own request, such as an ignored argument.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What was used of models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageView {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of all of them, coda's estimate where an upstream did not say.
    pub estimated_tokens: u64,
    /// What they cost; `null` where some have no price.
    pub cost_usd: Option<f64>,
}

impl UsageView {
    /// `unpriced_tokens`: how many have no price.
    #[must_use]
    pub fn new(input_tokens: u64, output_tokens: u64, estimated_tokens: u64, unpriced_tokens: u64, cost_micro_usd: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "exact up to billions of dollars")]
        let cost_usd = (unpriced_tokens == 0).then(|| cost_micro_usd as f64 / 1e6);
        Self { input_tokens, output_tokens, estimated_tokens, cost_usd }
    }

    /// What it cost, and how sure that is, in words.
    #[must_use]
    pub fn cost_in_words(&self) -> String {
        let cost = self.cost_usd.map_or_else(|| "cost unknown".to_owned(), |cost| format!("{cost:.4} USD"));
        match self.estimated_tokens {
            0 => cost,
            tokens => format!("{cost} ({tokens} tokens estimated)"),
        }
    }
}

impl std::fmt::Display for UsageView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens in, {} out, {}", self.input_tokens, self.output_tokens, self.cost_in_words())
    }
}

/// What models were used for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UsagePage {
    /// The first day that is told of, such as `2026-11-01`.
    pub since: String,
    /// A row for each day (UTC), principal and model, the newest day first.
    pub days: Vec<UsageRow>,
    /// Whether there are more than these.
    pub more: bool,
}

/// One day of one principal with one model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UsageRow {
    /// Such as `2026-11-21`, in UTC.
    pub day: String,
    /// Who.
    pub principal: String,
    /// As coda.toml names it.
    pub model: String,
    /// Answers of the model.
    pub answers: u64,
    /// What they used.
    pub usage: UsageView,
}

/// Whose use is asked for.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// This principal's; `None` = one's own.
    pub principal: Option<String>,
    /// Everybody's of the tenant.
    pub all: bool,
    /// From this day on, such as `2026-11-01`; `None` = since the month began.
    pub since: Option<String>,
}

/// What a waiting task waits for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApprovalSummary {
    /// Id.
    pub approval_id: ApprovalId,
    /// Where a person decides.
    pub url: String,
    /// Who must decide.
    pub requirements: Vec<Requirement>,
    /// Until when, RFC 3339.
    pub expires_at: String,
    /// One sentence.
    pub reason: String,
}

/// Requests for approval, the open ones first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApprovalPage {
    /// Without items: `items` is empty in each.
    pub approvals: Vec<ApprovalView>,
    /// Whether there are more than these.
    pub more: bool,
}

/// A request for approval as those who may decide, and its requester, see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApprovalView {
    /// Id.
    pub approval_id: ApprovalId,
    /// `open`, `approved`, `denied`, `expired`, `consumed`, `withdrawn`.
    pub status: String,
    /// Of which task.
    pub task_id: TaskId,
    /// The task in one line.
    pub task_summary: String,
    /// Who asked.
    pub requester: String,
    /// Whose rights it would use.
    pub acting_as: String,
    /// Gate word.
    pub gate: String,
    /// What exactly would pass: prompt text, or each call (tool, arguments, working directory). Screened. Empty in lists.
    pub items: Vec<ApprovalItem>,
    /// Why, and what would happen.
    pub demand: Demand,
    /// Who must agree.
    pub requirements: Vec<Requirement>,
    /// Who decided what so far.
    pub votes: Vec<VoteView>,
    /// Requested at, RFC 3339.
    pub created_at: String,
    /// Until when, RFC 3339.
    pub expires_at: String,
    /// Generation of the policy set that asked.
    pub generation: u64,
    /// Why it was refused or withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the principal who asks may decide now; if not, why not.
    #[serde(with = "allowed")]
    pub may_decide: Result<(), String>,
}

/// The form of a right in JSON: `{"allowed": true}` or `{"allowed": false, "why": "..."}`.
mod allowed {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Right {
        allowed: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    }

    pub(super) fn serialize<S: Serializer>(right: &Result<(), String>, to: S) -> Result<S::Ok, S::Error> {
        Right { allowed: right.is_ok(), why: right.as_ref().err().cloned() }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Result<(), String>, D::Error> {
        let right = Right::deserialize(from)?;
        Ok(if right.allowed { Ok(()) } else { Err(right.why.unwrap_or_default()) })
    }
}

/// One thing that would pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApprovalItem {
    /// Its number in the request, from 1.
    #[serde(default)]
    pub number: usize,
    /// Whether somebody refused it, so that it will not pass whatever becomes of the rest.
    #[serde(default)]
    pub refused: bool,
    /// Whether nothing asks for it any more, so that no decision is needed.
    #[serde(default)]
    pub withdrawn: bool,
    /// Tool name, or `prompt`, or `output`.
    pub title: String,
    /// Exact text: the shell command, the arguments, the prompt.
    pub content: String,
    /// Of a call, its other arguments: a line each, `name: JSON`. Empty where there are none.
    #[serde(default)]
    pub arguments: String,
    /// What was approved in an earlier attempt and not used, where this call differs from it a little: that call, as
    /// `content` and `arguments` had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Instead>,
    /// Where it would take effect.
    pub working_directory: String,
    /// Byte ranges in `content` with the rule code of the finding that marks them.
    pub marked: Vec<(u32, u32, String)>,
}

/// One person's decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VoteView {
    /// Who.
    pub principal: String,
    /// For or against.
    pub approve: bool,
    /// Numbers of the items that must not pass, where the rest may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<usize>,
    /// Why.
    pub reason: String,
    /// When, RFC 3339.
    pub time: String,
}

/// Numbers of items as a sentence has them: `1, 3`.
#[must_use]
pub fn numbers(items: &[usize]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let it pass, once.
    Approve {
        /// Numbers of the items that may pass; the others are refused. `None`: all.
        only: Option<Vec<usize>>,
        /// Optional words; needed where an item is refused.
        reason: String,
    },
    /// Refuse.
    Deny {
        /// Told to the agent and the submitter; must not be empty.
        reason: String,
    },
}

/// What a viewer needs to know of a task that its principal may watch.
#[derive(Debug, Clone)]
pub struct Watchable {
    /// Id.
    pub task: TaskId,
    /// Where it stands.
    pub status: Status,
    /// The asciicast of all attempts so far.
    pub transcript: std::path::PathBuf,
    /// Ended at, where it has.
    pub ended_ms: Option<Millis>,
}
