//! Requests for approval, votes, and their single use.

use std::collections::BTreeSet;

use rusqlite::{Row, Transaction, named_params};
use serde_json::json;

use super::audit::append_audit;
use super::events::append_event;
use super::items::{consume, speaking};
use super::row::{json, signed, text, unsigned, unsigned_opt, word};
use super::tasks::{Patch, advance, get};
use super::{Store, StoreError};
use crate::approval::request::{Approval, Standing, Vote};
use crate::approval::tally::tally;
use crate::env::{self, Millis};
use crate::id::{ApprovalId, TaskId};
use crate::task::state::Happening;

/// Open requests that one task may have: no person reads more.
const MAX_OPEN_PER_TASK: u64 = 32;

/// A request that is about to be stored: standing `open`, no votes.
pub type NewApproval = Approval;

impl Store {
    /// Asks: one request per call; a conflict where one is open already.
    pub fn request_approval(&self, new: &NewApproval) -> Result<(), StoreError> {
        self.write(|tx| {
            if get(tx, &new.task)?.status.is_final() {
                return Err(StoreError::Ended { what: format!("task {}", new.task) });
            }
            for item in &new.items {
                // Asked already, or answered for good.
                if speaking(tx, &new.task, &item.call_key)?.iter().any(|row| row.refused || row.status == "open") {
                    return Err(StoreError::Conflict { what: "the list of open requests".into() });
                }
            }
            let sql = "SELECT count(*) FROM approval WHERE task = ?1 AND status = 'open'";
            let open: i64 = tx.query_row(sql, [new.task.as_str()], |row| row.get(0))?;
            if open >= signed(MAX_OPEN_PER_TASK) {
                return Err(StoreError::Bound { what: "open requests of one task", limit: MAX_OPEN_PER_TASK });
            }
            insert_approval(tx, new)
        })
    }

    /// One request.
    pub fn approval(&self, id: &ApprovalId) -> Result<Approval, StoreError> {
        self.read(|tx| read_one(tx, id))
    }

