//! The log in a real database, changed behind coda's back.

use super::*;
use crate::audit::{Verifier, verify::Report};

fn log(folder: &Path) -> (Store, Key) {
    let store = Store::open(&folder.join("coda.db")).expect("it opens");
    let key = Key::random();
    for n in 0..10 {
        store.append_audit_record("task.accepted", "ada", DEFAULT_TENANT, None, &json!({ "n": n })).expect("appended");
        if n % 4 == 3 {
            store.close_audit_segment(&key, Close::Now).expect("closed").expect("it had records");
        }
    }
    (store, key)
}

fn verify(store: &Store, key: &Key) -> Report {
    store.scan_audit(|c| Verifier::new(c, Some(key), Vec::new()), |v, r| v.record(&r)).expect("it reads").finish()
}

/// What a hand with the database file does.
fn behind_our_back(store: &Store, sql: &str) {
    store
        .write(|tx| {
            tx.execute_batch(
                "DROP TRIGGER IF EXISTS audit_record_is_append_only; DROP TRIGGER IF EXISTS audit_segment_is_append_only;",
            )?;
            Ok(tx.execute_batch(sql)?)
        })
        .expect("it is done");
}

#[test]
fn records_cannot_be_changed_by_accident() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = log(folder.path());
    for sql in ["UPDATE audit_record SET actor = 'eve'", "UPDATE audit_segment SET count = 1"] {
        let error = store.write(|tx| Ok(tx.execute_batch(sql)?)).expect_err("it is refused");
        assert!(error.to_string().contains("append-only"));
    }
    assert!(verify(&store, &key).ok);
}

#[test]
fn what_is_done_to_the_file_shows() {
    for (sql, ok) in [
        ("SELECT 1", true),
        ("UPDATE audit_record SET actor = 'eve' WHERE seq = 3", false),
        ("UPDATE audit_record SET task = 'task_1' WHERE seq = 10", false),
        ("DELETE FROM audit_record WHERE seq = 5", false),
        ("DELETE FROM audit_record WHERE seq BETWEEN 5 AND 8", false),
        ("DELETE FROM audit_record WHERE seq > 7", false),
        ("DELETE FROM audit_segment WHERE segment = 1", false),
        ("UPDATE audit_segment SET count = count - 1 WHERE segment = 2", false),
        ("UPDATE audit_record SET seq = -seq WHERE seq = 4", false),
        ("DELETE FROM audit_record WHERE seq = 10", true),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, key) = log(folder.path());
        behind_our_back(&store, sql);
        let report = verify(&store, &key);
        assert_eq!(report.ok, ok, "{sql}: {report:?}");
    }
}

#[test]
fn a_rolled_back_verb_leaves_no_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = log(folder.path());
    let failed: Result<(), StoreError> = store.write(|tx| {
        append_audit(tx, "approval.decided", "ada", DEFAULT_TENANT, Some(&TaskId::new()), &json!({}))?;
        Err(StoreError::Conflict { what: "approval".into() })
    });
    assert!(failed.is_err());
    let report = verify(&store, &key);
    assert!(report.ok && report.last_seq == Some(10));
}

#[test]
fn a_page_is_filtered_and_carries_its_checkpoints() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = log(folder.path());
    let task = TaskId::new();
    store.append_audit_record("call.decided", "policy", "other", Some(&task), &json!({})).expect("appended");
    let page = |query: AuditQuery| store.audit_page(&query).expect("it reads");
    let (records, ends) = page(AuditQuery { after: Some(2), limit: 4, ..AuditQuery::default() });
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(ends.iter().map(|c| c.segment).collect::<Vec<_>>(), [1]);
    let (records, _) = page(AuditQuery { task: Some(task), limit: 10, ..AuditQuery::default() });
    assert_eq!(records.len(), 1);
    let (records, _) = page(AuditQuery { tenant: Some(DEFAULT_TENANT.into()), limit: 100, ..AuditQuery::default() });
    assert_eq!(records.len(), 10);
}

#[test]
fn dropping_old_segments_keeps_the_log_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = log(folder.path());
    assert_eq!(store.drop_audit_segments(0).expect("nothing is that old"), 0);
    assert_eq!(store.drop_audit_segments(u64::MAX).expect("dropped"), 2);
    assert_eq!(store.drop_audit_segments(u64::MAX).expect("once"), 0);
    let report = verify(&store, &key);
    assert!(report.ok && report.dropped_segments == 2 && report.first_seq == Some(9), "{report:?}");
    store.close_audit_segment(&key, Close::Now).expect("closed");
    store.drop_audit_segments(u64::MAX).expect("dropped");
    store.append_audit_record("login", "ada", DEFAULT_TENANT, None, &json!({})).expect("it goes on");
    assert!(verify(&store, &key).ok);
}
