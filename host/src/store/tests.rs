//! Verbs over a real database file: what lists show and what retention takes. `stories` asks the verbs and a model the same.

mod model;
mod settle;
mod spending;
mod stories;

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::accept::Bounds;
use super::audit::AuditQuery;
use super::calls::{Once, Release};
use super::decisions::DecisionRecord;
use super::inbox::Scope;
use super::tasks::Patch;
use super::{Store, StoreError};
use crate::approval::request::{Approval, Item, Standing, Vote, call_key};
use crate::env;
use crate::id::{ApprovalId, DecisionId, SessionId, TaskId};
use crate::identity::{ClientInfo, DEFAULT_TENANT};
use crate::policy::contract::{Demand, Gate, Permissions, Requirement, Usage};
use crate::task::state::Happening;
use crate::task::{EndedBy, Reason, Status, Task, Waiting};
use crate::usage::Budgets;

const ROOMY: Bounds = Bounds { queued: 10_000, per_principal: 10_000, budgets: Budgets::NONE };

fn call(id: &str) -> Release {
    Release { call_id: id.into(), call_key: "key".into(), tool: "sh".into(), once: Once::PerAttempt }
}

fn task(principal: &str) -> Task {
    let session = SessionId::new();
    Task {
        id: TaskId::new(),
        chain: session.clone(),
        previous: None,
        session,
        tenant: DEFAULT_TENANT.into(),
        principal: principal.into(),
        roles: Vec::new(),
        client: ClientInfo::default(),
        prompt: "go".into(),
        context: String::new(),
        workflow_protocol: false,
        agent: "runbook".into(),
        workspace: None,
        permissions: Permissions::default(),
        labels: BTreeMap::new(),
        marks: BTreeMap::new(),
        usage: Usage::default(),
        timeout_s: 60,
        status: Status::Queued,
        waiting: None,
        attempt: 0,
        acting_as: principal.into(),
        created_ms: env::now_ms(),
        started_ms: None,
        ended_ms: None,
        reason: None,
        result: None,
        progress: None,
        version: 0,
    }
}

fn decision(task: &Task) -> DecisionRecord {
    DecisionRecord {
        id: DecisionId::new(),
        tenant: task.tenant.clone(),
        task: task.id.clone(),
        gate: Gate::Prompt,
        time_ms: task.created_ms,
        generation: 1,
        set_digest: String::new(),
        verdict: "allow".into(),
        steps: Vec::new(),
        findings: Vec::new(),
        marks: BTreeMap::new(),
        input_sha256: String::new(),
        content: String::new(),
    }
}

fn request(task: &Task, role: &str) -> Approval {
    Approval {
        id: ApprovalId::new(),
        tenant: task.tenant.clone(),
        task: task.id.clone(),
        gate: Gate::Prompt,
        standing: Standing::Open,
        items: vec![Item {
            call_key: call_key(&task.id, Gate::Prompt, "prompt", &task.prompt, ""),
            title: "prompt".into(),
            content: task.prompt.clone(),
            arguments: String::new(),
            instead_of: None,
            content_sha256: String::new(),
            working_directory: String::new(),
            marked: Vec::new(),
            grounds: std::collections::BTreeSet::new(),
        }],
        demand: Demand {
            findings: Vec::new(),
            approvals: Vec::new(),
            allow_requester: false,
            expires_after_s: 0,
            reason: String::new(),
        },
        decision: DecisionId::new(),
        generation: 1,
        set_digest: String::new(),
        requester: task.principal.clone(),
        requirements: vec![Requirement { role: role.into(), count: 1 }],
        allow_requester: false,
        created_ms: task.created_ms,
        expires_ms: u64::from(u32::MAX) * 1000,
        decided_ms: None,
        reason: None,
        votes: Vec::new(),
        withdrawn: std::collections::BTreeSet::new(),
    }
}

struct Stand {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Stand {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("coda.db")).expect("it opens");
        Self { _folder: folder, store }
    }

    fn accept(&self, task: &Task) {
        self.store.accept(task, None, &[decision(task)], None, ROOMY).expect("accepted");
    }

    /// A task whose prompt waits for somebody with this role.
    fn ask(&self, principal: &str, role: &str, created_ms: u64) -> Approval {
        let task = Task { status: Status::NeedsApproval, waiting: Some(Waiting::Parked), created_ms, ..task(principal) };
        let request = request(&task, role);
        self.store.accept(&task, None, &[decision(&task)], Some(&request), ROOMY).expect("accepted");
        request
    }
}

