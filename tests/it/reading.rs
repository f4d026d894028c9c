//! Who sees whose tasks, and that reading others' is on record.

use serde_json::{Value, json};

use crate::person::{Person, behind_a_proxy_with};
use crate::server::{Server, field};

const ROLES: &str = r#"
[[role]]
name = "submitter"
principals = ["sue@example.com", "pat@example.com"]
[[role]]
name = "viewer"
principals = ["vic@example.com"]
labels = { environment = "production" }
[[role]]
name = "operator"
principals = ["olga@example.com"]
"#;

fn labelled() -> Server {
    behind_a_proxy_with(ROLES, "[[labels]]\nprincipal = \"pat@example.com\"\nset = { environment = \"production\" }\n")
}

fn done(who: &Person<'_>, prompt: &str) -> String {
    let (status, task) = who.post("/v1/tasks", &json!({ "prompt": prompt, "agent": "runbook" }));
    assert_eq!(status, 201, "{task:#}");
    let id = field(&task, "task_id");
    assert_eq!(field(&who.wait_for(&id, &["completed", "failed"]), "status"), "completed");
    id
}

#[test]
fn a_viewer_of_some_labels_learns_nothing_of_other_tasks() {
    let server = labelled();
    let person = |name| Person::new(&server, name);
    let (sue, pat, vic) = (person("sue@example.com"), person("pat@example.com"), person("vic@example.com"));
    let seen = done(&pat, "```sh\necho pat\n```");
    let hidden = done(&sue, "```sh\necho sue\n```");
    done(&sue, "```sh\necho sue again\n```");
    let (status, page) = vic.get("/v1/tasks?all=true&limit=1");
    assert_eq!(status, 200, "{page:#}");
    assert_eq!(page["tasks"].as_array().map(Vec::len), Some(1), "{page:#}");
    assert_eq!(page["tasks"][0]["task_id"], Value::from(seen));
    assert_eq!((&page["counts"]["completed"], &page["next_cursor"]), (&Value::from(1), &Value::Null), "{page:#}");
    assert_eq!(vic.get(&format!("/v1/tasks/{hidden}")).0, 404);
}

#[test]
fn reading_the_diff_the_events_or_a_request_of_others_is_on_record() {
    let server = labelled();
    let person = |name| Person::new(&server, name);
    let (sue, olga) = (person("sue@example.com"), person("olga@example.com"));
    let id = done(&sue, "```sh\necho hello > greeting.txt\n```");
    let (_, held) = sue.post("/v1/tasks", &json!({ "prompt": "```sh\nrm -rf somewhere\n```", "agent": "runbook" }));
    let waiting = sue.wait_for(&field(&held, "task_id"), &["needs_approval"]);
    let approval = field(&waiting["approval"], "approval_id");
    let reads = |task: &str| -> Vec<String> {
        let (_, log) = olga.get(&format!("/v1/audit?task={task}&limit=1000"));
        let records = log["records"].as_array().cloned().unwrap_or_default();
        let of_reads = records.iter().filter(|r| r["kind"] == "task.read" && r["actor"] == "olga@example.com");
        of_reads.map(|r| field(&r["body"], "what")).collect()
    };
    assert_eq!(sue.get(&format!("/v1/tasks/{id}/diff")).0, 200);
    assert!(reads(&id).is_empty(), "one's own are nobody's business");
    assert_eq!(olga.get(&format!("/v1/tasks/{id}/diff")).0, 200);
    assert_eq!(olga.get(&format!("/v1/tasks/{id}/events?limit=1000")).0, 200);
    assert_eq!(reads(&id), ["diff", "events"]);
    // A listing has no contents; the request itself has.
    let (_, list) = olga.get("/v1/approvals");
    assert_eq!(list["approvals"][0]["items"], json!([]), "{list:#}");
    assert!(reads(&field(&held, "task_id")).is_empty());
    let (_, shown) = olga.get(&format!("/v1/approvals/{approval}"));
    assert!(shown["items"].to_string().contains("rm -rf"), "{shown:#}");
    assert_eq!(reads(&field(&held, "task_id")), ["approval"]);
}

#[test]
fn what_was_judged_of_a_context_is_on_record_whether_it_passed_or_not() {
    let server = labelled();
    let (sue, olga) = (Person::new(&server, "sue@example.com"), Person::new(&server, "olga@example.com"));
    let submit = |context: &str| {
        sue.post("/v1/tasks", &json!({ "prompt": "```sh\necho hello\n```", "agent": "runbook", "context": context }))
    };
    let log = |kind: &str, query: &str| -> Vec<Value> {
        let (_, log) = olga.get(&format!("/v1/audit?limit=1000{query}"));
        log["records"].as_array().into_iter().flatten().filter(|r| r["kind"] == kind).cloned().collect()
    };
    // Put together here, so that no scanner of sources takes it for a real one.
    let secret = format!("{}_{}", "ghp", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let (status, refused) = submit(&format!("the token is {secret}"));
    assert_eq!(status, 400, "{refused:#}");
    let records = log("context.refused", "");
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(records[0]["actor"], "sue@example.com");
    assert_eq!(log("decision", "").len(), 1, "its decision");
    assert!(!Value::from(records).to_string().contains(&secret));
    let (status, task) = submit("the table is main.sales");
    assert_eq!(status, 201, "{task:#}");
    let of_task = log("decision", &format!("&task={}", field(&task, "task_id")));
    assert!(of_task.len() >= 2 && of_task.iter().take(2).all(|r| r["body"]["gate"] == "prompt"), "{of_task:#?}");
}
