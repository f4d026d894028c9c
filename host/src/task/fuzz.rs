//! The envelope: whatever a submitter writes stays inside its section.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fuzzing::Input;
use crate::id::{SessionId, TaskId};
use crate::identity::ClientInfo;
use crate::policy::Cleared;
use crate::policy::contract::{Permissions, Usage};
use crate::task::envelope::{BREAKS, Facts, task_text, write};
use crate::task::{Status, Task};

/// Principal, context, prompt, answer and approved calls, with 0xFF between them.
pub fn envelope(data: &[u8]) {
    let mut input = Input::new(data);
    let (principal, context, prompt, answer) = (input.text(), input.text(), input.text(), input.text());
    let mut approved = Vec::new();
    while !input.is_over() {
        approved.push(input.text());
    }
    let task = task(principal, context);
    let facts = Facts {
        io_dir: Path::new("/io"),
        prior_dir: None,
        approved: &approved,
        answer: (!answer.is_empty()).then_some(answer.as_str()),
    };
    let text = write(&task, Cleared::for_test(prompt.clone()), &facts).into_inner();

    let boundary = text.lines().find_map(|line| line.strip_prefix("boundary: ")).expect("the header names the boundary");
    assert!(boundary.len() == 24 && boundary.bytes().all(|b| b.is_ascii_hexdigit()), "the header's first boundary is coda's");
    let mut wanted = vec!["---CODA-TASK---".to_owned()];
    let mut section = |name: &str| wanted.extend([format!("{name} {boundary}:"), format!("END {name} {boundary}")]);
    if !task.context.is_empty() {
        section("CONTEXT");
    }
    section("TASK");
    if facts.answer.is_some() {
        section("ANSWER");
    }
    wanted.push("---END-CODA-TASK---".to_owned());
    // Every line that is, or for a lenient reader looks like, one of the envelope's own, in order: coda's and no other.
    let own = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("---CODA-")
            || line.starts_with("---END-CODA-")
            || (line.contains(boundary) && !line.contains("boundary: "))
    };
    let found: Vec<&str> = text.split(BREAKS).filter(own).collect();
    assert_eq!(found, wanted, "lines of the envelope's own");
    for name in ["task_id: ", "session_id: ", "boundary: "] {
        let header = text.split("\n\n").next().unwrap_or_default();
        assert_eq!(header.split(BREAKS).filter(|line| line.starts_with(name)).count(), 1, "the header says {name} once");
    }

    let read = task_text(&text).expect("an envelope has a task");
    if prompt.is_empty() {
        assert_eq!(read, "");
        return;
    }
    let mut back = read.strip_suffix('\n').expect("a section ends its last line").to_owned();
    if prompt.ends_with('\n') {
        back.push('\n');
    }
    assert!(same_words(&back, &prompt), "the prompt reads back: {back:?} of {prompt:?}");
}

/// Whether `read` is `written`, but for the backslashes that break up lines which look like the envelope's own.
fn same_words(read: &str, written: &str) -> bool {
    let (mut read, mut written) = (read.chars().peekable(), written.chars().peekable());
    loop {
        match (read.next(), written.peek().copied()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => _ = written.next(),
            (Some('\\'), Some(_)) => {}
            _ => return false,
        }
    }
}

/// A task that runs.
pub(crate) fn task(principal: String, context: String) -> Task {
    let session = SessionId::new();
    Task {
        id: TaskId::new(),
        chain: session.clone(),
        session,
        tenant: "default".into(),
        principal,
        roles: Vec::new(),
        client: ClientInfo { shape: "generic".into(), name: String::new(), version: String::new() },
        agent: "runbook".into(),
        workspace: None,
        permissions: Permissions::Smart,
        prompt: String::new(),
        context,
        workflow_protocol: true,
        labels: BTreeMap::new(),
        marks: BTreeMap::new(),
        usage: Usage::default(),
        previous: None,
        timeout_s: 60,
        status: Status::Running,
        waiting: None,
        attempt: 1,
        acting_as: "service".into(),
        created_ms: 0,
        started_ms: None,
        ended_ms: None,
        reason: None,
        result: None,
        progress: None,
        version: 1,
    }
}
