//! The tool gates as the gateway and the agents' hooks see them: one place turns an agent's wish into permission.
//!
//! A call that a policy holds is awaited here: the future completes when people decided, or when the hold is over.

pub(crate) mod agent_side;
pub mod ask;
pub mod egress;
mod ending;
mod held;
mod hosted;
pub mod keeper;
mod likeness;
pub mod running;
pub(crate) mod screen;
pub(crate) mod shown;
mod spending;
mod together;
pub mod tools;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use crate::id::{ApprovalId, TaskId};
use crate::policy::Cleared;
use crate::usage::{Owed, Spent};

/// A call that an agent wants to make.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The agent's id of the call.
    pub id: String,
    /// Tool name as the agent knows it.
    pub tool: String,
    /// Arguments: any JSON value; compared in canonical form.
    pub arguments: Value,
    /// Where it would run, as the agent names it: seen from the task's workspace, which is taken where it says nothing.
    pub working_directory: Option<String>,
}

/// Whether a call may run.
#[derive(Debug)]
pub enum CallVerdict {
    /// Exactly this call may run, once.
    Run(Cleared<ToolCall>),
    /// It must not; the text is for the agent's model: the rule, the reason, what is possible.
    Refuse {
        /// Two sentences for the model.
        message: String,
    },
    /// Nobody decided in time; the request stays open and the task goes on later. The agent is to end its turn.
    Park {
        /// The request that stays open.
        approval: ApprovalId,
        /// For the model: end now, say that approval is waited for.
        message: String,
    },
}

/// What the model may read of a tool's result.
#[derive(Debug)]
pub enum ResultVerdict {
    /// The screened text.
    Deliver(Cleared<String>),
    /// Nothing of it; the text is for the model.
    Withhold {
        /// Why, in a sentence.
        message: String,
    },
}

/// A future that borrows the gates.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The tool gates of one server. The seam at which the gateway's own tests put scripted verdicts.
pub trait ToolGates: Send + Sync {
    /// Judges calls that the model made together. One verdict per call, in order. Holds as long as people need, at most
    /// `hold_s`. A repeated question about the same call attaches to the pending or decided one. What the answer that made
    /// them used is taken from `owed` and kept before anything is released; `Err` as for `spend`.
    fn judge_calls<'a>(
        &'a self,
        task: &'a TaskId,
        calls: Vec<ToolCall>,
        owed: &'a Owed,
    ) -> Pending<'a, Result<Vec<CallVerdict>, String>>;

    /// Judges a call that an agent's own hook asks about, and waits for people no longer than the hook can (nor than
    /// `hold_s`): then it is parked.
    fn judge_hooked<'a>(&'a self, task: &'a TaskId, call: ToolCall, wait: Duration) -> Pending<'a, CallVerdict>;

    /// Judges a declared plan: what is held is held before the first call runs, as one request. Verdicts are not
    /// permissions: each call is judged again when it is made, and finds the approval given here.
    fn judge_plan<'a>(&'a self, task: &'a TaskId, calls: Vec<ToolCall>) -> Pending<'a, Result<(), String>>;

    /// Judges a tool that runs at the model's provider by its declaration, before it is offered to the model; `tool` is its
    /// name at the gates. `None`: it must not be offered. A set of policies is asked once about the same declaration.
    fn judge_hosted<'a>(&'a self, task: &'a TaskId, tool: &'a str, declaration: &'a Value)
    -> Pending<'a, Option<Cleared<Value>>>;

    /// Judges what a tool answered.
    fn judge_result<'a>(
        &'a self,
        task: &'a TaskId,
        call_id: &'a str,
        tool: &'a str,
        content: String,
    ) -> Pending<'a, ResultVerdict>;

    /// The calls that were released so far, over all attempts: a runbook skips what is finished. `Err` where that cannot be
    /// told now: never an empty list, by which it would begin anew.
    fn calls_so_far<'a>(&'a self, task: &'a TaskId) -> Pending<'a, Result<Vec<PastCall>, String>>;

    /// Where calls of a running task take effect that name no directory.
    fn workspace(&self, task: &TaskId) -> Option<PathBuf>;

    /// Says that the agent and its model were just seen at work, which the terminal need not show.
    fn note_activity(&self, task: &TaskId);

    /// Puts on record what happened to a tunnel. `Err` where it can't be: then it must not be opened.
    fn note_tunnel<'a>(&'a self, task: &'a TaskId, note: egress::TunnelNote) -> Pending<'a, Result<(), ()>>;

    /// The access token that came with the task is gone: its attempt ends, and the task waits until its submitter brings
    /// another.
    fn credential_gone(&self, task: &TaskId, why: &str);

    /// Whether the task may ask its model. `Err`, for the agent: a budget is used up, and the task has ended.
    fn may_spend<'a>(&'a self, task: &'a TaskId) -> Pending<'a, Result<(), String>>;

    /// Adds what a model's answer used. `Err` as for `may_spend`: then nothing of the answer may have an effect.
    fn spend<'a>(&'a self, task: &'a TaskId, spent: Spent) -> Pending<'a, Result<(), String>>;
}

/// A call that was released.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PastCall {
    /// The agent's id of the call.
    pub call_id: String,
    /// During which attempt.
    pub attempt: u32,
    /// `released`, or `finished` once its result was judged.
    pub state: String,
}
