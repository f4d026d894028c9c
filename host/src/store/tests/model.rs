//! The model: what the store promises, in a few vectors, without transactions, SQL or the state machine's code.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::approval::request::Standing;
use crate::task::state::Happening;
use crate::task::{EndedBy, Reason, Status, Waiting};

/// Who submits and votes.
pub(super) const PEOPLE: [&str; 3] = ["ann", "bob", "eve"];
/// Most queued tasks.
pub(super) const MAX_QUEUED: u64 = 4;
/// Most open tasks of one person.
pub(super) const MAX_OPEN: u64 = 3;
/// Votes that a request needs.
const NEEDED: usize = 2;

/// What is asked of the store; tasks and requests by their number.
#[derive(Debug, Clone)]
pub(super) enum Verb {
    Submit { who: usize, key: Option<u8>, status: Status, continues: Option<usize> },
    Step { task: usize, happening: Happening },
    Ask { task: usize, call: u8 },
    ParkAsking { task: usize, calls: Vec<u8> },
    AskAgain { request: usize, call: u8 },
    Vote { request: usize, who: usize, approve: bool, refuse: Option<usize> },
    Consume { request: usize, item: usize },
    ConsumeAndResume { request: usize },
    Withdraw { request: usize },
    WithdrawItem { request: usize, item: usize },
    Expire,
    Release { task: usize, call: u8, per_task: bool },
    CloseSegment,
}

/// What the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Existing(usize),
    Conflict,
    Ended,
    Bound,
}

#[derive(Debug)]
pub(super) struct KnownTask {
    who: usize,
    key: Option<u8>,
    status: Status,
    waiting: Option<Waiting>,
    attempt: u32,
    stepped: bool,
    /// Attempt and call.
    pub(super) released: BTreeSet<(u32, u8)>,
}

impl KnownTask {
    pub(super) fn standing(&self) -> (Status, Option<Waiting>, u32) {
        (self.status, self.waiting, self.attempt)
    }

    /// A task that is denied when it is accepted carries the end that its submitter gave it.
    pub(super) fn ended_by_a_step(&self) -> bool {
        self.stepped
    }
}

#[derive(Debug, Default)]
struct KnownItem {
    call: u8,
    used: bool,
    refused: bool,
    withdrawn: bool,
}

impl KnownItem {
    fn may_pass(&self) -> bool {
        !self.used && !self.refused && !self.withdrawn
    }
}

#[derive(Debug)]
pub(super) struct KnownRequest {
    task: usize,
    pub(super) standing: Standing,
    items: Vec<KnownItem>,
    pub(super) votes: Vec<(usize, bool)>,
}

impl KnownRequest {
    fn end_if_spent(&mut self) {
        if self.items.iter().any(KnownItem::may_pass) {
            return;
        }
        self.standing = match () {
            () if self.items.iter().any(|item| item.used) => Standing::Consumed,
            () if self.items.iter().any(|item| item.refused) => Standing::Denied,
            () => Standing::Withdrawn,
        };
    }

    fn is_live(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Approved)
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) tasks: Vec<KnownTask>,
    pub(super) requests: Vec<KnownRequest>,
}

pub(super) fn verbs() -> impl Strategy<Value = Verb> {
    let any_at = || 0..1_000_usize;
    let submitted = prop::sample::select(vec![Status::Queued, Status::Queued, Status::NeedsApproval, Status::Denied]);
    prop_oneof![
        4 => (0..PEOPLE.len(), prop::option::of(0..3_u8), submitted, prop::option::of(any_at()))
            .prop_map(|(who, key, status, continues)| Verb::Submit { who, key, status, continues }),
        8 => (any_at(), happenings()).prop_map(|(task, happening)| Verb::Step { task, happening }),
        4 => (any_at(), 0..3_u8).prop_map(|(task, call)| Verb::Ask { task, call }),
        2 => (any_at(), prop::collection::vec(0..3_u8, 1..3)).prop_map(|(task, calls)| Verb::ParkAsking { task, calls }),
        1 => (any_at(), 0..3_u8).prop_map(|(request, call)| Verb::AskAgain { request, call }),
        8 => (any_at(), 0..PEOPLE.len(), prop::bool::weighted(0.85), prop::option::weighted(0.2, 0..2_usize))
            .prop_map(|(request, who, approve, refuse)| Verb::Vote { request, who, approve, refuse }),
        5 => (any_at(), 0..2_usize).prop_map(|(request, item)| Verb::Consume { request, item }),
        3 => any_at().prop_map(|request| Verb::ConsumeAndResume { request }),
        1 => any_at().prop_map(|request| Verb::Withdraw { request }),
        2 => (any_at(), 0..2_usize).prop_map(|(request, item)| Verb::WithdrawItem { request, item }),
        1 => Just(Verb::Expire),
        5 => (any_at(), 0..2_u8, any::<bool>()).prop_map(|(task, call, per_task)| Verb::Release { task, call, per_task }),
        1 => Just(Verb::CloseSegment),
    ]
}

