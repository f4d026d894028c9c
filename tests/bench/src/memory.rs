//! What the server keeps in memory: idle, and for each task that runs, beside the agent's own processes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::client::Client;
use crate::figure::{Figure, Goal, Section, Target};
use crate::place::Place;
use crate::server::{Server, pause};

const FIRST: usize = 2;
const MORE: usize = 10;
const IDLE_MB: f64 = 80.0;
const TASK_MB: f64 = 2.0;
const SETTLE: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// The hidden command that stands between server and agent.
const SUPERVISOR: &str = "sandbox-init";

/// Runs it.
pub(crate) fn run(place: &Place) -> anyhow::Result<Section> {
    let config = format!("[tasks]\nmax_concurrent = {}\n", FIRST + MORE);
    let server = Server::start(place, &config)?;
    pause(SETTLE);
    let idle = resident(server.pid())?;
    let mut client = server.client()?;
    start(&mut client, 0, FIRST)?;
    let few = resident(server.pid())?;
    start(&mut client, FIRST, FIRST + MORE)?;
    let many = resident(server.pid())?;
    let growth = (many - few) / MORE as f64;
    let (supervisors, agents) = beside(server.pid())?;
    ensure!(supervisors.len() == FIRST + MORE, "there are {} supervisors", supervisors.len());
    let own = supervisors.iter().sum::<f64>() / supervisors.len() as f64;
    let task = growth + own;
    Ok(Section {
        title: "Memory",
        how: format!(
            "Resident memory of `coda serve` from /proc/PID/status: {} s after the start, then with {FIRST} and with {} running \
             runbook tasks. Supervisors and agents are counted by their proportional share (smaps_rollup), because they \
             share the program's text with the server.",
            SETTLE.as_secs(),
            FIRST + MORE
        ),
        figures: vec![
            Figure::of("server, idle", "MB", &[idle]),
            Figure::of(format!("server, {FIRST} tasks running"), "MB", &[few]),
            Figure::of(format!("server, {} tasks running", FIRST + MORE), "MB", &[many]),
            Figure::of("server, for each further task", "MB", &[growth]),
            Figure::of("supervisor of a task", "MB", &supervisors),
            Figure::of("processes of the agent, each", "MB", &agents),
        ],
        targets: vec![
            Target::new("idle server, resident", idle, "MB", Goal::AtMost(IDLE_MB)),
            Target::new("for each running task, server and supervisor", task, "MB", Goal::AtMost(TASK_MB)),
        ],
    })
}

/// Starts tasks until so many run.
fn start(client: &mut Client, running: usize, wanted: usize) -> anyhow::Result<()> {
    for _ in running..wanted {
        client.submit("sleep 3600")?;
    }
    let deadline = Instant::now() + WAIT;
    loop {
        let (inbox, _) = client.call("coda_inbox", &json!({ "limit": 1 }))?;
        if inbox["counts"]["running"] == wanted {
            break;
        }
        ensure!(Instant::now() < deadline, "not {wanted} tasks run: {}", inbox["counts"]);
        pause(LOOK);
    }
    pause(SETTLE);
    Ok(())
}

/// Supervisors below the server with what is coda's own below them, and every other process there, in MB.
fn beside(server: u32) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut supervisors, mut agents) = (Vec::new(), Vec::new());
    for pid in children(server) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
        ensure!(String::from_utf8_lossy(&line).contains(SUPERVISOR), "an unknown child of the server");
        let mut own = share(pid)?;
        let mut open = children(pid);
        while let Some(next) = open.pop() {
            // The first process in a task's namespaces is coda's own too.
            let line = std::fs::read(format!("/proc/{next}/cmdline"))?;
            if String::from_utf8_lossy(&line).contains(SUPERVISOR) {
                own += share(next)?;
            } else {
                agents.push(share(next)?);
            }
            open.extend(children(next));
        }
        supervisors.push(own);
    }
    Ok((supervisors, agents))
}

fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Resident memory of a process, in MB.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    megabytes(&format!("/proc/{pid}/status"), "VmRSS:")
}

fn share(pid: u32) -> anyhow::Result<f64> {
    megabytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn megabytes(path: &str, field: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("{path} has no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}
