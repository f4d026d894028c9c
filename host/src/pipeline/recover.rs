//! The start after a stop, however it came: old processes are ended first, then what was running is settled.

use super::Pipeline;
use crate::executor::end_leftovers;
use crate::store::StoreError;
use crate::store::tasks::{Leftover, Patch};
use crate::task::state::Happening;

/// Time that old processes get to end by themselves.
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a start could not settle what was left.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store.
    #[error("recovery: {0}")]
    Store(#[from] StoreError),
}

impl Pipeline {
    /// Settles what the last server left. To be called before `run`, and before anything is served.
    pub async fn recover(&self) -> Result<usize, RecoverError> {
        let leftovers = self.0.parts.store.call(|s| s.leftovers()).await?;
        let count = leftovers.len();
        for leftover in leftovers {
            self.settle_leftover(leftover).await?;
        }
        self.settle_decided().await?;
        Ok(count)
    }

    async fn settle_leftover(&self, leftover: Leftover) -> Result<(), StoreError> {
        let task = leftover.task;
        // INVARIANT: the old tree is gone before the task can start again.
        // Where the process is not on record, what carries the task's mark is found all the same.
        let (pid, pid_start) = leftover.process.unwrap_or((0, 0));
        {
            let left = end_leftovers(&task.id, pid, pid_start, GRACE).await;
            tracing::info!(task.id = %task.id, processes = left.found, survivors = left.survivors, "old processes were ended");
        }
        let resumable = leftover.request_open && !leftover.call_in_flight;
        tracing::warn!(task.id = %task.id, task.attempt = task.attempt, resumable, "a task was running when the server stopped");
        let patch = Patch { exit: Some("the server stopped".into()), ..Patch::default() };
        self.finish(&task.id, Happening::Interrupt { resumable }, patch).await
    }

    /// Decisions that were committed and not carried out yet. Repeated by the sweep: each step may be done twice.
    pub(super) async fn settle_decided(&self) -> Result<(), StoreError> {
        for (id, approval) in self.0.parts.store.call(|s| s.parked_without_question()).await? {
            let settled = match approval {
                Some(approval) => self.decided(&approval).await,
                None => {
                    let task = self.0.parts.store.call(move |s| s.task(&id)).await?;
                    self.lost(&task).await
                }
            };
            if let Err(e) = settled {
                tracing::error!(error = %e, "a parked task could not be moved; it is tried again");
            }
        }
        Ok(())
    }
}
