//! Steering and deciding: cancel, answer, approve, deny.

use std::collections::BTreeSet;

use super::submit::without_controls;
use super::views::{ApprovalItem, ApprovalPage, ApprovalView, Decision, TaskView, VoteView};
use super::{Service, ServiceError, whole};
use crate::approval::decide::may_decide;
use crate::approval::request::{Approval, Item, Standing, Vote};
use crate::env;
use crate::id::{ApprovalId, TaskId};
use crate::identity::{Principal, Proof, Role};
use crate::task::{EndedBy, Reason, Status, Task, Waiting};

/// Requests in one listing.
const LIST: usize = 200;
const MAX_REASON_BYTES: usize = 4096;

impl Service {
    /// Ends a task. Idempotent on an ended one.
    pub async fn cancel(&self, who: &Principal, task: &TaskId, reason: &str) -> Result<TaskView, ServiceError> {
        let task = self.steerable(who, task).await?;
        if !task.status.is_final() {
            let words = bounded(reason)?;
            let text = if words.is_empty() {
                format!("cancelled by {}", who.name)
            } else {
                format!("cancelled by {}: {words}", who.name)
            };
            let reason = Reason { by: EndedBy::Person, code: "cancelled".into(), text };
            let (this, id, actor) = (self.clone(), task.id.clone(), who.name.clone());
            whole(async move { Ok(this.0.pipeline.end(&id, &actor, Status::Cancelled, reason).await?) }).await?;
        }
        let id = task.id.clone();
        let task = self.0.store.call(move |s| s.task(&id)).await?;
        self.view(&task).await
    }

    /// Answers a task that is `info_needed`: it goes on as its next attempt. The answer passes the prompt gate.
    pub async fn answer(&self, who: &Principal, task: &TaskId, text: &str) -> Result<TaskView, ServiceError> {
        let task = self.steerable(who, task).await?;
        if (task.status, task.waiting) != (Status::InfoNeeded, Some(Waiting::Parked)) {
            return Err(ServiceError::Conflict(format!(
                "task {} is {}; only a task that is info_needed takes an answer",
                task.id, task.status
            )));
        }
        if without_controls(text).trim().is_empty() || text.len() > self.0.settings.max_prompt_bytes || text.contains('\0') {
            return Err(ServiceError::Invalid(format!(
                "an answer has 1 to {} bytes and no NUL",
                self.0.settings.max_prompt_bytes
            )));
        }
        self.keep_access(&task.id, self.access_for(&task, who))?;
        let id = task.id.clone();
        let (this, actor, text) = (self.clone(), who.name.clone(), without_controls(text));
        whole(async move { this.0.pipeline.answer(&task, &actor, &text).await }).await?;
        let task = self.0.store.call(move |s| s.task(&id)).await?;
        self.view(&task).await
    }

    /// Requests that the principal may decide or has made, without their contents; `open` first, newest first. `status`
    /// filters by word.
    pub async fn approvals(&self, who: &Principal, status: Option<&str>) -> Result<ApprovalPage, ServiceError> {
        let standing = status
            .map(|word| {
                serde_json::from_value::<Standing>(serde_json::Value::String(word.to_owned())).map_err(|_| {
                    ServiceError::Invalid(format!(
                        "unknown status '{}': open, approved, denied, expired, consumed or withdrawn",
                        word.escape_default()
                    ))
                })
            })
            .transpose()?;
        let (tenant, reader) = (who.tenant.clone(), who.clone());
        let (found, more) =
            self.0.store.call(move |s| s.approvals(&tenant, standing, LIST, |a, task| sees(&reader, a, task))).await?;
        let listed = |(approval, task): &(Approval, Task)| ApprovalView { items: Vec::new(), ..view(who, approval, task) };
        Ok(ApprovalPage { approvals: found.iter().map(listed).collect(), more })
    }

    /// One request.
    pub async fn approval(&self, who: &Principal, id: &ApprovalId) -> Result<ApprovalView, ServiceError> {
        let (approval, task) = self.visible(who, id).await?;
        self.note_read(who, &task, "approval").await?;
        Ok(view(who, &approval, &task))
    }