#[test]
fn a_database_of_the_first_schema_comes_forward_with_a_backup() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("coda.db");
    let old = Connection::open(&path).expect("it opens");
    old.execute_batch(include_str!("schema.sql")).expect("the first schema");
    old.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA user_version = 1;
         INSERT INTO approval VALUES ('appr_1', 'default', 'task_1', 'tool-call', 'denied', '', '[]', '{}', 'dec_1', 1, '', 'ann', '[]', 0, 1, 2, 2, 'no');
         INSERT INTO approval_item VALUES ('appr_1', 0, 'task_1', 'key', NULL);",
    )
    .expect("a denied request");
    drop(old);
    let store = Store::open(&path).expect("it comes forward");
    assert!(dir.path().join("coda.v1.backup").exists());
    let refused = store.read(|tx| Ok(tx.query_row("SELECT refused FROM approval_item", [], |row| row.get::<_, i64>(0))?));
    assert_eq!(refused.expect("it reads"), 1, "what was denied stays so, item by item");
    drop(store);
    Store::open(&path).expect("and opens again");
}

#[test]
fn pages_and_counts_hold_what_a_role_scoped_by_label_may_see() {
    let stand = Stand::new();
    let labelled = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<BTreeMap<_, _>>();
    for (n, labels) in
        [&[("env", "prod")][..], &[("env", "dev")], &[], &[("env", "prod"), ("team \"a\"", "x")]].iter().enumerate()
    {
        stand.accept(&Task { labels: labelled(labels), created_ms: env::now_ms() + n as u64, ..task("pat") });
    }
    stand.accept(&task("vic"));
    let seen = |others: Vec<BTreeMap<String, String>>| {
        let scope = Scope { tenant: DEFAULT_TENANT.into(), principal: "vic".into(), others, since_ms: 0 };
        let page = stand.store.inbox(&scope, &[], None, 50).expect("a page").len();
        (page as u64, stand.store.counts(&scope).expect("counts")["queued"])
    };
    assert_eq!(seen(Vec::new()), (1, 1), "one's own");
    assert_eq!(seen(vec![labelled(&[("env", "prod")])]), (3, 3));
    assert_eq!(seen(vec![labelled(&[("env", "prod"), ("team \"a\"", "x")])]), (2, 2), "all labels of a grant");
    assert_eq!(seen(vec![labelled(&[("env", "prod")]), labelled(&[("env", "dev")])]), (4, 4), "any grant");
    assert_eq!(seen(vec![labelled(&[])]), (5, 5), "a role without labels is for everything");
}

#[test]
fn a_listing_goes_on_past_the_requests_of_others() {
    let stand = Stand::new();
    let mine = stand.ask("ann", "dba", env::now_ms() - 10_000);
    for n in 0..250 {
        stand.ask("pat", "approver", env::now_ms() - n);
    }
    let list = |limit, role: &'static str| {
        let wanted = move |a: &Approval, _: &Task| a.requirements[0].role == role;
        stand.store.approvals(DEFAULT_TENANT, None, limit, wanted).expect("a listing")
    };
    let (found, more) = list(200, "dba");
    assert_eq!((found.len(), more), (1, false));
    assert_eq!(found[0].0.id, mine.id);
    let (found, more) = list(200, "approver");
    assert_eq!((found.len(), more), (200, true));
    assert!(found.windows(2).all(|w| w[0].0.created_ms >= w[1].0.created_ms), "newest first");
    assert!(!list(250, "approver").1, "as many as fit");
}

