//! The verbs against a model: random stories of submissions, steps, requests, votes, releases and ends, each verb asked
//! of the store and of a few maps; they must agree on every answer and on what is there afterwards, and the audit log of
//! every story verifies.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::model::{Answer, MAX_OPEN, MAX_QUEUED, Model, PEOPLE, Verb, verbs};
use crate::approval::request::{Approval, Item, Standing, Vote};
use crate::audit::{Close, Key, Verifier};
use crate::env;
use crate::id::{ApprovalId, DecisionId, SessionId, TaskId};
use crate::identity::ClientInfo;
use crate::policy::contract::{Demand, Gate, Permissions, Requirement, Usage};
use crate::store::accept::{Accepted, Bounds};
use crate::store::approvals::NewApproval;
use crate::store::calls::Once;
use crate::store::decisions::DecisionRecord;
use crate::store::inbox::Scope;
use crate::store::tasks::Patch;
use crate::store::{Store, StoreError};
use crate::task::{Status, Task, Waiting};

/// Requests expire only where a story says so.
const NEVER_MS: u64 = 1 << 50;

/// The store, and the ids of what the model knows by number.
struct Stand {
    store: Store,
    key: Key,
    tasks: Vec<Task>,
    requests: Vec<ApprovalId>,
    _folder: tempfile::TempDir,
}

impl Stand {
    fn new() -> Self {
        // The disk's pace is not what is tested: memory where there is a file system of it.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
        let store = Store::open(&folder.path().join("coda.db")).expect("it opens");
        Self { store, key: Key::random(), tasks: Vec::new(), requests: Vec::new(), _folder: folder }
    }

    fn ask(&mut self, verb: &Verb) -> Answer {
        let store = self.store.clone();
        let result = match verb {
            Verb::Submit { who, key, status, continues } => return self.submit(*who, *key, *status, *continues),
            Verb::Step { task, happening } => {
                store.advance(&self.tasks[*task].id, "coda", happening, &Patch::default()).map(drop)
            }
            Verb::Ask { task, call } => self.new_request(*task, &[*call], |new| store.request_approval(new)),
            Verb::ParkAsking { task, calls } => {
                self.new_request(*task, calls, |new| store.park_with_request(new, &Patch::default()))
            }
            Verb::AskAgain { request, call } => {
                let old = self.requests[*request].clone();
                let owner = store.approval(&old).expect("it is there").task;
                let task = self.tasks.iter().position(|t| t.id == owner).expect("its task is there");
                self.new_request(task, &[*call], |new| store.replace_request(&old, "asked again", new))
            }
            Verb::Vote { request, who, approve, refuse } => {
                let vote = Vote {
                    principal: PEOPLE[*who].into(),
                    roles: vec!["approver".into()],
                    approve: *approve,
                    refused: refuse.iter().copied().collect(),
                    reason: "r".into(),
                    time_ms: env::now_ms(),
                };
                store.vote(&self.requests[*request], &vote, "login").map(drop)
            }
            Verb::Consume { request, item } => store.consume_approval(&self.requests[*request], *item, "dec"),
            Verb::ConsumeAndResume { request } => store.consume_and_resume(&self.requests[*request], "dec", None),
            Verb::Withdraw { request } => store.withdraw_approval(&self.requests[*request], "nobody asks"),
            Verb::WithdrawItem { request, item } => store.withdraw_item(&self.requests[*request], *item, "nobody asks"),
            Verb::Expire => store.expire_approvals(NEVER_MS + 1).map(drop),
            Verb::Release { task, call, per_task } => {
                let once = if *per_task { Once::PerTask } else { Once::PerAttempt };
                store.release_call(&self.tasks[*task].id, &super::Release { once, ..super::call(&format!("call-{call}")) })
            }
            Verb::CloseSegment => store.close_audit_segment(&self.key, Close::Now).map(drop),
        };
        answer(result)
    }

