//! Who may decide, what an approval is bound to, and what it is worth when policies change.

use serde_json::{Value, json};

use crate::person::{Person, behind_a_proxy};
use crate::server::{Server, field};

const ROLES: &str = r#"
[[role]]
name = "submitter"
principals = ["sue@example.com", "pat@example.com"]
[[role]]
name = "approver"
principals = ["ann@example.com", "sue@example.com"]
[[role]]
name = "prod-data"
principals = ["sue@example.com", "pat@example.com", "ann@example.com"]
[[role]]
name = "operator"
principals = ["olga@example.com"]
"#;

#[test]
fn whoever_asks_does_not_decide_and_strangers_see_nothing() {
    let server = behind_a_proxy(ROLES);
    let (sue, ann, pat) = (
        Person::new(&server, "sue@example.com"),
        Person::new(&server, "ann@example.com"),
        Person::new(&server, "pat@example.com"),
    );
    let (status, task) =
        sue.post("/v1/tasks", &json!({ "prompt": "```sh\necho alive > canary\nrm -rf canary\n```", "agent": "runbook" }));
    assert_eq!(status, 201, "{task:#}");
    let id = field(&task, "task_id");
    let waiting = sue.wait_for(&id, &["needs_approval"]);
    let approval = field(&waiting["approval"], "approval_id");
    let decision = format!("/v1/approvals/{approval}/decision");
    let approve = json!({ "decision": "approve", "reason": "" });
    // Sue holds the role; she asked.
    assert_eq!(sue.post(&decision, &approve).0, 403);
    // Pat is neither requester nor approver: for him it does not exist.
    assert_eq!(pat.post(&decision, &approve).0, 404);
    assert_eq!(pat.get(&format!("/v1/tasks/{id}")).0, 404);
    assert_eq!(ann.post(&decision, &approve).0, 200);
    assert_eq!(field(&sue.wait_for(&id, &["completed", "failed", "denied"]), "status"), "completed");
    assert!(!server.in_workspace(&task, "canary").exists());
    // Used once.
    assert_eq!(ann.post(&decision, &approve).0, 409);
}

#[test]
fn held_tasks_do_not_stop_another() {
    let server = Server::start();
    let mut held = Vec::new();
    for n in 0..5 {
        held.push(server.runbook(&format!("echo {n}\nrm -rf something")));
    }
    assert!(held.iter().all(|t| field(t, "status") == "needs_approval"), "{held:#?}");
    let sixth = server.runbook("echo sixth");
    assert_eq!(field(&sixth, "status"), "completed", "{sixth:#}");
}

/// The bundled policies with these settings of `destructive-ops`, or without it.
fn policies(destructive: Option<&str>) -> String {
    let filter = "[[policy]]\nname = \"content-filter\"\ncomponent = \"bundled:content-filter\"\n";
    let guard = "\n[[policy]]\nname = \"destructive-ops\"\ncomponent = \"bundled:destructive-ops\"\n[policy.settings]\n";
    destructive.map_or_else(|| filter.to_owned(), |settings| format!("{filter}{guard}{settings}\n"))
}

const ONE: &str = "approvals = [{ role = \"approver\", count = 1 }]";

/// Puts other policies in place and waits until they judge.
fn load(server: &Server, operator: &Person<'_>, destructive: Option<&str>) {
    std::fs::write(server.path("policies/policies.toml"), policies(destructive)).expect("policies.toml");
    let (status, loaded) = operator.post("/v1/policies/load", &json!({}));
    assert_eq!(status, 200, "{loaded:#}");
}

/// A task that waits for approval of `rm -rf canary`: task and request.
fn held(sue: &Person<'_>) -> (Value, String) {
    let (_, task) =
        sue.post("/v1/tasks", &json!({ "prompt": "```sh\necho alive > canary\nrm -rf canary\n```", "agent": "runbook" }));
    let waiting = sue.wait_for(&field(&task, "task_id"), &["needs_approval"]);
    let approval = field(&waiting["approval"], "approval_id");
    (task, approval)
}

fn approve(who: &Person<'_>, approval: &str) -> u16 {
    who.post(&format!("/v1/approvals/{approval}/decision"), &json!({ "decision": "approve", "reason": "" })).0
}

#[test]
fn two_of_a_role_are_two_others_though_the_submitter_holds_it() {
    let server = behind_a_proxy(ROLES);
    let person = |name| Person::new(&server, name);
    let (sue, pat, ann) = (person("sue@example.com"), person("pat@example.com"), person("ann@example.com"));
    load(&server, &person("olga@example.com"), Some("approvals = [{ role = \"prod-data\", count = 2 }]"));
    let (task, approval) = held(&sue);
    assert_eq!(approve(&sue, &approval), 403);
    assert_eq!(approve(&ann, &approval), 200);
    assert_eq!(approve(&ann, &approval), 403, "one person counts once");
    assert!(server.in_workspace(&task, "canary").exists(), "one of two is not enough");
    assert_eq!(approve(&pat, &approval), 200);
    assert_eq!(field(&sue.wait_for(&field(&task, "task_id"), &["completed", "failed", "denied"]), "status"), "completed");
    assert!(!server.in_workspace(&task, "canary").exists());
}

#[test]
fn what_a_reload_between_asking_and_approving_means() {
    let server = behind_a_proxy(ROLES);
    let person = |name| Person::new(&server, name);
    let (sue, ann, olga) = (person("sue@example.com"), person("ann@example.com"), person("olga@example.com"));
    let done = ["completed", "failed", "denied"];

    // Unrelated: the approval holds.
    load(&server, &olga, Some(ONE));
    let (task, approval) = held(&sue);
    load(&server, &olga, Some(&format!("{ONE}\nproduction = [\"prod\", \"live\"]")));
    assert_eq!(approve(&ann, &approval), 200);
    assert_eq!(field(&sue.wait_for(&field(&task, "task_id"), &done), "status"), "completed");

    // Stricter: people are asked again, and nothing runs on what they said before.
    load(&server, &olga, Some(ONE));
    let (task, approval) = held(&sue);
    load(&server, &olga, Some("approvals = [{ role = \"approver\", count = 1 }, { role = \"prod-data\", count = 1 }]"));
    assert_eq!(approve(&ann, &approval), 200);
    let again = sue
        .wait_until(&field(&task, "task_id"), |view| view["approval"]["approval_id"].as_str().is_some_and(|now| now != approval));
    assert_eq!(again["approval"]["requirements"].as_array().map(Vec::len), Some(2), "{again:#}");
    assert!(server.in_workspace(&task, "canary").exists());

    // Looser: what people approved runs all the same.
    load(&server, &olga, Some(ONE));
    let (task, approval) = held(&sue);
    load(&server, &olga, None);
    assert_eq!(approve(&ann, &approval), 200);
    assert_eq!(field(&sue.wait_for(&field(&task, "task_id"), &done), "status"), "completed");
    assert!(!server.in_workspace(&task, "canary").exists());
}

#[test]
fn cancelling_a_held_task_leaves_no_request_and_runs_nothing() {
    let server = Server::start();
    let task = server.runbook("echo alive > canary\nrm -rf canary");
    assert!(server.coda(&["task", "cancel", &field(&task, "task_id")]).status.success());
    assert_eq!(field(&server.watch(&field(&task, "task_id")), "status"), "cancelled");
    let open = server.json(&["approval", "list"]).to_string();
    assert!(!open.contains("\"open\""), "{open}");
    assert!(server.in_workspace(&task, "canary").exists());
}
