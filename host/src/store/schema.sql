-- Schema 1. Times are milliseconds since the Unix epoch; JSON columns hold text that the verbs parse.
-- Tenant is a column wherever a person could ask for the record.

CREATE TABLE task (
    id TEXT PRIMARY KEY, session TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, principal TEXT NOT NULL,
    roles TEXT NOT NULL, client TEXT NOT NULL, agent TEXT NOT NULL, workspace TEXT, permissions TEXT NOT NULL,
    prompt TEXT NOT NULL, context TEXT NOT NULL, workflow_protocol INTEGER NOT NULL, labels TEXT NOT NULL, marks TEXT NOT NULL,
    usage TEXT NOT NULL, chain TEXT NOT NULL, previous TEXT, timeout_s INTEGER NOT NULL, status TEXT NOT NULL, waiting TEXT,
    attempt INTEGER NOT NULL, acting_as TEXT NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER, ended_ms INTEGER,
    reason TEXT, result TEXT, progress TEXT, version INTEGER NOT NULL, idempotency_key TEXT, next_seq INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX task_inbox ON task (tenant, principal, created_ms DESC, id DESC);
CREATE INDEX task_newest ON task (tenant, created_ms DESC, id DESC);
CREATE INDEX task_count ON task (tenant, principal, status, created_ms);
CREATE INDEX task_status ON task (status, created_ms, tenant);
CREATE UNIQUE INDEX task_idempotency ON task (tenant, principal, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- One row per start of an agent. The process is known by pid and start time, so that a reused pid is never killed.
CREATE TABLE attempt (
    task TEXT NOT NULL REFERENCES task (id), attempt INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER,
    pid INTEGER, pid_start INTEGER, exit TEXT, sandbox TEXT, PRIMARY KEY (task, attempt)
) STRICT;

-- Append-only.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, v INTEGER NOT NULL, tenant TEXT NOT NULL, task TEXT NOT NULL, attempt INTEGER NOT NULL,
    time_ms INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX event_task ON event (task, seq);

-- One row per judgment of a chain. Contents lie apart, so that they can go while digests stay.
CREATE TABLE decision (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, task TEXT NOT NULL, gate TEXT NOT NULL, time_ms INTEGER NOT NULL, generation INTEGER NOT NULL,
    set_digest TEXT NOT NULL, verdict TEXT NOT NULL, steps TEXT NOT NULL, findings TEXT NOT NULL, input_sha256 TEXT NOT NULL
) STRICT;
CREATE INDEX decision_task ON decision (task, time_ms);
CREATE TABLE content (
    decision TEXT PRIMARY KEY REFERENCES decision (id), event TEXT NOT NULL, created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE approval (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, task TEXT NOT NULL REFERENCES task (id), gate TEXT NOT NULL, status TEXT NOT NULL,
    binding TEXT NOT NULL, items TEXT NOT NULL, demand TEXT NOT NULL, decision TEXT NOT NULL, generation INTEGER NOT NULL, set_digest TEXT NOT NULL,
    requester TEXT NOT NULL, requirements TEXT NOT NULL, allow_requester INTEGER NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
    decided_ms INTEGER, reason TEXT
) STRICT;
CREATE INDEX approval_open ON approval (status, expires_ms);
CREATE INDEX approval_task ON approval (task, created_ms);
-- What an approval lets pass, item by item; each once.
CREATE TABLE approval_item (
    approval TEXT NOT NULL REFERENCES approval (id), item INTEGER NOT NULL, task TEXT NOT NULL, call_key TEXT NOT NULL, consumed_ms INTEGER,
    PRIMARY KEY (approval, item)
) STRICT;
CREATE INDEX approval_item_call ON approval_item (task, call_key);
CREATE TABLE vote (
    approval TEXT NOT NULL REFERENCES approval (id), principal TEXT NOT NULL, roles TEXT NOT NULL, approve INTEGER NOT NULL, reason TEXT NOT NULL,
    login TEXT NOT NULL, time_ms INTEGER NOT NULL, PRIMARY KEY (approval, principal)
) STRICT;

-- A runbook step is written here before it runs, so that it runs at most once.
CREATE TABLE call (
    task TEXT NOT NULL REFERENCES task (id), attempt INTEGER NOT NULL, call_id TEXT NOT NULL, binding TEXT NOT NULL, tool TEXT NOT NULL,
    state TEXT NOT NULL, time_ms INTEGER NOT NULL, PRIMARY KEY (task, attempt, call_id)
) STRICT;

-- Policy sets are kept as bytes, so that a start needs no folder and a rollback no file.
CREATE TABLE policy_blob (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE policy_set (
    generation INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL, manifest TEXT NOT NULL, blobs TEXT NOT NULL,
    created_ms INTEGER NOT NULL, promoted_ms INTEGER, by TEXT NOT NULL
) STRICT;
CREATE TABLE policy_state (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE policy_quarantine (digest TEXT PRIMARY KEY, reason TEXT NOT NULL, by TEXT NOT NULL, time_ms INTEGER NOT NULL) STRICT;

-- Secrets are stored as SHA-256 only.
CREATE TABLE token (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, principal TEXT NOT NULL, name TEXT NOT NULL, roles TEXT NOT NULL, secret_sha256 TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, last_used_ms INTEGER, revoked_ms INTEGER, created_by TEXT NOT NULL
) STRICT;
CREATE TABLE login (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, principal TEXT NOT NULL, secret_sha256 TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL, ended_ms INTEGER, kind TEXT NOT NULL
) STRICT;
CREATE TABLE login_link (secret_sha256 TEXT PRIMARY KEY, principal TEXT NOT NULL, tenant TEXT NOT NULL, expires_ms INTEGER NOT NULL, used_ms INTEGER) STRICT;

-- The audit log. A segment is closed by a checkpoint whose HMAC key lies outside this file.
CREATE TABLE audit_record (
    seq INTEGER PRIMARY KEY, segment INTEGER NOT NULL, time_ms INTEGER NOT NULL, tenant TEXT NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL,
    task TEXT, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_task ON audit_record (task, seq);
CREATE TABLE audit_segment (
    segment INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, count INTEGER NOT NULL, head TEXT NOT NULL, hmac TEXT NOT NULL, closed_ms INTEGER NOT NULL
) STRICT;
CREATE TRIGGER audit_record_is_append_only BEFORE UPDATE ON audit_record BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_segment_is_append_only BEFORE UPDATE ON audit_segment BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
