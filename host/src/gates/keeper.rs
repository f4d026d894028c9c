//! The gatekeeper: asks the policies about each call and result of running tasks, keeps every decision, and where people
//! must decide, asks them and waits.
//!
//! ```text
//! judge ─► allow ─────────────────────────────────────► release (noted first) ─► run
//!   ▲  └─► deny ──────────────────────────────────────► refuse
//!   │  └─► needs approval ─► request ─► held ─┬ approved: judge again, consume, release
//!   └──────────────────────────────────────── ┤ denied, expired: refuse
//!                                             └ nobody in time: park
//! ```
//! INVARIANT: whatever fails here refuses; nothing is released that is not on record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::ask::{Ask, item_of, refusal};
use super::held::Held;
use super::running::Running;
use super::shown;
use crate::approval::request::{Approval, Item, Standing, grounds};
use crate::approval::tally::covers;
use crate::approval::{Consumed, consume};
use crate::env;
use crate::executor::Agents;
use crate::executor::agent::patience::hold_s;
use crate::id::{ApprovalId, TaskId};
use crate::policy::contract::{Demand, Requirement, Subject, Verdict};
use crate::policy::{Cleared, Judgment, Policies};
use crate::store::{Store, StoreError};
use crate::usage::Budgets;

/// Bounds and defaults of approvals.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a call is held at most before its task is parked, in seconds; less where its agent bears less.
    pub hold_s: u64,
    /// When an undecided request ends, in seconds.
    pub expires_s: u64,
    /// Who decides where a policy names nobody.
    pub default_requirements: Vec<Requirement>,
    /// Tasks held at once; beyond it a call is parked at once.
    pub max_held: usize,
    /// How long an agent whose call was parked may take to end its turn before it is ended, in seconds.
    pub parked_grace_s: u64,
    /// How much of their models tasks may use.
    pub budgets: Budgets,
}

impl Default for Settings {
    fn default() -> Self {
        let approver = Requirement { role: crate::identity::Role::APPROVER.into(), count: 1 };
        Self {
            hold_s: 600,
            expires_s: 86_400,
            default_requirements: vec![approver],
            max_held: 50,
            parked_grace_s: 120,
            budgets: Budgets::NONE,
        }
    }
}

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Gatekeeper(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) policies: Policies,
    pub(super) settings: Settings,
    agents: Agents,
    // A std mutex: held for a lookup, never across an await.
    runs: Mutex<HashMap<TaskId, Arc<Running>>>,
    decided: broadcast::Sender<ApprovalId>,
    pub(super) places: Arc<Notify>,
}

/// The answer, after people where they were asked.
#[derive(Debug)]
pub(super) enum Passed {
    Cleared(Cleared<String>),
    Refused(String),
    Parked(ApprovalId, String),
}

impl Gatekeeper {
    /// Wires; does nothing yet. `places` is told when a held task frees its place.
    #[must_use]
    pub fn new(store: Store, policies: Policies, agents: Agents, settings: Settings, places: Arc<Notify>) -> Self {
        let (decided, _) = broadcast::channel(1024);
        Self(Arc::new(Shared { store, policies, settings, agents, runs: Mutex::default(), decided, places }))
    }

    /// Bounds and defaults.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Lets the gates know a running attempt; it is forgotten when the guard drops.
    #[must_use]
    pub fn enter(&self, running: Arc<Running>) -> Entered {
        let task = running.task.id.clone();
        self.runs().insert(task.clone(), running);
        Entered { keeper: self.clone(), task }
    }

    /// The running attempt of a task.
    #[must_use]
    pub fn running(&self, task: &TaskId) -> Option<Arc<Running>> {
        self.runs().get(task).cloned()
    }

    /// Wakes whoever waits for this request.
    pub fn tell_decided(&self, approval: &ApprovalId) {
        let _ = self.0.decided.send(approval.clone());
    }

    /// Judges and keeps the decision; the task's marks follow.
    pub(crate) async fn judge(
        &self,
        running: &Running,
        subject: Subject,
        working_directory: &str,
    ) -> Result<Judgment, StoreError> {
        let event = running.event(subject, working_directory);
        let judged = event.subject.clone();
        let judgment = self.0.policies.judge(event).await;
        self.put_on_record(running, &judgment, &judged).await?;
        Ok(judgment)
    }

    /// Judges, asks people where a policy wants it, and waits for them.
    pub(super) async fn pass(&self, running: &Arc<Running>, ask: &Ask) -> Passed {
        let first = self.judge(running, ask.subject.clone(), &ask.working_directory).await;
        self.pass_judged(running, ask, first).await
    }