    fn submit(&mut self, who: usize, key: Option<u8>, status: Status, continues: Option<usize>) -> Answer {
        let previous = continues.map(|at| self.tasks[at].session.clone());
        let task = task(self.tasks.len(), PEOPLE[who], status, previous);
        let approval = (status == Status::NeedsApproval).then(|| request(&task.id, &[0]));
        let decision = decision(&task);
        let key = key.map(|key| format!("key-{key}"));
        let bounds = Bounds { queued: MAX_QUEUED, per_principal: MAX_OPEN, budgets: crate::usage::Budgets::NONE };
        match self.store.accept(&task, key.as_deref(), &[decision], approval.as_ref(), bounds) {
            Ok(Accepted::New(_)) => {
                self.tasks.push(task);
                self.requests.extend(approval.map(|a| a.id));
                Answer::Done
            }
            Ok(Accepted::Existing(task)) => {
                Answer::Existing(self.tasks.iter().position(|t| t.id == task.id).expect("a task that is known"))
            }
            Err(e) => answer(Err(e)),
        }
    }

    fn new_request(
        &mut self,
        task: usize,
        calls: &[u8],
        ask: impl FnOnce(&NewApproval) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let new = request(&self.tasks[task].id, calls);
        ask(&new)?;
        self.requests.push(new.id);
        Ok(())
    }

    /// What is there, read through the verbs that people and clients use.
    fn compare(&self, model: &Model) -> Result<(), TestCaseError> {
        for (at, known) in model.tasks.iter().enumerate() {
            let task = self.store.task(&self.tasks[at].id).expect("it reads");
            prop_assert_eq!((task.status, task.waiting, task.attempt), known.standing(), "task {}", at);
            prop_assert_eq!(task.ended_ms.is_some(), task.status.is_final() && known.ended_by_a_step());
            prop_assert_eq!(task.usage.tool_calls as usize, known.released.len(), "released calls of task {}", at);
            prop_assert_eq!(self.store.calls(&task.id).expect("it reads").len(), known.released.len());
            let grants = self.store.unused_grants(&task.id).expect("it reads");
            let mut grants: Vec<_> = grants.iter().map(|g| (self.number(&g.approval.id), g.item)).collect();
            grants.sort_unstable();
            prop_assert_eq!(grants, model.unused_grants(at), "unused grants of task {}", at);
            let pending = self.store.pending_approval(&task.id).expect("it reads");
            prop_assert_eq!(pending.is_some(), model.has_pending(at), "pending request of task {}", at);
            prop_assert!(!(task.status.is_final() && pending.is_some()), "an ended task asks nobody");
        }
        for (at, known) in model.requests.iter().enumerate() {
            let request = self.store.approval(&self.requests[at]).expect("it reads");
            prop_assert_eq!(request.standing, known.standing, "request {}", at);
            prop_assert_eq!(request.votes.len(), known.votes.len());
        }
        for (who, name) in PEOPLE.into_iter().enumerate() {
            let scope = scope("default", name, Vec::new());
            let counts = self.store.counts(&scope).expect("it counts");
            prop_assert_eq!(counts, model.counts(Some(who)), "counts of {}", name);
        }
        let all = scope("default", "nobody", vec![BTreeMap::new()]);
        prop_assert_eq!(self.store.counts(&all).expect("it counts"), model.counts(None));
        let elsewhere = scope("other", PEOPLE[0], vec![BTreeMap::new()]);
        prop_assert!(self.store.counts(&elsewhere).expect("it counts").values().all(|n| *n == 0), "tenants are apart");
        let queue: Vec<usize> = self.store.queue(100).expect("it reads").iter().map(|id| self.task_number(id)).collect();
        prop_assert_eq!(queue, model.queue(), "the queue, oldest first");
        Ok(())
    }

    fn number(&self, id: &ApprovalId) -> usize {
        self.requests.iter().position(|r| r == id).expect("a request that is known")
    }

