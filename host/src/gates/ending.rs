//! How a call stops waiting for people: its request is used, withdrawn or was denied, or the call is parked.

use std::time::Duration;

use super::ask::Ask;
use super::keeper::Gatekeeper;
use super::running::Running;
use crate::approval::request::Standing;
use crate::executor::StopReason;
use crate::id::ApprovalId;
use crate::policy::Judgment;
use crate::store::StoreError;
use crate::store::items::Match;

const PARKED: &str = "not run: people have not decided on it yet. End your turn now; say that the task waits for approval and will go on when it is given.";

impl Gatekeeper {
    /// What a call found that policies allow by now: an approval for it must not lie about for later, and a person's refusal
    /// stands. `Some`: that refusal.
    pub(super) async fn use_up(&self, running: &Running, ask: &Ask, judgment: &Judgment) -> Result<Option<String>, StoreError> {
        let Some(found) = self.found(running, ask).await? else { return Ok(None) };
        if found.is_refused() {
            return Ok(Some(self.denial(&found.approval.id, Some(&ask.key)).await?));
        }
        let (id, item, decision) = (found.approval.id.clone(), found.item, judgment.decision.to_string());
        let is_open = found.approval.standing == Standing::Open;
        let used = self.0.store.call(move |s| {
            if is_open { s.withdraw_item(&id, item, "a policy allows it now") } else { s.consume_approval(&id, item, &decision) }
        });
        match used.await {
            // A conflict: used or ended by another at the same time.
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(e) => return Err(e),
        }
        self.tell_decided(&found.approval.id);
        Ok(None)
    }

    /// What the newest set says of a call: `first`, where that was asked just now. A policy that faults (its time ran out, it
    /// trapped) says nothing of the call, so what people have approved is judged once more before they are asked again.
    pub(super) async fn judge_for_use(
        &self,
        running: &Running,
        ask: &Ask,
        first: Option<Judgment>,
    ) -> Result<Judgment, StoreError> {
        let judge = || self.judge(running, ask.subject.clone(), &ask.working_directory);
        let judgment = match first {
            Some(first) => first,
            None => judge().await?,
        };
        if judgment.steps.iter().all(|step| step.fault.is_none()) {
            return Ok(judgment);
        }
        match self.found(running, ask).await? {
            Some(found) if found.approval.standing == Standing::Approved && !found.is_refused() => judge().await,
            Some(_) | None => Ok(judgment),
        }
    }

    /// Policies refuse a call: nothing asks for it any more.
    pub(super) async fn withdraw_for(&self, running: &Running, ask: &Ask, why: &'static str) -> Result<(), StoreError> {
        let Some(found) = self.found(running, ask).await?.filter(|found| !found.is_refused()) else { return Ok(()) };
        self.withdraw(&found, why.to_owned()).await
    }

    /// Ends an item, and wakes whoever waits for its request.
    pub(super) async fn withdraw(&self, found: &Match, why: String) -> Result<(), StoreError> {
        let (id, item) = (found.approval.id.clone(), found.item);
        self.0.store.call(move |s| s.withdraw_item(&id, item, &why)).await?;
        self.tell_decided(&found.approval.id);
        Ok(())
    }

    pub(super) async fn found(&self, running: &Running, ask: &Ask) -> Result<Option<Match>, StoreError> {
        let (task, key) = (running.task.id.clone(), ask.key.clone());
        self.0.store.call(move |s| s.approval_for_call(&task, &key)).await
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
