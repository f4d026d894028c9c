//! What tasks use of their models, as they use it: counted, and the end of a task whose budget is used up.

use super::keeper::Gatekeeper;
use crate::env;
use crate::executor::StopReason;
use crate::id::TaskId;
use crate::store::StoreError;
use crate::store::usage::Standing;
use crate::usage::{Over, Spent};

impl Gatekeeper {
    /// Adds what an answer used; without one it only looks whether the model may be asked. `Err` is for the agent: its task
    /// has ended, or what it uses could not be kept.
    pub(super) async fn spend(&self, task: &TaskId, spent: Option<Spent>) -> Result<(), String> {
        let (id, budgets) = (task.clone(), self.settings().budgets.clone());
        let stands = self.store().call(move |s| s.spend(&id, spent.as_ref(), &budgets, env::now_ms())).await;
        let standing = stands.map_err(|e| {
            tracing::error!(task.id = %task, error = %e, "what a model used could not be kept");
            "coda could not keep what the model used; try again later".to_owned()
        })?;
        self.heed(task, standing).await
    }

    /// What follows from what a task has used now.
    pub(super) async fn heed(&self, task: &TaskId, standing: Standing) -> Result<(), String> {
        if let Some(running) = self.running(task) {
            running.set_usage(standing.usage);
        }
        let Some(Over(why)) = standing.over else { return Ok(()) };
        tracing::info!(task.id = %task, "a budget is used up; the task ends");
        if let Err(e) = self.end_at_once(task).await {
            tracing::error!(task.id = %task, error = %e, "calls of a task that has ended are not told");
        }
        Err(why)
    }

    /// The task has ended: its process goes, and calls that wait for people go with it.
    async fn end_at_once(&self, task: &TaskId) -> Result<(), StoreError> {
        // One that is still starting is found by whoever starts it.
        if let Some(control) = self.running(task).and_then(|running| running.control()) {
            control.stop(StopReason::Refused);
        }
        let id = task.clone();
        for approval in self.store().call(move |s| s.requests_of(&id)).await? {
            self.tell_decided(&approval);
        }
        Ok(())
    }
}