    /// The same for what was judged just now.
    pub(super) async fn pass_judged(&self, running: &Arc<Running>, ask: &Ask, first: Result<Judgment, StoreError>) -> Passed {
        let passed = match first {
            Ok(first) => self.try_pass(running, ask, first).await,
            Err(e) => Err(e),
        };
        passed.unwrap_or_else(|e| Passed::Refused(unkept(running, &e)))
    }

    async fn try_pass(&self, running: &Arc<Running>, ask: &Ask, first: Judgment) -> Result<Passed, StoreError> {
        let began = Instant::now();
        let mut changes = self.0.decided.subscribe();
        let (mut held, mut deadline): (Option<Held>, Instant) = (None, began);
        let mut first = Some(first);
        let passed = loop {
            // Whatever happened meanwhile, the newest set has the last word.
            let judgment = self.judge_for_use(running, ask, first.take()).await?;
            let demand = match judgment.verdict.clone() {
                Verdict::Deny { findings } => {
                    self.withdraw_for(running, ask, "a policy refuses it now").await?;
                    break Passed::Refused(refusal(&findings));
                }
                Verdict::Allow { .. } => {
                    if let Some(refused) = self.use_up(running, ask, &judgment).await? {
                        break Passed::Refused(refused);
                    }
                    break judgment.cleared().map_or_else(|_| Passed::Refused("refused".into()), Passed::Cleared);
                }
                Verdict::NeedsApproval(demand) => demand,
            };
            let approval = match self.standing_request(running, ask, &judgment, &demand).await? {
                Found::Usable(approval, item) => {
                    match consume(&self.0.store, &approval, item, judgment.decision.as_str()).await {
                        Ok(consumed) => break released(judgment, &consumed),
                        Err(StoreError::Conflict { .. }) => continue,
                        Err(e) => return Err(e),
                    }
                }
                Found::Refused(message) => break Passed::Refused(message),
                Found::Waiting(approval) => approval,
            };
            match &mut held {
                Some(held) => held.waits_for(&approval),
                None => match Held::enter(self, running, &approval).await? {
                    Some(guard) => {
                        held = Some(guard);
                        deadline = began + self.longest_hold(&running.task.agent, ask.wait).await;
                    }
                    None => break Passed::Parked(approval.clone(), self.park(running, &approval)),
                },
            }
            match self.wait(&approval, &mut changes, deadline).await? {
                Standing::Approved => {}
                Standing::Open => break Passed::Parked(approval.clone(), self.park(running, &approval)),
                Standing::Denied => break Passed::Refused(self.denial(&approval, Some(&ask.key)).await?),
                Standing::Expired => break Passed::Refused("refused: nobody approved it in time".into()),
                // Used or asked again by another who waited for the same call.
                Standing::Consumed | Standing::Withdrawn => {
                    let id = running.task.id.clone();
                    if self.0.store.call(move |s| s.task(&id)).await?.status.is_final() {
                        break Passed::Refused("refused: the task has ended".into());
                    }
                }
            }
        };
        if let Some(held) = held {
            held.leave().await;
        }
        Ok(passed)
    }

    /// Finds what this call can use or wait for; asks where there is nothing that covers it.
    async fn standing_request(
        &self,
        running: &Running,
        ask: &Ask,
        judgment: &Judgment,
        demand: &Demand,
    ) -> Result<Found, StoreError> {
        let requirements = self.requirements(demand);
        if let Some(found) = self.found(running, ask).await? {
            let approval = &found.approval;
            if found.is_refused() {
                return Ok(Found::Refused(self.denial(&approval.id, Some(&ask.key)).await?));
            }
            let item = &approval.items[found.item];
            match covers(
                item,
                &approval.requirements,
                approval.allow_requester,
                &grounds(&demand.findings),
                &requirements,
                demand,
            ) {
                Ok(()) if approval.standing == Standing::Approved => {
                    return Ok(Found::Usable(approval.id.clone(), found.item));
                }
                Ok(()) => return Ok(Found::Waiting(approval.id.clone())),
                Err(why) => self.withdraw(&found, format!("asked again: {why:?}")).await?,
            }
        }
        let items = self.beside_approved(running, vec![item_of(ask, judgment, &demand.findings)]).await?;
        let seen = shown::demand(demand, &ask.subject, &judgment.findings);
        let request = self.request(running, judgment, &seen, items);
        let id = request.id.clone();
        match self.0.store.call(move |s| s.request_approval(&request)).await {
            // Asked by somebody else between the look and the write: the next round finds theirs.
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(Found::Waiting(id)),
            Err(e) => Err(e),
        }
    }

