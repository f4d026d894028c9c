//! Policy sets as bytes, which one is live, and what may not come back.
//!
//! A set gets its generation when it is loaded; promoting and rolling back move one pointer. Blobs are shared by digest.
//! INVARIANT: what judges changes in one transaction with its audit record.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension as _, Transaction, params};
use serde_json::{Value, json};

use super::audit::append_audit;
use super::{Store, StoreError};
use crate::env::Millis;
use crate::identity::DEFAULT_TENANT;

const LIVE: &str = "live";
const PINNED: &str = "pinned";

/// A stored set without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SetRow {
    /// Generation.
    pub generation: u64,
    /// Digest.
    pub digest: String,
    /// When it was loaded.
    pub created_ms: Millis,
    /// When it was last promoted, if it was.
    pub promoted_ms: Option<Millis>,
    /// Who loaded it.
    pub by: String,
}

/// A stored set with its bytes.
#[derive(Debug, Clone)]
pub struct StoredSet {
    /// Its row.
    pub row: SetRow,
    /// The spec, as it was stored.
    pub manifest: String,
    /// Component and granted files by SHA-256.
    pub blobs: BTreeMap<String, Vec<u8>>,
}

/// Which sets are live and pinned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// The generation that judges.
    pub live: Option<u64>,
    /// The generation that a rollback pinned.
    pub pinned: Option<u64>,
}

/// A digest that may not come back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    /// Digest of the set.
    pub digest: String,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When.
    pub time_ms: Millis,
}

impl Store {
    /// Keeps a set; the generation that it got. A set that was kept last, unchanged, keeps its generation.
    pub fn keep_policy_set(
        &self,
        digest: &str,
        manifest: &str,
        blobs: &BTreeMap<String, std::sync::Arc<[u8]>>,
        by: &str,
        now: Millis,
    ) -> Result<u64, StoreError> {
        self.write(|tx| {
            let last: Option<(u64, String)> = tx
                .query_row("SELECT generation, digest FROM policy_set ORDER BY generation DESC LIMIT 1", [], |r| {
                    Ok((whole(r, 0)?, r.get(1)?))
                })
                .optional()?;
            if let Some((generation, _)) = last.filter(|(_, known)| known == digest) {
                return Ok(generation);
            }
            for (sha256, bytes) in blobs {
                tx.execute("INSERT OR IGNORE INTO policy_blob (digest, bytes) VALUES (?1, ?2)", params![sha256, &bytes[..]])?;
            }
            let names: Vec<&String> = blobs.keys().collect();
            let names = serde_json::to_string(&names).unwrap_or_default();
            tx.execute(
                "INSERT INTO policy_set (digest, manifest, blobs, created_ms, by) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![digest, manifest, names, int(now), by],
            )?;
            let generation = u64::try_from(tx.last_insert_rowid()).unwrap_or_default();
            record(tx, "policy.load", by, &json!({ "generation": generation, "digest": digest }))?;
            Ok(generation)
        })
    }

    /// A set with its bytes.
    pub fn policy_set(&self, generation: u64) -> Result<StoredSet, StoreError> {
        self.read(|tx| {
            let found = tx
                .query_row(
                    "SELECT generation, digest, created_ms, promoted_ms, by, manifest, blobs FROM policy_set WHERE generation = ?1",
                    [int(generation)],
                    |r| Ok((row(r)?, r.get::<_, String>(5)?, r.get::<_, String>(6)?)),
                )
                .optional()?;
            let Some((row, manifest, names)) = found else {
                return Err(StoreError::NotFound { what: format!("policy set {generation}") });
            };
            let names = blob_names(generation, &names)?;
            let mut blobs = BTreeMap::new();
            for name in names {
                let bytes = tx.query_row("SELECT bytes FROM policy_blob WHERE digest = ?1", [&name], |r| r.get(0)).optional()?;
                blobs.extend(bytes.map(|bytes| (name, bytes)));
            }
            Ok(StoredSet { row, manifest, blobs })
        })
    }

    /// The kept sets, newest first.
    pub fn policy_sets(&self) -> Result<Vec<SetRow>, StoreError> {
        self.read(|tx| {
            let mut query =
                tx.prepare("SELECT generation, digest, created_ms, promoted_ms, by FROM policy_set ORDER BY generation DESC")?;
            let rows = query.query_map([], row)?.collect::<Result<_, _>>()?;
            Ok(rows)
        })
    }

    /// What is live and pinned.
    pub fn policy_state(&self) -> Result<PolicyState, StoreError> {
        self.read(|tx| Ok(PolicyState { live: pointer(tx, LIVE)?, pinned: pointer(tx, PINNED)? }))
    }

