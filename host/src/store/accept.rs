//! Accepting a task: the one verb that makes a promise to a client, in one transaction.

use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::json;

use super::approvals::{NewApproval, insert_approval};
use super::audit::append_audit;
use super::decisions::{DecisionRecord, insert_decision};
use super::events::append_event;
use super::row::{name, signed};
use super::tasks::{COLUMNS, OPEN, Patch, advance, insert, read};
use super::{Store, StoreError};
use crate::env;
use crate::id::TaskId;
use crate::task::state::Happening;
use crate::task::{EndedBy, Reason, Status, Task};
use crate::usage::Budgets;

/// What happened to a submission.
#[derive(Debug)]
pub enum Accepted {
    /// A new task, durable.
    New(Box<Task>),
    /// The same idempotency key was used before: that task.
    Existing(Box<Task>),
}

/// How much may wait.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Queued tasks, over everybody.
    pub queued: u64,
    /// Tasks of one principal that have not ended.
    pub per_principal: u64,
    /// What principals may use of models.
    pub budgets: Budgets,
}

impl Bounds {
    fn check(&self, tx: &Transaction<'_>, task: &Task) -> Result<(), StoreError> {
        let queued: i64 = tx.query_row("SELECT count(*) FROM task WHERE status = 'queued'", [], |r| r.get(0))?;
        if task.status == Status::Queued && signed(self.queued) <= queued {
            return Err(StoreError::Bound { what: "queued tasks", limit: self.queued });
        }
        let sql = format!("SELECT count(*) FROM task WHERE tenant = ?1 AND principal = ?2 AND {OPEN}");
        let own: i64 = tx.query_row(&sql, [&task.tenant, &task.principal], |r| r.get(0))?;
        if signed(self.per_principal) <= own {
            return Err(StoreError::Bound { what: "open tasks of one person", limit: self.per_principal });
        }
        super::usage::check(tx, task, &self.budgets)
    }
}

impl Store {
    /// Makes a task durable together with the decisions on what was handed over, that on its prompt last, and, where people
    /// must decide, the request.
    pub fn accept(
        &self,
        task: &Task,
        idempotency_key: Option<&str>,
        decisions: &[DecisionRecord],
        approval: Option<&NewApproval>,
        bounds: Bounds,
    ) -> Result<Accepted, StoreError> {
        self.write(|tx| {
            if let Some(existing) = by_key(tx, task, idempotency_key)? {
                return Ok(Accepted::Existing(Box::new(existing)));
            }
            if !task.status.is_final() {
                bounds.check(tx, task)?;
                supersede(tx, task)?;
            }
            insert(tx, task, idempotency_key)?;
            for decision in decisions {
                insert_decision(tx, decision)?;
            }
            if let Some(approval) = approval {
                insert_approval(tx, approval)?;
            }
            append_event(tx, task, "accepted", &json!({ "status": task.status.as_str(), "agent": task.agent }))?;
            let body = json!({ "agent": task.agent, "status": task.status.as_str(), "acting_as": task.acting_as, "permissions": name(&task.permissions),
                "prompt_sha256": env::sha256_hex(task.prompt.as_bytes()), "decision": decisions.last().map(|d| d.id.as_str()) });
            append_audit(tx, "task.accepted", &task.principal, &task.tenant, Some(&task.id), &body)?;
            Ok(Accepted::New(Box::new(task.clone())))
        })
    }
}

impl Store {
    /// Keeps that something was refused before it became a task: the decision, and who handed it over.
    pub fn refuse_context(&self, decision: &DecisionRecord, principal: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            insert_decision(tx, decision)?;
            let codes: Vec<&str> = decision.findings.iter().map(|f| f.code.as_str()).collect();
            let body = json!({ "decision": decision.id.as_str(), "codes": codes, "context_sha256": decision.input_sha256 });
            append_audit(tx, "context.refused", principal, &decision.tenant, None, &body).map(drop)
        })
    }
}

/// A task that waits is closed by the submission that continues it: that is how older clients answer.
fn supersede(tx: &Transaction<'_>, task: &Task) -> Result<(), StoreError> {
    let Some(session) = &task.previous else { return Ok(()) };
    let sql = "SELECT id FROM task WHERE session = ?1 AND waiting = 'parked' AND status IN ('needs_approval', 'info_needed')";
    let old: Option<String> = tx.query_row(sql, [session.as_str()], |row| row.get(0)).optional()?;
    let Some(old) = old.and_then(|id| TaskId::parse(&id).ok()) else { return Ok(()) };
    let reason = Reason { by: EndedBy::Person, code: "superseded".into(), text: format!("continued as {}", task.id) };
    advance(tx, &old, &task.principal, &Happening::End(Status::Cancelled, reason), &Patch::default())?;
    Ok(())
}

fn by_key(tx: &Transaction<'_>, task: &Task, key: Option<&str>) -> Result<Option<Task>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    let sql = format!("SELECT {COLUMNS} FROM task WHERE tenant = ?1 AND principal = ?2 AND idempotency_key = ?3");
    let found = tx.query_row(&sql, [&task.tenant, &task.principal, key], |row| Ok(read(row))).optional()?;
    found.transpose()
}
