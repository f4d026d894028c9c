//! One task, end to end: where the steps meet.
//!
//! ```text
//! accept ─► (prompt approved) ─► queue ─► place ─► prepare ─► run ─► result ─► output gate ─► commit
//!                                            ▲                 │
//!                                            └── next attempt ─┴─ parked, asked: waits for people
//! ```
//! The store holds the truth; this module drives it. Whatever it was doing when the process died is found again by
//! `recover`, and what was running is ended before anything starts.

mod commit;
mod credential;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod prepare;
mod progress;
mod recover;
mod resume;
mod sweep;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::executor::workspace::{Changes, Lease, WorkspaceError, Workspaces};
use crate::executor::{Control, Ended, Executor, StopReason};
use crate::gates::keeper::Gatekeeper;
use crate::gates::running::Running;
use crate::gateway::{Egress, Gateway, HostedTools, Upstream};
use crate::id::TaskId;
use crate::policy::Policies;
use crate::store::tasks::Patch;
use crate::store::{Store, StoreError};
use crate::task::conversation::Conversation;
use crate::task::state::Happening;
use crate::task::{EndedBy, Reason, Status, Task};

pub(crate) use prepare::TRAFFIC;
pub use recover::RecoverError;
pub use sweep::Retention;

/// Bounds of running tasks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tasks that run at the same time; held ones do not count.
    pub max_concurrent: usize,
    /// How long what is finished is kept.
    pub retention: Retention,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_concurrent: 5, retention: Retention::default() }
    }
}

/// First pause before a record that failed is tried again.
const RECORD_PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Pipeline(Arc<Shared>);

/// What the pipeline works with.
pub struct Parts {
    /// Records.
    pub store: Store,
    /// Verdicts.
    pub policies: Policies,
    /// Tool gates.
    pub gates: Gatekeeper,
    /// Agents in terminals.
    pub executor: Executor,
    /// Between agents and models.
    pub gateway: Gateway,
    /// Folders that agents work in.
    pub workspaces: Workspaces,
    /// The model of each agent that uses one.
    pub models: BTreeMap<String, Upstream>,
    /// What agents may reach besides, where that is anything.
    pub egress: BTreeMap<String, Egress>,
    /// Tools of their models' providers that agents may ask for, where that is anything.
    pub hosted_tools: BTreeMap<String, HostedTools>,
    /// Told when a place may be free.
    pub places: Arc<Notify>,
    /// CODA_HOME.
    pub home: PathBuf,
    /// Bounds.
    pub settings: Settings,
}

struct Shared {
    parts: Parts,
    // A std mutex: held for a lookup, never across an await.
    live: Mutex<HashMap<TaskId, Live>>,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

/// An attempt that has a place.
struct Live {
    attempt: u32,
    running: Option<Arc<Running>>,
    control: Option<Control>,
}

impl Pipeline {
    /// Wires; `run` runs.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared { parts, live: Mutex::default(), tracker: TaskTracker::new(), stopping: CancellationToken::new() }))
    }

