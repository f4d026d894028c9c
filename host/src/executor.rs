//! The executor: runs one agent program in a pseudo-terminal, watches it, and ends it with its whole process tree.
//!
//! ```text
//! Launch ─ start ─► Run ─ wait ─► Ended       Sessions: the live terminals, for the viewer
//! ```
//! It knows nothing of policies or people. What it lets through to transcript and viewer is masked terminal bytes.

pub mod agent;
mod clock;
pub mod end;
mod environment;
mod folders;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inside;
mod mask;
pub mod probe;
mod process;
pub mod progress;
mod pty;
mod pump;
mod reports;
pub mod result;
pub mod run;
pub mod sandbox;
pub mod screen;
pub mod session;
mod strip;
mod supervisor;
pub mod transcript;
pub mod workspace;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::watch;

pub use agent::{AgentInfo, Agents};
pub use end::{TreeEnd, end_leftovers};
pub use progress::Progress;
pub use result::ResultFile;
pub use run::{Control, Ended, Hold, How, Run, StopReason};
pub use screen::{Display, Snapshot};
pub use session::{Delta, Frame, Live, Sessions};
pub use transcript::TranscriptReport;

use crate::id::TaskId;
use crate::policy::Cleared;
use crate::task::conversation::Conversation;

/// Masks these secrets in a text, and shapes of well-known ones, as the terminal's stream masks them.
#[must_use]
pub fn text_mask(secrets: &[String]) -> Box<dyn Fn(&str) -> String + Send + Sync> {
    let rules = mask::Rules::new(secrets.iter().map(String::as_str));
    Box::new(move |text| String::from_utf8_lossy(&rules.masked(text.as_bytes())).into_owned())
}

/// How long supervisor and sandbox may take until the agent is executed.
const START: Duration = Duration::from_secs(20);

/// Everything that one attempt of a task needs to start.
#[derive(Debug)]
pub struct Launch {
    /// Which task.
    pub task: TaskId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Agent name, such as `hermes`.
    pub agent: String,
    /// How its conversation with its model begins: as `ready_home` says.
    pub conversation: Conversation,
    /// The text that the agent gets.
    pub envelope: Cleared<String>,
    /// `CODA_HOME/tasks/ID`: the host's alone; `io` and `home` below it are the agent's.
    pub task_dir: PathBuf,
    /// Where the agent works.
    pub workspace: PathBuf,
    /// Hidden from the agent but for what it needs.
    pub coda_home: PathBuf,
    /// The listener that stands between agent and model: `http://127.0.0.1:PORT`.
    pub gateway_url: String,
    /// The task's own secret for that listener.
    pub gateway_token: String,
    /// Whether the agent's own questions are off.
    pub yolo: bool,
    /// Bound on running time, held time not counted.
    pub timeout_s: u64,
    /// Values that must never be shown: masked exactly.
    pub secrets: Vec<String>,
    /// Extra environment from the agent's profile.
    pub environment: BTreeMap<String, String>,
}

impl Launch {
    /// What an agent is told where its prompt would stand on a command line.
    pub(in crate::executor) fn stand_in(&self) -> String {
        self.conversation.stand_in(self.attempt)
    }
}

/// Settings of the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Width of the terminal.
    pub columns: u16,
    /// Height of the terminal.
    pub rows: u16,
    /// An agent of which nothing is seen for so long (terminal, progress, gateway, processor) is ended; 0 = never.
    pub idle_s: u64,
    /// Time between TERM and KILL.
    pub grace_s: u64,
    /// Time to exit after the result is written.
    pub result_grace_s: u64,
    /// Time for the terminal's last bytes after the end.
    pub drain_ms: u64,
    /// Cap of a task's transcript.
    pub transcript_bytes: u64,
    /// Largest result file.
    pub result_bytes: u64,
    /// The sandbox.
    pub sandbox: sandbox::Settings,
    /// Variables of the server's environment that agents see, besides the ordinary ones.
    pub pass_environment: Vec<String>,
    /// The configured agents, by name.
    pub agents: BTreeMap<String, agent::Profile>,
    /// How long agents wait for their own hooks.
    pub hook_limit_s: u64,
    /// How coda's own hidden commands are called: the program and what comes before the command. Not from the file.
    pub own_program: Vec<OsString>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            columns: 120,
            rows: 40,
            idle_s: 1800,
            grace_s: 3,
            result_grace_s: 10,
            drain_ms: 250,
            transcript_bytes: 64 * 1024 * 1024,
            result_bytes: 1024 * 1024,
            sandbox: sandbox::Settings::default(),
            pass_environment: Vec::new(),
            agents: BTreeMap::new(),
            hook_limit_s: 60,
            own_program: own_program(),
        }
    }
}

