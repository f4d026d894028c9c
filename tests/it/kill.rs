//! The kill matrix: kill -9 and power cuts at seeded random moments of a busy run, with approvals pending and held,
//! reloads, chains and cancels. What was acknowledged is there afterwards, and nothing ran twice: seen from the outside,
//! in the canary files, the database and the audit log.
//!
//! `CODA_KILLS` says how many (`make kills`: 200), `CODA_KILL_SEED` repeats a seed.

pub mod ledger;
mod work;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::person::{Person, prepared_behind_a_proxy};
use crate::preload::{Lost, Synced};
use crate::server::Server;
use ledger::Ledger;

const KILLS: u64 = 40;
/// The longest that a server works before it is killed.
const LIFE_MS: u64 = 1_200;
/// The longest that a server starts before it is killed, where it is killed while it starts.
const START_MS: u64 = 500;

pub const ROLES: &str = r#"
[[role]]
name = "submitter"
principals = ["sue@example.com"]
[[role]]
name = "approver"
principals = ["ann@example.com"]
[[role]]
name = "operator"
principals = ["olga@example.com"]
"#;

/// Short holds, so that requests are pending both held and parked when the kill comes.
const CONFIG: &str = "[tasks]\nmax_concurrent = 8\nmax_per_principal = 2000\n[approval]\nhold_s = 1\n[executor]\ngrace_s = 1\n";

/// Numbers from a seed: the same seed, the same numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most.max(1)
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn kills_and_power_cuts_lose_nothing_and_repeat_nothing() {
    let seed = number("CODA_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 2_654_435_761);
    let kills = number("CODA_KILLS").unwrap_or(KILLS);
    println!("kill matrix: seed {seed} (CODA_KILL_SEED repeats it), {kills} kills");
    let mut random = Random::new(seed);
    let mut server = prepared_behind_a_proxy(CONFIG, ROLES);
    let synced = Synced::of(&mut server);
    server.run();
    let mut ledger = Ledger::default();
    let (mut cuts, mut starts, began) = (0, 0, Instant::now());
    for _ in 0..kills {
        if random.one_in(5) {
            starts += 1;
            server.kill();
            synced.begin();
            start_and_kill(&mut server, Duration::from_millis(random.below(START_MS)));
        } else {
            live_and_kill(&mut server, &mut ledger, &mut random);
        }
        if random.one_in(2) {
            cuts += 1;
            synced.cut(&server, [Lost::Both, Lost::Both, Lost::Log, Lost::Database][random.below(4) as usize]);
        }
        synced.begin();
        server.run();
        ledger.newest_are_there(&server);
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    work::settle(&server);
    ledger.hold_to(&server);
    let verified = server.coda(&["audit", "verify", "--offline"]);
    assert!(verified.status.success(), "{}", crate::server::text(&verified));
    server.stop();
    ledger.hold_to_files(&server);
    println!(
        "kill matrix: {kills} kills ({cuts} as power cuts, {starts} while it started), {}; {:.0} kills a minute; seed {seed}",
        ledger.in_words(),
        kills as f64 / minutes
    );
    assert!(ledger.tasks.len() as u64 >= kills, "hardly anything was submitted: {}", ledger.in_words());
}

/// A server that never comes to serve.
fn start_and_kill(server: &mut Server, moment: Duration) {
    let mut child = server.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("coda starts");
    rest(moment);
    let _ = child.kill();
    let _ = child.wait();
}

/// A busy server that is killed at a moment.
fn live_and_kill(server: &mut Server, ledger: &mut Ledger, random: &mut Random) {
    let moment = Duration::from_millis(random.below(LIFE_MS));
    let seeds: Vec<u64> = (0..4).map(|_| random.below(u64::MAX)).collect();
    let over = AtomicBool::new(false);
    let known = ledger.clone_for_work();
    let done = std::thread::scope(|scope| {
        let (shared, over, known) = (&*server, &over, &known);
        let workers: Vec<_> = (seeds.iter().enumerate())
            .map(|(at, seed)| {
                scope.spawn(move || {
                    let mut random = Random::new(*seed);
                    match at {
                        0 | 1 => work::submit(&Person::new(shared, "sue@example.com"), over, &mut random, known),
                        2 => work::decide(&Person::new(shared, "ann@example.com"), over, &mut random),
                        _ => work::cancel_and_reload(shared, over, &mut random, known),
                    }
                })
            })
            .collect();
        rest(moment);
        let _ = Command::new("kill").args(["-KILL", &shared.pid().to_string()]).status();
        over.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect::<Vec<_>>()
    });
    server.kill();
    for work in done {
        ledger.take(work);
    }
}

/// The moment of a kill is the test's subject; nothing is awaited by it.
fn rest(moment: Duration) {
    let (_never, timer) = mpsc::channel::<()>();
    let _ = timer.recv_timeout(moment);
}
