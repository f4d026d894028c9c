//! Verbs of the audit log. Records are inserted and, segment by segment, dropped; never changed.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, Transaction, params};
use serde_json::{Value, json};

use super::{BUSY_TIMEOUT_MS, Connections, SCHEMA_VERSION, Store, StoreError};
use crate::audit::{Checkpoint, Close, DROPPED, GENESIS, Key, Record, body_text};
use crate::env::{self, Millis};
use crate::id::TaskId;
use crate::identity::DEFAULT_TENANT;

const RECORD_COLUMNS: &str = "seq, segment, time_ms, tenant, kind, actor, task, body, previous, hash";

/// Which records to read.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only this task's.
    pub task: Option<TaskId>,
    /// Only after this number; `None` = the newest.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// Where the log ends.
struct Tail {
    next_seq: i64,
    segment: i64,
    previous: String,
}

/// Appends a record inside the caller's transaction, so that what it says and what it is about are committed together.
/// The body holds ids and digests, never contents.
pub(in crate::store) fn append_audit(
    tx: &Transaction<'_>,
    kind: &str,
    actor: &str,
    tenant: &str,
    task: Option<&TaskId>,
    body: &Value,
) -> Result<u64, StoreError> {
    let tail = tail(tx)?;
    let mut record = Record {
        seq: tail.next_seq,
        segment: tail.segment,
        time_ms: signed(env::now_ms()),
        tenant: tenant.to_owned(),
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        task: task.map(|t| t.as_str().to_owned()),
        body: body_text(body),
        previous: tail.previous,
        hash: String::new(),
    };
    record.hash = record.computed_hash();
    tx.prepare_cached(&format!("INSERT INTO audit_record ({RECORD_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"))?
        .execute(params![
            record.seq,
            record.segment,
            record.time_ms,
            record.tenant,
            record.kind,
            record.actor,
            record.task,
            record.body,
            record.previous,
            record.hash,
        ])?;
    Ok(record.seq.unsigned_abs())
}

impl Store {
    /// Appends one record in a transaction of its own.
    pub fn append_audit_record(
        &self,
        kind: &str,
        actor: &str,
        tenant: &str,
        task: Option<&TaskId>,
        body: &Value,
    ) -> Result<u64, StoreError> {
        self.write(|tx| append_audit(tx, kind, actor, tenant, task, body))
    }

    /// Closes the open segment with a checkpoint, if it has records and it is time.
    pub fn close_audit_segment(&self, key: &Key, when: Close) -> Result<Option<Checkpoint>, StoreError> {
        let is_due = |count: i64, oldest_ms: i64| match when {
            Close::Now => true,
            Close::Due { records, opened_before_ms } => count >= signed(records) || oldest_ms <= signed(opened_before_ms),
        };
        // Looking needs no write transaction; most looks find nothing to do.
        if !self.read(open_segment)?.is_some_and(|open| is_due(open.1, open.2)) {
            return Ok(None);
        }
        self.write(|tx| {
            let Some((first_seq, count, oldest_ms)) = open_segment(tx)? else { return Ok(None) };
            if !is_due(count, oldest_ms) {
                return Ok(None);
            }
            let tail = tail(tx)?;
            let closed = Checkpoint::seal(key, tail.segment, first_seq, count, tail.previous, signed(env::now_ms()));
            tx.execute(
                "INSERT INTO audit_segment (segment, first_seq, count, head, hmac, closed_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![closed.segment, closed.first_seq, closed.count, closed.head, closed.hmac, closed.closed_ms],
            )?;
            Ok(Some(closed))
        })
    }

