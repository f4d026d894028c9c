//! Reload under load: twenty promotes, each changing a verdict, while four clients submit without pause and tasks run.
//! Nobody gets an error but 429, every chain is of one set, and the sets that were replaced are gone. How long chains
//! take meanwhile is printed beside how long they took before; it is no condition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guest;
use crate::kill::ledger::query;
use crate::person::{Person, prepared_behind_a_proxy};
use crate::server::{DEADLINE, Server};

const PROMOTES: u64 = 20;
const CLIENTS: u64 = 4;
/// How many chains are judged before the first reload, as the measure of the others.
const BEFORE: u64 = 200;

/// Two policies of one set carry its number, so that a chain of two sets would show in the audit log. Odd sets deny what
/// says `odd`, even ones what says `even`.
fn set(number: u64) -> String {
    let word = if number.is_multiple_of(2) { "even" } else { "odd" };
    let one = |name: &str| {
        // Its number is a setting, so that each set is compiled anew.
        let settings = format!("do = \"deny-if\", word = \"{word}\", number = \"{number}\"");
        guest::entry(&format!("{name}-{number}"), &settings, "gates = [\"prompt\", \"tool-call\", \"tool-result\", \"output\"]")
    };
    one("first") + &one("second")
}

#[test]
fn twenty_promotes_under_load() {
    let mut server = prepared_behind_a_proxy("[tasks]\nmax_concurrent = 3\n", crate::kill::ROLES);
    let cache = server.path("own-cache");
    server.set("CODA_POLICY_CACHE", &cache.display().to_string());
    guest::policies(&server, &set(0));
    server.run();
    let over = AtomicBool::new(false);
    let (answers, reloads) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let (server, over) = (&server, &over);
                    move || submit(server, client, over)
                })
            })
            .collect();
        let reloads = promote(&server);
        over.store(true, Ordering::Relaxed);
        (clients.into_iter().map(|client| client.join().expect("a client")).collect::<Vec<_>>(), reloads)
    });
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    for (status, _) in answers.iter().flatten() {
        *statuses.entry(*status).or_insert(0) += 1;
    }
    assert!(statuses.keys().all(|status| [201, 429].contains(status)), "{statuses:?}");
    server.kill();
    let (chains, mixed) = chains(&server);
    println!(
        "reload under load: {PROMOTES} promotes, {CLIENTS} clients, answers {statuses:?}, {chains} chains, {} mixed; {}",
        mixed.len(),
        times(&server, reloads.began_ms)
    );
    println!("reload under load: RSS {} kB after 5 promotes, {} kB after {PROMOTES}", reloads.rss_early_kb, reloads.rss_late_kb);
    assert!(mixed.is_empty(), "{mixed:#?}");
    // A set takes some megabytes; all twenty of them would show.
    let grown_kb = reloads.rss_late_kb.saturating_sub(reloads.rss_early_kb);
    assert!(grown_kb < 64 << 10, "15 replaced sets left {grown_kb} kB behind");
}

/// One client: prompts that one set denies and the next lets pass.
fn submit(server: &Server, client: u64, over: &AtomicBool) -> Vec<(u16, Value)> {
    let sue = Person::new(server, "sue@example.com");
    let mut answers = Vec::new();
    for number in client.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let word = if number.is_multiple_of(2) { "even" } else { "odd" };
        let body = json!({ "prompt": format!("```sh\necho {word}\n```"), "agent": "runbook" });
        answers.push(sue.post("/v1/tasks", &body));
    }
    answers
}

struct Reloads {
    began_ms: u64,
    rss_early_kb: u64,
    rss_late_kb: u64,
}

fn promote(server: &Server) -> Reloads {
    let olga = Person::new(server, "olga@example.com");
    let judged = || {
        let metrics = crate::person::client().get(format!("{}/metrics", server.url)).send().and_then(|answer| answer.text());
        let metrics = metrics.expect("metrics");
        let lines = metrics.lines().filter(|line| line.starts_with("coda_policy_judgments_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let started = Instant::now();
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    let wait_for = |count: u64| {
        while judged() < count {
            assert!(started.elapsed() < 4 * DEADLINE, "the clients are not served: {} chains", judged());
            let _ = pause.recv_timeout(Duration::from_millis(20));
        }
    };
    wait_for(BEFORE);
    let mut reloads = Reloads { began_ms: server_ms(server), rss_early_kb: 0, rss_late_kb: 0 };
    for number in 1..=PROMOTES {
        guest::policies(server, &set(number));
        let (status, report) = olga.post("/v1/policies/load", &json!({}));
        assert!(status == 200 && report["state"] != "candidate", "{report:#}");
        // Some chains by each set.
        wait_for(judged() + 10);
        if number == 5 {
            reloads.rss_early_kb = rss_kb(server);
        }
    }
    reloads.rss_late_kb = rss_kb(server);
    reloads
}

/// When the newest decision so far was made, by the server's clock.
fn server_ms(server: &Server) -> u64 {
    query(server, "SELECT max(time_ms) AS at FROM decision")[0]["at"].as_u64().expect("a time")
}

fn rss_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How many chains there were, and which were not of one set: by name, number and verdict.
fn chains(server: &Server) -> (usize, Vec<Value>) {
    let number_of = query(
        server,
        "SELECT DISTINCT json_extract(body, '$.generation') AS generation, json_extract(p.value, '$.policy') AS policy \
         FROM audit_record, json_each(body, '$.policies') AS p WHERE kind = 'decision'",
    );
    let mut sets: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for row in &number_of {
        let (generation, policy) = (row["generation"].as_u64().expect("a generation"), row["policy"].as_str().expect("a name"));
        sets.entry(generation).or_default().push(policy.rsplit('-').next().expect("a number"));
    }
    for (generation, numbers) in &sets {
        assert!(numbers.iter().all(|number| number == &numbers[0]), "generation {generation} judged with sets {numbers:?}");
    }
    assert!(sets.len() as u64 > PROMOTES / 2, "hardly any set judged: {sets:?}");
    let all = query(
        server,
        "SELECT seq, body, (SELECT count(DISTINCT substr(json_extract(p.value, '$.policy'), instr(json_extract(p.value, '$.policy'), '-'))) \
         FROM json_each(body, '$.policies') AS p) AS sets FROM audit_record WHERE kind = 'decision'",
    );
    let mixed = all.iter().filter(|row| row["sets"] != 1).cloned().collect();
    (all.len(), mixed)
}

/// Median and 99th percentile of what the policies of a chain took, before the first reload and from then on.
fn times(server: &Server, began_ms: u64) -> String {
    let rows = query(
        server,
        "SELECT time_ms, (SELECT sum(json_extract(s.value, '$.micros')) FROM json_each(steps) AS s) AS us FROM decision WHERE gate = 'prompt'",
    );
    let of = |during: bool| {
        let wanted = rows.iter().filter(|row| (row["time_ms"].as_u64() > Some(began_ms)) == during);
        let mut us: Vec<u64> = wanted.filter_map(|row| row["us"].as_u64()).collect();
        us.sort_unstable();
        let at = |percent: usize| us.get((us.len() * percent / 100).min(us.len().saturating_sub(1))).copied().unwrap_or(0);
        format!("p50 {} µs, p99 {} µs of {}", at(50), at(99), us.len())
    };
    format!("a chain before: {}; during: {}", of(false), of(true))
}
