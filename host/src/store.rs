//! The store: domain verbs over an embedded SQLite database. Only this module names the database.
//!
//! One connection writes, a few read. A verb is one transaction; none is visible outside. WAL with `synchronous=FULL`:
//! when a verb has returned, what it wrote survives a crash of the process and of the machine.

pub mod accept;
pub mod accounts;
pub mod approvals;
pub(crate) mod audit;
pub mod calls;
pub mod decisions;
mod events;
pub mod foreign;
pub mod inbox;
pub mod items;
mod policy_sets;
mod retention;
mod row;
pub mod settle;
pub mod tasks;
pub mod usage;

pub use policy_sets::{PolicyState, Quarantined, SetRow, StoredSet};

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

/// How the schema came to be, step by step; none is ever changed.
const STEPS: [&str; 3] =
    [include_str!("store/schema.sql"), include_str!("store/schema_2.sql"), include_str!("store/schema_3.sql")];
/// Schema version of this binary.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;
const READERS: usize = 4;
const BUSY_TIMEOUT_MS: u64 = 5_000;
/// Statements that a connection keeps ready: more than there are, so that none is read anew for each call.
const READY_STATEMENTS: usize = 256;

/// Why a verb did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database was written by a newer coda.
    #[error("{path} has schema {found}, this coda knows {known}: use a newer coda, or restore an older backup")]
    NewerSchema {
        /// Which file.
        path: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Somebody else changed the record since it was read.
    #[error("{what} has changed meanwhile")]
    Conflict {
        /// Which record.
        what: String,
    },
    /// The record has reached its end; nothing changes it any more.
    #[error("{what} has ended")]
    Ended {
        /// Which record.
        what: String,
    },
    /// No such record.
    #[error("no {what}")]
    NotFound {
        /// Which record.
        what: String,
    },
    /// A stored text does not read back.
    #[error("stored {what} does not read back: {why}")]
    Corrupt {
        /// Which record.
        what: String,
        /// Why.
        why: String,
    },
    /// A bound is reached.
    #[error("{limit} {what} is the most; try again later")]
    Bound {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: u64,
    },
    /// A principal's budget is used up: which, by how much, until when.
    #[error("{0}")]
    Budget(String),
    /// The file system has no room, or refuses.
    #[error("the store cannot write: {0}; free some disk space below CODA_HOME")]
    Full(String),
    /// Anything else the database says.
    #[error("store: {0}")]
    Database(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::ReadOnly) => {
                Self::Full(e.to_string())
            }
            _ => Self::Database(e.to_string()),
        }
    }
}

/// A handle; clones share the connections.
#[derive(Clone)]
pub struct Store(Arc<Connections>);

struct Connections {
    // A std mutex: held for one transaction at a time, on a blocking thread, never across an await.
    writer: Mutex<Connection>,
    readers: Vec<Mutex<Connection>>,
    // Counts commits, so that readers can wait for news instead of asking again and again.
    commits: tokio::sync::watch::Sender<u64>,
}

impl Store {
    /// Opens or creates the database file, bringing its schema forward (after a backup beside it).
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let writer = Connection::open(path)?;
        writer.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "foreign_keys", "ON")?;
        migrate(&writer, path)?;
        writer.set_prepared_statement_cache_capacity(READY_STATEMENTS);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let readers = (0..READERS)
            .map(|_| {
                let reader = Connection::open_with_flags(path, flags)?;
                reader.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
                reader.set_prepared_statement_cache_capacity(READY_STATEMENTS);
                Ok(Mutex::new(reader))
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Self(Arc::new(Connections { writer: Mutex::new(writer), readers, commits: tokio::sync::watch::Sender::new(0) })))
    }

    /// One write transaction: committed if `verb` returns `Ok`, rolled back otherwise.
    pub(in crate::store) fn write<T>(
        &self,
        verb: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = verb(&transaction)?;
        transaction.commit()?;
        self.0.commits.send_modify(|count| *count += 1);
        Ok(value)
    }

    /// One read transaction on a connection of its own.
    pub(in crate::store) fn read<T>(
        &self,
        verb: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let free = self.0.readers.iter().find_map(|r| r.try_lock().ok());
        let mut connection = match free {
            Some(connection) => connection,
            None => self.0.readers[0].lock().unwrap_or_else(PoisonError::into_inner),
        };
        let transaction = connection.transaction()?;
        let value = verb(&transaction)?;
        drop(transaction);
        Ok(value)
    }

    /// Changes with every commit.
    #[must_use]
    pub fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// Runs a verb off the async threads. Every caller in async code goes through here.
    pub async fn call<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || verb(&store))
            .await
            .unwrap_or_else(|e| Err(StoreError::Database(format!("a verb panicked: {e}"))))
    }
}

/// Forward only. A backup is made before an existing file is changed.
fn migrate(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { path: path.display().to_string(), found, known: SCHEMA_VERSION });
    }
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    if found > 0 {
        let backup = path.with_extension(format!("v{found}.backup"));
        connection.backup("main", &backup, None::<fn(rusqlite::backup::Progress)>)?;
    }
    let missing = STEPS[usize::try_from(found).unwrap_or_default()..].join("\n");
    connection.execute_batch(&format!("BEGIN IMMEDIATE;\n{missing}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
