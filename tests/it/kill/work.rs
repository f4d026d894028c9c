//! What the clients of a busy server do until it is gone. Each notes only what it was told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::Random;
use super::ledger::{Kind, Known, Told};
use crate::person::Person;
use crate::server::{DEADLINE, Server, field};

/// Numbers the canary files, over all rounds.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Two sets that judge alike where it matters here; one more label of production environments.
const SETS: [&str; 2] = ["production = [\"prod\"]", "production = [\"prod\", \"live\"]"];

fn prompt(kind: Kind, number: u64) -> String {
    let canary = format!("echo ran >> ran-{number}.txt");
    match kind {
        Kind::Plain | Kind::Chained => format!("```sh\necho start\n{canary}\necho end\n```"),
        Kind::Asks => format!("```sh\necho start\n{canary}; rm -rf gone-{number}\necho end\n```"),
        Kind::Plan => format!("```sh plan\n{canary}\nrm -rf gone-{number}\n```"),
        Kind::Long => format!("```sh\n{canary}\nsleep 1000\n```"),
    }
}

/// Tasks that a client hands over between two kills: a fast machine must be able to end them all at the end, too.
const MOST: usize = 4;

/// Hands tasks over without pause, up to so many.
pub(super) fn submit(sue: &Person<'_>, over: &AtomicBool, random: &mut Random, known: &Known) -> Told {
    let mut told = Told::default();
    let mut last: Option<(String, String)> = known.session.clone();
    while !over.load(Ordering::Relaxed) && told.tasks.len() < MOST {
        let kind = match random.below(10) {
            0..=3 => Kind::Plain,
            4 | 5 => Kind::Asks,
            6 => Kind::Plan,
            7 => Kind::Long,
            _ => Kind::Chained,
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut body = json!({ "prompt": prompt(kind, number), "agent": "runbook" });
        let mut chain = None;
        if let (Kind::Chained, Some((session, root))) = (kind, &last) {
            body["previous_session_id"] = json!(session);
            chain = Some(root.clone());
        }
        match sue.try_post("/v1/tasks", &body) {
            Some((201, task)) => {
                let session = field(&task, "session_id");
                let chain = chain.unwrap_or_else(|| session.clone());
                last = Some((session, chain.clone()));
                told.tasks.push((field(&task, "task_id"), kind, number, chain));
            }
            Some((429, _)) => {}
            Some((status, answer)) => panic!("a submission was answered {status}: {answer:#}"),
            None => break,
        }
    }
    told.session = last;
    told
}

/// Decides whatever is open: mostly for, sometimes against.
pub(super) fn decide(ann: &Person<'_>, over: &AtomicBool, random: &mut Random) -> Told {
    let mut told = Told::default();
    while !over.load(Ordering::Relaxed) {
        let Some(open) = open_requests(ann) else { break };
        for approval in open {
            if random.one_in(3) {
                continue;
            }
            let approve = !random.one_in(4);
            let body = json!({ "decision": if approve { "approve" } else { "deny" }, "reason": "as the dice say" });
            match ann.try_post(&format!("/v1/approvals/{approval}/decision"), &body) {
                Some((200, _)) => told.decisions.push((approval, approve)),
                // Its task ended, or a stricter set withdrew it.
                Some((404 | 409, _)) => {}
                Some((status, answer)) => panic!("a decision was answered {status}: {answer:#}"),
                None => return told,
            }
        }
    }
    told
}

fn open_requests(ann: &Person<'_>) -> Option<Vec<String>> {
    let (status, answer) = ann.try_get("/v1/approvals?status=open")?;
    assert_eq!(status, 200, "{answer:#}");
    let open = answer["approvals"].as_array().expect("a list");
    Some(open.iter().map(|approval| field(approval, "approval_id")).collect())
}

/// Cancels tasks that run long, and loads one set after the other.
pub(super) fn cancel_and_reload(server: &Server, over: &AtomicBool, random: &mut Random, known: &Known) -> Told {
    let (sue, olga) = (Person::new(server, "sue@example.com"), Person::new(server, "olga@example.com"));
    let mut told = Told::default();
    let mut candidates = known.long.clone();
    while !over.load(Ordering::Relaxed) {
        if random.one_in(2) {
            super::ledger::write_policies(server, SETS[random.below(2) as usize]);
            match olga.try_post("/v1/policies/load", &json!({})) {
                Some((200, report)) => told.generations.push(report["generation"].as_u64().expect("a generation")),
                Some((status, answer)) => panic!("a load was answered {status}: {answer:#}"),
                None => break,
            }
        }
        let Some((_, running)) = sue.try_get("/v1/tasks?status=running&limit=50") else { break };
        for task in running["tasks"].as_array().into_iter().flatten() {
            if task["prompt_summary"].as_str().is_some_and(|prompt| prompt.contains("sleep 1000")) {
                candidates.push(field(task, "task_id"));
            }
        }
        let Some(task) = candidates.pop() else { continue };
        match sue.try_post(&format!("/v1/tasks/{task}/cancel"), &json!({ "reason": "no longer needed" })) {
            Some((200, view)) => told.cancels.push((task, field(&view, "status"))),
            Some((409, _)) => {}
            Some((status, answer)) => panic!("a cancel was answered {status}: {answer:#}"),
            None => break,
        }
    }
    told
}

/// Brings everything to its end: requests are approved, what would run for ever is cancelled.
pub(super) fn settle(server: &Server) {
    let (sue, ann) = (Person::new(server, "sue@example.com"), Person::new(server, "ann@example.com"));
    let deadline = std::time::Instant::now() + 4 * DEADLINE;
    loop {
        for approval in open_requests(&ann).expect("it lives") {
            let _ = ann.post(&format!("/v1/approvals/{approval}/decision"), &json!({ "decision": "approve", "reason": "" }));
        }
        let (_, open) = sue.get("/v1/tasks?status=queued,running,needs_approval,info_needed&limit=200");
        let tasks: &Vec<Value> = open["tasks"].as_array().expect("a list");
        if tasks.is_empty() {
            return;
        }
        for task in tasks {
            if task["prompt_summary"].as_str().is_some_and(|prompt| prompt.contains("sleep 1000")) {
                let _ = sue.post(&format!("/v1/tasks/{}/cancel", field(task, "task_id")), &json!({ "reason": "over" }));
            }
        }
        assert!(std::time::Instant::now() < deadline, "{} tasks did not come to an end: {:#}", tasks.len(), tasks[0]);
        // One task's next event is what moves the rest, too.
        let first = field(&tasks[0], "task_id");
        let (_, events) = sue.get(&format!("/v1/tasks/{first}/events?limit=1000"));
        let after = events["next_after"].as_u64().unwrap_or(0);
        let _ = sue.get(&format!("/v1/tasks/{first}/events?after={after}&wait_s=1"));
    }
}
