//! The handle over a real CODA_HOME: starts, crashes, restores.

use std::fs;

use super::*;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// What a start does. Dropping the handle without `close` is what kill -9 leaves behind.
    fn start(&self) -> Audit {
        let store = Store::open(&self.0.path().join("coda.db")).expect("it opens");
        Audit::open(store, &self.0.path().join("keys"), Settings::default()).expect("it starts")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

async fn append(audit: &Audit, count: u64) -> u64 {
    let mut last = 0;
    for n in 0..count {
        last = audit.append("login", "ada", DEFAULT_TENANT, None, json!({ "n": n })).await.expect("appended");
    }
    last
}

#[tokio::test]
async fn a_start_after_a_crash_continues_the_chain() {
    let home = Home::new();
    let audit = home.start();
    append(&audit, 3).await;
    audit.close(Close::Now).await.expect("closed");
    append(&audit, 2).await;
    drop(audit);
    let audit = home.start();
    assert_eq!(append(&audit, 2).await, 7);
    let report = audit.verify(Vec::new()).await.expect("it verifies");
    assert!(report.ok && report.records == 7 && report.open_records == 4, "{report:?}");
    assert_eq!(audit.close(Close::Now).await.expect("closed").map(|c| (c.segment, c.first_seq, c.count)), Some((2, 4, 4)));
    assert_eq!(audit.close(Close::Now).await.expect("nothing to close"), None);
}

#[tokio::test]
async fn a_segment_is_closed_by_count_by_age_and_at_the_end() {
    let home = Home::new();
    let audit = home.start();
    append(&audit, 2).await;
    let due = |records, opened_before_ms| Close::Due { records, opened_before_ms };
    assert_eq!(audit.close(due(3, 0)).await.expect("looked"), None);
    assert!(audit.close(due(2, 0)).await.expect("looked").is_some());
    append(&audit, 1).await;
    assert!(audit.close(due(100, u64::MAX)).await.expect("looked").is_some());
    append(&audit, 1).await;
    let stop = CancellationToken::new();
    stop.cancel();
    audit.clone().run(stop).await;
    let report = audit.verify(Vec::new()).await.expect("it verifies");
    assert!(report.ok && report.checkpoints == 3 && report.open_records == 0, "{report:?}");
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_noticed() {
    let home = Home::new();
    let audit = home.start();
    append(&audit, 2).await;
    audit.close(Close::Now).await.expect("closed");
    let copy = home.path("copy.db");
    audit.store().write_copy(&copy);
    append(&audit, 2).await;
    let witnessed = audit.close(Close::Now).await.expect("closed").expect("a checkpoint");
    drop(audit);
    for name in ["coda.db", "coda.db-wal", "coda.db-shm"] {
        let _ = fs::remove_file(home.path(name));
    }
    fs::rename(&copy, home.path("coda.db")).expect("restored");
    let audit = home.start();
    append(&audit, 1).await;
    audit.close(Close::Now).await.expect("closed");
    let report = audit.verify(vec![witnessed.clone()]).await.expect("it verifies");
    assert!(!report.ok && report.problems.iter().any(|p| p.text.contains("beside the key")), "{report:?}");
    assert!(report.problems.iter().any(|p| p.text.contains("the given checkpoint")));
    assert_eq!(checkpoint::read_file(&home.path("keys/audit.checkpoint")).expect("it reads"), Some(witnessed), "kept");
}

#[tokio::test]
async fn a_checkpoint_that_was_not_published_is_at_the_next_start() {
    let home = Home::new();
    let audit = home.start();
    append(&audit, 2).await;
    let closed = audit.close(Close::Now).await.expect("closed");
    fs::remove_file(home.path("keys/audit.checkpoint")).expect("a crash came first");
    drop(audit);
    let _audit = home.start();
    assert_eq!(checkpoint::read_file(&home.path("keys/audit.checkpoint")).expect("it reads"), closed);
}

#[tokio::test]
async fn a_new_key_is_on_record_and_old_checkpoints_do_not_fit_it() {
    let home = Home::new();
    let audit = home.start();
    append(&audit, 2).await;
    audit.close(Close::Now).await.expect("closed");
    drop(audit);
    fs::remove_file(home.path("keys/audit.key")).expect("lost");
    let audit = home.start();
    let report = audit.verify(Vec::new()).await.expect("it verifies");
    assert!(!report.ok && report.records == 3 && report.problems[0].text.contains("the key was replaced"), "{report:?}");
}

#[tokio::test]
async fn a_home_is_verified_without_its_server() {
    let home = Home::new();
    let audit = home.start();
    append(&audit, 3).await;
    audit.close(Close::Now).await.expect("closed");
    append(&audit, 1).await;
    drop(audit);
    let report = verify_offline(home.0.path(), Vec::new()).expect("it verifies");
    assert!(report.ok && report.records == 4, "{report:?}");
    fs::remove_file(home.path("keys/audit.key")).expect("taken away");
    let report = verify_offline(home.0.path(), Vec::new()).expect("it verifies");
    assert!(report.cannot_show.iter().any(|c| c.contains("the key is not there")));
    let nowhere = tempfile::tempdir().expect("a folder");
    assert!(verify_offline(nowhere.path(), Vec::new()).expect_err("empty").to_string().contains("no database"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_make_one_chain() {
    let home = Home::new();
    let audit = home.start();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let audit = audit.clone();
            tokio::spawn(async move { append(&audit, 10).await })
        })
        .collect();
    for _ in 0..5 {
        audit.close(Close::Now).await.expect("closed");
    }
    for writer in writers {
        writer.await.expect("it ends");
    }
    let report = audit.verify(Vec::new()).await.expect("it verifies");
    assert!(report.ok && report.records == 80, "{report:?}");
}