    /// Makes a set live, and drops the oldest sets beyond `keep`.
    pub fn promote_policy_set(&self, generation: u64, by: &str, now: Millis, keep: u32) -> Result<(), StoreError> {
        self.write(|tx| {
            let digest = set_live(tx, generation, now)?;
            record(tx, "policy.promote", by, &json!({ "generation": generation, "digest": digest }))?;
            drop_old_sets(tx, keep)
        })
    }

    /// Makes an earlier set live, pins it, and puts the one it replaces into quarantine: one transaction.
    pub fn roll_back_policy_set(
        &self,
        generation: u64,
        bad: Option<&str>,
        reason: &str,
        by: &str,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let digest = set_live(tx, generation, now)?;
            let body = json!({ "generation": generation, "digest": digest, "quarantined": bad, "reason": reason });
            record(tx, "policy.rollback", by, &body)?;
            tx.execute(
                "INSERT OR REPLACE INTO policy_state (key, value) VALUES (?1, ?2)",
                params![PINNED, generation.to_string()],
            )?;
            if let Some(digest) = bad {
                tx.execute(
                    "INSERT OR REPLACE INTO policy_quarantine (digest, reason, by, time_ms) VALUES (?1, ?2, ?3, ?4)",
                    params![digest, reason, by, int(now)],
                )?;
            }
            Ok(())
        })
    }

    /// Lifts the pin and every quarantine.
    pub fn unpin_policy_set(&self, by: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            record(tx, "policy.unpin", by, &json!({ "generation": pointer(tx, PINNED)? }))?;
            tx.execute("DELETE FROM policy_state WHERE key = ?1", [PINNED])?;
            tx.execute("DELETE FROM policy_quarantine", [])?;
            Ok(())
        })
    }

    /// Digests that may not come back.
    pub fn quarantined_policy_sets(&self) -> Result<Vec<Quarantined>, StoreError> {
        self.read(|tx| {
            let mut query = tx.prepare("SELECT digest, reason, by, time_ms FROM policy_quarantine ORDER BY time_ms")?;
            let read = |r: &rusqlite::Row<'_>| {
                Ok(Quarantined { digest: r.get(0)?, reason: r.get(1)?, by: r.get(2)?, time_ms: whole(r, 3)? })
            };
            let rows = query.query_map([], read)?.collect::<Result<_, _>>()?;
            Ok(rows)
        })
    }
}

/// SQLite's whole numbers are signed; ours never reach the sign.
fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn whole(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let n: i64 = r.get(column)?;
    u64::try_from(n).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, n))
}

fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<SetRow> {
    let promoted_ms: Option<i64> = r.get(3)?;
    Ok(SetRow {
        generation: whole(r, 0)?,
        digest: r.get(1)?,
        created_ms: whole(r, 2)?,
        promoted_ms: promoted_ms.and_then(|at| u64::try_from(at).ok()),
        by: r.get(4)?,
    })
}

fn pointer(tx: &Transaction<'_>, key: &str) -> Result<Option<u64>, StoreError> {
    let text: Option<String> = tx.query_row("SELECT value FROM policy_state WHERE key = ?1", [key], |r| r.get(0)).optional()?;
    let broken =
        |text: String| StoreError::Corrupt { what: format!("policy state '{key}'"), why: format!("'{text}' is no generation") };
    text.map(|text| text.parse().map_err(|_| broken(text))).transpose()
}

fn blob_names(generation: u64, names: &str) -> Result<BTreeSet<String>, StoreError> {
    serde_json::from_str(names).map_err(|e| StoreError::Corrupt { what: format!("policy set {generation}"), why: e.to_string() })
}

/// Says which digest that is.
fn set_live(tx: &Transaction<'_>, generation: u64, now: Millis) -> Result<String, StoreError> {
    // INVARIANT: what was promoted later has the later time, also where the wall clock went back: rollback goes by it.
    let sql = "UPDATE policy_set SET promoted_ms = max(?2, (SELECT ifnull(max(promoted_ms), 0) + 1 FROM policy_set)) \
               WHERE generation = ?1 RETURNING digest";
    let digest: Option<String> = tx.query_row(sql, params![int(generation), int(now)], |r| r.get(0)).optional()?;
    let digest = digest.ok_or_else(|| StoreError::NotFound { what: format!("policy set {generation}") })?;
    tx.execute("INSERT OR REPLACE INTO policy_state (key, value) VALUES (?1, ?2)", params![LIVE, generation.to_string()])?;
    Ok(digest)
}