/// How this program's own hidden commands are called.
#[must_use]
pub fn own_program() -> Vec<OsString> {
    // /proc/self/exe also names a binary that was replaced on the disk since.
    vec![std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")).into()]
}

/// Why an agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No such agent.
    #[error("agent '{agent}' is not known: choose one of {known}")]
    UnknownAgent {
        /// As it was asked for.
        agent: String,
        /// Names, separated by commas.
        known: String,
    },
    /// Its program is not there.
    #[error("agent '{agent}' is not installed: no program '{program}' on its PATH ({hint})")]
    NotInstalled {
        /// Its name.
        agent: String,
        /// What was looked for.
        program: String,
        /// What to do.
        hint: String,
    },
    /// A folder or file that it needs could not be made.
    #[error("{what} cannot be prepared: {source}")]
    Prepare {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// No terminal or no process.
    #[error("no terminal or process for the agent: {0}")]
    Spawn(String),
    /// The sandbox or the program refused.
    #[error("the agent did not start: {0}")]
    NotStarted(String),
}

/// Starts agents and knows the live ones.
#[derive(Debug, Clone)]
pub struct Executor {
    settings: Settings,
    agents: Agents,
    sessions: Sessions,
}

impl Executor {
    /// Puts it together.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let agents = Agents::new(settings.agents.clone(), settings.own_program.clone(), settings.hook_limit_s);
        Self { settings, agents, sessions: Sessions::default() }
    }

    /// The live terminals.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The agents that tasks may choose.
    #[must_use]
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Makes the home ready for an attempt's agent. What the attempts before left there is gone, so that nothing which an
    /// agent wrote there configures the next one: but for its conversation, where that is `wanted` and there.
    pub fn ready_home(
        &self,
        task: &TaskId,
        agent: &str,
        task_dir: &Path,
        wanted: Conversation,
    ) -> Result<Conversation, StartError> {
        match self.agents.keeping(agent) {
            agent::Keeping::Home(conversation) => Ok(if wanted == conversation { wanted } else { Conversation::New }),
            agent::Keeping::Conversation(kept) => {
                folders::renew(task, task_dir, kept.filter(|_| wanted == Conversation::Resumed))
            }
        }
    }

    /// Starts an agent. Its newest progress line, not screened, is in `progress`.
    pub async fn start(&self, launch: Launch, progress: watch::Sender<Option<Progress>>) -> Result<Run, StartError> {
        let path = launch.environment.get("PATH").cloned().or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
        let call = self.agents.prepare(&launch, &path)?;
        folders::prepare(&launch, &call.files)?;
        // Before the agent lives: what it writes first counts.
        let tail = progress::Tail::at_end(&launch.task_dir.join("io/status.jsonl"));
        let spec = self.spec(&launch, call);
        let mut command = Command::new(self.settings.own_program.first().cloned().unwrap_or_default());
        command.args(self.settings.own_program.iter().skip(1)).arg(supervisor::COMMAND);
        command.env_clear().env(process::TASK_MARK, launch.task.as_str()).current_dir("/");
        let (columns, rows) = (self.settings.columns, self.settings.rows);
        let (channel, errors) = reports::Channel::open().map_err(|e| StartError::Spawn(e.to_string()))?;
        let (terminal, mut child) = pty::start(command, errors, columns, rows).map_err(|e| StartError::Spawn(e.to_string()))?;
        let mut tree = tree_of(&child, &launch.task)?;
        let session = self.sessions.open(&launch.task, session::Session::new(columns, rows, &secrets_of(&launch)));
        let cast = launch.task_dir.join("transcript.cast");
        let recorder = transcript::Recorder::start(&cast, columns, rows, launch.attempt, self.settings.transcript_bytes);
        let mut pump = pump::Pump::start(terminal, std::sync::Arc::clone(&session), recorder);
        let Started { reports, sandbox, init, listener } = match handshake(&mut child, channel, &spec).await {
            Ok(started) => started,
            Err(why) => {
                tree.end(Duration::from_secs(self.settings.grace_s)).await;
                let _ = child.wait().await;
                pump.finish(Duration::from_millis(self.settings.drain_ms)).await;
                self.sessions.close(&launch.task, &session);
                return Err(StartError::NotStarted(why));
            }
        };
        tree.init = init;
        let (mut settings, sessions) = (self.settings.clone(), self.sessions.clone());
        settings.idle_s = self.agents.idle_s(&launch.agent).unwrap_or(settings.idle_s);
        let parts = run::Parts { launch, settings, sessions, session, child, reports, tree, pump, sandbox, listener, progress };
        Ok(run::begin(parts, tail))
    }

    fn spec(&self, launch: &Launch, call: agent::Call) -> supervisor::Spec {
        let (io, home) = (launch.task_dir.join("io"), launch.task_dir.join("home"));
        let server_home = std::env::var_os("HOME").map(PathBuf::from);
        let writable = [io.as_path(), home.as_path(), launch.workspace.as_path()];
        let own = self.settings.own_program.first().map(PathBuf::from).unwrap_or_default();
        let places = sandbox::Places {
            coda_home: &launch.coda_home,
            writable: &writable,
            programs: &[&call.program, &own],
            server_home: server_home.as_deref(),
            gateway_url: &launch.gateway_url,
        };
        let borders = sandbox::borders(&self.settings.sandbox, &places);
        let mut words = call.first.into_iter().chain([call.program.into()]).chain(call.arguments);
        supervisor::Spec {
            task: launch.task.clone(),
            own_program: self.settings.own_program.clone(),
            program: words.next().map(PathBuf::from).unwrap_or_default(),
            arguments: words.collect(),
            environment: environment::of(launch, std::env::vars_os(), &self.settings.pass_environment, &call.environment),
            working_directory: launch.workspace.clone(),
            borders,
        }
    }
}