fn happenings() -> impl Strategy<Value = Happening> {
    let end = |status| Happening::End(status, Reason { by: EndedBy::Person, code: "x".into(), text: "words".into() });
    prop_oneof![
        6 => Just(Happening::Start),
        2 => Just(Happening::Hold),
        2 => Just(Happening::Release),
        2 => Just(Happening::Park),
        1 => Just(Happening::Ask),
        2 => Just(Happening::Resume),
        2 => prop::sample::select(Status::ALL.to_vec()).prop_map(end),
        1 => any::<bool>().prop_map(|resumable| Happening::Interrupt { resumable }),
    ]
}

impl Model {
    /// The verb about something that exists.
    pub(super) fn fit(&self, verb: &Verb) -> Option<Verb> {
        let mut verb = verb.clone();
        let (tasks, requests) = (self.tasks.len(), self.requests.len());
        match &mut verb {
            Verb::Submit { continues, .. } => *continues = continues.and_then(|at| at.checked_rem(tasks)),
            Verb::Step { task, .. } | Verb::Ask { task, .. } | Verb::ParkAsking { task, .. } | Verb::Release { task, .. } => {
                *task = task.checked_rem(tasks)?;
            }
            Verb::AskAgain { request, .. }
            | Verb::Vote { request, .. }
            | Verb::Consume { request, .. }
            | Verb::ConsumeAndResume { request }
            | Verb::Withdraw { request }
            | Verb::WithdrawItem { request, .. } => *request = request.checked_rem(requests)?,
            Verb::Expire | Verb::CloseSegment => {}
        }
        Some(verb)
    }

    pub(super) fn ask(&mut self, verb: &Verb) -> Answer {
        match verb {
            Verb::Submit { who, key, status, continues } => self.submit(*who, *key, *status, *continues),
            Verb::Step { task, happening } => self.step(*task, happening),
            Verb::Ask { task, call } => {
                let asked = |r: &KnownRequest| {
                    let is_open = r.standing == Standing::Open;
                    r.task == *task
                        && r.items.iter().any(|i| i.call == *call && !i.used && !i.withdrawn && (is_open || i.refused))
                };
                match () {
                    () if self.tasks[*task].status.is_final() => Answer::Ended,
                    () if self.requests.iter().any(asked) => Answer::Conflict,
                    () => self.new_request(*task, &[*call]),
                }
            }
            Verb::ParkAsking { task, calls } => match self.step(*task, &Happening::Park) {
                Answer::Done => self.new_request(*task, calls),
                refused => refused,
            },
            Verb::AskAgain { request, call } => {
                let task = self.requests[*request].task;
                match () {
                    () if self.tasks[task].status.is_final() => Answer::Ended,
                    () if !self.requests[*request].is_live() => Answer::Conflict,
                    () => {
                        self.requests[*request].standing = Standing::Withdrawn;
                        self.new_request(task, &[*call])
                    }
                }
            }
            Verb::Vote { request, who, approve, refuse } => self.vote(*request, *who, *approve, *refuse),
            Verb::Consume { request, item } => self.consume(*request, *item),
            Verb::ConsumeAndResume { request } => {
                let task = self.requests[*request].task;
                let known = &self.tasks[task];
                if !known.status.is_final() && known.waiting != Some(Waiting::Parked) {
                    return Answer::Conflict;
                }
                match self.consume(*request, 0) {
                    Answer::Done => self.step(task, &Happening::Resume),
                    refused => refused,
                }
            }
            Verb::Withdraw { request } => {
                let known = &mut self.requests[*request];
                if known.is_live() {
                    known.standing = Standing::Withdrawn;
                }
                Answer::Done
            }
            Verb::WithdrawItem { request, item } => {
                let known = &mut self.requests[*request];
                if known.is_live() {
                    if let Some(item) = known.items.get_mut(*item).filter(|item| !item.used) {
                        item.withdrawn = true;
                    }
                    known.end_if_spent();
                }
                Answer::Done
            }
            Verb::Expire => {
                self.requests.iter_mut().filter(|r| r.is_live()).for_each(|r| r.standing = Standing::Expired);
                Answer::Done
            }
            Verb::Release { task, call, per_task } => self.release(*task, *call, *per_task),
            Verb::CloseSegment => Answer::Done,
        }
    }

    fn submit(&mut self, who: usize, key: Option<u8>, status: Status, continues: Option<usize>) -> Answer {
        let same = |t: &KnownTask| t.who == who && t.key == key;
        if let Some(at) = key.and_then(|_| self.tasks.iter().position(same)) {
            return Answer::Existing(at);
        }
        if !status.is_final() {
            let queued = self.tasks.iter().filter(|t| t.status == Status::Queued).count() as u64;
            let own = self.tasks.iter().filter(|t| t.who == who && !t.status.is_final()).count() as u64;
            if (status == Status::Queued && queued >= MAX_QUEUED) || own >= MAX_OPEN {
                return Answer::Bound;
            }
            if let Some(at) = continues.filter(|at| self.tasks[*at].waiting == Some(Waiting::Parked)) {
                self.end(at, Status::Cancelled);
            }
        }
        let waiting = (status == Status::NeedsApproval).then_some(Waiting::Parked);
        self.tasks.push(KnownTask { who, key, status, waiting, attempt: 0, stepped: false, released: BTreeSet::new() });
        if waiting.is_some() {
            self.new_request(self.tasks.len() - 1, &[0]);
        }
        Answer::Done
    }

