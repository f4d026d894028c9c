//! The audit log: what was decided, by whom, and who changed what. Append-only, and provably so.
//!
//! ```text
//! append ─► record 1 ─ record 2 ─ … ─ record n │ record n+1 ─ …          each holds the hash of the one before
//!           └────────── segment 1 ────────────┘ └─ open segment
//!                             └─► checkpoint {count, head, HMAC}  ─► database, log stream, keys/audit.checkpoint
//! ```
//!
//! Records hold ids and digests, never contents, so that contents can be erased while the chain stays whole. A closed
//! segment may be dropped as a whole when its time is over; its checkpoint stays. [`verify`] says what is wrong, where
//! it begins, and what it cannot show. Appending inside another verb's transaction is `store`'s `append_audit`.
//!
//! INVARIANT: the key lies outside the database; whoever can write only the database cannot make a checkpoint.

mod checkpoint;
pub mod export;
mod record;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::env;
use crate::id::TaskId;
use crate::identity::DEFAULT_TENANT;
use crate::store::{Store, StoreError};

pub use checkpoint::{Checkpoint, Key, UnreadableCheckpoint};
pub use record::{GENESIS, Record, body_text};
pub use verify::{Anchor, Report, Verifier};

/// The key's file in the keys folder.
pub const KEY_FILE: &str = "audit.key";
/// The newest checkpoint's file beside it: a cut-back database is noticed without the log stream.
pub const ANCHOR_FILE: &str = "audit.checkpoint";
/// Kind of the record that says up to which segment retention dropped records.
pub const DROPPED: &str = "audit.segments-dropped";

/// Settings of the audit log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A segment is closed when it has so many records,
    pub segment_records: u64,
    /// or when its oldest record is so old.
    pub segment_s: u64,
    /// How often that is looked at.
    pub check_s: u64,
    /// Closed segments older than this are dropped. 0 keeps them for ever.
    pub retention_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_records: 500, segment_s: 300, check_s: 10, retention_s: 400 * 24 * 3600 }
    }
}

/// Why the audit log did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The key or the checkpoint beside it cannot be read or written.
    #[error("audit: {path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
    /// The store refuses.
    #[error("audit: {0}")]
    Store(#[from] StoreError),
}

/// When a segment is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// If it has any record.
    Now,
    /// If it has at least `records`, or its oldest is from before `opened_before_ms`.
    Due {
        /// Records.
        records: u64,
        /// Instant.
        opened_before_ms: env::Millis,
    },
}

/// The audit log. A handle; clones share everything.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    store: Store,
    key: Key,
    anchor: PathBuf,
    settings: Settings,
}

impl Audit {
    /// Opens the log: reads the key, or makes it at the first start, and looks whether the log still reaches as far as
    /// its last checkpoint. Blocking; for start-up.
    pub fn open(store: Store, keys: &Path, settings: Settings) -> Result<Self, AuditError> {
        let (key, fresh) = Key::load_or_create(&keys.join(KEY_FILE))?;
        let audit = Self(Arc::new(Inner { store, key, anchor: keys.join(ANCHOR_FILE), settings }));
        let last = audit.0.store.last_audit_checkpoint()?;
        if fresh && last.is_some() {
            tracing::error!("the audit key was gone and a new one was made: older checkpoints can no longer be checked");
            let body = json!({ "note": "a new key was made; checkpoints before this record were made with another" });
            audit.0.store.append_audit_record("audit.key-created", "system", DEFAULT_TENANT, None, &body)?;
        }
        // A crash may have come between closing a segment and publishing its checkpoint.
        match last {
            Some(last) if checkpoint::read_file(&audit.0.anchor)?.as_ref() != Some(&last) => audit.publish(&last)?,
            Some(_) => {}
            None => _ = audit.anchor_fits()?,
        }
        Ok(audit)
    }

    /// Appends a record, durably, and says its number. Bodies hold ids and digests, never contents.
    pub async fn append(
        &self,
        kind: &str,
        actor: &str,
        tenant: &str,
        task: Option<&TaskId>,
        body: Value,
    ) -> Result<u64, AuditError> {
        let (kind, actor, tenant, task) = (kind.to_owned(), actor.to_owned(), tenant.to_owned(), task.cloned());
        let append = move |store: &Store| store.append_audit_record(&kind, &actor, &tenant, task.as_ref(), &body);
        Ok(self.0.store.call(append).await?)
    }

