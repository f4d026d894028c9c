//! The record of a task's model traffic, where it is switched on: what left for the upstream after screening, and what the
//! model said, as JSON lines beside the transcript. For people who want to know what a model was told, and for `replay`.
//!
//! Agents send their whole history each time, so each message is written once and named by its digest afterwards. Never
//! credentials: they are no part of what is written here. Known secrets, and shapes of them, are masked as in the terminal.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::dialect::Question;
use super::failure::Failure;
use super::outbound::Outbound;
use super::pieces;
use super::session::Session;
use crate::env;
use crate::gates::{CallVerdict, ToolCall};
use crate::policy::Cleared;

/// Version of the lines.
pub(in crate::gateway) const VERSION: u32 = 1;

/// Makes known secrets in a text unreadable.
pub type Mask = Box<dyn Fn(&str) -> String + Send + Sync>;

/// Writes one attempt's lines. A disk that is full costs the record its rest, never the task.
pub(in crate::gateway) struct Recorder {
    mask: Mask,
    // A std mutex: held on threads that may block, never across an await.
    tape: Mutex<Tape>,
}

struct Tape {
    file: Option<File>,
    room: u64,
    limit: u64,
    requests: u64,
    written: HashSet<String>,
}

/// One request and its answer.
pub(in crate::gateway) struct Entry {
    recorder: Arc<Recorder>,
    number: u64,
}

/// What an upstream says, while it is needed for the record.
#[derive(Default)]
pub(in crate::gateway) struct Heard {
    bytes: Vec<u8>,
    is_stream: bool,
    wanted: Wanted,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    #[default]
    No,
    Yes,
}

impl Heard {
    /// An answer begins.
    pub(in crate::gateway) fn begin(&mut self, is_stream: bool) {
        self.is_stream = is_stream;
    }

    /// More of it. Bounded by what bounds answers.
    pub(in crate::gateway) fn take(&mut self, bytes: &[u8]) {
        if self.wanted == Wanted::Yes {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

impl Recorder {
    /// Opens or continues a task's record, which has at most `limit` bytes in all.
    pub(in crate::gateway) fn open(path: &Path, task: &str, attempt: u32, limit: u64, mask: Mask) -> std::io::Result<Self> {
        let no_links = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = File::options().append(true).create(true).mode(0o600).custom_flags(no_links).open(path)?;
        let room = limit.saturating_sub(file.metadata()?.len());
        let tape = Tape { file: Some(file), room, limit, requests: 0, written: HashSet::new() };
        let recorder = Self { mask, tape: Mutex::new(tape) };
        let head = json!({ "kind": "attempt", "v": VERSION, "task": task, "attempt": attempt, "time_ms": env::now_ms() });
        recorder.tape.lock().unwrap_or_else(PoisonError::into_inner).line(&head);
        Ok(recorder)
    }

    /// Every text in a value, masked.
    fn masked(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String((self.mask)(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.masked(item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, item)| (key, self.masked(item))).collect(),
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
        }
    }

    /// Writes on a thread that may block, and waits for it: lines stand in the order in which things happened.
    async fn write<T: Send + 'static>(self: &Arc<Self>, lines: impl FnOnce(&Self, &mut Tape) -> T + Send + 'static) -> Option<T> {
        let recorder = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let mut tape = recorder.tape.lock().unwrap_or_else(PoisonError::into_inner);
            lines(&recorder, &mut tape)
        });
        written.await.ok()
    }
}

impl Tape {
    fn line(&mut self, line: &Value) {
        let Some(file) = &mut self.file else { return };
        let text = format!("{line}\n");
        let fits = text.len() as u64 <= self.room;
        let cut = || format!("{}\n", json!({ "kind": "cut", "limit_bytes": self.limit }));
        self.room = self.room.saturating_sub(text.len() as u64);
        let written = file.write_all(if fits { text } else { cut() }.as_bytes());
        if let Err(e) = &written {
            tracing::warn!(error = %e, "a task's model traffic is not recorded any further");
        }
        if !fits || written.is_err() {
            self.file = None;
        }
    }

    /// Writes a part where it is new; its digest.
    fn part(&mut self, value: Value, decisions: &[String]) -> String {
        let digest = env::sha256_hex(value.to_string().as_bytes());
        if self.written.insert(digest.clone()) {
            let mut line = json!({ "kind": "part", "part": digest, "value": value });
            if !decisions.is_empty() {
                line["decisions"] = json!(decisions);
            }
            self.line(&line);
        }
        digest
    }
}

/// Records a request that is about to leave. `None` where nothing is recorded.
pub(in crate::gateway) async fn begin(session: &Session, question: &dyn Question, outbound: &Outbound) -> Option<(Entry, Heard)> {
    let recorder = Arc::clone(session.recorder.get()?);
    let model = session.line.model.as_deref();
    let (frame, messages) = outbound.parts(model);
    let (dialect, path, time) = (session.line.dialect.name(), question.path(model), env::now_ms());
    let number = recorder
        .write(move |recorder, tape| {
            tape.requests += 1;
            let number = tape.requests;
            let frame = tape.part(recorder.masked(frame), &[]);
            let parts = messages.into_iter().map(|(message, decisions)| tape.part(recorder.masked(message), &decisions));
            let messages: Vec<String> = parts.collect();
            let line = json!({ "kind": "request", "n": number, "time_ms": time, "dialect": dialect, "path": path, "frame": frame, "messages": messages });
            tape.line(&line);
            number
        })
        .await?;
    Some((Entry { recorder, number }, Heard { wanted: Wanted::Yes, ..Heard::default() }))
}

impl Entry {
    /// What the upstream said, and whether that was an answer.
    pub(in crate::gateway) async fn end(&self, heard: Heard, failure: Option<&Failure>) {
        let failed = failure.map(|f| json!({ "status": f.status.as_u16(), "message": f.message }));
        let (number, time) = (self.number, env::now_ms());
        let write = move |recorder: &Recorder, tape: &mut Tape| {
            let body = pieces::masked(&String::from_utf8_lossy(&heard.bytes), &*recorder.mask);
            let mut line = json!({ "kind": "answer", "n": number, "time_ms": time, "stream": heard.is_stream, "body": body });
            if let Some(failed) = failed {
                line["failed"] = recorder.masked(failed);
            }
            tape.line(&line);
        };
        self.recorder.write(write).await;
    }

    /// What became of an answer's calls.
    pub(in crate::gateway) async fn verdicts(&self, calls: &[ToolCall], verdicts: &[CallVerdict]) {
        let one = |(call, verdict): (&ToolCall, &CallVerdict)| {
            let mut said = match verdict {
                CallVerdict::Run(cleared) => json!({ "outcome": "released", "decision": Cleared::decision(cleared).as_str() }),
                CallVerdict::Refuse { message } => json!({ "outcome": "refused", "message": message }),
                CallVerdict::Park { approval, message } => {
                    json!({ "outcome": "parked", "approval": approval.as_str(), "message": message })
                }
            };
            said["call"] = json!(call.id);
            said["tool"] = json!(call.tool);
            said
        };
        let said: Vec<Value> = calls.iter().zip(verdicts).map(one).collect();
        let line = json!({ "kind": "verdicts", "n": self.number, "calls": said });
        self.recorder.write(move |recorder, tape| tape.line(&recorder.masked(line))).await;
    }
}
