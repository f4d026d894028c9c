//! Tasks that act with their submitter's own access token, before a made-up Databricks workspace that knows two people and
//! the host: a task sends the token of whoever handed it over, or none.

use std::path::Path;

use serde_json::{Value, json};

use crate::person::{Person, prepared_behind_a_proxy};
use crate::server::{Server, field};
use crate::upstream::{DONE, Seen, Upstream, agent, words};

const ROLES: &str = "[[role]]\nname = \"submitter\"\nprincipals = [\"sue@example.com\", \"tim@example.com\"]\n\
                     [[role]]\nname = \"operator\"\nprincipals = [\"olga@example.com\"]\n";
const SUES: &str = "dapi-sues-own-access-token";
const SUES_NEXT: &str = "dapi-sues-next-access-token";
const SUES_EXPIRED: &str = "dapi-sues-expired-access-token";
const TIMS: &str = "dapi-tims-own-access-token";
const HOSTS: &str = "dapi-the-hosts-own-access-token";

/// Asks, and says in its words for which task.
const ASKS: &str = "ask \"for $CODA_TASK_DIR\" >> asked\n";

/// A server with an agent `own` that is this script and acts as its submitter, and the workspace that its model is in.
fn with_workspace(script: &str) -> (Server, Upstream) {
    let workspace = Upstream::start(|seen| match seen.token.as_str() {
        SUES | SUES_NEXT | TIMS | HOSTS => (200, words("well")),
        _ => (401, json!({"error_code": 401, "message": "Credential was not sent or was of an unsupported type for this API."})),
    });
    let config = agent(script, &format!("{}/serving-endpoints", workspace.url), "credential = { forwarded = true }");
    let mut server = prepared_behind_a_proxy(&config, ROLES);
    server.set("CODA_IDENTITY_ACCESS_TOKEN_HEADER", "x-forwarded-access-token");
    // What an app of Databricks finds in its environment.
    server.set("DATABRICKS_TOKEN", HOSTS);
    server.run();
    (server, workspace)
}

fn hand_over(who: &Person) -> String {
    let (status, task) = who.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!(status, 201, "{task:#}");
    field(&task, "task_id")
}

fn answer(who: &Person, task: &str) {
    let (status, told) = who.post(&format!("/v1/tasks/{task}/answer"), &json!({ "text": "go on" }));
    assert_eq!(status, 200, "{told:#}");
}

/// The tokens that a task sent, in order.
fn sent(workspace: &Upstream, task: &str) -> Vec<String> {
    let of_task = |seen: &Seen| seen.said.contains(task);
    workspace.seen().into_iter().filter(of_task).map(|seen| seen.token).collect()
}

/// Files below a folder that hold this text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes())) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn two_people_side_by_side_each_send_their_own_token_and_it_lies_nowhere() {
    let script = format!("env > environment; for n in 1 2 3 4 5; do {ASKS} done; {DONE}");
    let (server, workspace) = with_workspace(&script);
    let (sue, tim) = (Person::with_token(&server, "sue@example.com", SUES), Person::with_token(&server, "tim@example.com", TIMS));
    let (hers, his) = (hand_over(&sue), hand_over(&tim));
    for (who, task, token, name) in [(&sue, &hers, SUES, "sue@example.com"), (&tim, &his, TIMS, "tim@example.com")] {
        let ended = who.wait_for(task, &["completed", "failed", "info_needed"]);
        assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
        assert_eq!(field(&ended, "acting_as"), name);
        assert_eq!(sent(&workspace, task), vec![token.to_owned(); 5]);
    }
    let seen = workspace.seen();
    assert_eq!(seen.len(), 10, "nobody else asked: {seen:?}");
    assert!(seen.iter().all(|one| one.path == "/serving-endpoints/chat/completions"), "{seen:?}");
    assert!(!holding(&server.path(""), "/serving-endpoints").is_empty(), "what lies there is found");
    for token in [SUES, TIMS, HOSTS] {
        assert_eq!(holding(&server.path(""), token), Vec::<String>::new());
        assert!(!server.log_text().contains(token));
    }
    let (_, accepted) = Person::new(&server, "olga@example.com").get("/v1/audit?limit=100");
    assert!(accepted.to_string().contains("\"acting_as\":\"sue@example.com\""), "{accepted:#}");
}

