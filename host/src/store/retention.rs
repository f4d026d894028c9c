//! What is old goes: contents and folders, never records of what was decided.

use super::row::signed;
use super::{Store, StoreError};
use crate::env::{self, Millis};
use crate::id::ApprovalId;
use crate::id::TaskId;
use crate::usage::Window;

/// Decisions that go at a time.
const BATCH: u32 = 5_000;

impl Store {
    /// Drops judged contents older than `contents`, and decisions older than `decisions` of tasks that have ended, a bounded
    /// number at a time; with them, what was used by day before that. What was decided stays in the audit log.
    pub fn forget(&self, contents: Millis, decisions: Millis) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM content WHERE created_ms < ?1", [signed(contents)])?;
            // Rows come in the order of time, so the first ones are the oldest.
            let old = format!(
                "SELECT id FROM (SELECT id, task, time_ms FROM decision ORDER BY rowid LIMIT {BATCH}) d WHERE d.time_ms < ?1 \
                 AND NOT EXISTS (SELECT 1 FROM task t WHERE t.id = d.task AND t.ended_ms IS NULL)"
            );
            tx.execute(&format!("DELETE FROM content WHERE decision IN ({old})"), [signed(decisions)])?;
            tx.execute(&format!("DELETE FROM decision WHERE id IN ({old})"), [signed(decisions)])?;
            // Never of this month: budgets add it up.
            let first_day = Window::at(decisions).day.min(Window::at(env::now_ms()).month);
            tx.execute("DELETE FROM usage WHERE day < ?1", [signed(first_day)])?;
            Ok(())
        })
    }

    /// Which of these tasks ended before `before`.
    pub fn tasks_over(&self, ids: &[String], before: Millis) -> Result<Vec<String>, StoreError> {
        self.over(ids, "SELECT 1 FROM task WHERE id = ?1 AND ended_ms < ?2", before)
    }

    /// Of which of these chains the last task ended before `before`.
    pub fn chains_over(&self, ids: &[String], before: Millis) -> Result<Vec<String>, StoreError> {
        // A chain is named after its first session, which an index finds; most are settled by that.
        let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM task WHERE session = ?1 AND ended_ms < ?2) \
                   AND NOT EXISTS (SELECT 1 FROM task WHERE chain = ?1 AND (ended_ms IS NULL OR ended_ms >= ?2))";
        self.over(ids, sql, before)
    }

    fn over(&self, ids: &[String], sql: &str, before: Millis) -> Result<Vec<String>, StoreError> {
        self.read(|tx| {
            let mut statement = tx.prepare_cached(sql)?;
            let mut over = Vec::new();
            for id in ids {
                if statement.exists(rusqlite::params![id, signed(before)])? {
                    over.push(id.clone());
                }
            }
            Ok(over)
        })
    }

    /// Every request of a task.
    pub fn requests_of(&self, task: &TaskId) -> Result<Vec<ApprovalId>, StoreError> {
        self.read(|tx| {
            let mut statement = tx.prepare_cached("SELECT id FROM approval WHERE task = ?1")?;
            let ids = statement.query_map([task.as_str()], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            ids.iter()
                .map(|id| {
                    ApprovalId::parse(id).map_err(|e| StoreError::Corrupt { what: "approval id".into(), why: e.to_string() })
                })
                .collect()
        })
    }
}
