//! Between server and agent stands a small process of coda's own, so that no process of a task is ever lost.
//!
//! ```text
//! server ─ pty, spec on stdin, reports on stderr ─► supervisor (adopts orphans) ─► confine ─ exec ─► agent
//! ```
//! The supervisor is the session's leader and a child subreaper: whatever the agent leaves behind becomes its child, in
//! whatever session. It says when the agent started and ended, goes when its last child is gone, and when the server
//! dies (the terminal hangs up) it ends the tree by itself. It stays outside the sandbox, so the agent can't signal it.
//! `confine` is the same program again, single-threaded: it puts the sandbox on and becomes the agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::end::Tree;
use super::sandbox::{self, Borders};
use crate::id::TaskId;

/// Name of the hidden command.
pub(super) const COMMAND: &str = "sandbox-exec";
/// Its second stage.
const CONFINE: &str = "confine";
/// Exit code where the agent was not executed, as shells have it.
const NOT_EXECUTED: u8 = 126;
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
    /// The sandbox is on, the agent is about to be executed.
    Confined { sandbox: String },
    /// The agent could not be started.
    Failed { why: String },
    /// The agent ended by itself.
    Exited { code: i32 },
    /// A signal ended it.
    Signalled { signal: i32 },
}

fn say(to: &mut impl std::io::Write, report: &Report) {
    let line = serde_json::to_string(report).expect("a report is JSON");
    // The server may be gone; there is nobody else to tell.
    let _ = writeln!(to, "{line}");
}

/// The hidden command, both stages: `words` are what follows its name. Call it before any thread is started.
pub(crate) fn main(words: &[OsString]) -> u8 {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(SPEC_BYTES).read_to_string(&mut text);
    let spec = read.map_err(|e| e.to_string()).and_then(|_| serde_json::from_str(&text).map_err(|e| e.to_string()));
    let spec: Spec = match spec {
        Ok(spec) => spec,
        Err(e) => return failed(&format!("the hidden command sandbox-exec is coda's own, and its spec is unreadable: {e}")),
    };
    let why = match words.iter().any(|word| word == CONFINE) {
        true => confine(&spec),
        false => match supervise(&spec, &text) {
            Ok(code) => return code,
            Err(why) => why,
        },
    };
    failed(&why)
}

fn failed(why: &str) -> u8 {
    say(&mut std::io::stderr(), &Report::Failed { why: why.to_owned() });
    NOT_EXECUTED
}

/// Second stage: becomes the agent, or returns why not.
fn confine(spec: &Spec) -> String {
    let prepared = || -> std::io::Result<(std::fs::File, [OwnedFd; 2])> {
        // Not inherited: the agent never holds the way to the server.
        let reports = std::fs::File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
        let terminal = || std::io::stdout().as_fd().try_clone_to_owned();
        Ok((reports, [terminal()?, terminal()?]))
    };
    let (mut reports, [input, errors]) = match prepared() {
        Ok(prepared) => prepared,
        Err(e) => return format!("the terminal cannot be handed on: {e}"),
    };
    if let Err(e) = std::env::set_current_dir(&spec.working_directory) {
        return format!("the working directory {} cannot be entered: {e}", spec.working_directory.display());
    }
    match sandbox::confine(&spec.borders) {
        Ok(sandbox) => say(&mut reports, &Report::Confined { sandbox }),
        Err(e) => return format!("the sandbox cannot be made: {e}"),
    }
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments).env_clear().envs(&spec.environment);
    let error = command.stdin(Stdio::from(input)).stderr(Stdio::from(errors)).exec();
    let why = format!("{} cannot be executed: {error}", spec.program.display());
    say(&mut reports, &Report::Failed { why: why.clone() });
    why
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
        let agent = start_second_stage(spec, text)?;
        let mut code = 0;
        loop {
            tokio::select! {
                _ = children.recv() => {
                    if reap(agent, &mut code) {
                        return Ok(code);
                    }
                }
                _ = hangup.recv() => end_tree(spec).await,
            }
        }
    })
}

fn start_second_stage(spec: &Spec, text: &str) -> Result<Pid, String> {
    let [program, arguments @ ..] = spec.own_program.as_slice() else { return Err("coda's own program is not named".into()) };
    let mut command = Command::new(program);
    command.args(arguments).args([COMMAND, CONFINE]).env_clear();
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|e| format!("{} does not start: {e}", program.display()))?;
    let mut input = child.stdin.take().expect("its standard input is a pipe");
    input.write_all(text.as_bytes()).map_err(|e| format!("the spec cannot be handed on: {e}"))?;
    Ok(Pid::from_child(&child))
}

/// Takes the status of every child that ended; `true` once there is none left.
fn reap(agent: Pid, code: &mut u8) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == agent => {
                let report = report_of(status);
                if let Report::Exited { code: number } = &report {
                    *code = u8::try_from(*number).unwrap_or(1);
                }
                say(&mut std::io::stderr(), &report);
            }
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn report_of(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Report::Signalled { signal },
        (code, None) => Report::Exited { code: code.unwrap_or(1) },
    }
}

/// The server died: nobody will ask us to.
async fn end_tree(spec: &Spec) {
    let pid = i32::try_from(std::process::id()).unwrap_or(-1);
    let start = super::process::find(pid).map_or(0, |p| p.start);
    Tree { pid, start, task: spec.task.clone() }.end_members(ORPHANED_GRACE).await;
}
