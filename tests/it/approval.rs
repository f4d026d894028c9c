//! Who may decide, what an approval is bound to, and what it is worth when policies change.

use serde_json::json;

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
    assert_eq!(status, 200, "{task:#}");
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
