//! Holding: while a call waits for people its task is `needs_approval/held`, its clocks stand still, and its place is free.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::keeper::Gatekeeper;
use super::running::Running;
use crate::approval::request::Standing;
use crate::executor::Hold;
use crate::id::ApprovalId;
use crate::store::StoreError;
use crate::task::state::Happening;

/// A held call. While a task has one it is `needs_approval/held` and its clocks stand still. The count goes down when this
/// is dropped, however the call ends; a call that ends undecided leaves its request to the task's next attempt.
pub(super) struct Held {
    keeper: Gatekeeper,
    running: Option<Arc<Running>>,
    approval: ApprovalId,
}

impl Held {
    /// `None` where too many tasks are held already.
    pub(super) async fn enter(
        keeper: &Gatekeeper,
        running: &Arc<Running>,
        approval: &ApprovalId,
    ) -> Result<Option<Self>, StoreError> {
        let mut held = running.held.lock().await;
        if *held == 0 && keeper.holding() >= keeper.0.settings.max_held {
            return Ok(None);
        }
        *held += 1;
        // From here on a drop gives the count back, also where the agent hangs up during the write below.
        let guard = Self { keeper: keeper.clone(), running: Some(running.clone()), approval: approval.clone() };
        if *held == 1 {
            let (task, body) = (running.task.id.clone(), serde_json::json!({ "approval": approval.as_str() }));
            let patch = crate::store::tasks::Patch { body: Some(body), ..Default::default() };
            match keeper.0.store.call(move |s| s.advance(&task, "coda", &Happening::Hold, &patch)).await {
                // A conflict: it is held already, by a call that just left.
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(e) => return Err(e),
            }
            if let Some(control) = running.control() {
                control.set_held(Hold::Held);
            }
        }
        drop(held);
        keeper.0.places.notify_one();
        Ok(Some(guard))
    }

    /// It waits for another request now.
    pub(super) fn waits_for(&mut self, approval: &ApprovalId) {
        self.approval = approval.clone();
    }

    pub(super) async fn leave(mut self) {
        if let Some(running) = self.running.take() {
            let keeper = self.keeper.clone();
            // A task of its own: it is done also where nobody waits for it any more.
            let _ = tokio::spawn(async move { release_one(&keeper, &running).await }).await;
        }
    }
}

impl Drop for Held {
    /// The agent hung up while its call was held.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.park(self.approval.clone());
            let keeper = self.keeper.clone();
            tokio::spawn(async move { release_one(&keeper, &running).await });
        }
    }
}

async fn release_one(keeper: &Gatekeeper, running: &Arc<Running>) {
    let mut held = running.held.lock().await;
    *held = held.saturating_sub(1);
    if *held > 0 {
        return;
    }
    let (task, attempt) = (running.task.id.clone(), running.task.attempt);
    let released = keeper.0.store.call(move |s| {
        if s.task(&task)?.attempt == attempt {
            s.advance(&task, "coda", &Happening::Release, &Default::default()).map(drop)
        } else {
            Ok(())
        }
    });
    match released.await {
        // A conflict: the task ended or was parked meanwhile.
        Ok(()) | Err(StoreError::Conflict { .. }) => {}
        Err(e) => tracing::error!(task.id = %running.task.id, error = %e, "a released task could not be noted as running"),
    }
    if let Some(control) = running.control() {
        control.set_held(Hold::Live);
    }
}

impl Gatekeeper {
    /// Holds a whole plan until its request is decided.
    pub(super) async fn hold_for(
        &self,
        running: &Arc<Running>,
        id: &ApprovalId,
        changes: &mut broadcast::Receiver<ApprovalId>,
        deadline: Instant,
    ) -> Result<Result<(), String>, StoreError> {
        let Some(held) = Held::enter(self, running, id).await? else { return Ok(Err(self.park(running, id))) };
        let standing = self.wait(id, changes, deadline).await?;
        held.leave().await;
        Ok(match standing {
            Standing::Approved | Standing::Consumed => Ok(()),
            Standing::Open => Err(self.park(running, id)),
            Standing::Denied => Err(self.denial(id, None).await?),
            Standing::Expired => Err("refused: nobody approved it in time".into()),
            Standing::Withdrawn => Err("refused: its request was withdrawn".into()),
        })
    }
}