    fn task_number(&self, id: &TaskId) -> usize {
        self.tasks.iter().position(|t| t.id == *id).expect("a task that is known")
    }

    fn verify(&self) -> Result<(), TestCaseError> {
        let begin = |checkpoints| Verifier::new(checkpoints, Some(&self.key), Vec::new());
        let report = self.store.scan_audit(begin, |verifier, record| verifier.record(&record)).expect("it reads").finish();
        prop_assert!(report.ok, "{:?}", report);
        Ok(())
    }
}

fn answer(result: Result<(), StoreError>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(StoreError::Conflict { .. }) => Answer::Conflict,
        Err(StoreError::Ended { .. }) => Answer::Ended,
        Err(StoreError::Bound { .. }) => Answer::Bound,
        Err(e) => panic!("no model expects this: {e}"),
    }
}

fn task(number: usize, principal: &str, status: Status, previous: Option<SessionId>) -> Task {
    let session = SessionId::new();
    Task {
        id: TaskId::new(),
        chain: session.clone(),
        session,
        tenant: "default".into(),
        principal: principal.into(),
        roles: Vec::new(),
        client: ClientInfo::default(),
        agent: "runbook".into(),
        workspace: None,
        permissions: Permissions::Smart,
        prompt: "p".into(),
        context: String::new(),
        workflow_protocol: false,
        labels: BTreeMap::new(),
        marks: BTreeMap::new(),
        usage: Usage::default(),
        previous,
        timeout_s: 60,
        status,
        waiting: (status == Status::NeedsApproval).then_some(Waiting::Parked),
        attempt: 0,
        acting_as: "service".into(),
        created_ms: 1_000 + number as u64,
        started_ms: None,
        ended_ms: None,
        reason: None,
        result: None,
        progress: None,
        version: 0,
    }
}

fn scope(tenant: &str, principal: &str, others: Vec<BTreeMap<String, String>>) -> Scope {
    Scope { tenant: tenant.into(), principal: principal.into(), others, since_ms: 0 }
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

/// A request that two people must agree to.
fn request(task: &TaskId, calls: &[u8]) -> Approval {
    let requirements = vec![Requirement { role: "approver".into(), count: 2 }];
    Approval {
        id: ApprovalId::new(),
        tenant: "default".into(),
        task: task.clone(),
        gate: Gate::ToolCall,
        standing: Standing::Open,
        items: calls.iter().map(|call| item(*call)).collect(),
        demand: Demand {
            findings: Vec::new(),
            approvals: requirements.clone(),
            allow_requester: false,
            expires_after_s: 0,
            reason: String::new(),
        },
        decision: DecisionId::new(),
        generation: 1,
        set_digest: String::new(),
        requester: "ann".into(),
        requirements,
        allow_requester: false,
        created_ms: env::now_ms(),
        expires_ms: NEVER_MS,
        decided_ms: None,
        reason: None,
        votes: Vec::new(),
        withdrawn: std::collections::BTreeSet::new(),
    }
}

fn item(call: u8) -> Item {
    Item {
        call_key: format!("key-{call}"),
        title: "shell".into(),
        content: String::new(),
        arguments: String::new(),
        instead_of: None,
        content_sha256: String::new(),
        working_directory: String::new(),
        marked: Vec::new(),
        grounds: std::collections::BTreeSet::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_story_ends_as_the_model_says(story in prop::collection::vec(verbs(), 1..50)) {
        let (mut stand, mut model) = (Stand::new(), Model::default());
        for drawn in &story {
            // A verb about nothing is none.
            let Some(verb) = model.fit(drawn) else { continue };
            let expected = model.ask(&verb);
            prop_assert_eq!(stand.ask(&verb), expected, "{:?}", verb);
            stand.compare(&model)?;
        }
        stand.verify()?;
        stand.store.close_audit_segment(&stand.key, Close::Now).expect("it closes");
        stand.verify()?;
    }
}