    fn step(&mut self, at: usize, happening: &Happening) -> Answer {
        use Status::{InfoNeeded, NeedsApproval, Queued, Running};
        use Waiting::{Held, Parked};
        let task = &mut self.tasks[at];
        let to = match (task.status, task.waiting, happening) {
            (Queued, _, Happening::Start) => {
                task.attempt += 1;
                (Running, None)
            }
            (Running, _, Happening::Hold) => (NeedsApproval, Some(Held)),
            (NeedsApproval, Some(Held), Happening::Release) => (Running, None),
            (Running | NeedsApproval, _, Happening::Park) => (NeedsApproval, Some(Parked)),
            (Running, _, Happening::Ask) | (NeedsApproval, Some(Held), Happening::Ask) => (InfoNeeded, Some(Parked)),
            (_, Some(Parked), Happening::Resume) => (Queued, None),
            (Running, _, Happening::Interrupt { resumable: true })
            | (NeedsApproval, Some(Held), Happening::Interrupt { resumable: true }) => (NeedsApproval, Some(Parked)),
            (Running, _, Happening::Interrupt { .. }) | (NeedsApproval, Some(Held), Happening::Interrupt { .. }) => {
                self.end(at, Status::Failed);
                return Answer::Done;
            }
            (from, _, Happening::End(end, _)) if end.is_final() && !from.is_final() => {
                self.end(at, *end);
                return Answer::Done;
            }
            _ => return Answer::Conflict,
        };
        (task.status, task.waiting) = to;
        Answer::Done
    }

    fn end(&mut self, at: usize, status: Status) {
        let task = &mut self.tasks[at];
        (task.status, task.waiting, task.stepped) = (status, None, true);
        for request in self.requests.iter_mut().filter(|r| r.task == at && r.is_live()) {
            request.standing = Standing::Withdrawn;
        }
    }

    fn new_request(&mut self, task: usize, calls: &[u8]) -> Answer {
        let items = calls.iter().map(|call| KnownItem { call: *call, ..KnownItem::default() }).collect();
        self.requests.push(KnownRequest { task, standing: Standing::Open, items, votes: Vec::new() });
        Answer::Done
    }

    fn vote(&mut self, at: usize, who: usize, approve: bool, refuse: Option<usize>) -> Answer {
        let request = &mut self.requests[at];
        if request.standing != Standing::Open || request.votes.iter().any(|(voted, _)| *voted == who) {
            return Answer::Conflict;
        }
        request.votes.push((who, approve));
        for (at, item) in request.items.iter_mut().enumerate() {
            item.refused |= !approve || refuse == Some(at);
        }
        let mut live = request.items.iter().filter(|item| !item.withdrawn);
        if !approve || live.all(|item| item.refused) {
            request.standing = Standing::Denied;
        } else if request.votes.len() == NEEDED {
            request.standing = Standing::Approved;
        }
        Answer::Done
    }

    fn consume(&mut self, at: usize, item: usize) -> Answer {
        if self.tasks[self.requests[at].task].status.is_final() {
            return Answer::Ended;
        }
        let request = &mut self.requests[at];
        if request.standing != Standing::Approved || request.items.get(item).is_none_or(|item| !item.may_pass()) {
            return Answer::Conflict;
        }
        request.items[item].used = true;
        request.end_if_spent();
        Answer::Done
    }

    fn release(&mut self, at: usize, call: u8, per_task: bool) -> Answer {
        let task = &mut self.tasks[at];
        if !(task.status == Status::Running || task.waiting == Some(Waiting::Held)) {
            return Answer::Ended;
        }
        let before = task.released.iter().any(|(attempt, c)| *c == call && (per_task || *attempt == task.attempt));
        if before {
            return Answer::Conflict;
        }
        task.released.insert((task.attempt, call));
        Answer::Done
    }

    pub(super) fn unused_grants(&self, task: usize) -> Vec<(usize, usize)> {
        let of_task = self.requests.iter().enumerate().filter(|(_, r)| r.task == task && r.standing == Standing::Approved);
        of_task
            .flat_map(|(at, r)| r.items.iter().enumerate().filter(|(_, item)| item.may_pass()).map(move |(item, _)| (at, item)))
            .collect()
    }

    pub(super) fn has_pending(&self, task: usize) -> bool {
        self.requests.iter().any(|r| r.task == task && r.is_live())
    }

    pub(super) fn counts(&self, who: Option<usize>) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> = Status::ALL.iter().map(|s| (s.as_str().to_owned(), 0)).collect();
        for task in self.tasks.iter().filter(|t| who.is_none_or(|who| t.who == who)) {
            *counts.entry(task.status.as_str().to_owned()).or_default() += 1;
        }
        counts
    }

    pub(super) fn queue(&self) -> Vec<usize> {
        self.tasks.iter().enumerate().filter(|(_, t)| t.status == Status::Queued).map(|(at, _)| at).collect()
    }
}
