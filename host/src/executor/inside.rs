//! The second stage: makes the sandbox and becomes the agent; in tier A through a first process that stays inside.
//!
//! ```text
//! tiers B, C:  confine ─ exec ─► agent
//! tier A:      namespaces ─► first process: files, loopback, listener ─► server
//!                                 └─ fork ─► confine ─ exec ─► agent
//! ```
//! The first process adopts and reaps what the agent leaves behind, says how the agent ended, and goes when nobody is
//! left; the kernel ends everything inside with it. It is coda's own and keeps no rights; the agent can't signal it,
//! because the kernel protects the first process of a namespace from those in it.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, WaitOptions};

use super::sandbox::{self, Mode, Network, Side, Tier};
use super::supervisor::{NO_NAMESPACES, NOT_EXECUTED, Report, Spec, line, report_of, say};

/// Becomes the agent, or returns an exit code.
pub(super) fn second_stage(spec: &Spec, tier: Tier) -> u8 {
    // Not inherited: the agent never holds the way to the server.
    let mut reports = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(reports) => File::from(reports),
        Err(_) => return NOT_EXECUTED,
    };
    if tier != Tier::A {
        return become_agent(spec, tier, None, &mut reports);
    }
    let made = sandbox::split(spec.borders.network).and_then(|side| match side {
        Side::Outside => sandbox::leave(0),
        Side::Inside(init) => first_process(spec, init, &mut reports),
    });
    match made {
        Ok(never) => match never {},
        Err(e) => sandbox::leave(without_namespaces(spec, &e.to_string(), &mut reports)),
    }
}

/// Says why, and whether another tier may do.
fn without_namespaces(spec: &Spec, why: &str, reports: &mut File) -> u8 {
    if spec.borders.mode == Mode::Require {
        let way_out = "executor.sandbox = \"require\" wants tier A; `coda doctor` says what this machine lacks";
        say(reports, &Report::Failed { why: format!("the sandbox cannot be made: {why}; {way_out}") });
        return NOT_EXECUTED;
    }
    say(reports, &Report::NoNamespaces { why: why.to_owned() });
    NO_NAMESPACES
}

/// Nothing of this type exists: a function that returns it does not return.
enum Never {}

/// Inside. Lays everything out, starts the agent, and stays until nobody is left.
fn first_process(spec: &Spec, init: i32, reports: &mut File) -> Result<Never, sandbox::SandboxError> {
    let _view = sandbox::lay_out(&spec.borders)?;
    if spec.borders.network == Network::GatewayOnly {
        hand_over(&sandbox::listen(spec.borders.gateway_port)?, reports)?;
    }
    let Some(agent) = sandbox::fork()? else {
        take_terminal();
        sandbox::leave(become_agent(spec, Tier::A, Some(init), reports));
    };
    // Whatever happens from here on has to do with the agent, and is said as its end.
    sandbox::give_up_rights()?;
    reap(agent, reports);
    sandbox::leave(0)
}

/// Gives the server a listener that leads to this task alone.
fn hand_over(listener: &std::net::TcpListener, reports: &File) -> Result<(), sandbox::SandboxError> {
    let text = line(&Report::Listening);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener.as_fd()];
    let fits = along.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the space is for one");
    let sent = sendmsg(reports, &[IoSlice::new(text.as_bytes())], &mut along, SendFlags::empty());
    let failed = |source: std::io::Error| sandbox::SandboxError::Namespaces { what: "the listener inside".into(), source };
    match sent {
        Ok(bytes) if bytes == text.len() => Ok(()),
        Ok(_) => Err(failed(std::io::ErrorKind::WriteZero.into())),
        Err(e) => Err(failed(e.into())),
    }
}

/// A process group of the agent's own in the foreground: the supervisor's can't be seen from inside.
fn take_terminal() {
    let us = rustix::process::getpid();
    if rustix::process::setpgid(None, None).is_ok() {
        // To move into the foreground from behind is to be stopped, unless one does not listen.
        let _ = sandbox::without_stop(|| rustix::termios::tcsetpgrp(std::io::stdout(), us));
    }
}

/// Waits for everybody. Nobody inside continues an agent that was stopped from its terminal, so we do.
fn reap(agent: Pid, reports: &mut File) {
    loop {
        match rustix::process::wait(WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == agent && status.stopped() => {
                let _ = rustix::process::kill_process_group(agent, Signal::CONT);
            }
            Ok(Some((pid, status))) if pid == agent => say(reports, &report_of(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Puts the sandbox on and executes the agent; comes back where that failed.
fn become_agent(spec: &Spec, tier: Tier, init: Option<i32>, reports: &mut File) -> u8 {
    let why = confined(spec, tier, init, reports);
    say(reports, &Report::Failed { why });
    NOT_EXECUTED
}

fn confined(spec: &Spec, tier: Tier, init: Option<i32>, reports: &mut File) -> String {
    let terminal = || std::io::stdout().as_fd().try_clone_to_owned();
    let two = || -> std::io::Result<[OwnedFd; 2]> { Ok([terminal()?, terminal()?]) };
    let [input, errors] = match two() {
        Ok(two) => two,
        Err(e) => return format!("the terminal cannot be handed on: {e}"),
    };
    if let Err(e) = std::env::set_current_dir(&spec.working_directory) {
        return format!("the working directory {} cannot be entered: {e}", spec.working_directory.display());
    }
    match sandbox::confine(&spec.borders, tier) {
        Ok(sandbox) => say(reports, &Report::Confined { sandbox, init }),
        Err(e) => return format!("the sandbox cannot be made: {e}"),
    }
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments).env_clear().envs(&spec.environment);
    let error = command.stdin(Stdio::from(input)).stderr(Stdio::from(errors)).exec();
    format!("{} cannot be executed: {error}", spec.program.display())
}
