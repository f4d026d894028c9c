//! kill -9 at random moments: nothing that was acknowledged is lost, nothing runs twice.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use crate::server::{Server, field};

const ROUNDS: usize = 10;

#[test]
fn ten_kills_lose_nothing_and_repeat_nothing() {
    let seed = std::env::var("CODA_KILL_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) * 2_654_435_761);
    println!("seed {seed} (set CODA_KILL_SEED to repeat)");
    let mut random = seed | 1;
    let mut server = Server::start();
    let mut acknowledged: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for _ in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let moment = Duration::from_millis(random % 1500);
        let (tell, told) = mpsc::channel::<()>();
        let busy = std::thread::scope(|scope| {
            let shared = &server;
            let submitting = scope.spawn(move || {
                let mut done = Vec::new();
                while told.try_recv().is_err() {
                    let prompt = "```sh\necho start\necho ran >> ran.txt\necho end\n```";
                    let output = shared.coda(&["run", "--agent", "runbook", "--json", prompt]);
                    if output.status.success() {
                        if let Ok(task) = serde_json::from_slice::<serde_json::Value>(&output.stdout) {
                            done.push((field(&task, "task_id"), task));
                        }
                    } else {
                        break;
                    }
                }
                done
            });
            // The moment of the kill is the test's subject; nothing is awaited by it.
            let (_never, timer) = mpsc::channel::<()>();
            let _ = timer.recv_timeout(moment);
            let _ = std::process::Command::new("kill").args(["-KILL", &shared.pid().to_string()]).status();
            let _ = tell.send(());
            submitting.join().expect("the submitter")
        });
        acknowledged.extend(busy);
        server.kill();
        server.run();
    }
    let mut ended = BTreeMap::new();
    for (task, submitted) in &acknowledged {
        let view = server.watch(task);
        let status = field(&view, "status");
        let lines = std::fs::read_to_string(server.in_workspace(submitted, "ran.txt")).unwrap_or_default().lines().count();
        assert!(lines <= 1, "{task} ran its step {lines} times");
        match status.as_str() {
            "completed" => assert_eq!(lines, 1, "{task} completed without its step"),
            "failed" => assert!(view["reason"]["text"].as_str().unwrap_or_default().contains("interrupted"), "{view:#}"),
            other => panic!("{task} is {other}: {view:#}"),
        }
        *ended.entry(status).or_insert(0) += 1;
    }
    println!("{} acknowledged over {ROUNDS} kills: {ended:?}", acknowledged.len());
    assert!(acknowledged.len() >= ROUNDS, "hardly anything was submitted: {}", acknowledged.len());
    let verified = server.coda(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", crate::server::text(&verified));
}
