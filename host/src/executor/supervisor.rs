//! Between server and agent stands a small process of coda's own, so that no process of a task is ever lost.
//!
//! ```text
//! server ─ pty, spec on stdin, reports on stderr ─► supervisor ─► second stage ─ exec ─► agent                (tiers B, C)
//!                                                       └─► first process inside ─ fork, exec ─► agent        (tier A)
//! ```
//! The supervisor is the session's leader and a child subreaper: whatever the agent leaves behind becomes its child, in
//! whatever session. It says when the agent started and ended, goes when its last child is gone, and when the server
//! dies (the terminal hangs up) it ends the tree by itself. It stays outside the sandbox, so the agent can't signal it.
//! The second stage (`inside`) is the same program again, single-threaded: it makes the sandbox and becomes the agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::end::Tree;
use super::inside;
use super::process::TASK_MARK;
use super::sandbox::{Borders, Mode, Tier};
use crate::id::TaskId;

/// Name of the hidden command.
pub(super) const COMMAND: &str = "sandbox-init";
/// Its second stage, for each tier.
const STAGES: [(&str, Tier); 3] = [("inside", Tier::A), ("confined", Tier::B), ("open", Tier::C)];
/// Exit code where the agent was not executed, as shells have it.
pub(super) const NOT_EXECUTED: u8 = 126;
/// Exit code where there are no namespaces, and a lower tier will do.
pub(super) const NO_NAMESPACES: u8 = 125;
/// Largest spec.
const SPEC_BYTES: u64 = 4 * 1024 * 1024;
/// Longest report line.
pub(super) const REPORT_BYTES: u64 = 16 * 1024;
/// What the tree gets between TERM and KILL when the server died.
const ORPHANED_GRACE: Duration = Duration::from_secs(3);

/// What to run and where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) task: TaskId,
    /// How coda's own hidden commands are called.
    pub(super) own_program: Vec<OsString>,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) working_directory: PathBuf,
    pub(super) borders: Borders,
}

/// What the supervisor says, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(super) enum Report {
    /// Tier A is not to be had here; the next one follows.
    NoNamespaces { why: String },
    /// A listener inside comes along with this line.
    Listening,
    /// The sandbox is on, the agent is about to be executed. `init` is the first process inside, as the host numbers it.
    Confined { sandbox: String, init: Option<i32> },
    /// The agent could not be started.
    Failed { why: String },
    /// The agent ended by itself.
    Exited { code: i32 },
    /// A signal ended it.
    Signalled { signal: i32 },
}

pub(super) fn say(to: &mut impl std::io::Write, report: &Report) {
    // The server may be gone; there is nobody else to tell.
    let _ = to.write_all(line(report).as_bytes());
}

pub(super) fn line(report: &Report) -> String {
    serde_json::to_string(report).expect("a report is JSON") + "\n"
}

/// The hidden command, both stages: `words` are what follows its name. Call it before any thread is started.
pub(crate) fn main(words: &[OsString]) -> u8 {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(SPEC_BYTES).read_to_string(&mut text);
    let spec = read.map_err(|e| e.to_string()).and_then(|_| serde_json::from_str(&text).map_err(|e| e.to_string()));
    let spec: Spec = match spec {
        Ok(spec) => spec,
        Err(e) => return failed(&format!("the hidden command {COMMAND} is coda's own, and its spec is unreadable: {e}")),
    };
    match STAGES.iter().find(|(word, _)| words.iter().any(|w| w == word)) {
        Some((_, tier)) => inside::second_stage(&spec, *tier),
        None => supervise(&spec, &text).unwrap_or_else(|why| failed(&why)),
    }
}

fn failed(why: &str) -> u8 {
    say(&mut std::io::stderr(), &Report::Failed { why: why.to_owned() });
    NOT_EXECUTED
}

/// First stage: starts the second, adopts, waits.
fn supervise(spec: &Spec, text: &str) -> Result<u8, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| format!("no runtime: {e}"))?.block_on(async {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|e| format!("cannot adopt orphans: {e}"))?;
        let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        let mut children = listen(SignalKind::child())?;
        let mut hangup = listen(SignalKind::hangup())?;
        // Keys and stray signals are for the agent; we go when it is gone.
        let _ignored = [listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::quit())?];
        let tier = match spec.borders.mode {
            Mode::Require | Mode::BestEffort => Tier::A,
            Mode::Floor => Tier::B,
            Mode::Off => Tier::C,
        };
        let mut family = Family { stage: start_second_stage(spec, text, tier)?, tier, code: 0 };
        loop {
            tokio::select! {
                _ = children.recv() => match family.reap() {
                    Left::Some => {}
                    Left::Nobody => return Ok(family.code),
                    Left::WithoutNamespaces => {
                        family = Family { stage: start_second_stage(spec, text, Tier::B)?, tier: Tier::B, code: 0 };
                    }
                },
                _ = hangup.recv() => end_tree(spec).await,
            }
        }
    })
}

/// The supervisor's children.
struct Family {
    stage: Pid,
    tier: Tier,
    code: u8,
}

/// Who is left of them.
enum Left {
    Some,
    Nobody,
    /// The second stage could not make tier A, and says that another will do.
    WithoutNamespaces,
}

impl Family {
    /// Takes the status of every child that ended.
    fn reap(&mut self) -> Left {
        let mut left = Left::Some;
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if self.tier == Tier::A && status.exit_status() == Some(i32::from(NO_NAMESPACES)) {
                        left = Left::WithoutNamespaces;
                    } else {
                        self.note(pid, status);
                    }
                }
                Ok(None) => return left,
                Err(_) if matches!(left, Left::WithoutNamespaces) => return left,
                Err(_) => return Left::Nobody,
            }
        }
    }

    /// Says how the agent ended. In tier A the first process inside says so itself, and ends with 0 when all others have.
    fn note(&mut self, pid: Pid, status: WaitStatus) {
        let says_so_itself = self.tier == Tier::A && status.exit_status() == Some(0);
        if says_so_itself || (self.tier != Tier::A && pid != self.stage) {
            return;
        }
        let report = report_of(status);
        if let Report::Exited { code } = &report {
            self.code = u8::try_from(*code).unwrap_or(1);
        }
        say(&mut std::io::stderr(), &report);
    }
}

fn start_second_stage(spec: &Spec, text: &str, tier: Tier) -> Result<Pid, String> {
    let [program, arguments @ ..] = spec.own_program.as_slice() else { return Err("coda's own program is not named".into()) };
    let mut command = Command::new(program);
    let (stage, _) = STAGES.iter().find(|(_, of)| *of == tier).expect("every tier has one");
    // The mark is on what stands for the task inside, so that it is found even where the supervisor is gone.
    command.args(arguments).args([COMMAND, stage]).env_clear().env(TASK_MARK, spec.task.as_str());
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|e| format!("{} does not start: {e}", program.display()))?;
    let mut input = child.stdin.take().expect("its standard input is a pipe");
    input.write_all(text.as_bytes()).map_err(|e| format!("the spec cannot be handed on: {e}"))?;
    Ok(Pid::from_child(&child))
}

pub(super) fn report_of(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Report::Signalled { signal },
        (code, None) => Report::Exited { code: code.unwrap_or(1) },
    }
}

/// The server died: nobody will ask us to.
async fn end_tree(spec: &Spec) {
    let pid = i32::try_from(std::process::id()).unwrap_or(-1);
    let start = super::process::find(pid).map_or(0, |p| p.start);
    Tree { pid, start, task: spec.task.clone(), init: None }.end_members(ORPHANED_GRACE).await;
}