#[test]
fn a_token_that_a_restart_took_is_asked_for_and_no_other_is_sent() {
    let script = format!(
        "{ASKS} if [ -e been ]; then {DONE} exit; fi; touch been\n\
         printf '{{\"status\":\"info_needed\",\"summary\":\"?\",\"feedback\":\"which table?\"}}' > \"$CODA_TASK_DIR/r\"; mv \"$CODA_TASK_DIR/r\" \"$CODA_TASK_DIR/result.json\""
    );
    let (mut server, workspace) = with_workspace(&script);
    let task = {
        let sue = Person::with_token(&server, "sue@example.com", SUES);
        let task = hand_over(&sue);
        assert_eq!(field(&sue.wait_for(&task, &["info_needed", "failed", "completed"]), "feedback"), "which table?");
        task
    };
    server.stop();
    server.run();
    // An answer without a token, by hers and by an operator's request: theirs is not hers.
    let asks_again = |attempt: u64| {
        let sue = Person::new(&server, "sue@example.com");
        let now = sue
            .wait_until(&task, |now| now["attempt"] == json!(attempt) && now["status"] != "running" && now["status"] != "queued");
        assert_eq!(field(&now, "status"), "info_needed", "{now:#}");
        assert!(field(&now, "feedback").contains("your own access token"), "{now:#}");
    };
    answer(&Person::new(&server, "sue@example.com"), &task);
    asks_again(2);
    answer(&Person::with_token(&server, "olga@example.com", TIMS), &task);
    asks_again(3);
    assert_eq!(sent(&workspace, &task), [SUES], "nothing was sent since");
    let sue = Person::with_token(&server, "sue@example.com", SUES_NEXT);
    answer(&sue, &task);
    let ended = sue.wait_for(&task, &["completed", "failed"]);
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    assert_eq!(sent(&workspace, &task), [SUES, SUES_NEXT]);
}

#[test]
fn a_token_that_expires_under_way_parks_the_task_until_there_is_another() {
    let script = format!("{ASKS} if grep -q well asked; then {DONE} else sleep 600; fi");
    let (server, workspace) = with_workspace(&script);
    let sue = Person::with_token(&server, "sue@example.com", SUES_EXPIRED);
    let task = hand_over(&sue);
    let waiting = sue.wait_for(&task, &["completed", "failed", "info_needed"]);
    assert_eq!(field(&waiting, "status"), "info_needed", "{waiting:#}");
    assert!(field(&waiting, "feedback").contains("as expired"), "{waiting:#}");
    let sue = Person::with_token(&server, "sue@example.com", SUES);
    answer(&sue, &task);
    let ended = sue.wait_for(&task, &["completed", "failed"]);
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    assert_eq!(sent(&workspace, &task), [SUES_EXPIRED, SUES]);
}

#[test]
fn without_a_token_nothing_is_handed_over_and_a_service_is_named_where_it_acts() {
    let (server, workspace) = with_workspace(DONE);
    let sue = Person::new(&server, "sue@example.com");
    let (status, refused) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!((status, field(&refused["error"], "code")), (403, "forbidden".into()), "{refused:#}");
    assert!(field(&refused["error"], "message").contains("identity.access_token_header"), "{refused:#}");
    // One with spaces is none.
    let (status, _) =
        Person::with_token(&server, "sue@example.com", "two words").post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!(status, 403);
    assert_eq!(workspace.seen().len(), 0);

    let upstream = Upstream::start(|_| (200, words("well")));
    let config = agent(&format!("{ASKS}{DONE}"), &format!("{}/v1", upstream.url), "credential = { env = \"SERVICE_TOKEN\" }");
    let mut server = prepared_behind_a_proxy(&config, ROLES);
    server.set("SERVICE_TOKEN", HOSTS);
    server.run();
    let sue = Person::with_token(&server, "sue@example.com", SUES);
    let task = hand_over(&sue);
    let ended: Value = sue.wait_for(&task, &["completed", "failed"]);
    assert_eq!(field(&ended, "acting_as"), "service:main", "{ended:#}");
    assert_eq!(sent(&upstream, &task), [HOSTS]);
}