    /// Drops the records of the oldest segments, as far as all were closed before `before_ms`, and says so in the log,
    /// in one transaction. Their checkpoints stay. Returns how many segments went.
    pub fn drop_audit_segments(&self, before_ms: Millis) -> Result<u64, StoreError> {
        let old = |tx: &Transaction<'_>| -> Result<Vec<Checkpoint>, StoreError> {
            let sql = "SELECT segment, first_seq, count, head, hmac, closed_ms FROM audit_segment
                       WHERE first_seq + count > coalesce((SELECT min(seq) FROM audit_record), 0)
                       AND segment < coalesce((SELECT min(segment) FROM audit_segment WHERE closed_ms >= ?1), 9223372036854775807)
                       ORDER BY segment";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map(params![signed(before_ms)], checkpoint)?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        if self.read(|tx| old(tx))?.is_empty() {
            return Ok(0);
        }
        self.write(|tx| {
            let old = old(tx)?;
            let Some(last) = old.last() else { return Ok(0) };
            let body = json!({ "through_segment": last.segment, "head": last.head });
            append_audit(tx, DROPPED, "system", DEFAULT_TENANT, None, &body)?;
            tx.execute("DELETE FROM audit_record WHERE seq <= ?1", params![last.last_seq()])?;
            Ok(old.len() as u64)
        })
    }

    /// The newest checkpoint.
    pub fn last_audit_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT segment, first_seq, count, head, hmac, closed_ms FROM audit_segment ORDER BY segment DESC LIMIT 1";
            Ok(tx.query_row(sql, [], checkpoint).optional()?)
        })
    }

    /// The checkpoint of one segment.
    pub fn audit_checkpoint(&self, segment: i64) -> Result<Option<Checkpoint>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT segment, first_seq, count, head, hmac, closed_ms FROM audit_segment WHERE segment = ?1";
            Ok(tx.query_row(sql, params![segment], checkpoint).optional()?)
        })
    }

    /// Goes through the whole log in one consistent view: `begin` gets all checkpoints, `each` every record in order.
    pub fn scan_audit<V>(
        &self,
        begin: impl FnOnce(Vec<Checkpoint>) -> V,
        mut each: impl FnMut(&mut V, Record),
    ) -> Result<V, StoreError> {
        self.read(|tx| {
            let mut visitor = begin(checkpoints(tx, 0, i64::MAX)?);
            let mut statement = tx.prepare(&format!("SELECT {RECORD_COLUMNS} FROM audit_record ORDER BY seq"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(&mut visitor, record(row)?);
            }
            Ok(visitor)
        })
    }

    /// One page of records, oldest first, with the checkpoints of segments that end on it.
    pub fn audit_page(&self, query: &AuditQuery) -> Result<(Vec<Record>, Vec<Checkpoint>), StoreError> {
        let order = if query.after.is_some() { "ASC" } else { "DESC" };
        self.read(|tx| {
            let mut statement = tx.prepare_cached(&format!(
                "SELECT {RECORD_COLUMNS} FROM audit_record WHERE seq > ?1 AND (?2 IS NULL OR tenant = ?2) AND (?3 IS NULL OR task = ?3)
                 ORDER BY seq {order} LIMIT ?4"
            ))?;
            let task = query.task.as_ref().map(TaskId::as_str);
            let after = signed(query.after.unwrap_or(0));
            let rows = statement.query_map(params![after, query.tenant, task, query.limit], record)?;
            let mut records: Vec<Record> = rows.collect::<Result<_, _>>()?;
            records.sort_by_key(|r| r.seq);
            let ends = match (records.first(), records.last()) {
                (Some(first), Some(last)) => checkpoints(tx, first.seq.saturating_sub(1), last.seq)?,
                (_, _) => Vec::new(),
            };
            Ok((records, ends))
        })
    }

    /// Opens an existing database for reading only, as it is: for looking at a CODA_HOME whose server does not run.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::NotFound { what: format!("database at {}", path.display()) });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> Result<Connection, StoreError> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
            Ok(connection)
        };
        let writer = open()?;
        let found: i64 = writer.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > SCHEMA_VERSION {
            return Err(StoreError::NewerSchema { path: path.display().to_string(), found, known: SCHEMA_VERSION });
        }
        Ok(Self(Arc::new(Connections {
            writer: Mutex::new(writer),
            readers: vec![Mutex::new(open()?)],
            commits: tokio::sync::watch::Sender::new(0),
        })))
    }
}

#[cfg(test)]
impl Store {
    /// A copy of the database, as a backup makes one.
    pub(crate) fn write_copy(&self, path: &Path) {
        self.read(|tx| Ok(tx.backup("main", path, None::<fn(rusqlite::backup::Progress)>)?)).expect("it copies");
    }
}

/// First number, count and oldest time of the segment that has no checkpoint yet.
fn open_segment(tx: &Transaction<'_>) -> Result<Option<(i64, i64, i64)>, StoreError> {
    let sql = "SELECT min(seq), count(*), min(time_ms) FROM audit_record
               WHERE seq > (SELECT coalesce(max(first_seq + count - 1), 0) FROM audit_segment)";
    Ok(tx.query_row(sql, [], |row| {
        let first: Option<i64> = row.get(0)?;
        Ok(first.map(|first| (first, row.get(1).unwrap_or(0), row.get(2).unwrap_or(0))))
    })?)
}

/// Where the next record goes. The newest checkpoint counts as well as the newest record: records may have been dropped.
fn tail(tx: &Transaction<'_>) -> Result<Tail, StoreError> {
    let newest = tx
        .prepare_cached("SELECT seq, segment, hash FROM audit_record ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))
        .optional()?;
    let closed = tx
        .prepare_cached(
            "SELECT segment, first_seq, count, head, hmac, closed_ms FROM audit_segment ORDER BY segment DESC LIMIT 1",
        )?
        .query_row([], checkpoint)
        .optional()?;
    Ok(match (newest, closed) {
        (None, None) => Tail { next_seq: 1, segment: 1, previous: GENESIS.to_owned() },
        (Some((seq, segment, hash)), None) => Tail { next_seq: seq.saturating_add(1), segment, previous: hash },
        (Some((seq, _, hash)), Some(closed)) if seq > closed.last_seq() => {
            Tail { next_seq: seq.saturating_add(1), segment: closed.segment.saturating_add(1), previous: hash }
        }
        (_, Some(closed)) => Tail {
            next_seq: closed.last_seq().saturating_add(1),
            segment: closed.segment.saturating_add(1),
            previous: closed.head,
        },
    })
}

/// Checkpoints of segments whose last record has a number in (`after`, `until`].
fn checkpoints(tx: &Transaction<'_>, after: i64, until: i64) -> Result<Vec<Checkpoint>, StoreError> {
    let sql = "SELECT segment, first_seq, count, head, hmac, closed_ms FROM audit_segment
               WHERE first_seq + count - 1 > ?1 AND first_seq + count - 1 <= ?2 ORDER BY segment";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map(params![after, until], checkpoint)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn record(row: &Row<'_>) -> Result<Record, rusqlite::Error> {
    Ok(Record {
        seq: row.get(0)?,
        segment: row.get(1)?,
        time_ms: row.get(2)?,
        tenant: row.get(3)?,
        kind: row.get(4)?,
        actor: row.get(5)?,
        task: row.get(6)?,
        body: row.get(7)?,
        previous: row.get(8)?,
        hash: row.get(9)?,
    })
}

fn checkpoint(row: &Row<'_>) -> Result<Checkpoint, rusqlite::Error> {
    Ok(Checkpoint {
        v: 1,
        segment: row.get(0)?,
        first_seq: row.get(1)?,
        count: row.get(2)?,
        head: row.get(3)?,
        hmac: row.get(4)?,
        closed_ms: row.get(5)?,
    })
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
