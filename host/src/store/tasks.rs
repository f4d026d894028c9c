//! Tasks and their attempts.

use rusqlite::{OptionalExtension as _, Row, Transaction, named_params};
use serde_json::{Value, json};

use super::audit::append_audit;
use super::events::append_event;
use super::row::{json, json_opt, name, signed, text, unsigned, unsigned_opt, word, word_opt};
use super::{Store, StoreError};
use crate::env::{self, Millis};
use crate::gates::egress::TunnelNote;
use crate::id::{SessionId, TaskId};
use crate::task::state::{Effect, Happening, State, step};
use crate::task::{Reason, Status, Task};

/// What changes with a step, besides the state.
#[derive(Debug, Default)]
pub struct Patch {
    /// The screened result.
    pub result: Option<Value>,
    /// How the attempt's process ended, in a word.
    pub exit: Option<String>,
    /// More for the event's body.
    pub body: Option<Value>,
}

/// An attempt that was running when the server stopped.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The task.
    pub task: Task,
    /// The process, if it had one.
    pub process: Option<(i32, u64)>,
    /// Whether a released call has no result.
    pub call_in_flight: bool,
    /// Whether a request for approval is open or approved and unused.
    pub request_open: bool,
}

pub(super) const COLUMNS: &str = "id, session, tenant, principal, roles, client, agent, workspace, permissions, prompt, context, workflow_protocol, labels, \
    marks, usage, chain, previous, timeout_s, status, waiting, attempt, acting_as, created_ms, started_ms, ended_ms, reason, result, progress, version";
pub(super) const OPEN: &str = "status IN ('queued', 'running', 'needs_approval', 'info_needed')";

impl Store {
    /// One task.
    pub fn task(&self, id: &TaskId) -> Result<Task, StoreError> {
        self.read(|tx| get(tx, id))
    }

    /// The task of a session.
    pub fn task_by_session(&self, session: &SessionId) -> Result<Task, StoreError> {
        self.read(|tx| {
            let sql = format!("SELECT {COLUMNS} FROM task WHERE session = ?1");
            let found = tx.query_row(&sql, [session.as_str()], |row| Ok(read(row))).optional()?;
            found.transpose()?.ok_or_else(|| StoreError::NotFound { what: format!("session {session}") })
        })
    }

    /// One step of the state machine, committed with its event and its audit record.
    pub fn advance(
        &self,
        id: &TaskId,
        actor: &str,
        happening: &Happening,
        patch: &Patch,
    ) -> Result<(Task, Vec<Effect>), StoreError> {
        self.write(|tx| advance(tx, id, actor, happening, patch))
    }

    /// What happened to a tunnel of a task, as an event and in the audit log.
    pub fn note_tunnel(&self, id: &TaskId, note: &TunnelNote) -> Result<(), StoreError> {
        self.write(|tx| {
            let (task, kind, body) = (get(tx, id)?, note.kind(), note.body());
            append_event(tx, &task, kind, &body)?;
            append_audit(tx, &kind.replacen('-', ".", 1), "agent", &task.tenant, Some(id), &body).map(drop)
        })
    }