/// The hidden command `sandbox-init`.
pub(crate) fn sandbox_init(words: &[OsString]) -> u8 {
    supervisor::main(words)
}

/// The hidden command `agent-conversation`.
pub(crate) fn agent_conversation(words: &[OsString]) -> u8 {
    agent::strip::main(words)
}

fn secrets_of(launch: &Launch) -> Vec<String> {
    launch.secrets.iter().cloned().chain([launch.gateway_token.clone()]).collect()
}

fn tree_of(child: &Child, task: &TaskId) -> Result<end::Tree, StartError> {
    let found = child.id().and_then(|pid| process::find(i32::try_from(pid).ok()?));
    let root = found.ok_or_else(|| StartError::Spawn("the supervisor ended at once".into()))?;
    Ok(end::Tree { pid: root.pid, start: root.start, task: task.clone(), init: None })
}

/// What a supervisor reports of a start.
struct Started {
    reports: reports::Reports<reports::Channel>,
    sandbox: String,
    init: Option<process::Process>,
    listener: Option<std::net::TcpListener>,
}

/// Hands the spec over and waits until the sandbox is on.
async fn handshake(child: &mut Child, channel: reports::Channel, spec: &supervisor::Spec) -> Result<Started, String> {
    let text = serde_json::to_vec(spec).expect("a spec is JSON");
    let mut input = child.stdin.take().expect("its standard input is a pipe");
    let mut reports = reports::Reports::new(channel);
    let exchange = async {
        input.write_all(&text).await.map_err(|e| format!("the supervisor does not read: {e}"))?;
        drop(input);
        let wants_listener = spec.borders.network == sandbox::Network::GatewayOnly;
        let mut lacking = String::new();
        loop {
            match reports.next().await {
                Some(supervisor::Report::NoNamespaces { why }) => {
                    reports.discard();
                    lacking = format!("; not tier A: {why}");
                }
                Some(supervisor::Report::Listening) => {}
                Some(supervisor::Report::Confined { sandbox, init }) => {
                    let listener = reports.take_listener(spec.borders.gateway_port);
                    if init.is_some() && wants_listener && listener.is_none() {
                        return Err("the listener inside did not come along".into());
                    }
                    let init = init.and_then(process::find);
                    return Ok(Started { reports, sandbox: sandbox + &lacking, init, listener });
                }
                Some(supervisor::Report::Failed { why }) => return Err(why),
                Some(supervisor::Report::Exited { .. } | supervisor::Report::Signalled { .. }) | None => {
                    return Err("the supervisor ended before the agent was executed".into());
                }
            }
        }
    };
    let late = |_| format!("the supervisor said nothing for {} s", START.as_secs());
    tokio::time::timeout(START, exchange).await.map_err(late)?
}
