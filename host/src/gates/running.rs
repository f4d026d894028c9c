//! A task that runs: its facts for events, its marks, and how many of its calls are held.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::hosted::HostedVerdicts;
use crate::env;
use crate::executor::Control;
use crate::id::ApprovalId;
use crate::policy::contract::{Caller, Event, Subject, TaskFacts, Usage};
use crate::task::Task;
use crate::usage::Spent;

/// A running attempt, as the gates know it.
pub struct Running {
    /// The task as it was when the attempt began.
    pub task: Task,
    /// Where calls take effect.
    pub workspace: PathBuf,
    control: Mutex<Option<Control>>,
    marks: Mutex<BTreeMap<String, String>>,
    usage: Mutex<Usage>,
    seq: AtomicU64,
    /// How many calls wait; a tokio mutex because the state change is stored while it is held.
    pub(super) held: tokio::sync::Mutex<u32>,
    /// What policies said of hosted tools; a tokio mutex because it is held while they judge.
    pub(super) hosted: tokio::sync::Mutex<HostedVerdicts>,
    parked: Mutex<Vec<ApprovalId>>,
    question: Mutex<Option<String>>,
}

impl Running {
    /// A task's attempt; `control` follows when its process lives.
    #[must_use]
    pub fn new(task: Task, workspace: PathBuf) -> Self {
        let (marks, usage) = (Mutex::new(task.marks.clone()), Mutex::new(task.usage));
        // Sequence numbers of one attempt never meet those of another.
        let seq = AtomicU64::new(u64::from(task.attempt) << 32);
        Self {
            task,
            workspace,
            control: Mutex::new(None),
            marks,
            usage,
            seq,
            held: tokio::sync::Mutex::new(0),
            hosted: tokio::sync::Mutex::default(),
            parked: Mutex::default(),
            question: Mutex::default(),
        }
    }

    /// Says how to stop the clocks.
    pub fn set_control(&self, control: Control) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = Some(control);
    }

    pub(super) fn control(&self) -> Option<Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_marks(&self, marks: BTreeMap<String, String>) {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = marks;
    }

    /// What the task has used, as it is stored. A call that was released meanwhile stays counted.
    pub(super) fn set_usage(&self, stored: Usage) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        *usage = Usage { tool_calls: usage.tool_calls.max(stored.tool_calls), ..stored };
    }

    /// What an answer used, before it is stored: policies that judge its calls see it.
    pub(super) fn foresee(&self, spent: &Spent) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        *usage = spent.added_to(*usage);
    }

    /// A call was released.
    pub(super) fn count_call(&self) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.tool_calls = usage.tool_calls.saturating_add(1);
    }

    /// Whether a call waits for people right now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        // A held lock means that the count is changing; then the task still has its place.
        self.held.try_lock().is_ok_and(|n| *n > 0)
    }

    pub(super) fn park(&self, approval: ApprovalId) {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).push(approval);
    }

    /// Requests that nobody decided while their call was held.
    #[must_use]
    pub fn parked(&self) -> Vec<ApprovalId> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// coda itself has a question to the submitter; the first one stays.
    pub(super) fn ask(&self, question: String) {
        self.question.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(question);
    }

    /// What coda itself asks the submitter.
    #[must_use]
    pub fn question(&self) -> Option<String> {
        self.question.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next event about this attempt.
    pub(super) fn event(&self, subject: Subject, working_directory: &str) -> Event {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let usage = *self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let event = event_of(&self.task, marks, self.seq.fetch_add(1, Ordering::Relaxed), subject, working_directory);
        Event { task: TaskFacts { usage, ..event.task }, ..event }
    }
}

/// An event about a task.
#[must_use]
pub fn event_of(task: &Task, marks: BTreeMap<String, String>, seq: u64, subject: Subject, working_directory: &str) -> Event {
    Event {
        id: env::hex(&env::random_bytes::<16>()),
        time_ms: env::now_ms(),
        seed: u64::from_le_bytes(env::random_bytes::<8>()),
        seq,
        tenant: task.tenant.clone(),
        caller: Caller {
            client: task.client.name.clone(),
            client_version: task.client.version.clone(),
            principal: task.principal.clone(),
            roles: task.roles.clone(),
        },
        task: TaskFacts {
            id: task.id.to_string(),
            session_id: task.session.to_string(),
            agent: task.agent.clone(),
            permissions: task.permissions,
            working_directory: working_directory.to_owned(),
            attempt: task.attempt.max(1),
            chained_from: task.previous.as_ref().map(ToString::to_string),
            labels: task.labels.clone(),
            marks,
            usage: task.usage,
        },
        subject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_see_what_a_task_has_used_so_far() {
        let task = crate::task::fuzz::task("ann".into(), String::new());
        let running = Running::new(task, PathBuf::from("/srv/tasks"));
        let seen = || running.event(Subject::Prompt { text: String::new(), context: String::new() }, "").task.usage;
        running.count_call();
        running.count_call();
        // Stored before the second call was.
        let stored = Usage { tool_calls: 1, input_tokens: 100, output_tokens: 20, cost_micro_usd: 600, ..Usage::default() };
        running.set_usage(stored);
        assert_eq!(seen(), Usage { tool_calls: 2, ..stored });
    }
}
