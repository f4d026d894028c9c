//! The fault matrix on a whole server: what breaks around the policies, at every gate. The cell of a fault and a gate is
//! closed when nothing gets past the gate while the fault lasts; afterwards the server is the same process, and the next
//! task passes all four gates. What a policy itself can do wrong has its matrix in `host/src/policy/tests/matrix.rs`.

mod disk;
mod gates;

use crate::guest;
use crate::preload::Clock;
use crate::server::{DEADLINE, Server, text};
use gates::{GATES, Gate, Probe};

/// Refuses, at each gate, what says so.
fn strict() -> String {
    GATES.map(|gate| at(gate, &format!("do = \"deny-if\", word = \"FAULT-{gate}\""), "")).concat()
}

fn at(gate: Gate, settings: &str, rest: &str) -> String {
    guest::entry(&format!("at-{gate}"), settings, &format!("gates = [\"{gate}\"]\n{rest}"))
}

fn server() -> Server {
    let server = Server::with_config("");
    guest::policies(&server, &strict());
    server
}

/// Every gate stays closed, and afterwards another task passes all of them.
fn closed_everywhere(server: &Server, fault: &str) {
    for gate in GATES {
        Probe::start(server, gate).is_stopped(server, fault, "test.deny");
    }
    gates::served(server, fault);
}

fn counted(fault: &str) {
    println!("fault matrix, server: {fault}: {} cells, all closed", GATES.len());
}

#[test]
fn a_folder_that_breaks_under_a_running_server() {
    let mut server = server();
    server.run();
    let pid = server.pid();
    for broken in ["[[policy", "", "[[policy]]\nname = \"p\"\ncomponent = \"gone.wasm\"\n"] {
        guest::policies(&server, broken);
        let loaded = server.coda(&["policy", "load"]);
        assert!(!loaded.status.success(), "{broken:?}: {}", text(&loaded));
        let status = server.json(&["policy", "status"]);
        assert!(status["degraded"].is_string() && status["last_error"].is_object(), "{broken:?}: {status:#}");
        closed_everywhere(&server, "policies.toml broken");
    }
    std::fs::remove_file(server.path("policies/policies.toml")).expect("it is there");
    closed_everywhere(&server, "policies.toml gone");
    assert_eq!(server.pid(), pid);
    counted("policies.toml broken while running");
}

#[test]
fn a_clock_that_jumps() {
    const DAY_S: i64 = 86_400;
    let mut server = server();
    let clock = Clock::of(&mut server);
    server.run();
    for days in [40, -400, 4_000, 0] {
        clock.jump(days * DAY_S);
        closed_everywhere(&server, &format!("the clock is off by {days} days"));
    }
    let verified = server.coda(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    counted("clock jump");
}

#[test]
fn a_request_that_is_open_when_the_clock_jumps_is_not_approved_by_it() {
    let mut server = Server::with_config("");
    let clock = Clock::of(&mut server);
    server.run();
    let held = server.runbook("echo alive > canary\nrm -rf canary");
    clock.jump(-86_400 * 3);
    let still = server.json(&["task", "show", &crate::server::field(&held, "task_id")]);
    assert_eq!(crate::server::field(&still, "status"), "needs_approval", "{still:#}");
    clock.jump(86_400 * 3);
    let ended = server.watch(&crate::server::field(&held, "task_id"));
    assert!(["denied", "failed"].contains(&crate::server::field(&ended, "status").as_str()), "{ended:#}");
    assert!(server.in_workspace(&held, "canary").exists(), "{ended:#}");
}

#[test]
fn compiled_policies_that_were_damaged() {
    let mut server = server();
    let cache = server.path("own-cache");
    server.set("CODA_POLICY_CACHE", &cache.display().to_string());
    for damage in ["flipped", "truncated", "empty", "other"] {
        server.run();
        server.kill();
        let files: Vec<_> = std::fs::read_dir(&cache).expect("a cache").map(|file| file.expect("a file").path()).collect();
        assert_eq!(files.len(), GATES.len(), "{files:?}");
        for file in files {
            let mut bytes = std::fs::read(&file).expect("a compiled policy");
            let middle = bytes.len() / 2;
            match damage {
                "flipped" => bytes[middle] ^= 0x10,
                "truncated" => bytes.truncate(middle),
                "empty" => bytes.clear(),
                _ => bytes = b"\x7fELF is not what it should be".to_vec(),
            }
            std::fs::write(&file, bytes).expect("damaged");
        }
        server.run();
        closed_everywhere(&server, &format!("compiled policies {damage}"));
        server.kill();
    }
    counted("corrupted cache file");
}

/// A policy that a chain never gets an answer from; while it waits, set after set is promoted.
#[test]
fn a_reload_in_mid_call() {
    let mut server = server();
    server.run();
    let endless = |n: u64| {
        GATES
            .map(|gate| {
                let limits = format!("limits = {{ fuel = 1_000_000_000_000, timeout_ms = {} }}", 2_000 + n);
                at(gate, &format!("do = \"loop\", only = \"FAULT-{gate}\""), &limits)
            })
            .concat()
    };
    let mut n = 0;
    for gate in GATES {
        guest::policies(&server, &endless(n));
        assert!(server.coda(&["policy", "load"]).status.success());
        let probe = std::thread::scope(|scope| {
            let probe = scope.spawn(|| {
                let probe = Probe::start(&server, gate);
                probe.is_stopped(&server, "reload in mid-call", "policy-fault.timeout");
                probe
            });
            while !probe.is_finished() {
                n += 1;
                guest::policies(&server, &endless(n));
                let loaded = server.coda(&["policy", "load"]);
                assert!(loaded.status.success(), "{}", text(&loaded));
            }
            probe.join().expect("the probe")
        });
        let (began, newest) = generations(&server, &probe);
        assert!(began < newest, "no set came while {gate} was judged: {began}, {newest}");
        gates::served(&server, "reload in mid-call");
    }
    counted("reload in mid-call");
}

/// The generation of the decision that timed out, and the newest that was promoted before that decision was made.
fn generations(server: &Server, probe: &Probe) -> (u64, u64) {
    let audit = server.json(&["audit", "show", "--limit", "1000"]);
    let records = audit["records"].as_array().unwrap_or_else(|| panic!("records in {audit:#}"));
    let mut newest = 0;
    for record in records {
        let generation = record["body"]["generation"].as_u64().unwrap_or(0);
        if record["kind"] == "policy.promote" {
            newest = newest.max(generation);
        }
        let faulty = record["body"]["codes"].to_string().contains("policy-fault.timeout");
        if record["kind"] == "decision" && faulty && record["task"] == probe.id() {
            return (generation, newest);
        }
    }
    panic!("no decision on {} timed out within {DEADLINE:?}: {audit:#}", probe.id())
}
