//! The items of requests: what lets which call pass, each once, and what speaks about a call that is asked about.

use rusqlite::Transaction;
use serde_json::json;

use super::approvals::{collect, read_one, settle};
use super::audit::append_audit;
use super::row::signed;
use super::tasks::get;
use super::{Store, StoreError};
use crate::approval::request::{Approval, Standing};
use crate::env;
use crate::id::{ApprovalId, TaskId};

/// Of an approved request's items: those that may pass, and have not.
const UNUSED: &str = "consumed_ms IS NULL AND NOT refused AND NOT withdrawn";
/// Items of one request: no person reads more.
pub const MAX_ITEMS: usize = 100;

/// An item of a request that fits a call.
#[derive(Debug, Clone)]
pub struct Match {
    /// The request.
    pub approval: Approval,
    /// Which of its items.
    pub item: usize,
}

impl Match {
    /// Whether a person said no to it. That stands for this call in this task, whatever else becomes of the request.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.approval.refusal_of(self.item).is_some()
    }
}

impl Store {
    /// The request that a call was refused by, can use, or waits for.
    pub fn approval_for_call(&self, task: &TaskId, call_key: &str) -> Result<Option<Match>, StoreError> {
        self.read(|tx| matching(tx, task, call_key))
    }

    /// Approved items of a task that are not used yet.
    pub fn unused_grants(&self, task: &TaskId) -> Result<Vec<Match>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT * FROM approval WHERE task = ?1 AND status = 'approved' ORDER BY created_ms";
            let mut grants = Vec::new();
            for approval in collect(tx, sql, [task.as_str()])? {
                let mut unused =
                    tx.prepare_cached(&format!("SELECT item FROM approval_item WHERE approval = ?1 AND {UNUSED} ORDER BY item"))?;
                let items =
                    unused.query_map([approval.id.as_str()], |row| row.get::<_, u32>(0))?.collect::<Result<Vec<_>, _>>()?;
                grants.extend(items.into_iter().map(|item| Match { approval: approval.clone(), item: item as usize }));
            }
            Ok(grants)
        })
    }

    /// Uses one item, once. Committed before anything passes.
    pub fn consume_approval(&self, id: &ApprovalId, item: usize, decision: &str) -> Result<(), StoreError> {
        self.write(|tx| consume(tx, id, item, decision).map(drop))
    }

    /// Ends an item that nothing asks for any more, and with the last that could pass its request.
    pub fn withdraw_item(&self, id: &ApprovalId, item: usize, reason: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            let mut approval = read_one(tx, id)?;
            if !matches!(approval.standing, Standing::Open | Standing::Approved) {
                return Ok(());
            }
            tx.execute(
                "UPDATE approval_item SET withdrawn = 1 WHERE approval = ?1 AND item = ?2 AND consumed_ms IS NULL",
                rusqlite::params![id.as_str(), signed(item as u64)],
            )?;
            let body = json!({ "approval": id.as_str(), "item": item, "reason": reason });
            append_audit(tx, "approval.withdrawn", "coda", &approval.tenant, Some(&approval.task), &body)?;
            if let Some(standing) = spent(tx, id)? {
                settle(tx, &mut approval, standing, env::now_ms(), Some(reason))?;
            }
            Ok(())
        })
    }
}

/// As `consume_approval`, inside another verb's transaction; says whose it was.
pub(super) fn consume(tx: &Transaction<'_>, id: &ApprovalId, item: usize, decision: &str) -> Result<TaskId, StoreError> {
    let mut approval = read_one(tx, id)?;
    let now = env::now_ms();
    if get(tx, &approval.task)?.status.is_final() {
        return Err(StoreError::Ended { what: format!("task {}", approval.task) });
    }
    if approval.standing != Standing::Approved || approval.expires_ms <= now {
        return Err(StoreError::Conflict { what: format!("request {id}") });
    }
    let changed = tx.execute(
        &format!("UPDATE approval_item SET consumed_ms = ?3 WHERE approval = ?1 AND item = ?2 AND {UNUSED}"),
        rusqlite::params![id.as_str(), signed(item as u64), signed(now)],
    )?;
    if changed != 1 {
        return Err(StoreError::Conflict { what: format!("item {item} of request {id}") });
    }
    if let Some(standing) = spent(tx, id)? {
        settle(tx, &mut approval, standing, now, None)?;
    }
    let body = json!({ "approval": id.as_str(), "item": item, "decision": decision, "binding": approval.binding() });
    append_audit(tx, "approval.consumed", "coda", &approval.tenant, Some(&approval.task), &body)?;
    Ok(approval.task)
}

/// How a request ends that has no item left which could pass.
fn spent(tx: &Transaction<'_>, id: &ApprovalId) -> Result<Option<Standing>, StoreError> {
    let sql = format!(
        "SELECT coalesce(sum({UNUSED}), 0), count(consumed_ms), coalesce(sum(refused), 0) FROM approval_item WHERE approval = ?1"
    );
    let (left, used, refused): (i64, i64, i64) =
        tx.query_row(&sql, [id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(match (left, used, refused) {
        (1.., _, _) => None,
        (_, 1.., _) => Some(Standing::Consumed),
        (_, _, 1..) => Some(Standing::Denied),
        _ => Some(Standing::Withdrawn),
    })
}

/// An item that speaks about a call: one that a person refused, or one that waits or can be used.
pub(super) struct Speaking {
    approval: String,
    item: u32,
    pub(super) status: String,
    pub(super) refused: bool,
}

/// All of a call, the oldest first.
pub(super) fn speaking(tx: &Transaction<'_>, task: &TaskId, call_key: &str) -> Result<Vec<Speaking>, StoreError> {
    const SQL: &str = "SELECT a.id, i.item, a.status, i.refused FROM approval a JOIN approval_item i ON i.approval = a.id \
        WHERE i.task = ?1 AND i.call_key = ?2 AND i.consumed_ms IS NULL AND NOT i.withdrawn \
        AND (i.refused OR (a.status IN ('open', 'approved') AND a.expires_ms > ?3)) ORDER BY a.created_ms, a.rowid, i.item";
    let mut statement = tx.prepare_cached(SQL)?;
    let rows = statement.query_map(rusqlite::params![task.as_str(), call_key, signed(env::now_ms())], |row| {
        Ok(Speaking { approval: row.get(0)?, item: row.get(1)?, status: row.get(2)?, refused: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What counts of them: a refusal first, unless the same request holds the same call once more and people approved that;
/// then what can be used; then what waits.
fn matching(tx: &Transaction<'_>, task: &TaskId, call_key: &str) -> Result<Option<Match>, StoreError> {
    let rows = speaking(tx, task, call_key)?;
    let usable = |row: &&Speaking| !row.refused && row.status == "approved";
    let found = match rows.iter().find(|row| row.refused) {
        Some(refused) => rows.iter().filter(|row| row.approval == refused.approval).find(usable).or(Some(refused)),
        None => rows.iter().find(usable).or_else(|| rows.first()),
    };
    let Some(Speaking { approval, item, .. }) = found else { return Ok(None) };
    let id = ApprovalId::parse(approval).map_err(|e| StoreError::Corrupt { what: "approval id".into(), why: e.to_string() })?;
    Ok(Some(Match { approval: read_one(tx, &id)?, item: *item as usize }))
}
