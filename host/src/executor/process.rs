//! Processes as /proc shows them: who descends from whom, since when, and who carries a task's mark.
//!
//! It only looks and signals. A process is named by pid **and** start time, so that a reused pid is never signalled.

use std::collections::{HashMap, HashSet};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::id::TaskId;

/// Environment variable that marks every process of a task.
pub(crate) const TASK_MARK: &str = "CODA_TASK_ID";

/// One line of /proc/PID/stat, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Process id.
    pub(crate) pid: i32,
    /// Its parent.
    pub(crate) parent: i32,
    /// Start in clock ticks since boot (field 22): with the pid, a name that is never reused.
    pub(crate) start: u64,
    /// Processor time used, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Ended, and only not yet reaped.
    pub(crate) zombie: bool,
}

/// The process with this id, if there is one.
pub(crate) fn find(pid: i32) -> Option<Process> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, stat: &str) -> Option<Process> {
    // The name in parentheses may hold blanks and parentheses of its own: the last one closes it.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        start: number(19)?,
        cpu_ticks: number(11)? + number(12)?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

/// Every process that is visible.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(find).collect()
}

/// Everything below `root`, without `root` itself, parents first.
pub(crate) fn descendants(everything: &[Process], root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in everything {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(child.pid) {
                found.push(*child);
                next.push(child.pid);
            }
        }
    }
    found
}

/// Whether the process was started with this task's mark in its environment.
pub(crate) fn carries(process: &Process, task: &TaskId) -> bool {
    let mark = format!("{TASK_MARK}={task}");
    std::fs::read(format!("/proc/{}/environ", process.pid))
        .is_ok_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes()))
}

/// Sends a signal to exactly this process: through a pidfd, after its start time was compared again.
pub(crate) fn signal(process: &Process, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(process.pid) else { return false };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    find(process.pid).is_some_and(|now| now.start == process.start) && pidfd_send_signal(fd, signal).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_read() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 50 6 0 0 20 0 1 0 12345 1 2";
        let expected = Process { pid: 7, parent: 3, start: 12345, cpu_ticks: 56, zombie: false };
        assert_eq!(parse(7, line), Some(expected));
        assert_eq!(parse(7, "7 (short) S 3"), None);
    }

    #[test]
    fn we_are_found_with_our_parent() {
        let me = i32::try_from(std::process::id()).expect("a pid fits");
        let found = find(me).expect("we run");
        assert!(!found.zombie);
        assert!(descendants(&all(), found.parent).iter().any(|p| p.pid == me && p.start == found.start));
    }
}