    /// The newest request of a task that is open, or approved and not used up.
    pub fn pending_approval(&self, task: &TaskId) -> Result<Option<Approval>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT * FROM approval WHERE task = ?1 AND status IN ('open', 'approved') ORDER BY status <> 'open', created_ms DESC LIMIT 1";
            Ok(collect(tx, sql, [task.as_str()])?.pop())
        })
    }

    /// Adds a person's vote and says where the request stands now. The caller has checked who it is and which roles count.
    pub fn vote(&self, id: &ApprovalId, vote: &Vote, login: &str) -> Result<Approval, StoreError> {
        self.write(|tx| {
            let mut approval = read_one(tx, id)?;
            if approval.standing != Standing::Open || approval.expires_ms <= vote.time_ms {
                return Err(StoreError::Conflict { what: format!("request {id} is not open any more; it") });
            }
            if approval.votes.iter().any(|v| v.principal == vote.principal) {
                return Err(StoreError::Conflict { what: format!("{} has voted already; the request", vote.principal) });
            }
            tx.execute(
                "INSERT INTO vote (approval, principal, roles, approve, refused, reason, login, time_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                rusqlite::params![
                    id.as_str(), vote.principal, text(&vote.roles), vote.approve, text(&vote.refused), vote.reason, login, signed(vote.time_ms)
                ],
            )?;
            approval.votes.push(vote.clone());
            let standing = tally(&approval.live(), &approval.requirements, &approval.votes);
            for item in (0..approval.items.len()).filter(|item| vote.refuses(*item)) {
                tx.execute(
                    "UPDATE approval_item SET refused = 1 WHERE approval = ?1 AND item = ?2",
                    rusqlite::params![id.as_str(), signed(item as u64)],
                )?;
            }
            let reason = (!vote.approve || !vote.refused.is_empty()).then_some(vote.reason.as_str());
            let body = json!({ "approval": id.as_str(), "approve": vote.approve, "refused": vote.refused, "standing": standing.as_str(),
                "roles": vote.roles, "binding": approval.binding(), "generation": approval.generation, "login": login });
            settle(tx, &mut approval, standing, vote.time_ms, reason)?;
            let task = get(tx, &approval.task)?;
            append_event(tx, &task, "voted", &json!({ "approval": id.as_str(), "approve": vote.approve, "refused": vote.refused,
                "by": vote.principal, "standing": standing.as_str() }))?;
            append_audit(tx, "approval.voted", &vote.principal, &approval.tenant, Some(&approval.task), &body)?;
            Ok(approval)
        })
    }

    /// Uses the approval that a parked task waits for and queues the task, in one step. `prompt` replaces the stored one.
    pub fn consume_and_resume(&self, id: &ApprovalId, decision: &str, prompt: Option<&str>) -> Result<(), StoreError> {
        self.write(|tx| {
            let task = consume(tx, id, 0, decision)?;
            if let Some(prompt) = prompt {
                tx.execute("UPDATE task SET prompt = ?2 WHERE id = ?1", [task.as_str(), prompt])?;
            }
            let patch = Patch { body: Some(json!({ "approval": id.as_str() })), ..Patch::default() };
            advance(tx, &task, "coda", &Happening::Resume, &patch)?;
            Ok(())
        })
    }

    /// Asks anew for what an older request asked for, which is withdrawn in the same step. Refused where the task has
    /// ended, or the older request with it: an ended task asks nobody, and of two who ask anew one does.
    pub fn replace_request(&self, old: &ApprovalId, why: &str, new: &NewApproval) -> Result<(), StoreError> {
        self.write(|tx| {
            if get(tx, &new.task)?.status.is_final() {
                return Err(StoreError::Ended { what: format!("task {}", new.task) });
            }
            if !matches!(read_one(tx, old)?.standing, Standing::Open | Standing::Approved) {
                return Err(StoreError::Conflict { what: format!("request {old}") });
            }
            withdraw(tx, old, why)?;
            insert_approval(tx, new)
        })
    }

    /// Parks a task and asks what it waits for, in one step.
    pub fn park_with_request(&self, new: &NewApproval, patch: &Patch) -> Result<(), StoreError> {
        self.write(|tx| {
            advance(tx, &new.task, "coda", &Happening::Park, patch)?;
            insert_approval(tx, new)
        })
    }

    /// Parked tasks that have no open request, each with its newest one: somebody must move them.
    pub fn parked_without_question(&self) -> Result<Vec<(TaskId, Option<Approval>)>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT t.id FROM task t WHERE t.status = 'needs_approval' AND t.waiting = 'parked' \
                       AND NOT EXISTS (SELECT 1 FROM approval a WHERE a.task = t.id AND a.status = 'open')";
            let mut statement = tx.prepare_cached(sql)?;
            let ids = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            let newest =
                "SELECT * FROM approval WHERE task = ?1 ORDER BY status = 'approved' DESC, created_ms DESC, rowid DESC LIMIT 1";
            ids.iter()
                .map(|id| {
                    let task =
                        TaskId::parse(id).map_err(|e| StoreError::Corrupt { what: "task id".into(), why: e.to_string() })?;
                    Ok((task, collect(tx, newest, [id])?.pop()))
                })
                .collect()
        })
    }

    /// Ends a request that nothing asks for any more.
    pub fn withdraw_approval(&self, id: &ApprovalId, reason: &str) -> Result<(), StoreError> {
        self.write(|tx| withdraw(tx, id, reason))
    }

    /// Ends what is past its time and says which requests that were.
    pub fn expire_approvals(&self, now: Millis) -> Result<Vec<Approval>, StoreError> {
        const DUE: &str = "SELECT * FROM approval WHERE status IN ('open', 'approved') AND expires_ms <= ?1";
        if self.read(|tx| collect(tx, DUE, [signed(now)]))?.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            let mut expired = Vec::new();
            // Looked up again here: what was decided meanwhile stays decided.
            for mut approval in collect(tx, DUE, [signed(now)])? {
                let reason = if approval.standing == Standing::Open {
                    "nobody decided in time"
                } else {
                    "it was approved and not used in time"
                };
                settle(tx, &mut approval, Standing::Expired, now, Some(reason))?;
                append_audit(
                    tx,
                    "approval.expired",
                    "coda",
                    &approval.tenant,
                    Some(&approval.task),
                    &json!({ "approval": approval.id.as_str() }),
                )?;
                expired.push(approval);
            }
            Ok(expired)
        })
    }
}

/// As `withdraw_approval`, inside another verb's transaction.
fn withdraw(tx: &Transaction<'_>, id: &ApprovalId, reason: &str) -> Result<(), StoreError> {
    let mut approval = read_one(tx, id)?;
    match approval.standing {
        Standing::Open | Standing::Approved => {
            settle(tx, &mut approval, Standing::Withdrawn, env::now_ms(), Some(reason))?;
            let body = json!({ "approval": id.as_str(), "reason": reason });
            append_audit(tx, "approval.withdrawn", "coda", &approval.tenant, Some(&approval.task), &body)?;
            Ok(())
        }
        Standing::Denied | Standing::Expired | Standing::Consumed | Standing::Withdrawn => Ok(()),
    }
}

pub(super) fn settle(
    tx: &Transaction<'_>,
    approval: &mut Approval,
    standing: Standing,
    now: Millis,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    if standing == approval.standing {
        return Ok(());
    }
    approval.standing = standing;
    approval.decided_ms = Some(now);
    approval.reason = reason.map(str::to_owned);
    tx.execute(
        "UPDATE approval SET status = ?2, decided_ms = ?3, reason = ?4 WHERE id = ?1",
        rusqlite::params![approval.id.as_str(), standing.as_str(), signed(now), approval.reason],
    )?;
    Ok(())
}

