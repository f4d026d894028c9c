//! The audit log as somebody finds it who may write the database and not the key: `coda audit verify` names what was done.

use std::process::Command;

use crate::server::{Server, field, text};

/// What was done, in SQL, and what verification calls it.
const TAMPERINGS: [(&str, &str, &str); 6] = [
    ("an edit", "UPDATE audit_record SET actor = 'somebody else' WHERE seq = 3", "record 3 was changed"),
    ("a gap", "DELETE FROM audit_record WHERE seq = 4", "record 4 is missing"),
    (
        "the last record dropped",
        "DELETE FROM audit_record WHERE seq = (SELECT max(seq) FROM audit_record)",
        "removed or rewritten",
    ),
    (
        "the last segment deleted",
        "DELETE FROM audit_record WHERE segment = (SELECT max(segment) FROM audit_segment); \
         DELETE FROM audit_segment WHERE segment = (SELECT max(segment) FROM audit_segment)",
        "gone from the log",
    ),
    ("a segment's records deleted", "DELETE FROM audit_record WHERE segment = 1", "segment 1"),
    ("everything deleted", "DELETE FROM audit_record; DELETE FROM audit_segment", "gone from the log"),
];

#[test]
fn verification_names_edits_gaps_and_truncation() {
    let mut server = Server::with_config("[audit]\nsegment_records = 10\n");
    // Two lives: each closes its last segment.
    for n in 0..2 {
        server.run();
        assert_eq!(field(&server.runbook(&format!("echo {n}")), "status"), "completed");
        server.stop();
    }
    let verify = || server.coda(&["audit", "verify", "--offline"]);
    assert!(verify().status.success(), "{}", text(&verify()));
    let (database, good) = (server.path("coda.db"), server.path("good.db"));
    change(&server, "PRAGMA wal_checkpoint(TRUNCATE)");
    std::fs::copy(&database, &good).expect("a copy");
    for (what, sql, says) in TAMPERINGS {
        for more in ["coda.db-wal", "coda.db-shm"] {
            let _ = std::fs::remove_file(server.path(more));
        }
        std::fs::copy(&good, &database).expect("the copy");
        let free = "DROP TRIGGER audit_record_is_append_only; DROP TRIGGER audit_segment_is_append_only";
        change(&server, &format!("{free}; {sql}"));
        let verified = verify();
        assert!(!verified.status.success() && text(&verified).contains(says), "{what}: {}", text(&verified));
    }
}

fn change(server: &Server, sql: &str) {
    let done = Command::new("sqlite3").arg(server.path("coda.db")).arg(sql).output().expect("the sqlite3 program is needed");
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
}
