//! Calls that were released to run. A call is written here before the agent may run it, so that it is released at most once.

use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::json;

use super::audit::append_audit;
use super::events::append_event;
use super::row::{signed, text};
use super::tasks::get;
use super::{Store, StoreError};
use crate::env;
use crate::gates::PastCall;
use crate::id::TaskId;
use crate::policy::contract::Usage;
use crate::task::{Status, Waiting};

/// How often a call with the same id may be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    /// Once in each attempt: ids that an agent's model makes up.
    PerAttempt,
    /// Once in the task's life: ids that mean the same step in every attempt.
    PerTask,
}

/// The release of a call, as it will be noted.
#[derive(Debug, Clone)]
pub struct Release {
    /// The agent's id of the call.
    pub call_id: String,
    /// What an approval of it would be bound to.
    pub call_key: String,
    /// Tool, as the agent names it.
    pub tool: String,
    /// How often the id may be released.
    pub once: Once,
}

impl Store {
    /// Notes that a call is about to be released. A conflict where it was released before.
    pub fn release_call(&self, task: &TaskId, wanted: &Release) -> Result<(), StoreError> {
        self.write(|tx| release(tx, task, wanted))
    }

    /// Notes that a call's result was seen.
    pub fn finish_call(&self, task: &TaskId, call_id: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached("UPDATE call SET state = 'finished' WHERE task = ?1 AND call_id = ?2 AND state = 'released'")?
                .execute([task.as_str(), call_id])?;
            Ok(())
        })
    }

    /// Every call released so far, in order.
    pub fn calls(&self, task: &TaskId) -> Result<Vec<PastCall>, StoreError> {
        self.read(|tx| {
            let mut statement =
                tx.prepare_cached("SELECT call_id, attempt, state FROM call WHERE task = ?1 ORDER BY time_ms, call_id")?;
            let rows = statement.query_map([task.as_str()], |row| {
                Ok(PastCall { call_id: row.get(0)?, attempt: row.get(1)?, state: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// As `release_call`, inside another verb's transaction. Writes nothing where it fails.
pub(super) fn release(tx: &Transaction<'_>, task: &TaskId, wanted: &Release) -> Result<(), StoreError> {
    let Release { call_id, call_key, tool, once } = wanted;
    let record = get(tx, task)?;
    let alive = matches!((record.status, record.waiting), (Status::Running, _) | (Status::NeedsApproval, Some(Waiting::Held)));
    if !alive {
        return Err(StoreError::Ended { what: format!("task {task}") });
    }
    let attempts = match once {
        Once::PerAttempt => "AND attempt = ?3",
        Once::PerTask => "AND attempt <= ?3",
    };
    let sql = format!("SELECT 1 FROM call WHERE task = ?1 AND call_id = ?2 {attempts}");
    let mut earlier = tx.prepare_cached(&sql)?;
    let before = earlier.query_row(rusqlite::params![task.as_str(), call_id, record.attempt], |_| Ok(())).optional()?;
    if before.is_some() {
        return Err(StoreError::Conflict { what: format!("call '{call_id}' was released before; a call runs at most once, it") });
    }
    tx.prepare_cached(
        "INSERT INTO call (task, attempt, call_id, binding, tool, state, time_ms) VALUES (?1, ?2, ?3, ?4, ?5, 'released', ?6)",
    )?
    .execute(rusqlite::params![task.as_str(), record.attempt, call_id, call_key, tool, signed(env::now_ms())])?;
    let usage = Usage { tool_calls: record.usage.tool_calls.saturating_add(1), ..record.usage };
    tx.prepare_cached("UPDATE task SET usage = ?2 WHERE id = ?1")?.execute([task.as_str(), &text(&usage)])?;
    append_event(tx, &record, "tool-call", &json!({ "call_id": call_id, "tool": tool }))?;
    let body = json!({ "call_id": call_id, "tool": tool, "call": call_key });
    append_audit(tx, "call.released", &record.acting_as, &record.tenant, Some(task), &body)?;
    Ok(())
}
