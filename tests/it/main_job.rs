//! The main job: a task handed over, an agent in its terminal, policies at the gates, a result.

use serde_json::Value;

use crate::server::{Server, field, text};

#[test]
fn a_harmless_runbook_runs_to_its_end() {
    let server = Server::start();
    let task = server.runbook("echo hello > greeting.txt\ncat greeting.txt");
    assert_eq!(field(&task, "status"), "completed", "{task:#}");
    let result = server.json(&["result", &field(&task, "task_id")]);
    assert!(result.to_string().contains("hello"), "{result:#}");
    assert!(result["files_changed"].to_string().contains("greeting.txt"), "{result:#}");
    assert!(field(&task, "viewer_url").contains(&field(&task, "task_id")));
}

#[test]
fn a_destructive_step_never_runs_unless_people_approve_it_and_then_once() {
    let server = Server::start();
    let task = server.runbook("echo alive > canary\nrm -rf canary\necho gone >> after");
    assert_eq!(field(&task, "status"), "needs_approval", "{task:#}");
    assert!(server.in_workspace(&task, "canary").exists(), "the step ran before anybody decided");
    let approval = field(&task["approval"], "approval_id");
    let shown = server.json(&["approval", "show", &approval]);
    assert!(shown["items"].to_string().contains("rm -rf"), "{shown:#}");
    let approved = server.coda(&["approval", "approve", &approval]);
    assert!(approved.status.success(), "{}", text(&approved));
    let ended = server.watch(&field(&task, "task_id"));
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    assert!(!server.in_workspace(&task, "canary").exists(), "the approved step did not run");
    let after = std::fs::read_to_string(server.in_workspace(&task, "after")).expect("the step after it ran");
    assert_eq!(after.lines().count(), 1, "it ran more than once");
}

#[test]
fn a_refused_step_is_told_to_the_agent_and_ends_the_runbook_with_that_said() {
    let server = Server::start();
    let task = server.runbook("echo alive > canary\nrm -rf canary\necho gone >> after");
    let approval = field(&task["approval"], "approval_id");
    let refused = server.coda(&["approval", "deny", &approval, "--reason", "keep that file"]);
    assert!(refused.status.success(), "{}", text(&refused));
    let ended = server.watch(&field(&task, "task_id"));
    assert_eq!(field(&ended, "status"), "failed", "{ended:#}");
    assert!(server.in_workspace(&task, "canary").exists());
    assert!(!server.in_workspace(&task, "after").exists());
    let result = server.json(&["result", &field(&task, "task_id")]);
    assert!(result.to_string().contains("keep that file"), "{result:#}");
}

#[test]
fn a_secret_in_a_tool_result_is_masked_in_result_log_and_transcript() {
    let mut server = Server::with_config("");
    // Put together here, so that no scanner of sources takes it for a real one.
    let secret = format!("{}_{}", "ghp", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let file = server.home.path().with_extension("token");
    // It lies among the host's temporary files, of which a task has folders of its own.
    server.set("CODA_EXECUTOR_READABLE", &file.display().to_string());
    server.run();
    std::fs::write(&file, format!("token: {secret}\n")).expect("a file");
    let task = server.runbook(&format!("cat {}", file.display()));
    assert_eq!(field(&task, "status"), "completed", "{task:#}");
    let id = field(&task, "task_id");
    let result = server.json(&["result", &id]);
    assert!(result.to_string().contains("token:"), "the rest of the output is there: {result:#}");
    assert!(!result.to_string().contains(&secret), "{result:#}");
    let transcript = std::fs::read_to_string(server.path(&format!("tasks/{id}/transcript.cast"))).expect("a transcript");
    assert!(!transcript.contains(&secret));
    assert!(!server.log_text().contains(&secret));
    let events = server.json(&["audit", "show"]);
    assert!(!events.to_string().contains(&secret));
    std::fs::remove_file(file).expect("the file");
}

#[test]
fn a_declared_plan_is_approved_before_its_first_command() {
    let server = Server::start();
    let prompt = "Clean up:\n\n```sh plan\ntouch first\nrm -rf first\n```\n";
    let task = server.run_and_settle(prompt);
    assert_eq!(field(&task, "status"), "needs_approval", "{task:#}");
    assert!(!server.in_workspace(&task, "first").exists(), "the first command ran before the plan was approved");
    let approval = field(&task["approval"], "approval_id");
    assert!(server.coda(&["approval", "approve", &approval]).status.success());
    let ended = server.watch(&field(&task, "task_id"));
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    assert!(!server.in_workspace(&task, "first").exists());
}

#[test]
fn the_audit_log_of_a_busy_run_verifies() {
    let server = Server::start();
    for n in 0..3 {
        assert_eq!(field(&server.runbook(&format!("echo {n}")), "status"), "completed");
    }
    let verified = server.coda(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    let inbox = server.json(&["inbox"]);
    assert_eq!(inbox["counts"]["completed"], Value::from(3), "{inbox:#}");
}

#[test]
fn work_is_chained_by_session_and_keeps_its_workspace() {
    let server = Server::start();
    let first = server.runbook("echo kept > kept.txt");
    let session = field(&first, "session_id");
    let prompt = "Go on:\n\n```sh\ncat kept.txt\nls \"$CODA_TASK_DIR/prior\"\n```\n";
    let second = server.json(&["run", "--agent", "runbook", "--watch", "--previous", &session, prompt]);
    assert_eq!(field(&second, "status"), "completed", "{second:#}");
    let result = server.json(&["result", &field(&second, "task_id")]).to_string();
    assert!(result.contains("kept") && result.contains(&session), "{result}");
}

#[test]
fn the_same_idempotency_key_is_the_same_task() {
    let server = Server::start();
    let run = |prompt: &str| server.json(&["run", "--agent", "runbook", "--idempotency-key", "k1", prompt]);
    let one = run("```sh\necho 1\n```");
    let two = run("```sh\necho 2\n```");
    assert_eq!(field(&one, "task_id"), field(&two, "task_id"));
}

#[test]
fn a_running_task_can_be_cancelled_and_leaves_no_process() {
    let server = Server::start();
    let mark = format!("coda-it-{}", std::process::id());
    let task = server.submit(&format!("echo started\nsleep 1000 # {mark}"));
    let id = field(&task, "task_id");
    let cancelled = server.coda(&["task", "cancel", &id]);
    assert!(cancelled.status.success(), "{}", text(&cancelled));
    let ended = server.watch(&id);
    assert_eq!(field(&ended, "status"), "cancelled", "{ended:#}");
}