    /// Starts queued tasks whenever a place is free, and ends what is past its time, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let sweeper = tokio::spawn(self.clone().sweep(shutdown.clone()));
        while !shutdown.is_cancelled() {
            if let Err(e) = self.fill_places().await {
                tracing::error!(error = %e, "the queue could not be read");
            }
            tokio::select! {
                () = self.0.parts.places.notified() => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.0.stopping.cancel();
        self.stop_all();
        self.0.tracker.close();
        self.0.tracker.wait().await;
        let _ = sweeper.await;
    }

    /// Says that there may be work.
    pub fn look_for_work(&self) {
        self.0.parts.places.notify_one();
    }

    async fn fill_places(&self) -> Result<(), StoreError> {
        let free = self.0.parts.settings.max_concurrent.saturating_sub(self.running_count());
        if free == 0 {
            return Ok(());
        }
        let wanted = u32::try_from(free).unwrap_or(u32::MAX);
        for id in self.0.parts.store.call(move |s| s.queue(wanted)).await? {
            match self.start_place(&id).await {
                Ok(Some(task)) => {
                    let pipeline = self.clone();
                    self.0.tracker.spawn(async move { pipeline.attempt(task).await });
                }
                Ok(None) => {}
                Err(StoreError::Corrupt { what, why }) => {
                    tracing::error!(task.id = %id, what, why, "a queued task does not read back; it is given up");
                    let reason = limit("unreadable", format!("its stored {what} does not read back; hand it over again"));
                    self.0.parts.store.call(move |s| s.give_up_unreadable(&id, &reason)).await?;
                    // Its place is for the next in the queue.
                    self.look_for_work();
                }
                Err(e) => tracing::error!(task.id = %id, error = %e, "a task could not be started"),
            }
        }
        Ok(())
    }

    /// Makes the start durable before anything of it happens.
    async fn start_place(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        let wanted = id.clone();
        let started = self.0.parts.store.call(move |s| s.advance(&wanted, "coda", &Happening::Start, &Patch::default())).await;
        let task = match started {
            Ok((task, _)) => task,
            // Cancelled between the look and the step.
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        self.live().insert(task.id.clone(), Live { attempt: task.attempt, running: None, control: None });
        Ok(Some(task))
    }

    /// One attempt: prepare, run, commit. Every way out of it ends or parks the task.
    #[tracing::instrument(name = "attempt", skip_all, fields(task.id = %task.id, task.attempt = task.attempt))]
    async fn attempt(&self, task: Task) {
        let outcome = std::panic::AssertUnwindSafe(self.work(&task)).catch_unwind().await;
        let outcome =
            outcome.unwrap_or_else(|_| Err(limit("internal", "coda failed while the agent ran; the log has more").into()));
        self.record(&task, outcome).await;
        // A later attempt may have begun meanwhile; its entry stays.
        let own = self.live().get(&task.id).is_some_and(|l| l.attempt == task.attempt);
        if own {
            self.live().remove(&task.id);
        }
        self.look_for_work();
    }

    /// Commits how an attempt ended. A store that cannot take it now is asked again until it can, or the server stops; then
    /// the next start finds the task.
    async fn record(&self, task: &Task, outcome: Result<(Arc<Running>, Ended, Changes), NotRun>) {
        let mut pause = RECORD_PAUSE;
        loop {
            let committed = match &outcome {
                Ok((running, ended, changes)) => self.commit(task, running, ended, changes).await,
                Err(NotRun::Failed(reason)) => {
                    self.finish(&task.id, Happening::End(Status::Failed, reason.clone()), Patch::default()).await
                }
                Err(NotRun::Asks(question)) => self.ask_submitter(&task.id, question, None).await,
            };
            let Err(e) = committed else { return };
            tracing::error!(error = %e, "the end of an attempt could not be recorded; it is tried again");
            if self.0.stopping.is_cancelled() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECORD_PAUSE * 20);
        }
    }

    /// The attempt itself. While it lasts the gates know the task, and nobody else writes to its workspace.
    async fn work(&self, task: &Task) -> Result<(Arc<Running>, Ended, Changes), NotRun> {
        if let Some(question) = self.missing_credential(task) {
            return Err(NotRun::Asks(question));
        }
        let lease = self.lease(task).await?;
        let running = Arc::new(Running::new(task.clone(), lease.path().to_owned()));
        if let Some(live) = self.live().get_mut(&task.id) {
            live.running = Some(running.clone());
        }
        if self.0.stopping.is_cancelled() {
            return Err(crate::task::state::interrupted(&crate::env::rfc3339(crate::env::now_ms())).into());
        }
        let entered = self.0.parts.gates.enter(running.clone());
        let baseline = self.baseline(task, lease.path()).await;
        let ended = self.converse(task, &running).await?;
        drop(entered);
        let changes = self.changes(task, &running, baseline).await;
        Ok((running, ended, changes))
    }

    /// Runs the agent: a later attempt in the conversation of the one before, where that can be. Where its agent cannot go on
    /// after all, and nothing was said, once more in a new one.
    async fn converse(&self, task: &Task, running: &Running) -> Result<Ended, Reason> {
        let wanted = if task.attempt > 1 { Conversation::Resumed } else { Conversation::New };
        let ran = self.run_agent(task, running, self.prepare(task, running, wanted).await?).await?;
        if !ran.could_not_go_on() || self.0.stopping.is_cancelled() {
            return Ok(ran.ended);
        }
        tracing::warn!(how = ?ran.ended.how, "an agent could not go on in its conversation; it begins a new one");
        Ok(self.run_agent(task, running, self.prepare(task, running, Conversation::New).await?).await?.ended)
    }

    /// The task's workspace, once nobody else writes to it.
    async fn lease(&self, task: &Task) -> Result<Lease, Reason> {
        loop {
            match self.0.parts.workspaces.lease(&task.chain, task.workspace.as_deref()).await {
                Ok(lease) => return Ok(lease),
                Err(WorkspaceError::Busy { .. }) => {}
                Err(e) => return Err(limit("workspace", e.to_string())),
            }
            let mut commits = self.0.parts.store.commits();
            tokio::select! {
                // Whoever has it commits something when it is done; the pause is for a lease that is dropped after that.
                _ = commits.changed() => tokio::time::sleep(RECORD_PAUSE).await,
                () = self.0.stopping.cancelled() => return Err(limit("workspace", "the server stopped while its workspace was in use")),
            }
            let id = task.id.clone();
            let ended = self.0.parts.store.call(move |s| s.task(&id)).await.is_ok_and(|t| t.status.is_final());
            if ended {
                return Err(limit("ended", "it ended while its workspace was in use"));
            }
        }
    }

    /// Ends a task from outside: durable first, then its process.
    pub async fn end(&self, id: &TaskId, actor: &str, status: Status, reason: Reason) -> Result<(), StoreError> {
        let (wanted, actor) = (id.clone(), actor.to_owned());
        let ended = self
            .0
            .parts
            .store
            .call(move |s| s.advance(&wanted, &actor, &Happening::End(status, reason), &Patch::default()))
            .await;
        match ended {
            // A conflict: it had ended by itself.
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(e) => return Err(e),
        }
        let control = self.live().get(id).and_then(|l| l.control.clone());
        if let Some(control) = control {
            control.stop(StopReason::Cancelled);
        }
        self.tell_requests(id).await?;
        self.look_for_work();
        Ok(())
    }

    /// Commits a step; a task that ended meanwhile stays as it ended.
    async fn finish(&self, id: &TaskId, happening: Happening, patch: Patch) -> Result<(), StoreError> {
        let wanted = id.clone();
        match self.0.parts.store.call(move |s| s.advance(&wanted, "coda", &happening, &patch)).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Wakes calls that wait for requests of a task.
    async fn tell_requests(&self, id: &TaskId) -> Result<(), StoreError> {
        let wanted = id.clone();
        for approval in self.0.parts.store.call(move |s| s.requests_of(&wanted)).await? {
            self.0.parts.gates.tell_decided(&approval);
        }
        Ok(())
    }

    /// Held tasks keep their process and give up their place.
    fn running_count(&self) -> usize {
        self.live().values().filter(|l| !l.running.as_ref().is_some_and(|r| r.is_held())).count()
    }

    fn stop_all(&self) {
        for live in self.live().values() {
            if let Some(control) = &live.control {
                control.stop(StopReason::Shutdown);
            }
        }
    }

    fn set_control(&self, id: &TaskId, control: &Control) {
        if self.0.stopping.is_cancelled() {
            control.stop(StopReason::Shutdown);
        }
        if let Some(live) = self.live().get_mut(id) {
            if let Some(running) = &live.running {
                running.set_control(control.clone());
                if running.question().is_some() {
                    control.stop(StopReason::Parked);
                }
            }
            live.control = Some(control.clone());
        }
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an attempt came to no end of its own.
enum NotRun {
    /// It could not be run.
    Failed(Reason),
    /// The submitter must answer first.
    Asks(String),
}

impl From<Reason> for NotRun {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

/// A reason that a bound of coda's, or a fault around the agent, gives.
fn limit(code: &str, text: impl Into<String>) -> Reason {
    Reason { by: EndedBy::Limit, code: code.into(), text: text.into() }
}