#[test]
fn a_task_whose_row_does_not_read_back_leaves_the_queue() {
    let stand = Stand::new();
    let broken = task("pat");
    stand.accept(&broken);
    let sql = "UPDATE task SET labels = '{' WHERE id = ?1";
    stand.store.write(|tx| Ok(tx.execute(sql, [broken.id.as_str()])?)).expect("broken");
    assert_eq!(stand.store.queue(5).expect("a queue"), std::slice::from_ref(&broken.id));
    let started = stand.store.advance(&broken.id, "coda", &Happening::Start, &Patch::default());
    assert!(matches!(started, Err(StoreError::Corrupt { .. })), "{started:?}");
    let reason = Reason { by: EndedBy::Limit, code: "unreadable".into(), text: "gone".into() };
    stand.store.give_up_unreadable(&broken.id, &reason).expect("given up");
    assert!(stand.store.queue(5).expect("a queue").is_empty());
}

/// Asks about these calls at once, and lets one person approve them all but those.
fn decided(stand: &Stand, task: &Task, calls: &[&str], refused: &[usize]) -> Approval {
    let one = request(task, "approver");
    let items = calls.iter().map(|call| Item { call_key: (*call).into(), ..one.items[0].clone() }).collect();
    let asked = Approval { items, gate: Gate::ToolCall, ..one };
    stand.store.request_approval(&asked).expect("asked");
    let vote = Vote {
        principal: "ann".into(),
        roles: vec!["approver".into()],
        approve: true,
        refused: refused.iter().copied().collect(),
        reason: "not this one".into(),
        time_ms: env::now_ms(),
    };
    stand.store.vote(&asked.id, &vote, "login").expect("decided")
}

#[test]
fn what_becomes_of_one_call_changes_nothing_for_those_beside_it() {
    let stand = Stand::new();
    let task = task("pat");
    stand.accept(&task);
    let speaks = |call: &str| stand.store.approval_for_call(&task.id, call).expect("it reads").expect("something speaks");

    let approved = decided(&stand, &task, &["a", "b"], &[]);
    stand.store.withdraw_item(&approved.id, 0, "asked again").expect("withdrawn");
    assert!(stand.store.approval_for_call(&task.id, "a").expect("it reads").is_none(), "it can be asked about anew");
    assert_eq!((speaks("b").approval.standing, speaks("b").item), (Standing::Approved, 1), "its approval is not lost");
    stand.store.consume_approval(&approved.id, 1, "dec").expect("used");
    assert_eq!(stand.store.approval(&approved.id).expect("it reads").standing, Standing::Consumed);

    let partly = decided(&stand, &task, &["c", "d"], &[1]);
    stand.store.withdraw_item(&partly.id, 0, "a policy refuses it now").expect("withdrawn");
    assert_eq!(stand.store.approval(&partly.id).expect("it reads").standing, Standing::Denied, "nothing is left but a refusal");
    assert!(speaks("d").is_refused(), "a refusal is not forgotten");
    let again = stand.store.request_approval(&Approval { id: ApprovalId::new(), ..partly.clone() });
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "nor asked again: {again:?}");
    assert!(stand.store.consume_approval(&partly.id, 1, "dec").is_err());

    // Time ends requests, and no refusal.
    stand.store.write(|tx| Ok(tx.execute("UPDATE approval SET expires_ms = 1", [])?)).expect("it is long ago");
    assert!(speaks("d").is_refused(), "a refusal does not expire");

    // The same call twice in one message, of which one may run.
    let twice = decided(&stand, &task, &["e", "e"], &[0]);
    assert_eq!(speaks("e").item, 1);
    stand.store.consume_approval(&twice.id, 1, "dec").expect("used");
    assert!(speaks("e").is_refused(), "once, and no more");
}

#[test]
fn a_task_asks_a_bounded_number_of_questions_at_once() {
    let stand = Stand::new();
    let task = task("pat");
    stand.accept(&task);
    let mut asked = 0;
    let refused = loop {
        let mut question = request(&task, "approver");
        question.items[0].call_key = format!("call {asked}");
        match stand.store.request_approval(&question) {
            Ok(()) if asked < 1000 => asked += 1,
            ended => break ended,
        }
    };
    assert!(matches!(refused, Err(StoreError::Bound { limit: 32, .. })), "{refused:?} after {asked}");
}