    /// Queued tasks, oldest first.
    pub fn queue(&self, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.read(|tx| {
            let mut statement =
                tx.prepare_cached("SELECT id FROM task WHERE status = 'queued' ORDER BY created_ms, id LIMIT ?1")?;
            let ids = statement.query_map([limit], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            ids.iter()
                .map(|id| TaskId::parse(id).map_err(|e| StoreError::Corrupt { what: "task id".into(), why: e.to_string() }))
                .collect()
        })
    }

    /// Ends a queued task whose row does not read back, so that it takes no place any more.
    pub fn give_up_unreadable(&self, id: &TaskId, reason: &Reason) -> Result<(), StoreError> {
        self.write(|tx| {
            let sql = "UPDATE task SET status = 'failed', ended_ms = ?2, reason = ?3, version = version + 1 \
                       WHERE id = ?1 AND status = 'queued' RETURNING tenant";
            let tenant: Option<String> = tx
                .query_row(sql, rusqlite::params![id.as_str(), signed(env::now_ms()), text(reason)], |row| row.get(0))
                .optional()?;
            let Some(tenant) = tenant else { return Ok(()) };
            let body = json!({ "status": "failed", "by": name(&reason.by), "code": reason.code });
            append_audit(tx, "task.ended", "coda", &tenant, Some(id), &body).map(drop)
        })
    }

    /// Notes the process of a running attempt, so that a restart can end it.
    pub fn set_process(&self, id: &TaskId, attempt: u32, pid: i32, pid_start: u64, sandbox: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE attempt SET pid = ?3, pid_start = ?4, sandbox = ?5 WHERE task = ?1 AND attempt = ?2",
                rusqlite::params![id.as_str(), attempt, pid, signed(pid_start), sandbox],
            )?;
            Ok(())
        })
    }

    /// What confines, or confined, the agent of an attempt; `None` before it was started.
    pub fn sandbox(&self, id: &TaskId, attempt: u32) -> Result<Option<String>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT sandbox FROM attempt WHERE task = ?1 AND attempt = ?2";
            let found = tx.query_row(sql, rusqlite::params![id.as_str(), attempt], |row| row.get(0)).optional()?;
            Ok(found.flatten())
        })
    }

    /// The agent's last progress line, screened.
    pub fn set_progress(&self, id: &TaskId, line: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            let task = get(tx, id)?;
            tx.execute("UPDATE task SET progress = ?2 WHERE id = ?1", [id.as_str(), line])?;
            append_event(tx, &task, "progress", &json!({ "message": line }))
        })
    }

    /// What ran when the server stopped.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        self.read(|tx| {
            let sql = format!(
                "SELECT {COLUMNS} FROM task WHERE status = 'running' OR (status = 'needs_approval' AND waiting = 'held')"
            );
            let mut statement = tx.prepare(&sql)?;
            let tasks =
                statement.query_map([], |row| Ok(read(row)))?.map(|row| row?).collect::<Result<Vec<Task>, StoreError>>()?;
            tasks.into_iter().map(|task| leftover(tx, task)).collect()
        })
    }
}

fn leftover(tx: &Transaction<'_>, task: Task) -> Result<Leftover, StoreError> {
    let process = tx
        .query_row(
            "SELECT pid, pid_start FROM attempt WHERE task = ?1 AND attempt = ?2",
            rusqlite::params![task.id.as_str(), task.attempt],
            |row| Ok((row.get::<_, Option<i32>>(0)?, row.get::<_, Option<i64>>(1)?)),
        )
        .optional()?;
    let process = process.and_then(|(pid, start)| Some((pid?, u64::try_from(start?).ok()?)));
    let exists = |sql: &str| tx.query_row(sql, [task.id.as_str()], |row| row.get::<_, bool>(0));
    let call_in_flight = exists(
        "SELECT EXISTS (SELECT 1 FROM call WHERE task = ?1 AND state = 'released' AND attempt = (SELECT attempt FROM task WHERE id = ?1))",
    )?;
    let request_open = exists("SELECT EXISTS (SELECT 1 FROM approval WHERE task = ?1 AND status IN ('open', 'approved'))")?;
    Ok(Leftover { task, process, call_in_flight, request_open })
}