/// A change of sets goes on record with the change itself.
fn record(tx: &Transaction<'_>, kind: &str, by: &str, body: &Value) -> Result<(), StoreError> {
    append_audit(tx, kind, by, DEFAULT_TENANT, None, body).map(drop)
}

/// Never the live set, never the pinned one.
fn drop_old_sets(tx: &Transaction<'_>, keep: u32) -> Result<(), StoreError> {
    let spared = [pointer(tx, LIVE)?, pointer(tx, PINNED)?].map(Option::unwrap_or_default);
    let dropped = tx.execute(
        "DELETE FROM policy_set WHERE generation NOT IN (?1, ?2)
         AND generation NOT IN (SELECT generation FROM policy_set ORDER BY generation DESC LIMIT ?3)",
        params![int(spared[0]), int(spared[1]), keep],
    )?;
    if dropped == 0 {
        return Ok(());
    }
    let mut used = BTreeSet::new();
    let mut query = tx.prepare("SELECT generation, blobs FROM policy_set")?;
    for kept in query.query_map([], |r| Ok((whole(r, 0)?, r.get::<_, String>(1)?)))? {
        let (generation, names) = kept?;
        used.extend(blob_names(generation, &names)?);
    }
    let mut query = tx.prepare("SELECT digest FROM policy_blob")?;
    let known: Vec<String> = query.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
    for digest in known.iter().filter(|digest| !used.contains(*digest)) {
        tx.execute("DELETE FROM policy_blob WHERE digest = ?1", [digest])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    fn keep(store: &Store, digest: &str) -> u64 {
        let blobs = [(format!("blob-{digest}"), Arc::from(digest.as_bytes())), ("shared".to_owned(), Arc::from(&b"s"[..]))];
        store.keep_policy_set(digest, "{}", &blobs.into_iter().collect(), "test", 1).unwrap()
    }

    fn store(dir: &Path) -> Store {
        Store::open(&dir.join("coda.db")).unwrap()
    }

    #[test]
    fn a_set_reads_back_and_the_same_one_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let first = keep(&store, "a");
        assert_eq!(keep(&store, "a"), first);
        let second = keep(&store, "b");
        assert!(second > first);
        let read = store.policy_set(first).unwrap();
        assert_eq!((read.row.digest.as_str(), read.blobs.len(), &read.blobs["blob-a"][..]), ("a", 2, &b"a"[..]));
        assert!(matches!(store.policy_set(99), Err(StoreError::NotFound { .. })));
    }

    #[test]
    fn what_was_promoted_later_counts_as_later_though_the_clock_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let generations = ["a", "b", "c"].map(|digest| keep(&store, digest));
        for (generation, now) in generations.into_iter().zip([1_000_000, 5, 6]) {
            store.promote_policy_set(generation, "op", now, 20).unwrap();
        }
        let mut sets = store.policy_sets().unwrap();
        sets.sort_by_key(|set| set.promoted_ms);
        assert_eq!(sets.iter().map(|set| set.generation).collect::<Vec<_>>(), generations);
    }

    #[test]
    fn old_sets_go_but_never_the_live_or_the_pinned_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let generations: Vec<u64> = ["a", "b", "c", "d"].map(|digest| keep(&store, digest)).into();
        store.promote_policy_set(generations[0], "op", 2, 20).unwrap();
        store.roll_back_policy_set(generations[0], Some("d"), "bad", "op", 3).unwrap();
        store.promote_policy_set(generations[1], "op", 4, 1).unwrap();
        let kept: Vec<u64> = store.policy_sets().unwrap().iter().map(|row| row.generation).collect();
        assert_eq!(kept, [generations[3], generations[1], generations[0]]);
        assert_eq!(store.policy_set(generations[0]).unwrap().blobs.len(), 2);
        assert_eq!(store.policy_state().unwrap(), PolicyState { live: Some(generations[1]), pinned: Some(generations[0]) });
        assert_eq!(store.quarantined_policy_sets().unwrap()[0].digest, "d");
        store.unpin_policy_set("op").unwrap();
        assert!(store.quarantined_policy_sets().unwrap().is_empty());
        let query = crate::store::audit::AuditQuery { tenant: None, task: None, after: Some(0), limit: 10 };
        let kinds: Vec<String> = store.audit_page(&query).unwrap().0.into_iter().map(|record| record.kind).collect();
        assert_eq!(kinds[..4], ["policy.load"; 4], "a set is on record from the moment it is kept");
        assert_eq!(kinds[4..], ["policy.promote", "policy.rollback", "policy.promote", "policy.unpin"]);
        assert_eq!(store.policy_state().unwrap().pinned, None);
    }
}