    /// A request as it will be stored.
    pub(crate) fn request(&self, running: &Running, judgment: &Judgment, demand: &Demand, items: Vec<Item>) -> Approval {
        let now = env::now_ms();
        let expires_s = if demand.expires_after_s == 0 {
            self.0.settings.expires_s
        } else {
            self.0.settings.expires_s.min(u64::from(demand.expires_after_s))
        };
        Approval {
            id: ApprovalId::new(),
            tenant: running.task.tenant.clone(),
            task: running.task.id.clone(),
            gate: judgment.gate,
            standing: Standing::Open,
            items,
            demand: demand.clone(),
            decision: judgment.decision.clone(),
            generation: judgment.generation,
            set_digest: judgment.set_digest.clone(),
            requester: running.task.principal.clone(),
            requirements: self.requirements(demand),
            allow_requester: demand.allow_requester,
            created_ms: now,
            expires_ms: now + expires_s * 1000,
            decided_ms: None,
            reason: None,
            votes: Vec::new(),
            withdrawn: std::collections::BTreeSet::new(),
        }
    }

    /// Who must agree: what the policy says, else the configured default.
    pub(crate) fn requirements(&self, demand: &Demand) -> Vec<Requirement> {
        if demand.approvals.is_empty() { self.0.settings.default_requirements.clone() } else { demand.approvals.clone() }
    }

    /// Waits until a request is decided, or the hold is over (then it is still open).
    pub(super) async fn wait(
        &self,
        id: &ApprovalId,
        changes: &mut broadcast::Receiver<ApprovalId>,
        deadline: Instant,
    ) -> Result<Standing, StoreError> {
        loop {
            let wanted = id.clone();
            let approval = match self.0.store.call(move |s| s.approval(&wanted)).await {
                Ok(approval) => approval,
                // Lost the race to ask: whoever won is found on the next round.
                Err(StoreError::NotFound { .. }) => return Ok(Standing::Withdrawn),
                Err(e) => return Err(e),
            };
            if approval.standing != Standing::Open {
                return Ok(approval.standing);
            }
            if Instant::now() >= deadline {
                return Ok(Standing::Open);
            }
            let change = async {
                loop {
                    match changes.recv().await {
                        Ok(changed) if changed == *id => return,
                        Ok(_) => {}
                        Err(_) => return,
                    }
                }
            };
            // Over or not: the store has the last word.
            let _ = tokio::time::timeout_at(deadline, change).await;
        }
    }

    /// How long a call may be held: as long as people may take, the agent bears it, and whoever asks can wait.
    pub(super) async fn longest_hold(&self, agent: &str, wait: Option<Duration>) -> Duration {
        let people = self.0.settings.hold_s;
        match wait {
            // A hook, for which the agent waits and not for its model.
            Some(wait) => wait.min(Duration::from_secs(people)),
            None => Duration::from_secs(hold_s(people, self.0.agents.max_hold_s(agent).await)),
        }
    }

    /// How many tasks are held now.
    pub(super) fn holding(&self) -> usize {
        self.runs().values().filter(|r| r.is_held()).count()
    }

    /// The store that decisions are kept in.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<ApprovalId> {
        self.0.decided.subscribe()
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Arc<Running>>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an agent is told where its decision could not be kept.
pub(super) fn unkept(running: &Running, error: &StoreError) -> String {
    match error {
        StoreError::Ended { .. } => "refused: the task has ended".into(),
        StoreError::Bound { .. } => format!("refused: {error}"),
        _ => {
            tracing::error!(task.id = %running.task.id, error = %error, "a gate could not keep its decision");
            "refused: coda could not record the decision; try again later".into()
        }
    }
}

/// What a call finds when it asks.
enum Found {
    Usable(ApprovalId, usize),
    Waiting(ApprovalId),
    Refused(String),
}

fn released(judgment: Judgment, consumed: &Consumed) -> Passed {
    match judgment.release(consumed) {
        Ok(cleared) => Passed::Cleared(cleared),
        Err(findings) => Passed::Refused(refusal(&findings)),
    }
}

/// Forgets the attempt when dropped.
pub struct Entered {
    keeper: Gatekeeper,
    task: TaskId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.keeper.runs().remove(&self.task);
    }
}
