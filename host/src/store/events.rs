//! The event stream: append-only, versioned, read by sequence number.

use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::{Value, json};

use super::row::{self, signed, text, unsigned};
use super::tasks::get;
use super::{Store, StoreError};
use crate::env;
use crate::event::{TaskEvent, VERSION};
use crate::id::TaskId;
use crate::task::Task;
use crate::task::conversation::Conversation;

impl Store {
    /// Events after `after`, oldest first; of one task, or of all.
    pub fn events(&self, task: Option<&TaskId>, after: u64, limit: u32) -> Result<Vec<TaskEvent>, StoreError> {
        self.read(|tx| {
            let of_task = if task.is_some() { "AND task = :task" } else { "" };
            let sql = format!("SELECT seq, time_ms, tenant, task, attempt, kind, body FROM event WHERE seq > :after {of_task} ORDER BY seq LIMIT :limit");
            let mut statement = tx.prepare_cached(&sql)?;
            let after = signed(after);
            let task = task.map(|t| t.as_str().to_owned());
            let mut parameters: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":after", &after), (":limit", &limit)];
            if let Some(task) = &task {
                parameters.push((":task", task));
            }
            let mut rows = statement.query(parameters.as_slice())?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                let id: String = row.get("task")?;
                events.push(TaskEvent {
                    seq: unsigned(row, "seq")?,
                    time_ms: unsigned(row, "time_ms")?,
                    tenant: row.get("tenant")?,
                    task: TaskId::parse(&id).map_err(|e| StoreError::Corrupt { what: "task id".into(), why: e.to_string() })?,
                    attempt: row.get("attempt")?,
                    kind: row.get("kind")?,
                    body: row::json(row, "body")?,
                });
            }
            Ok(events)
        })
    }

    /// Notes how a later attempt's conversation begins. The last word of an attempt counts: an agent that was told to go on
    /// may have begun anew.
    pub fn note_conversation(&self, task: &TaskId, conversation: Conversation) -> Result<(), StoreError> {
        self.write(|tx| {
            let resumed = conversation == Conversation::Resumed;
            append_event(tx, &get(tx, task)?, "conversation", &json!({ "resumed": resumed }))
        })
    }

    /// Whether an attempt goes, or went, on in the conversation of the one before; `None` for a first one.
    pub fn resumed(&self, task: &TaskId, attempt: u32) -> Result<Option<bool>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT json_extract(body, '$.resumed') FROM event WHERE task = ?1 AND attempt = ?2 AND kind = 'conversation' \
                       ORDER BY seq DESC LIMIT 1";
            Ok(tx.query_row(sql, rusqlite::params![task.as_str(), attempt], |row| row.get(0)).optional()?)
        })
    }
}

/// Adds an event inside another verb's transaction.
pub(super) fn append_event(tx: &Transaction<'_>, task: &Task, kind: &str, body: &Value) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO event (v, tenant, task, attempt, time_ms, kind, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
        rusqlite::params![VERSION, task.tenant, task.id.as_str(), task.attempt, signed(env::now_ms()), kind, text(body)],
    )?;
    Ok(())
}