/// Adds a request inside another verb's transaction.
pub(super) fn insert_approval(tx: &Transaction<'_>, new: &NewApproval) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO approval (id, tenant, task, gate, status, binding, items, demand, decision, generation, set_digest, requester, requirements, \
         allow_requester, created_ms, expires_ms) VALUES (:id, :tenant, :task, :gate, 'open', :binding, :items, :demand, :decision, :generation, :set_digest, \
         :requester, :requirements, :allow_requester, :created_ms, :expires_ms)",
        named_params! {
            ":id": new.id.as_str(), ":tenant": new.tenant, ":task": new.task.as_str(), ":gate": new.gate.as_str(), ":binding": new.binding(),
            ":items": text(&new.items), ":demand": text(&new.demand), ":decision": new.decision.as_str(), ":generation": signed(new.generation),
            ":set_digest": new.set_digest, ":requester": new.requester, ":requirements": text(&new.requirements), ":allow_requester": new.allow_requester,
            ":created_ms": signed(new.created_ms), ":expires_ms": signed(new.expires_ms),
        },
    )?;
    for (index, item) in new.items.iter().enumerate() {
        tx.execute(
            "INSERT INTO approval_item (approval, item, task, call_key) VALUES (?1, ?2, ?3, ?4)",
            rusqlite::params![new.id.as_str(), signed(index as u64), new.task.as_str(), item.call_key],
        )?;
    }
    let task = get(tx, &new.task)?;
    let codes: Vec<&str> = new.demand.findings.iter().map(|f| f.code.as_str()).collect();
    let body = json!({ "approval": new.id.as_str(), "gate": new.gate.as_str(), "codes": codes, "requirements": new.requirements, "reason": new.demand.reason });
    append_event(tx, &task, "approval-requested", &body)?;
    let record = json!({ "approval": new.id.as_str(), "gate": new.gate.as_str(), "binding": new.binding(), "codes": codes, "requirements": new.requirements,
        "generation": new.generation, "set_digest": new.set_digest, "decision": new.decision.as_str() });
    append_audit(tx, "approval.requested", "coda", &new.tenant, Some(&new.task), &record)?;
    Ok(())
}

pub(super) fn collect(tx: &Transaction<'_>, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<Approval>, StoreError> {
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, |row| Ok(read(row)))?;
    let mut approvals = rows.map(|row| row?).collect::<Result<Vec<Approval>, StoreError>>()?;
    for approval in &mut approvals {
        complete(tx, approval)?;
    }
    Ok(approvals)
}

pub(super) fn read_one(tx: &Transaction<'_>, id: &ApprovalId) -> Result<Approval, StoreError> {
    collect(tx, "SELECT * FROM approval WHERE id = ?1", [id.as_str()])?
        .pop()
        .ok_or_else(|| StoreError::NotFound { what: format!("approval {id}") })
}

/// Adds what lies in other tables.
pub(super) fn complete(tx: &Transaction<'_>, approval: &mut Approval) -> Result<(), StoreError> {
    approval.votes = votes(tx, &approval.id)?;
    let mut statement = tx.prepare_cached("SELECT item FROM approval_item WHERE approval = ?1 AND withdrawn")?;
    let items = statement.query_map([approval.id.as_str()], |row| row.get::<_, u32>(0))?;
    approval.withdrawn = items.map(|item| Ok(item? as usize)).collect::<Result<_, rusqlite::Error>>()?;
    Ok(())
}

fn votes(tx: &Transaction<'_>, id: &ApprovalId) -> Result<Vec<Vote>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT principal, roles, approve, refused, reason, time_ms FROM vote WHERE approval = ?1 ORDER BY time_ms, principal",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let mut votes = Vec::new();
    while let Some(row) = rows.next()? {
        votes.push(Vote {
            principal: row.get("principal")?,
            roles: json(row, "roles")?,
            approve: row.get("approve")?,
            refused: json(row, "refused")?,
            reason: row.get("reason")?,
            time_ms: unsigned(row, "time_ms")?,
        });
    }
    Ok(votes)
}

pub(super) fn read(row: &Row<'_>) -> Result<Approval, StoreError> {
    Ok(Approval {
        id: word(row, "id")?,
        tenant: row.get("tenant")?,
        task: word(row, "task")?,
        gate: word(row, "gate")?,
        standing: word(row, "status")?,
        items: json(row, "items")?,
        demand: json(row, "demand")?,
        decision: word(row, "decision")?,
        generation: unsigned(row, "generation")?,
        set_digest: row.get("set_digest")?,
        requester: row.get("requester")?,
        requirements: json(row, "requirements")?,
        allow_requester: row.get("allow_requester")?,
        created_ms: unsigned(row, "created_ms")?,
        expires_ms: unsigned(row, "expires_ms")?,
        decided_ms: unsigned_opt(row, "decided_ms")?,
        reason: row.get("reason")?,
        votes: Vec::new(),
        withdrawn: BTreeSet::new(),
    })
}
