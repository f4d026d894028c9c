//! How a call stops waiting for people: its request is used, withdrawn or was denied, or the call is parked.

use std::time::Duration;

use super::ask::Ask;
use super::keeper::Gatekeeper;
use super::running::Running;
use crate::approval::request::Standing;
use crate::executor::StopReason;
use crate::id::ApprovalId;
use crate::policy::Judgment;
use crate::store::approvals::Match;
use crate::store::{Store, StoreError};

const PARKED: &str = "not run: people have not decided on it yet. End your turn now; say that the task waits for approval and will go on when it is given.";

impl Gatekeeper {
    /// An approval for something that policies allow by now must not lie about for later.
    pub(super) async fn use_up(&self, running: &Running, ask: &Ask, judgment: &Judgment) -> Result<(), StoreError> {
        let decision = judgment.decision.to_string();
        self.settle(running, ask, move |s, found| match found.approval.standing {
            Standing::Approved => s.consume_approval(&found.approval.id, found.item, &decision),
            Standing::Open => s.withdraw_approval(&found.approval.id, "a policy allows it now"),
            Standing::Denied | Standing::Expired | Standing::Consumed | Standing::Withdrawn => Ok(()),
        })
        .await
    }

    pub(super) async fn withdraw_for(&self, running: &Running, ask: &Ask, why: &'static str) -> Result<(), StoreError> {
        self.settle(running, ask, move |s, found| match found.approval.standing {
            Standing::Denied => Ok(()),
            _ => s.withdraw_approval(&found.approval.id, why),
        })
        .await
    }

    /// Ends the request for a call, if there is one, and wakes whoever else waits for it.
    async fn settle(
        &self,
        running: &Running,
        ask: &Ask,
        end: impl FnOnce(&Store, &Match) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (task, key) = (running.task.id.clone(), ask.key.clone());
        let settled = self.0.store.call(move |s| {
            let Some(found) = s.approval_for_call(&task, &key)? else { return Ok(None) };
            end(s, &found)?;
            Ok(Some(found.approval.id))
        });
        if let Some(approval) = settled.await? {
            self.tell_decided(&approval);
        }
        Ok(())
    }

    /// Lets the call go unanswered: it stays open for people. What its agent is told.
    pub(super) fn park(&self, running: &Running, approval: &ApprovalId) -> String {
        running.park(approval.clone());
        // It is told to end its turn. One that goes on with something else is ended: the task waits for people.
        if let Some(control) = running.control() {
            let grace = Duration::from_secs(self.0.settings.parked_grace_s);
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                control.stop(StopReason::Parked);
            });
        }
        PARKED.into()
    }

    /// What an agent is told of a refusal: of the call with this key, or of the whole request.
    pub(super) async fn denial(&self, id: &ApprovalId, key: Option<&str>) -> Result<String, StoreError> {
        let id = id.clone();
        let approval = self.0.store.call(move |s| s.approval(&id)).await?;
        let is_it = |item: usize| key.is_none_or(|key| approval.items[item].call_key == key);
        let by = (0..approval.items.len()).filter(|item| is_it(*item)).find_map(|item| approval.refusal_of(item));
        Ok(match by {
            Some(vote) => {
                let reason = vote.reason.trim_end_matches('.');
                format!("refused by {}: {reason}. Do not try it in another way.", vote.principal)
            }
            None => "refused: its approval was denied".into(),
        })
    }
}
