//! Who may decide, what an approval is bound to, and what it is worth when policies change.

use serde_json::{Value, json};

use crate::guest;
use crate::person::{Person, behind_a_proxy, behind_a_proxy_with, prepared_behind_a_proxy};
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

/// An agent that asks about these calls at once, then about the first again, and leaves the answers in its workspace.
fn asking(calls: &Value) -> String {
    let ask = |calls: &Value, file: &str| {
        format!(
            "curl -sS \"$CODA_GATEWAY_URL/agent/calls\" -H \"Authorization: Bearer $CODA_GATEWAY_TOKEN\" -d '{}' > {file}; ",
            json!({ "calls": calls })
        )
    };
    let mut again = calls[0].clone();
    again["id"] = json!("again");
    let done = "printf '{\"status\":\"completed\",\"summary\":\"done\"}' > \"$CODA_TASK_DIR/result.json\"";
    format!("{}{}{done}", ask(calls, "first.json"), ask(&json!([again]), "second.json"))
}

#[test]
fn calls_of_one_message_are_one_request_with_a_decision_for_each() {
    let call = |id: &str, command: &str| json!({ "id": id, "tool": "shell", "arguments": { "command": command } });
    let calls = json!([call("1", "rm -rf one"), call("2", "ls"), call("3", "rm -rf two"), call("4", "rm -rf three")]);
    let script = asking(&calls);
    let server = behind_a_proxy_with(
        ROLES,
        &format!("[agents.own]\nkind = \"custom\"\ncommand = \"/bin/sh\"\narguments = [\"-c\", {}]\n", json!(script)),
    );
    let (sue, ann) = (Person::new(&server, "sue@example.com"), Person::new(&server, "ann@example.com"));
    let (_, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    let id = field(&task, "task_id");
    let waiting = sue.wait_for(&id, &["needs_approval"]);
    let approval = field(&waiting["approval"], "approval_id");
    let (_, list) = ann.get("/v1/approvals?status=open");
    assert_eq!(list["approvals"].as_array().map(Vec::len), Some(1), "one message, one request: {list:#}");
    let (_, shown) = ann.get(&format!("/v1/approvals/{approval}"));
    let contents: Vec<&str> =
        shown["items"].as_array().expect("items").iter().filter_map(|item| item["content"].as_str()).collect();
    assert_eq!(contents, ["rm -rf one", "rm -rf two", "rm -rf three"]);

    let decision = format!("/v1/approvals/{approval}/decision");
    for (status, body) in [
        (400, json!({ "decision": "approve", "items": [2], "reason": "" })),
        (400, json!({ "decision": "approve", "items": [], "reason": "keep one" })),
        (400, json!({ "decision": "approve", "items": [2, 4], "reason": "keep one" })),
        (400, json!({ "decision": "deny", "items": [1], "reason": "keep one" })),
        (200, json!({ "decision": "approve", "items": [2, 3], "reason": "keep one" })),
    ] {
        let (answered, said) = ann.post(&decision, &body);
        assert_eq!(answered, status, "{body}: {said:#}");
    }
    assert_eq!(field(&sue.wait_for(&id, &["completed", "failed", "denied"]), "status"), "completed");
    let read = |name| -> Value {
        let text = std::fs::read_to_string(server.in_workspace(&task, name)).expect("the agent wrote it");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    };
    let first = read("first.json");
    let verdicts: Vec<&str> =
        first["verdicts"].as_array().expect("verdicts").iter().filter_map(|v| v["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["refuse", "run", "run", "run"], "{first:#}");
    let second = read("second.json");
    for refused in [&first["verdicts"][0], &second["verdicts"][0]] {
        assert!(field(refused, "message").contains("refused by ann@example.com: keep one"), "{refused:#}");
    }
    let (_, shown) = ann.get(&format!("/v1/approvals/{approval}"));
    assert_eq!(field(&shown, "status"), "consumed", "{shown:#}");
    let refused: Vec<Option<bool>> =
        shown["items"].as_array().expect("items").iter().map(|item| item["refused"].as_bool()).collect();
    assert_eq!(refused, [Some(true), Some(false), Some(false)]);
    let (_, list) = ann.get("/v1/approvals?status=open");
    assert_eq!(list["approvals"], json!([]), "what was refused is not asked again");
}

#[test]
fn a_call_that_differs_from_the_approved_one_is_asked_about_beside_it() {
    let ask = |command: &str| {
        let calls = json!({ "calls": [{ "id": "1", "tool": "shell", "arguments": { "command": command } }] });
        format!(
            "curl -sS \"$CODA_GATEWAY_URL/agent/calls\" -H \"Authorization: Bearer $CODA_GATEWAY_TOKEN\" -d '{calls}' > answer.json"
        )
    };
    let script = format!("if [ -f before ]; then {}; else touch before; {}; fi", ask("rm -rf one two"), ask("rm -rf one"));
    let server = behind_a_proxy_with(
        ROLES,
        &format!(
            "[approval]\nhold_s = 1\n[agents.own]\nkind = \"custom\"\ncommand = \"/bin/sh\"\narguments = [\"-c\", {}]\n",
            json!(script)
        ),
    );
    let (sue, ann) = (Person::new(&server, "sue@example.com"), Person::new(&server, "ann@example.com"));
    let (_, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    let id = field(&task, "task_id");
    let parked = |view: &Value| view["waiting"] == "parked";
    let first = field(&sue.wait_until(&id, parked)["approval"], "approval_id");
    assert_eq!(approve(&ann, &first), 200);
    let again = sue
        .wait_until(&id, |view| view["approval"]["approval_id"].as_str().is_some_and(|now| now != first) && view["attempt"] == 2);
    let second = field(&again["approval"], "approval_id");
    let (_, shown) = ann.get(&format!("/v1/approvals/{second}"));
    assert_eq!(shown["items"][0]["content"], "rm -rf one two", "{shown:#}");
    assert_eq!(shown["items"][0]["instead_of"]["content"], "rm -rf one", "{shown:#}");
}

#[test]
fn a_policy_that_faults_when_an_approved_call_is_used_is_asked_once_more_before_people_are() {
    let call = json!([{ "id": "1", "tool": "shell", "arguments": { "command": "rm -rf one" } }]);
    let config =
        format!("[agents.own]\nkind = \"custom\"\ncommand = \"/bin/sh\"\narguments = [\"-c\", {}]\n", json!(asking(&call)));
    let mut server = prepared_behind_a_proxy(&config, ROLES);
    // The first event of the attempt is the question, the second one the approved call's use.
    let before = std::fs::read_to_string(server.path("policies/policies.toml")).expect("it is there");
    let faults = guest::entry("faults-once", "do = \"trap\", seq = \"1\"", "gates = [\"tool-call\"]");
    guest::policies(&server, &format!("{before}\n{faults}"));
    server.run();
    let (sue, ann) = (Person::new(&server, "sue@example.com"), Person::new(&server, "ann@example.com"));
    let (_, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    let id = field(&task, "task_id");
    let approval = field(&sue.wait_for(&id, &["needs_approval"])["approval"], "approval_id");
    assert_eq!(approve(&ann, &approval), 200);
    // The agent asks a second time, for the same call: that is another approval, which nobody gives.
    sue.wait_until(&id, |view| view["approval"]["approval_id"].as_str().is_some_and(|now| now != approval));
    let text = std::fs::read_to_string(server.in_workspace(&task, "first.json")).expect("the agent wrote it");
    let first: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(first["verdicts"][0]["verdict"], "run", "{first:#}");
    let (_, shown) = ann.get(&format!("/v1/approvals/{approval}"));
    assert_eq!(field(&shown, "status"), "consumed", "{shown:#}");
    let (_, page) = sue.get(&format!("/v1/tasks/{id}/events?limit=1000"));
    assert!(page.to_string().contains("policy-fault"), "nothing faulted, so nothing is shown here: {page:#}");
}
