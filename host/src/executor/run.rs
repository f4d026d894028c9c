//! One run of an agent: watched from its start to the end of its last process.
//!
//! ```text
//!             exit ────────────────┐
//! running ─── result.json whole ───┤ (grace to exit)
//!    │ ▲      deadline, idle ──────┼──► end the tree ─► drain ≤ 250 ms ─► close transcript and session ─► Ended
//!    ▼ │      stop ────────────────┘
//!   held (clocks stand still)
//! ```

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::clock::Clock;
use super::end::{Tree, TreeEnd};
use super::progress::{Progress, Tail};
use super::pump::{Pump, PumpReport};
use super::reports::{Channel, Reports};
use super::result::{self, ResultFile};
use super::supervisor::Report;
use super::transcript::TranscriptReport;
use super::{Sessions, Settings, session::Session};

/// How often files and clocks are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the tree's processor time is looked at while nothing else shows activity.
const CPU_LOOK: Duration = Duration::from_secs(5);
/// Processor time that counts as activity between two looks, in clock ticks (10 ms each): idle programs tick a little.
const CPU_ACTIVE_TICKS: u64 = 10;

/// Why somebody wants a run to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The task was cancelled.
    Cancelled,
    /// The server shuts down.
    Shutdown,
    /// The task waits without a process; it goes on as another attempt.
    Parked,
    /// The task was refused or replaced.
    Refused,
}

/// Whether clocks run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hold {
    /// They run.
    #[default]
    Live,
    /// They stand still: the task waits for people.
    Held,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// The agent ended by itself.
    Exited {
        /// Exit code.
        code: i32,
    },
    /// A signal that was not ours ended it.
    Signalled {
        /// Its number.
        signal: i32,
    },
    /// It wrote its result and did not exit in the time it had for that.
    ResultWritten,
    /// Its running time was over.
    TimedOut,
    /// Nothing was seen of it for so long that it was taken for stuck.
    Idle,
    /// Somebody asked for it.
    Stopped(StopReason),
    /// The program could not be executed, or its supervisor was killed.
    Lost {
        /// More.
        why: String,
    },
}

/// A run's end.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub how: How,
    /// What lies in `io/result.json`. Not screened.
    pub result: ResultFile,
    /// Processes that were still there.
    pub tree: TreeEnd,
    /// What became of the transcript.
    pub transcript: TranscriptReport,
    /// Terminal bytes that the agent wrote.
    pub output_bytes: u64,
    /// Secrets masked on its terminal.
    pub masked: u64,
    /// Running time, held time not counted.
    pub running_ms: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    stop: Option<StopReason>,
    hold: Hold,
}

/// Steers a run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    orders: Arc<watch::Sender<Orders>>,
    activity: Activity,
}

impl Control {
    /// Ends the run. The first reason stays.
    pub fn stop(&self, reason: StopReason) {
        self.orders.send_modify(|orders| orders.stop = orders.stop.or(Some(reason)));
    }

    /// Stops or starts the clocks. The idle clock begins anew.
    pub fn set_held(&self, hold: Hold) {
        self.activity.touch();
        self.orders.send_modify(|orders| orders.hold = hold);
    }

    /// Says that the agent was seen at work elsewhere, such as at the model gateway.
    pub fn note_activity(&self) {
        self.activity.touch();
    }
}

/// When the agent was last seen at work.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running agent. Dropped without `wait`, it is ended in the background.
#[derive(Debug)]
pub struct Run {
    /// The supervisor's process: root of everything the agent starts.
    pub pid: i32,
    /// Its start time in clock ticks since boot: with the pid, enough to find it again after a crash of the server.
    pub pid_start: u64,
    /// What confines the agent, for people: its tier first.
    pub sandbox: String,
    /// The gateway's address as the agent sees it, where it has a network of its own: nobody else can get there.
    pub listener: Option<TcpListener>,
    control: Control,
    watcher: Option<JoinHandle<Ended>>,
}