    /// Closes segments that are due and drops those whose time is over, until `stop`; then closes the last one.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(self.0.settings.check_s.max(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                _ = tick.tick() => false,
            };
            let done = if stopped { self.close(Close::Now).await } else { self.keep_house().await };
            if let Err(error) = done {
                tracing::error!(%error, "the audit log could not be checkpointed");
            }
            if stopped {
                return;
            }
        }
    }

    async fn keep_house(&self) -> Result<Option<Checkpoint>, AuditError> {
        let settings = &self.0.settings;
        let now = env::now_ms();
        let opened_before_ms = now.saturating_sub(settings.segment_s.saturating_mul(1000));
        let closed = self.close(Close::Due { records: settings.segment_records, opened_before_ms }).await?;
        if settings.retention_s > 0 {
            self.drop_before(now.saturating_sub(settings.retention_s.saturating_mul(1000))).await?;
        }
        Ok(closed)
    }

    /// Closes the open segment if it is time, and hands its checkpoint to the log stream and to the file beside the key.
    pub async fn close(&self, when: Close) -> Result<Option<Checkpoint>, AuditError> {
        let audit = self.clone();
        let close = move || {
            let closed = audit.0.store.close_audit_segment(&audit.0.key, when)?;
            closed.as_ref().map_or(Ok(()), |checkpoint| audit.publish(checkpoint))?;
            Ok(closed)
        };
        let stopped = |e| AuditError::Store(StoreError::Database(format!("closing a segment panicked: {e}")));
        tokio::task::spawn_blocking(close).await.unwrap_or_else(|e| Err(stopped(e)))
    }

    /// Drops the records of segments that were closed before `before_ms`; a record says which.
    pub async fn drop_before(&self, before_ms: env::Millis) -> Result<u64, AuditError> {
        Ok(self.0.store.call(move |store| store.drop_audit_segments(before_ms)).await?)
    }

    /// Recomputes the whole log. `given` are checkpoints kept elsewhere, such as in the log stream.
    pub async fn verify(&self, given: Vec<Checkpoint>) -> Result<Report, AuditError> {
        let audit = self.clone();
        let anchors = anchors(checkpoint::read_file(&self.0.anchor)?, given);
        Ok(self.0.store.call(move |store| verify_store(store, Some(&audit.0.key), anchors)).await?)
    }

    /// The store, for reading pages.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Hands a checkpoint to the log stream and to the file beside the key. A log that does not contain what the file
    /// says was cut back, or restored from an older copy: that is said aloud, and the file stays as evidence.
    fn publish(&self, checkpoint: &Checkpoint) -> Result<(), AuditError> {
        tracing::info!(target: "audit", checkpoint = %checkpoint.to_json(), "audit checkpoint");
        if self.anchor_fits()? { checkpoint::write_file(&self.0.anchor, checkpoint) } else { Ok(()) }
    }

    fn anchor_fits(&self) -> Result<bool, AuditError> {
        let Some(published) = checkpoint::read_file(&self.0.anchor)? else { return Ok(true) };
        let fits = self.0.store.audit_checkpoint(published.segment)?.as_ref() == Some(&published);
        if !fits {
            let segment = published.segment;
            tracing::error!(target: "audit", segment, "the audit log does not contain its last published checkpoint; run `coda audit verify`");
        }
        Ok(fits)
    }
}

/// Verifies the log of a CODA_HOME whose server does not run; without its key what the key proves stays open.
pub fn verify_offline(home: &Path, given: Vec<Checkpoint>) -> Result<Report, AuditError> {
    let keys = home.join("keys");
    let key = Key::load(&keys.join(KEY_FILE))?;
    let anchors = anchors(checkpoint::read_file(&keys.join(ANCHOR_FILE))?, given);
    let store = Store::open_read_only(&home.join("coda.db"))?;
    Ok(verify_store(&store, key.as_ref(), anchors)?)
}

fn anchors(file: Option<Checkpoint>, given: Vec<Checkpoint>) -> Vec<Anchor> {
    file.into_iter().map(Anchor::File).chain(given.into_iter().map(Anchor::Given)).collect()
}

fn verify_store(store: &Store, key: Option<&Key>, anchors: Vec<Anchor>) -> Result<Report, StoreError> {
    let begin = |checkpoints| Verifier::new(checkpoints, key, anchors);
    Ok(store.scan_audit(begin, |verifier, record| verifier.record(&record))?.finish())
}

#[cfg(test)]
mod tests;