    /// A person's decision. Refused without an interactive login, without the role, and for the requester unless allowed.
    pub async fn decide(&self, who: &Principal, id: &ApprovalId, decision: Decision) -> Result<ApprovalView, ServiceError> {
        let (approval, task) = self.visible(who, id).await?;
        let now = env::now_ms();
        may_decide(who, &approval, &task.labels, now).map_err(|why| match approval.standing {
            Standing::Open => ServiceError::Forbidden(why),
            Standing::Approved | Standing::Denied | Standing::Expired | Standing::Consumed | Standing::Withdrawn => {
                ServiceError::Conflict(why)
            }
        })?;
        let (approve, refused, reason) = match decision {
            Decision::Approve { only, reason } => {
                let mut refused = others(only.as_deref(), approval.items.len())?;
                // What another has refused stays so.
                refused.retain(|item| approval.refusal_of(*item).is_none() && !approval.withdrawn.contains(item));
                if !refused.is_empty() && reason.trim().is_empty() {
                    let count = refused.len();
                    return Err(ServiceError::Invalid(format!(
                        "{count} of the items would be refused: that needs a reason, which the submitter and the agent are told"
                    )));
                }
                (true, refused, bounded(&reason)?)
            }
            Decision::Deny { reason } if reason.trim().is_empty() => {
                return Err(ServiceError::Invalid("a refusal needs a reason: it is told to the submitter and the agent".into()));
            }
            Decision::Deny { reason } => (false, BTreeSet::new(), bounded(&reason)?),
        };
        let roles = who.roles_for(&task.labels).into_iter().map(|r| r.0).collect();
        let vote = Vote { principal: who.name.clone(), roles, approve, refused, reason, time_ms: now };
        let login = match &who.proof {
            Proof::Login(login) => login.to_string(),
            Proof::Proxy => "proxy".into(),
            Proof::Token(_) | Proof::System => return Err(ServiceError::Forbidden("decisions need a person's login".into())),
        };
        let wanted = id.clone();
        let this = self.clone();
        let approval = whole(async move {
            let approval = this.0.store.call(move |s| s.vote(&wanted, &vote, &login)).await?;
            this.0.pipeline.decided(&approval).await?;
            Ok(approval)
        })
        .await?;
        Ok(view(who, &approval, &task))
    }

    async fn visible(&self, who: &Principal, id: &ApprovalId) -> Result<(Approval, Task), ServiceError> {
        let unknown = || ServiceError::NotFound(format!("approval {id}"));
        let wanted = id.clone();
        let (approval, task) = self
            .0
            .store
            .call(move |s| {
                let approval = s.approval(&wanted)?;
                let task = s.task(&approval.task)?;
                Ok((approval, task))
            })
            .await
            .map_err(|e| match e {
                crate::store::StoreError::NotFound { .. } => unknown(),
                other => other.into(),
            })?;
        if sees(who, &approval, &task) { Ok((approval, task)) } else { Err(unknown()) }
    }
}

/// The requester, those who may decide, and operators see a request.
fn sees(who: &Principal, approval: &Approval, task: &Task) -> bool {
    let own = approval.requester == who.name;
    let role = approval.requirements.iter().any(|r| who.has_role(&r.role, &task.labels));
    approval.tenant == who.tenant && (own || role || who.has_role(Role::OPERATOR, &task.labels))
}

fn view(who: &Principal, approval: &Approval, task: &Task) -> ApprovalView {
    let item = |(at, i): (usize, &Item)| ApprovalItem {
        number: at + 1,
        refused: approval.refusal_of(at).is_some(),
        withdrawn: approval.withdrawn.contains(&at),
        title: i.title.clone(),
        content: i.content.clone(),
        arguments: i.arguments.clone(),
        instead_of: i.instead_of.clone(),
        working_directory: i.working_directory.clone(),
        marked: i.marked.clone(),
    };
    ApprovalView {
        approval_id: approval.id.clone(),
        status: approval.standing.as_str().into(),
        task_id: approval.task.clone(),
        task_summary: super::read::one_line(&task.prompt, 100),
        requester: approval.requester.clone(),
        acting_as: task.acting_as.clone(),
        gate: approval.gate.as_str().into(),
        items: approval.items.iter().enumerate().map(item).collect(),
        demand: approval.demand.clone(),
        requirements: approval.requirements.clone(),
        votes: approval
            .votes
            .iter()
            .map(|v| VoteView {
                principal: v.principal.clone(),
                approve: v.approve,
                refused: v.refused.iter().map(|at| at + 1).collect(),
                reason: v.reason.clone(),
                time: env::rfc3339(v.time_ms),
            })
            .collect(),
        created_at: env::rfc3339(approval.created_ms),
        expires_at: env::rfc3339(approval.expires_ms),
        generation: approval.generation,
        reason: approval.reason.clone(),
        may_decide: may_decide(who, approval, &task.labels, env::now_ms()),
    }
}

/// The places of the items that are not among those that may pass.
fn others(only: Option<&[usize]>, items: usize) -> Result<BTreeSet<usize>, ServiceError> {
    let Some(only) = only else { return Ok(BTreeSet::new()) };
    if let Some(unknown) = only.iter().find(|number| !(1..=items).contains(*number)) {
        return Err(ServiceError::Invalid(format!("no item {unknown}: the request has items 1 to {items}")));
    }
    if only.is_empty() {
        return Err(ServiceError::Invalid("nothing was chosen to pass: choose at least one item, or deny the request".into()));
    }
    Ok((0..items).filter(|at| !only.contains(&(at + 1))).collect())
}

fn bounded(text: &str) -> Result<String, ServiceError> {
    let text = text.trim();
    if text.len() > MAX_REASON_BYTES {
        return Err(ServiceError::Invalid(format!("a reason has at most {MAX_REASON_BYTES} bytes, not {}", text.len())));
    }
    Ok(text.chars().filter(|c| !c.is_control() || *c == '\n').collect())
}