impl Run {
    /// Steers it.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for its end.
    pub async fn wait(mut self) -> Ended {
        let watcher = self.watcher.take().expect("wait takes the run, so it is called once");
        match watcher.await {
            Ok(ended) => ended,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.watcher.is_some() {
            self.control.stop(StopReason::Shutdown);
        }
    }
}

/// What a run is made of.
pub(super) struct Parts {
    pub(super) launch: super::Launch,
    pub(super) settings: Settings,
    pub(super) sessions: Sessions,
    pub(super) session: Arc<Session>,
    pub(super) child: Child,
    pub(super) reports: Reports<Channel>,
    pub(super) tree: Tree,
    pub(super) pump: Pump,
    pub(super) sandbox: String,
    pub(super) listener: Option<TcpListener>,
    pub(super) progress: watch::Sender<Option<Progress>>,
}

/// Begins to watch.
pub(super) fn begin(mut parts: Parts, tail: Tail) -> Run {
    let listener = parts.listener.take();
    let (orders, listening) = watch::channel(Orders::default());
    let activity = parts.pump.activity();
    let control = Control { orders: Arc::new(orders), activity };
    let (pid, pid_start, sandbox) = (parts.tree.pid, parts.tree.start, parts.sandbox.clone());
    let result_path = parts.launch.task_dir.join("io/result.json");
    let result = result::Watch::new(result_path.clone(), parts.settings.result_bytes);
    let watcher = Watcher {
        clock: Clock::started(Duration::from_secs(parts.launch.timeout_s), Instant::now()),
        result_path,
        activity: control.activity.clone(),
        // The watcher keeps the channel open: a run without any control left still ends by its clocks.
        _control: control.clone(),
        orders: listening,
        files: Some(Files { tail, result }),
        cpu: CpuLook { at: Instant::now(), ticks: 0 },
        parts,
    };
    Run { pid, pid_start, sandbox, listener, control, watcher: Some(tokio::spawn(watcher.watch())) }
}

pub(super) fn activity() -> Activity {
    Activity::new()
}

/// The agent's files that are watched.
struct Files {
    tail: Tail,
    result: result::Watch,
}

struct CpuLook {
    at: Instant,
    ticks: u64,
}

struct Watcher {
    parts: Parts,
    orders: watch::Receiver<Orders>,
    activity: Activity,
    _control: Control,
    clock: Clock,
    result_path: PathBuf,
    /// What is read of the agent's files; away while they are.
    files: Option<Files>,
    cpu: CpuLook,
}

impl Watcher {
    async fn watch(mut self) -> Ended {
        let how = self.until_end().await;
        self.clock.hold(Instant::now());
        let grace = Duration::from_secs(self.parts.settings.grace_s);
        let tree = self.parts.tree.end(grace).await;
        if tree.survivors > 0 {
            tracing::error!(task.id = %self.parts.launch.task, survivors = tree.survivors, "processes of a task could not be ended");
        }
        // The supervisor is gone or killed by now: this only takes its status.
        let _ = self.parts.child.wait().await;
        let drain = Duration::from_millis(self.parts.settings.drain_ms);
        let PumpReport { output_bytes, transcript } = self.parts.pump.finish(drain).await;
        self.look_at_files().await;
        self.parts.sessions.close(&self.parts.launch.task, &self.parts.session);
        let (path, limit) = (self.result_path.clone(), self.parts.settings.result_bytes);
        let read = tokio::task::spawn_blocking(move || result::read(&path, limit)).await;
        let result = read.unwrap_or_else(|_| ResultFile::Invalid { why: "could not be read".into() });
        let masked = self.parts.session.masked();
        let running_ms = u64::try_from(self.clock.used(Instant::now()).as_millis()).unwrap_or(u64::MAX);
        Ended { how, result, tree, transcript, output_bytes, masked, running_ms }
    }

    async fn until_end(&mut self) -> How {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = self.parts.reports.next() => match report {
                    Some(Report::Confined { .. } | Report::NoNamespaces { .. } | Report::Listening) => {}
                    Some(Report::Exited { code }) => return How::Exited { code },
                    Some(Report::Signalled { signal }) => return How::Signalled { signal },
                    Some(Report::Failed { why }) => return How::Lost { why },
                    None => return How::Lost { why: "the agent's supervisor was killed".into() },
                },
                changed = self.orders.changed() => {
                    let orders = *self.orders.borrow_and_update();
                    match orders.hold {
                        Hold::Held => self.clock.hold(Instant::now()),
                        Hold::Live => self.clock.run(Instant::now()),
                    }
                    // The watcher holds a sender itself, so the channel is open.
                    debug_assert!(changed.is_ok());
                    if let Some(reason) = orders.stop {
                        return How::Stopped(reason);
                    }
                }
                _ = tick.tick() => if let Some(how) = self.tick().await { return how },
            }
        }
    }

    async fn tick(&mut self) -> Option<How> {
        self.look_at_files().await;
        if self.is_complete() {
            return Some(How::ResultWritten);
        }
        if self.clock.is_over(Instant::now()) {
            return Some(How::TimedOut);
        }
        if self.clock.is_held() {
            self.activity.touch();
            return None;
        }
        self.is_idle().await.then_some(How::Idle)
    }

    /// Reads what is new in the agent's files, off the async threads, and hands the newest progress line on.
    async fn look_at_files(&mut self) {
        let news = |files: &Files| files.tail.is_news() || files.result.is_news();
        let Some(mut files) = self.files.take_if(|files| news(files)) else { return };
        let read = tokio::task::spawn_blocking(move || {
            let (line, result) = (files.tail.look().pop(), files.result.is_news());
            if result {
                files.result.read();
            }
            (files, line, result)
        });
        // A panic there leaves nothing to look at: the run goes on to its exit or its deadline.
        let Ok((files, line, result)) = read.await else { return };
        self.files = Some(files);
        if line.is_some() || result {
            self.activity.touch();
        }
        if let Some(line) = line {
            self.parts.progress.send_replace(Some(line));
        }
    }

    /// Whether the result is whole and the agent had its time to exit.
    fn is_complete(&self) -> bool {
        let grace = Duration::from_secs(self.parts.settings.result_grace_s);
        let since = self.files.as_ref().and_then(|files| files.result.whole_since());
        since.is_some_and(|since| since.elapsed() >= grace)
    }

    /// Nothing on the terminal, no progress line, nothing at the gateway, no processor time, for as long as the setting says.
    async fn is_idle(&mut self) -> bool {
        let limit = Duration::from_secs(self.parts.settings.idle_s);
        let quiet = self.activity.last().elapsed();
        if limit.is_zero() || quiet < limit.min(CPU_LOOK) {
            return false;
        }
        if self.cpu.at.elapsed() >= CPU_LOOK.min(limit) {
            let ticks = self.parts.tree.cpu_ticks().await;
            let worked = ticks.saturating_sub(self.cpu.ticks) >= CPU_ACTIVE_TICKS;
            self.cpu = CpuLook { at: Instant::now(), ticks };
            if worked {
                self.activity.touch();
                return false;
            }
        }
        quiet >= limit
    }
}
