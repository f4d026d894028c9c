//! A disk without room, at every gate: what cannot be put on record is not let through. The room is taken by a limit on
//! the size of files, which a running server can be given and which works for every user: writes then fail as they do
//! on a full disk, those of the log as well.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::gates::{GATES, Gate, served};
use super::{counted, server};
use crate::server::{DEADLINE, Server, field, text};

fn limit_files(server: &Server, bytes: &str) {
    let pid = server.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(limited.is_ok_and(|done| done.success()), "the program prlimit (util-linux) is needed");
}

fn fill(server: &Server) {
    limit_files(server, "1");
}

fn free(server: &Server) {
    limit_files(server, "unlimited");
}

/// Looks until it is so.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        let _ = pause.recv_timeout(Duration::from_millis(20));
    }
}

fn judged(server: &Server, gate: Gate) -> u64 {
    let metrics = crate::person::client().get(format!("{}/metrics", server.url)).send().and_then(|answer| answer.text());
    let (metrics, label) = (metrics.expect("metrics"), format!("gate=\"{gate}\""));
    let lines = metrics.lines().filter(|line| line.starts_with("coda_policy_judgments_total") && line.contains(&label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_full_disk_at_each_gate() {
    let mut server = server();
    // An agent that writes its result when it is told to.
    let writer = with_writer(&server);
    server.run();
    served(&server, "nothing");

    // The prompt: refused with the way out, and no trace of a task.
    fill(&server);
    let refused = server.coda(&["run", "--agent", "runbook", "```sh\necho ran\n```"]);
    assert!(!refused.status.success() && text(&refused).contains("disk space"), "{}", text(&refused));
    let loaded = server.coda(&["policy", "load"]);
    assert!(server.coda(&["policy", "status"]).status.success(), "{}", text(&loaded));
    free(&server);
    let inbox = server.json(&["inbox"]);
    assert_eq!(inbox["tasks"].as_array().map(Vec::len), Some(1), "{inbox:#}");
    served(&server, "a full disk at the prompt");

    // A tool result and the next tool call: one is withheld, the other refused.
    let task = waiting_task(
        &server,
        "runbook",
        "touch started; until [ -e go ]; do sleep 0.05; done; printf 'SECRET-%s\\n' word\necho ran >> canary",
    );
    let before = judged(&server, Gate::ToolResult);
    fill(&server);
    std::fs::write(server.in_workspace(&task, "go"), "").expect("told");
    until("the result is judged", || judged(&server, Gate::ToolResult) > before);
    let outputs = judged(&server, Gate::Output);
    until("the agent has ended", || judged(&server, Gate::Output) > outputs);
    let during = server.json(&["result", &field(&task, "task_id")]);
    assert!(!during.to_string().contains("SECRET-word"), "{during:#}");
    free(&server);
    let ended = server.watch(&field(&task, "task_id"));
    let result = server.json(&["result", &field(&task, "task_id")]);
    assert!(["failed", "completed"].contains(&field(&ended, "status").as_str()), "{ended:#}");
    assert!(!result.to_string().contains("SECRET-word"), "a result that was not put on record got out: {result:#}");
    assert!(!server.in_workspace(&task, "canary").exists(), "a call that was not put on record ran: {result:#}");
    served(&server, "a full disk at the tool gates");

    // The output: not committed while it cannot be, judged when it can.
    let task = waiting_task(&server, "writer", "");
    let before = judged(&server, Gate::Output);
    fill(&server);
    std::fs::write(server.in_workspace(&task, "go"), "").expect("told");
    until("the output is judged", || judged(&server, Gate::Output) > before);
    let during = server.json(&["result", &field(&task, "task_id")]);
    assert!(!during.to_string().contains("SECRET-word") && field(&during, "status") == "running", "{during:#}");
    free(&server);
    let ended = server.watch(&field(&task, "task_id"));
    assert_eq!(field(&ended, "status"), "failed", "{ended:#}");
    assert!(!server.json(&["result", &field(&task, "task_id")]).to_string().contains("SECRET-word"));
    served(&server, "a full disk at the output");

    let verified = server.coda(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    std::fs::remove_file(writer).expect("the agent");
    counted(&format!("disk full ({} gates)", GATES.len()));
}

/// A task of which the first step has begun.
fn waiting_task(server: &Server, agent: &str, commands: &str) -> serde_json::Value {
    let task = server.json(&["run", "--agent", agent, &format!("```sh\n{commands}\n```")]);
    until("the agent works", || server.in_workspace(&task, "started").exists());
    task
}

fn with_writer(server: &Server) -> PathBuf {
    let program = server.home.path().with_extension("writer");
    script(
        &program,
        "touch started\nuntil [ -e go ]; do sleep 0.05; done\n\
         printf '{\"status\":\"completed\",\"summary\":\"FAULT-%s SECRET-%s\"}' output word > \"$CODA_TASK_DIR/result.new\"\n\
         mv \"$CODA_TASK_DIR/result.new\" \"$CODA_TASK_DIR/result.json\"",
    );
    let config = format!("[agents.writer]\nkind = \"custom\"\ncommand = \"{}\"\n", program.display());
    std::fs::write(server.path("coda.toml"), config).expect("coda.toml");
    program
}

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o755).open(path).expect("a script");
    writeln!(file, "#!/bin/bash\n{text}").expect("written");
}

#[test]
fn a_log_and_an_output_that_nobody_takes() {
    let mut server = Server::with_config("");
    server.run_with_output_to("/dev/full");
    let task = server.runbook("echo fine\nrm -rf /");
    assert_eq!(field(&task, "status"), "failed", "{task:#}");
    served(&server, "standard output and error on a full disk");
}
