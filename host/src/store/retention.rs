//! What is old goes: contents and folders, never records of what was decided.

use rusqlite::Transaction;

use super::row::signed;
use super::{Store, StoreError};
use crate::env::Millis;
use crate::id::ApprovalId;
use crate::id::TaskId;

const BATCH: u32 = 500;

impl Store {
    /// Drops judged contents older than `inputs`; answers the ids of tasks that ended before `transcripts` and the chains
    /// whose last task ended before `workspaces`, for their folders to be removed.
    pub fn forget(
        &self,
        inputs: Millis,
        transcripts: Millis,
        workspaces: Millis,
    ) -> Result<(Vec<String>, Vec<String>), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM content WHERE created_ms < ?1", [signed(inputs)])?;
            Ok(())
        })?;
        self.read(|tx| {
            let tasks = names(tx, "SELECT id FROM task WHERE ended_ms < ?1 ORDER BY ended_ms DESC LIMIT ?2", transcripts)?;
            let chains = names(
                tx,
                "SELECT chain FROM task GROUP BY chain HAVING count(*) = count(ended_ms) AND max(ended_ms) < ?1 ORDER BY max(ended_ms) DESC LIMIT ?2",
                workspaces,
            )?;
            Ok((tasks, chains))
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

fn names(tx: &Transaction<'_>, sql: &str, before: Millis) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.prepare(sql)?;
    let names = statement.query_map(rusqlite::params![signed(before), BATCH], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}