#[test]
fn who_asks_anew_asks_once_and_never_for_an_ended_task() {
    let stand = Stand::new();
    let old = stand.ask("pat", "approver", env::now_ms());
    let anew = || Approval { id: ApprovalId::new(), ..old.clone() };
    stand.store.replace_request(&old.id, "asked anew", &anew()).expect("asked");
    let second = stand.store.replace_request(&old.id, "asked anew", &anew());
    assert!(matches!(second, Err(StoreError::Conflict { .. })), "{second:?}");
    let pending = stand.store.pending_approval(&old.task).expect("it reads").expect("one is open");
    let reason = Reason { by: EndedBy::Person, code: "cancelled".into(), text: "enough".into() };
    let end = Happening::End(Status::Cancelled, reason);
    stand.store.advance(&old.task, "pat", &end, &Patch::default()).expect("ended");
    let late = stand.store.replace_request(&pending.id, "asked anew", &anew());
    assert!(matches!(late, Err(StoreError::Ended { .. })), "{late:?}");
    assert!(stand.store.pending_approval(&old.task).expect("it reads").is_none());
}

#[test]
fn a_call_of_an_earlier_attempt_does_not_keep_a_task_from_going_on() {
    let stand = Stand::new();
    let task = task("pat");
    stand.accept(&task);
    let step = |happening: Happening| {
        stand.store.advance(&task.id, "coda", &happening, &Patch::default()).expect("a step");
    };
    step(Happening::Start);
    stand.store.release_call(&task.id, &call("call-1")).expect("released");
    assert!(stand.store.leftovers().expect("one")[0].call_in_flight);
    step(Happening::Park);
    step(Happening::Resume);
    step(Happening::Start);
    assert!(!stand.store.leftovers().expect("one")[0].call_in_flight);
}

#[test]
fn a_change_of_policies_is_on_record_with_the_change() {
    let stand = Stand::new();
    let blobs = BTreeMap::from([("blob".to_owned(), std::sync::Arc::from(&b"x"[..]))]);
    let generation = stand.store.keep_policy_set("digest", "{}", &blobs, "olga", 1).expect("kept");
    stand.store.promote_policy_set(generation, "olga", 2, 20).expect("promoted");
    stand.store.roll_back_policy_set(generation, None, "bad", "otto", 3).expect("rolled back");
    stand.store.unpin_policy_set("otto").expect("unpinned");
    assert!(stand.store.promote_policy_set(99, "olga", 4, 20).is_err());
    let query = AuditQuery { after: Some(0), limit: 100, ..AuditQuery::default() };
    let (records, _) = stand.store.audit_page(&query).expect("a page");
    let told: Vec<(&str, &str)> = records.iter().map(|r| (r.kind.as_str(), r.actor.as_str())).collect();
    let wanted = [("policy.load", "olga"), ("policy.promote", "olga"), ("policy.rollback", "otto"), ("policy.unpin", "otto")];
    assert_eq!(told, wanted);
}

#[test]
fn what_is_old_is_named_as_often_as_it_is_asked_for() {
    let stand = Stand::new();
    let ended = |previous: Option<&Task>, ended_ms: Option<u64>| {
        let mut task = task("pat");
        if let Some(previous) = previous {
            task.chain = previous.chain.clone();
        }
        task.status = if ended_ms.is_some() { Status::Denied } else { Status::Queued };
        task.ended_ms = ended_ms;
        stand.accept(&task);
        task
    };
    let old = ended(None, Some(100));
    let long = ended(None, Some(100));
    let goes_on = ended(Some(&long), None);
    let young = ended(None, Some(300));
    let ids = [&old, &long, &goes_on, &young].map(|t| t.id.to_string());
    assert_eq!(stand.store.tasks_over(&ids, 200).expect("answered"), [old.id.to_string(), long.id.to_string()]);
    let chains = [&old, &long, &young].map(|t| t.chain.to_string());
    assert_eq!(stand.store.chains_over(&chains, 200).expect("answered"), [old.chain.to_string()]);
    // Decisions go with age, those of tasks that still run stay.
    let count = || -> i64 {
        let counted = stand.store.read(|tx| Ok(tx.query_row("SELECT count(*) FROM decision", [], |r| r.get(0))?));
        counted.expect("counted")
    };
    assert_eq!(count(), 4);
    stand.store.forget(0, 1).expect("nothing is that old");
    assert_eq!(count(), 4);
    stand.store.forget(0, u64::MAX >> 1).expect("forgotten");
    assert_eq!(count(), 1);
}
