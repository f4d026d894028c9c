//! Tasks: what they are made of. The state machine is in `state`, the text an agent gets in `envelope`.

pub mod conversation;
pub mod envelope;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::env::Millis;
use crate::id::{SessionId, TaskId};
use crate::identity::ClientInfo;
use crate::policy::contract::{Permissions, Usage};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, waits for a place.
    Queued,
    /// An agent works on it.
    Running,
    /// People must decide.
    NeedsApproval,
    /// The submitter must answer a question.
    InfoNeeded,
    /// Done.
    Completed,
    /// Ended without what was asked for.
    Failed,
    /// Its time ran out.
    TimedOut,
    /// Somebody ended it.
    Cancelled,
    /// Refused: never started, or its request was refused.
    Denied,
}

impl Status {
    /// All of them, in the order a reader expects.
    pub const ALL: [Status; 9] = [
        Status::Queued,
        Status::Running,
        Status::NeedsApproval,
        Status::InfoNeeded,
        Status::Completed,
        Status::Failed,
        Status::TimedOut,
        Status::Cancelled,
        Status::Denied,
    ];

    /// The word used everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::NeedsApproval => "needs_approval",
            Status::InfoNeeded => "info_needed",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::TimedOut => "timed_out",
            Status::Cancelled => "cancelled",
            Status::Denied => "denied",
        }
    }

    /// Reads a status word; the spellings of older clients (`done`, `timeout`) are accepted.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "done" => Some(Status::Completed),
            "timeout" => Some(Status::TimedOut),
            _ => Self::ALL.into_iter().find(|s| s.as_str() == word),
        }
    }

    /// Whether nothing can happen to the task any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::TimedOut | Status::Cancelled | Status::Denied)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a waiting task waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// Its process lives, its clocks stand still.
    Held,
    /// It has no process; it goes on as a new attempt.
    Parked,
}

/// Who or what ended a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// A policy's verdict.
    Policy,
    /// A person.
    Person,
    /// A request that nobody decided in time.
    Expiry,
    /// A bound of coda's: time, size, restart.
    Limit,
    /// The agent itself.
    Agent,
}

/// Why a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Who or what.
    pub by: EndedBy,
    /// Stable code, such as `deadline` or a rule code.
    pub code: String,
    /// For a person.
    pub text: String,
}

/// A stored task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Id.
    pub id: TaskId,
    /// What clients chain by.
    pub session: SessionId,
    /// Tenant.
    pub tenant: String,
    /// Who handed it over.
    pub principal: String,
    /// Roles of the submitter for this task when it was handed over.
    pub roles: Vec<String>,
    /// Through which client.
    pub client: ClientInfo,
    /// Which agent.
    pub agent: String,
    /// Named workspace, or none for one of its own.
    pub workspace: Option<String>,
    /// What was asked for.
    pub permissions: Permissions,
    /// The screened prompt.
    pub prompt: String,
    /// The context as JSON text, or empty.
    pub context: String,
    /// Whether the envelope carries the workflow protocol.
    pub workflow_protocol: bool,
    /// From configuration.
    pub labels: BTreeMap<String, String>,
    /// From policies.
    pub marks: BTreeMap<String, String>,
    /// Counters.
    pub usage: Usage,
    /// The chain's first session: names the kept workspace.
    pub chain: SessionId,
    /// The session it continues.
    pub previous: Option<SessionId>,
    /// Bound on its running time, in seconds.
    pub timeout_s: u64,
    /// Where it stands.
    pub status: Status,
    /// How it waits, while it does.
    pub waiting: Option<Waiting>,
    /// 0 before the first start.
    pub attempt: u32,
    /// Whose rights it uses.
    pub acting_as: String,
    /// Accepted at.
    pub created_ms: Millis,
    /// First started at.
    pub started_ms: Option<Millis>,
    /// Ended at.
    pub ended_ms: Option<Millis>,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// The screened result, a JSON object.
    pub result: Option<serde_json::Value>,
    /// Last progress line of the agent, screened.
    pub progress: Option<String>,
    /// Changes with every change of the task; compare-and-set uses it.
    pub version: u64,
}

/// Most characters of an agent's or a policy's words that reasons, requests, events and lists carry.
pub const MAX_WORDS_CHARS: usize = 4096;

/// The part of somebody's words that goes where there is no room for all of them; an agent's stand whole in its result.
#[must_use]
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_WORDS_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_cut_between_characters_and_say_so() {
        assert_eq!(shortened("kept"), "kept");
        assert_eq!(shortened(&"é".repeat(MAX_WORDS_CHARS)).chars().count(), MAX_WORDS_CHARS);
        let cut = shortened(&"é".repeat(MAX_WORDS_CHARS + 1));
        assert!(cut.ends_with("é…") && cut.chars().count() == MAX_WORDS_CHARS + 1);
    }
}
