//! What people decided, carried out: a parked task goes on or ends.

use serde_json::json;

use super::Pipeline;
use crate::approval::request::{Approval, Standing, grounds};
use crate::approval::tally::covers;
use crate::env;
use crate::gates::running::event_of;
use crate::policy::contract::{Gate, Subject, Verdict};
use crate::service::ServiceError;
use crate::store::StoreError;
use crate::store::decisions::DecisionRecord;
use crate::store::tasks::Patch;
use crate::task::state::Happening;
use crate::task::{EndedBy, Reason, Status, Task, Waiting};

impl Pipeline {
    /// A request was settled: calls that wait for it wake, a parked task goes on or ends. Safe to repeat.
    pub async fn decided(&self, approval: &Approval) -> Result<(), StoreError> {
        self.0.parts.gates.tell_decided(&approval.id);
        let id = approval.task.clone();
        let task = self.0.parts.store.call(move |s| s.task(&id)).await?;
        if (task.status, task.waiting) != (Status::NeedsApproval, Some(Waiting::Parked)) {
            return Ok(());
        }
        match approval.standing {
            Standing::Open => Ok(()),
            // Used, and then something came between: the task goes on where that is what it was used for.
            Standing::Consumed => match approval.gate {
                Gate::Prompt | Gate::ToolCall | Gate::ToolResult => {
                    self.go_on(&task, json!({ "approval": approval.id.as_str() })).await
                }
                Gate::Output => self.lost(&task).await,
            },
            Standing::Withdrawn => self.lost(&task).await,
            Standing::Approved => match approval.gate {
                Gate::Prompt => self.start_approved(&task, approval).await,
                Gate::Output => self.release_result(&task, approval).await,
                Gate::ToolCall | Gate::ToolResult => self.go_on(&task, json!({ "approval": approval.id.as_str() })).await,
            },
            // Another request may still bring the task on.
            Standing::Denied | Standing::Expired if self.waits_for_another(&task, approval).await? => Ok(()),
            Standing::Denied => self.finish(&task.id, Happening::End(Status::Denied, denied(approval)), Patch::default()).await,
            Standing::Expired => {
                let reason =
                    Reason { by: EndedBy::Expiry, code: "approval-expired".into(), text: "nobody approved it in time".into() };
                self.finish(&task.id, Happening::End(Status::Denied, reason), Patch::default()).await
            }
        }
    }

    async fn waits_for_another(&self, task: &Task, approval: &Approval) -> Result<bool, StoreError> {
        let id = task.id.clone();
        let pending = self.0.parts.store.call(move |s| s.pending_approval(&id)).await?;
        Ok(pending.is_some_and(|p| p.id != approval.id))
    }

    /// A parked task that nothing can bring on any more.
    pub(super) async fn lost(&self, task: &Task) -> Result<(), StoreError> {
        let reason = super::limit("request-lost", "what it waited for is gone; hand it over again");
        self.finish(&task.id, Happening::End(Status::Failed, reason), Patch::default()).await
    }

    /// Queues a waiting task for its next attempt.
    pub(super) async fn go_on(&self, task: &Task, body: serde_json::Value) -> Result<(), StoreError> {
        self.finish(&task.id, Happening::Resume, Patch { body: Some(body), ..Patch::default() }).await?;
        self.look_for_work();
        Ok(())
    }

