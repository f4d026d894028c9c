//! Whether the time of an answer tells that something exists which one may not see.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::Client;
use crate::figure::{Figure, Goal, Section, Target, median_ratio};
use crate::place::Place;
use crate::server::Server;

const SECRET: &str = "the-proxy-and-coda-know-this";
const CONFIG: &str = "[identity]\nmode = \"proxy\"\ntrusted_peers = [\"127.0.0.1/32\"]\nsecret_header = \"x-proxy-secret\"\n\
                      secret_file = \"keys/proxy.secret\"\nheaders = [\"x-forwarded-email\"]\n";
const ROLES: &str = "[[role]]\nname = \"submitter\"\nprincipals = [\"ann@example.com\", \"eve@example.com\"]\n";
const ROUNDS: usize = 1_000;
const WARM_UP: usize = 50;
/// Of the two medians, either way.
const RATIO: f64 = 1.25;

/// Runs it.
pub(crate) fn run(place: &Place) -> anyhow::Result<Section> {
    let server = Server::launch(place, CONFIG, |home| {
        std::fs::write(home.join("keys/proxy.secret"), SECRET)?;
        std::fs::write(home.join("roles.toml"), ROLES)
    })?;
    let (task, approval) = held(&mut Client::person(&server.address, "ann@example.com", SECRET)?)?;
    let mut eve = Client::person(&server.address, "eve@example.com", SECRET)?;
    let none = "0".repeat(32);
    let (no_task, no_approval) = (format!("task_{none}"), format!("appr_{none}"));
    let questions = [
        ("a task", "GET", "/v1/tasks/{}", "", &task, &no_task),
        ("a task's events", "GET", "/v1/tasks/{}/events", "", &task, &no_task),
        ("a task to cancel", "POST", "/v1/tasks/{}/cancel", "{}", &task, &no_task),
        ("an approval", "GET", "/v1/approvals/{}", "", &approval, &no_approval),
    ];
    let mut section = Section {
        title: "Secrecy",
        how: "What another submitter is told of a task and an approval that are not theirs, and of ones that do not exist: \
              both 404, in turn, over one connection on loopback."
            .into(),
        figures: Vec::new(),
        targets: Vec::new(),
    };
    for (what, method, path, body, theirs, nobodys) in questions {
        let (mut there, mut nowhere) = (Vec::new(), Vec::new());
        for round in 0..WARM_UP + ROUNDS {
            let mut one = |id: &str| not_found(&mut eve, method, &path.replace("{}", id), body);
            // Neither is always the one that comes second.
            let (known, unknown) = if round.is_multiple_of(2) {
                let known = one(theirs)?;
                (known, one(nobodys)?)
            } else {
                let unknown = one(nobodys)?;
                (one(theirs)?, unknown)
            };
            if round >= WARM_UP {
                there.push(known);
                nowhere.push(unknown);
            }
        }
        section.figures.push(Figure::of(format!("{what} of somebody else"), "ms", &there));
        section.figures.push(Figure::of(format!("{what} of nobody"), "ms", &nowhere));
        let ratio = median_ratio(&there, &nowhere);
        section.targets.push(Target::new(
            format!("{what}, somebody's to nobody's, either way"),
            ratio.max(1.0 / ratio),
            "×",
            Goal::AtMost(RATIO),
        ));
    }
    Ok(section)
}

/// A task that waits for approval, and its request.
fn held(ann: &mut Client) -> anyhow::Result<(String, String)> {
    let body = json!({ "prompt": "```sh plan\nrm -rf build-of-yesterday\n```", "agent": "runbook" }).to_string();
    let (status, task, _) = ann.ask("POST", "/v1/tasks", &body)?;
    ensure!(status == 201, "the task was answered with {status}: {task}");
    let task = text(&task["task_id"])?;
    let mut after = 0;
    loop {
        let (_, now, _) = ann.ask("GET", &format!("/v1/tasks/{task}"), "")?;
        if now["status"] == "needs_approval" {
            return Ok((task, text(&now["approval"]["approval_id"])?));
        }
        ensure!(matches!(now["status"].as_str(), Some("queued" | "running")), "the task is not held: {now}");
        let (_, page, _) = ann.ask("GET", &format!("/v1/tasks/{task}/events?after={after}&limit=100&wait_s=10"), "")?;
        after = page["next_after"].as_u64().unwrap_or(after);
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().context("no text")?.to_owned())
}

fn not_found(eve: &mut Client, method: &str, path: &str, body: &str) -> anyhow::Result<f64> {
    let (status, answer, time) = eve.ask(method, path, body)?;
    ensure!(status == 404, "{method} {path} was answered with {status}: {answer}");
    Ok(time)
}
