//! Ending a task's processes: TERM to the whole tree, a grace, then KILL, until nothing is left.
//!
//! ```text
//! members ─ TERM, CONT ─► gone? ─ grace over ─► KILL until gone or KILL_ROUNDS_S ─► survivors are reported
//! ```
//! The tree is what descends from the task's supervisor (which adopts orphans, sessions of their own included), and
//! every process that carries the task's mark in its environment. The supervisor goes last: it is what holds the tree
//! together. In tier A, so does the first process inside: when it is killed, the kernel kills all others there at once.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::process::{self, Process};
use crate::id::TaskId;

/// How often the tree is looked at again.
const ROUND: Duration = Duration::from_millis(20);
/// How long KILL is repeated: new processes may be born between two looks.
const KILL_ROUNDS_S: u64 = 5;
/// How long the supervisor may take to notice that its tree is gone.
const SUPERVISOR_EXIT: Duration = Duration::from_millis(500);

/// What it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeEnd {
    /// Processes that were there and were told to end.
    pub found: u32,
    /// Of those, how many did not end within the grace and were killed.
    pub killed: u32,
    /// Still there in the end: should be 0, and is an operator's matter otherwise.
    pub survivors: u32,
}

/// A task's processes.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// The supervisor.
    pub(super) pid: i32,
    /// Its start time.
    pub(super) start: u64,
    /// Whose mark the processes carry.
    pub(super) task: TaskId,
    /// The first process inside, where the task has namespaces: coda's own, and gone when all others are.
    pub(super) init: Option<Process>,
}

impl Tree {
    /// The living members, without the supervisor.
    fn members(&self) -> Vec<Process> {
        let everything = process::all();
        let ours = i32::try_from(std::process::id()).unwrap_or(-1);
        let rooted = everything.iter().any(|p| p.pid == self.pid && p.start == self.start);
        let mut members = if rooted { process::descendants(&everything, self.pid) } else { Vec::new() };
        let known: HashSet<i32> = members.iter().map(|p| p.pid).collect();
        let marked = |p: &&Process| !known.contains(&p.pid) && process::carries(p, &self.task);
        members.extend(everything.iter().filter(marked).copied());
        let is_init = |p: &Process| self.init.is_some_and(|init| (init.pid, init.start) == (p.pid, p.start));
        members.retain(|p| !p.zombie && p.pid != ours && p.pid != self.pid && !is_init(p));
        members
    }

    async fn look(&self) -> Vec<Process> {
        let tree = self.clone();
        tokio::task::spawn_blocking(move || tree.members()).await.unwrap_or_default()
    }

    /// Processor time that the whole tree used so far, in clock ticks: shows work that prints nothing.
    pub(super) async fn cpu_ticks(&self) -> u64 {
        self.look().await.iter().map(|p| p.cpu_ticks).sum()
    }

    /// Ends every member, then the supervisor.
    pub(super) async fn end(&self, grace: Duration) -> TreeEnd {
        let report = self.end_members(grace).await;
        self.end_supervisor().await;
        report
    }

    /// Ends every member.
    pub(super) async fn end_members(&self, grace: Duration) -> TreeEnd {
        let mut told = HashSet::new();
        let deadline = Instant::now() + grace;
        let mut members = self.look().await;
        while !members.is_empty() && Instant::now() < deadline {
            for member in &members {
                if told.insert((member.pid, member.start)) {
                    process::signal(member, Signal::TERM);
                    // A stopped process sees TERM only when it runs again.
                    process::signal(member, Signal::CONT);
                }
            }
            sleep(ROUND).await;
            members = self.look().await;
        }
        let deadline = Instant::now() + Duration::from_secs(KILL_ROUNDS_S);
        let mut killed = HashSet::new();
        while !members.is_empty() && Instant::now() < deadline {
            if let Some(init) = &self.init {
                process::signal(init, Signal::KILL);
            }
            for member in &members {
                process::signal(member, Signal::KILL);
                killed.insert((member.pid, member.start));
            }
            sleep(ROUND).await;
            members = self.look().await;
        }
        told.extend(&killed);
        TreeEnd { found: count(told.len()), killed: count(killed.len()), survivors: count(members.len()) }
    }

    async fn end_supervisor(&self) {
        let alive = || process::find(self.pid).filter(|p| p.start == self.start && !p.zombie);
        let deadline = Instant::now() + SUPERVISOR_EXIT;
        while alive().is_some() && Instant::now() < deadline {
            sleep(ROUND).await;
        }
        if let Some(supervisor) = alive() {
            process::signal(&supervisor, Signal::KILL);
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Ends what a server that died left behind: the tree of `pid`, if that is still the process that started at
/// `pid_start`, and whatever carries the mark of `task`. Nothing of another task, and no process that merely has the pid.
pub async fn end_leftovers(task: &TaskId, pid: i32, pid_start: u64, grace: Duration) -> TreeEnd {
    Tree { pid, start: pid_start, task: task.clone(), init: None }.end(grace).await
}