    /// The newest set judges the prompt again before the task may start.
    async fn start_approved(&self, task: &Task, approval: &Approval) -> Result<(), StoreError> {
        let subject = Subject::Prompt { text: task.prompt.clone(), context: task.context.clone() };
        let judgment = self.0.parts.policies.judge(event_of(task, task.marks.clone(), 1, subject, "")).await;
        let record = DecisionRecord::of(&judgment, &task.tenant, &task.id, env::now_ms(), judgment.screened().to_owned());
        self.0.parts.store.call(move |s| s.record_decision(&record)).await?;
        match judgment.verdict.clone() {
            // A fault says nothing of the prompt: the sweep tries again until the request expires.
            Verdict::Deny { .. } if judgment.steps.iter().any(|s| s.fault.is_some()) || judgment.steps.is_empty() => {
                return Ok(());
            }
            Verdict::Deny { findings } => {
                let first = findings.first();
                let reason = Reason {
                    by: EndedBy::Policy,
                    code: first.map_or_else(|| "policy".into(), |f| f.code.clone()),
                    text: first.map_or_else(|| "refused by policy".into(), |f| f.message.clone()),
                };
                return self.finish(&task.id, Happening::End(Status::Denied, reason), Patch::default()).await;
            }
            Verdict::NeedsApproval(demand) => {
                let requirements = self.0.parts.gates.requirements(&demand);
                let covered = covers(
                    &approval.items[0],
                    &approval.requirements,
                    approval.allow_requester,
                    &grounds(&demand.findings),
                    &requirements,
                    &demand,
                );
                if let Err(why) = covered {
                    return self.ask_again(approval, &judgment, &demand, &format!("asked again: {why:?}")).await;
                }
            }
            Verdict::Allow { .. } => {}
        }
        // What newer filters mask stays masked: the agent gets the text as it was judged last.
        let screened = judgment.screened().to_owned();
        let (id, decision) = (approval.id.clone(), judgment.decision.to_string());
        let resumed = self.0.parts.store.call(move |s| s.consume_and_resume(&id, &decision, Some(&screened))).await;
        self.look_for_work();
        match resumed {
            // A conflict: used by a decision that came at the same time.
            Ok(()) | Err(StoreError::Conflict { .. } | StoreError::Ended { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// A newer set asks for more than people approved: they are asked again, for the same thing.
    pub(super) async fn ask_again(
        &self,
        approval: &Approval,
        judgment: &crate::policy::Judgment,
        demand: &crate::policy::contract::Demand,
        why: &str,
    ) -> Result<(), StoreError> {
        let mut items = approval.items.clone();
        for item in &mut items {
            item.grounds = grounds(&demand.findings);
        }
        let new = Approval {
            id: crate::id::ApprovalId::new(),
            standing: Standing::Open,
            items,
            demand: demand.clone(),
            decision: judgment.decision.clone(),
            generation: judgment.generation,
            set_digest: judgment.set_digest.clone(),
            requirements: self.0.parts.gates.requirements(demand),
            allow_requester: demand.allow_requester,
            created_ms: env::now_ms(),
            expires_ms: env::now_ms() + self.0.parts.gates.settings().expires_s * 1000,
            decided_ms: None,
            reason: None,
            votes: Vec::new(),
            withdrawn: std::collections::BTreeSet::new(),
            ..approval.clone()
        };
        let (old, why) = (approval.id.clone(), why.to_owned());
        match self.0.parts.store.call(move |s| s.replace_request(&old, &why, &new)).await {
            // The task ended, or somebody asked anew at the same time.
            Ok(()) | Err(StoreError::Conflict { .. } | StoreError::Ended { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The submitter answers: the words pass the prompt gate, and the next attempt gets them.
    pub async fn answer(&self, task: &Task, actor: &str, text: &str) -> Result<(), ServiceError> {
        let subject = Subject::Prompt { text: text.to_owned(), context: String::new() };
        let judgment = self.0.parts.policies.judge(event_of(task, task.marks.clone(), 2, subject, "")).await;
        let record = DecisionRecord::of(&judgment, &task.tenant, &task.id, env::now_ms(), judgment.screened().to_owned());
        self.0.parts.store.call(move |s| s.record_decision(&record)).await?;
        match judgment.cleared().map_err(|stopped| *stopped) {
            Ok(cleared) => {
                let body = json!({ "answer": cleared.into_inner(), "by": actor });
                let (id, actor) = (task.id.clone(), actor.to_owned());
                let patch = Patch { body: Some(body), ..Patch::default() };
                // A conflict is told: somebody else answered, or the task ended.
                self.0.parts.store.call(move |s| s.advance(&id, &actor, &Happening::Resume, &patch)).await?;
                self.look_for_work();
                Ok(())
            }
            Err((judgment, _)) => {
                let why = judgment.verdict.findings().first().map_or_else(|| "policy".to_owned(), |f| f.message.clone());
                Err(ServiceError::Forbidden(format!(
                    "the answer was refused: {why}; word it as a new task, so that people can decide on it"
                )))
            }
        }
    }
}

/// The reason of a task whose request was refused.
pub(super) fn denied(approval: &Approval) -> Reason {
    // Of several who refused an item each, the last ended it.
    let text = match approval.votes.iter().rfind(|vote| (0..approval.items.len()).any(|item| vote.refuses(item))) {
        Some(vote) => format!("refused by {}: {}", vote.principal, vote.reason),
        None => "its request was refused".into(),
    };
    Reason { by: EndedBy::Person, code: "approval-denied".into(), text }
}