/// As `Store::advance`, inside another verb's transaction.
pub(super) fn advance(
    tx: &Transaction<'_>,
    id: &TaskId,
    actor: &str,
    happening: &Happening,
    patch: &Patch,
) -> Result<(Task, Vec<Effect>), StoreError> {
    let mut task = get(tx, id)?;
    let before = State { status: task.status, waiting: task.waiting, attempt: task.attempt };
    let (after, effects) = step(before, happening).map_err(|e| StoreError::Conflict { what: e.to_string() })?;
    let now = env::now_ms();
    (task.status, task.waiting, task.attempt) = (after.status, after.waiting, after.attempt);
    if matches!(happening, Happening::Start) {
        task.started_ms.get_or_insert(now);
        tx.execute(
            "INSERT INTO attempt (task, attempt, started_ms) VALUES (?1, ?2, ?3)",
            rusqlite::params![id.as_str(), task.attempt, signed(now)],
        )?;
    }
    if let Happening::End(_, reason) = happening {
        task.reason = Some(reason.clone());
    }
    if let (Happening::Interrupt { .. }, Status::Failed) = (happening, after.status) {
        task.reason = Some(crate::task::state::interrupted(&env::rfc3339(now)));
    }
    if after.status.is_final() {
        task.ended_ms = Some(now);
        withdraw_requests(tx, &task, now)?;
    }
    if let Some(result) = &patch.result {
        task.result = Some(result.clone());
    }
    if let Some(exit) = &patch.exit {
        tx.execute(
            "UPDATE attempt SET ended_ms = ?3, exit = ?4 WHERE task = ?1 AND attempt = ?2",
            rusqlite::params![id.as_str(), task.attempt, signed(now), exit],
        )?;
    }
    task.version += 1;
    update(tx, &task)?;
    let (kind, body) = told(&task, happening, patch);
    append_event(tx, &task, kind, &body)?;
    append_audit(tx, &format!("task.{kind}"), actor, &task.tenant, Some(id), &without_words(body))?;
    Ok((task, effects))
}

/// The audit log holds digests of what people wrote, never the words.
fn without_words(mut body: Value) -> Value {
    for name in ["answer", "text"] {
        if let Some(Value::String(words)) = body.get(name) {
            let digest = env::sha256_hex(words.as_bytes());
            body[name] = json!({ "sha256": digest });
        }
    }
    body
}

/// An ended task asks nobody any more, and what was approved for it and not used is worth nothing.
fn withdraw_requests(tx: &Transaction<'_>, task: &Task, now: Millis) -> Result<(), StoreError> {
    let sql = "UPDATE approval SET status = 'withdrawn', decided_ms = ?2, reason = 'the task has ended' \
               WHERE task = ?1 AND status IN ('open', 'approved') RETURNING id";
    let mut statement = tx.prepare_cached(sql)?;
    let ids = statement.query_map(rusqlite::params![task.id.as_str(), signed(now)], |row| row.get::<_, String>(0))?;
    for id in ids.collect::<Result<Vec<_>, _>>()? {
        append_audit(
            tx,
            "approval.withdrawn",
            "coda",
            &task.tenant,
            Some(&task.id),
            &json!({ "approval": id, "reason": "the task has ended" }),
        )?;
    }
    Ok(())
}

fn told(task: &Task, happening: &Happening, patch: &Patch) -> (&'static str, Value) {
    let more = patch.body.clone().unwrap_or(Value::Null);
    match happening {
        Happening::Start => ("started", json!({ "attempt": task.attempt })),
        Happening::Hold => ("held", more),
        Happening::Release => ("released", more),
        Happening::Park => ("parked", more),
        Happening::Ask => ("asked", more),
        Happening::Resume => ("resumed", more),
        Happening::Interrupt { .. } => ("interrupted", json!({ "status": task.status.as_str() })),
        Happening::End(status, reason) => {
            ("ended", json!({ "status": status.as_str(), "by": name(&reason.by), "code": reason.code, "text": reason.text }))
        }
    }
}

/// One task, inside a transaction.
pub(super) fn get(tx: &Transaction<'_>, id: &TaskId) -> Result<Task, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM task WHERE id = ?1");
    let found = tx.prepare_cached(&sql)?.query_row([id.as_str()], |row| Ok(read(row))).optional()?;
    found.transpose()?.ok_or_else(|| StoreError::NotFound { what: format!("task {id}") })
}

pub(super) fn insert(tx: &Transaction<'_>, task: &Task, key: Option<&str>) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO task ({COLUMNS}, idempotency_key) VALUES (:id, :session, :tenant, :principal, :roles, :client, :agent, :workspace, :permissions, :prompt, \
         :context, :workflow_protocol, :labels, :marks, :usage, :chain, :previous, :timeout_s, :status, :waiting, :attempt, :acting_as, :created_ms, :started_ms, \
         :ended_ms, :reason, :result, :progress, :version, :key)"
    );
    tx.prepare_cached(&sql)?.execute(named_params! {
        ":id": task.id.as_str(), ":session": task.session.as_str(), ":tenant": task.tenant, ":principal": task.principal, ":roles": text(&task.roles),
        ":client": text(&task.client), ":agent": task.agent, ":workspace": task.workspace, ":permissions": name(&task.permissions), ":prompt": task.prompt,
        ":context": task.context, ":workflow_protocol": task.workflow_protocol, ":labels": text(&task.labels), ":marks": text(&task.marks),
        ":usage": text(&task.usage), ":chain": task.chain.as_str(), ":previous": task.previous.as_ref().map(SessionId::as_str),
        ":timeout_s": signed(task.timeout_s), ":status": task.status.as_str(), ":waiting": task.waiting.as_ref().map(name), ":attempt": task.attempt,
        ":acting_as": task.acting_as, ":created_ms": signed(task.created_ms), ":started_ms": task.started_ms.map(signed), ":ended_ms": task.ended_ms.map(signed),
        ":reason": task.reason.as_ref().map(text), ":result": task.result.as_ref().map(text), ":progress": task.progress, ":version": signed(task.version), ":key": key,
    })?;
    Ok(())
}

fn update(tx: &Transaction<'_>, task: &Task) -> Result<(), StoreError> {
    let sql = "UPDATE task SET marks = :marks, status = :status, waiting = :waiting, attempt = :attempt, started_ms = :started_ms, ended_ms = :ended_ms, \
               reason = :reason, result = :result, version = :version WHERE id = :id";
    tx.prepare_cached(sql)?.execute(named_params! {
        ":marks": text(&task.marks), ":status": task.status.as_str(), ":waiting": task.waiting.as_ref().map(name), ":attempt": task.attempt,
        ":started_ms": task.started_ms.map(signed), ":ended_ms": task.ended_ms.map(signed), ":reason": task.reason.as_ref().map(text),
        ":result": task.result.as_ref().map(text), ":version": signed(task.version), ":id": task.id.as_str(),
    })?;
    Ok(())
}

pub(super) fn read(row: &Row<'_>) -> Result<Task, StoreError> {
    let id: String = row.get("id")?;
    let session_column = |column: &str| -> Result<SessionId, StoreError> { word(row, column) };
    let reason: Option<Reason> = json_opt(row, "reason")?;
    Ok(Task {
        id: TaskId::parse(&id).map_err(|e| StoreError::Corrupt { what: "task id".into(), why: e.to_string() })?,
        session: session_column("session")?,
        tenant: row.get("tenant")?,
        principal: row.get("principal")?,
        roles: json(row, "roles")?,
        client: json(row, "client")?,
        agent: row.get("agent")?,
        workspace: row.get("workspace")?,
        permissions: word(row, "permissions")?,
        prompt: row.get("prompt")?,
        context: row.get("context")?,
        workflow_protocol: row.get("workflow_protocol")?,
        labels: json(row, "labels")?,
        marks: json(row, "marks")?,
        usage: json(row, "usage")?,
        chain: session_column("chain")?,
        previous: word_opt(row, "previous")?,
        timeout_s: unsigned(row, "timeout_s")?,
        status: word(row, "status")?,
        waiting: word_opt(row, "waiting")?,
        attempt: row.get("attempt")?,
        acting_as: row.get("acting_as")?,
        created_ms: unsigned(row, "created_ms")?,
        started_ms: unsigned_opt(row, "started_ms")?,
        ended_ms: unsigned_opt(row, "ended_ms")?,
        reason,
        result: json_opt(row, "result")?,
        progress: row.get("progress")?,
        version: unsigned(row, "version")?,
    })
}

impl Store {
    /// Puts on record that somebody read another's task.
    pub fn note_read(&self, actor: &str, task: &Task, what: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            append_audit(tx, "task.read", actor, &task.tenant, Some(&task.id), &json!({ "what": what, "owner": task.principal }))
                .map(drop)
        })
    }
}
