//! What an agent of one's own says of its work, and how people get to see it.

use serde_json::{Value, json};

use crate::person::{Person, behind_a_proxy_with};
use crate::server::{Server, field};

const ROLES: &str = "[[role]]\nname = \"submitter\"\nprincipals = [\"sue@example.com\"]\n[[role]]\nname = \"operator\"\nprincipals = [\"olga@example.com\"]\n";

/// A server whose agent `own` is this shell script.
fn with_agent(script: &str) -> Server {
    let agent = format!("[agents.own]\nkind = \"custom\"\ncommand = \"/bin/sh\"\narguments = [\"-c\", {}]\n", json!(script));
    behind_a_proxy_with(ROLES, &agent)
}

/// Runs the agent to the end of its task: the task and its events.
fn run(server: &Server) -> (Value, Vec<Value>) {
    let sue = Person::new(server, "sue@example.com");
    let (status, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!(status, 201, "{task:#}");
    let id = field(&task, "task_id");
    let ended = sue.wait_for(&id, &["completed", "failed", "denied", "timed_out"]);
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    let (_, page) = sue.get(&format!("/v1/tasks/{id}/events?limit=1000"));
    (ended, page["events"].as_array().cloned().unwrap_or_default())
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["kind"] == kind).collect()
}

const DONE: &str = "printf '{\"status\":\"completed\",\"summary\":\"done\"}' > \"$CODA_TASK_DIR/r\"; mv \"$CODA_TASK_DIR/r\" \"$CODA_TASK_DIR/result.json\"";

#[test]
fn an_agent_that_floods_its_progress_is_heard_now_and_then_and_leaves_no_decision_for_each_line() {
    let script = format!(
        "i=0; while [ $i -lt 20000 ]; do echo '{{\"message\":\"line '$i'\"}}'; i=$((i+1)); done >> \"$CODA_TASK_DIR/status.jsonl\"; {DONE}"
    );
    let server = with_agent(&script);
    let (_, events) = run(&server);
    let told = of_kind(&events, "progress").len();
    assert!((1..200).contains(&told), "{told} progress events for 20000 lines");
    // The result and the diff are judged on record, the prompt before the task began; the lines are not.
    let judged = of_kind(&events, "judged");
    assert_eq!(judged.len(), 2, "{judged:#?}");
}

#[test]
fn a_secret_in_a_progress_line_or_in_the_diff_is_masked_and_the_rest_stays_readable() {
    // Put together in the script, so that no scanner of sources takes it for a real one.
    let script = format!(
        "s=ghp\"_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8\"; echo \"before $s after\" > token.txt; echo '{{\"message\":\"before '$s' after\"}}' >> \"$CODA_TASK_DIR/status.jsonl\"; {DONE}"
    );
    let server = with_agent(&script);
    let (ended, events) = run(&server);
    let id = field(&ended, "task_id");
    let (_, diff) = Person::new(&server, "sue@example.com").get(&format!("/v1/tasks/{id}/diff"));
    let progress = of_kind(&events, "progress");
    let line = progress.last().map(|e| e["body"]["message"].to_string()).unwrap_or_default();
    for text in [diff.to_string(), line] {
        assert!(text.contains("before ") && text.contains(" after"), "{text}");
        assert!(!text.contains("a1B2c3D4e5F6"), "{text}");
    }
}

#[test]
fn an_agent_that_talks_at_length_fills_its_result_and_no_list() {
    let long = "head -c 300000 /dev/zero | tr '\\0' x";
    let script = format!(
        "printf '{{\"status\":\"completed\",\"feedback\":\"%s\",\"summary\":\"%s\"}}' \"$({long})\" \"$({long})\" > \"$CODA_TASK_DIR/r\"; mv \"$CODA_TASK_DIR/r\" \"$CODA_TASK_DIR/result.json\""
    );
    let server = with_agent(&script);
    let (ended, events) = run(&server);
    assert_eq!(field(&ended["result"], "summary").len(), 300_000, "the result keeps all of it");
    let (_, inbox) = Person::new(&server, "sue@example.com").get("/v1/tasks");
    let summary = field(&inbox["tasks"][0], "summary");
    assert!(summary.ends_with("x…") && summary.chars().count() == 4097, "{} characters", summary.chars().count());
    for listed in [inbox.to_string(), Value::from(events).to_string()] {
        assert!(listed.len() < 30_000, "{} bytes", listed.len());
    }
}

#[test]
fn an_agent_that_works_on_after_its_call_was_parked_is_ended_and_goes_on_when_it_is_approved() {
    let server = with_asking_agent("rm -rf /srv/x");
    let (sue, ann) = (Person::new(&server, "sue@example.com"), Person::new(&server, "ann@example.com"));
    let (_, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    let id = field(&task, "task_id");
    let parked = |sue: &Person| {
        let (_, page) = sue.get(&format!("/v1/tasks/{id}/events?limit=1000"));
        !of_kind(&page["events"].as_array().cloned().unwrap_or_default(), "parked").is_empty()
    };
    let waiting = sue.wait_until(&id, |now| now["status"] == "needs_approval" && parked(&sue));
    let approval = field(&waiting["approval"], "approval_id");
    let (status, voted) = ann.post(&format!("/v1/approvals/{approval}/decision"), &json!({ "decision": "approve" }));
    assert_eq!(status, 200, "{voted:#}");
    let ended = sue.wait_for(&id, &["completed", "failed", "denied", "timed_out"]);
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
}

#[test]
fn of_a_call_with_more_secrets_than_a_policy_lists_none_is_shown() {
    // Put together in the script, so that no scanner of sources takes them for real ones.
    let server = with_asking_agent(
        "rm -rf /srv/x$(printf ' ghp''_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q709'); echo$(printf ' ghp''_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7%s' {10..99})",
    );
    let (sue, ann) = (Person::new(&server, "sue@example.com"), Person::new(&server, "ann@example.com"));
    let (_, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    let waiting = sue.wait_for(&field(&task, "task_id"), &["needs_approval"]);
    let (status, request) = ann.get(&format!("/v1/approvals/{}", field(&waiting["approval"], "approval_id")));
    assert_eq!(status, 200, "{request:#}");
    let content = field(&request["items"][0], "content");
    assert!(content.starts_with("rm -rf /srv/x [masked]; echo ") && content.split(' ').count() == 95, "{content}");
    // Nor in what the policy says of it: the path that would go.
    assert!(!request.to_string().contains("ghp_a1B2"), "{request:#}");
}

/// A server and an agent that asks for this command (in bash's double quotes) as the runbook agent does, and does not
/// listen where it is not told to run it. The server holds calls for ten minutes, but this agent bears a second.
fn with_asking_agent(command: &str) -> Server {
    let asks = r#"at=${CODA_GATEWAY_URL#http://}; exec 3<>/dev/tcp/${at%:*}/${at#*:}
body='{"calls":[{"id":"1","tool":"shell","arguments":{"command":"'"COMMAND"'"}}]}'
printf 'POST /agent/calls HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' "$at" "$CODA_GATEWAY_TOKEN" "${#body}" "$body" >&3
case $(cat <&3) in *'"run"'*) ;; *) sleep 600 ;; esac
"#;
    let script = format!("{}{DONE}", asks.replace("COMMAND", command));
    let agent = format!(
        "[tasks]\nparked_grace_s = 1\n[agents.own]\nmax_hold_s = 1\nkind = \"custom\"\ncommand = \"/bin/bash\"\narguments = [\"-c\", {}]\n",
        json!(script)
    );
    let roles = format!("{ROLES}[[role]]\nname = \"approver\"\nprincipals = [\"ann@example.com\"]\n");
    behind_a_proxy_with(&roles, &agent)
}

/// An agent that is called as Pi, and keeps its conversation where Pi does. In its first attempt it asks; what it does in the
/// next one is `then`, with `$*` as it was called.
fn like_pi(then: &str) -> Server {
    let kept = "$HOME/.pi/agent/sessions/--work--/1.jsonl";
    let script = format!(
        "case \"$*\" in *--continue*) went_on=yes;; esac\n\
         if [ -e asked ]; then {then}\nfi\n\
         touch asked; mkdir -p \"$(dirname \"{kept}\")\"; echo '{{}}' > \"{kept}\"\n\
         printf '{{\"status\":\"info_needed\",\"summary\":\"?\",\"feedback\":\"which?\"}}' > \"$CODA_TASK_DIR/r\"; mv \"$CODA_TASK_DIR/r\" \"$CODA_TASK_DIR/result.json\""
    );
    let agent = format!(
        "[models.none]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"none\"\n\
         [agents.own]\nkind = \"pi\"\nmodel = \"none\"\ncommand = \"/bin/sh\"\narguments = [\"-c\", {}, \"pi\"]\n",
        json!(script)
    );
    behind_a_proxy_with(ROLES, &agent)
}

/// Its task, after the question was answered; and what was noted of its conversation.
fn answered(server: &Server) -> (Value, Vec<bool>) {
    let sue = Person::new(server, "sue@example.com");
    let (status, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!(status, 201, "{task:#}");
    let id = field(&task, "task_id");
    sue.wait_for(&id, &["info_needed", "failed", "completed"]);
    let (status, said) = sue.post(&format!("/v1/tasks/{id}/answer"), &json!({ "text": "the blue one" }));
    assert_eq!(status, 200, "{said:#}");
    let ended = sue.wait_for(&id, &["completed", "failed", "denied", "timed_out"]);
    let (_, page) = sue.get(&format!("/v1/tasks/{id}/events?limit=1000"));
    let events = page["events"].as_array().cloned().unwrap_or_default();
    let noted = of_kind(&events, "conversation").iter().map(|e| e["body"]["resumed"] == true).collect();
    (ended, noted)
}

#[test]
fn a_later_attempt_goes_on_in_the_conversation_of_the_one_before_and_the_record_says_so() {
    let server =
        like_pi(&format!("[ \"$went_on\" ] && [ -s \"$HOME/.pi/agent/sessions/--work--/1.jsonl\" ] || exit 3; {DONE}; exit"));
    let (ended, noted) = answered(&server);
    assert_eq!((field(&ended, "status").as_str(), &ended["attempt"]), ("completed", &json!(2)), "{ended:#}");
    assert_eq!((&ended["resumed"], noted), (&json!(true), vec![true]));
}

#[test]
fn an_agent_that_cannot_go_on_begins_anew_once_and_the_record_says_so() {
    let server = like_pi(&format!(
        "echo start >> starts; [ \"$went_on\" ] && exit 3; [ -e \"$HOME/.pi/agent/sessions\" ] && exit 4; {DONE}; exit"
    ));
    let (ended, noted) = answered(&server);
    assert_eq!((field(&ended, "status").as_str(), &ended["attempt"]), ("completed", &json!(2)), "{ended:#}");
    assert_eq!((&ended["resumed"], noted), (&json!(false), vec![true, false]));
}

#[test]
fn an_agent_that_never_starts_well_ends_its_task() {
    let server = like_pi("echo start >> starts; exit 3");
    let (ended, noted) = answered(&server);
    assert_eq!((field(&ended, "status").as_str(), noted), ("failed", vec![true, false]), "{ended:#}");
    let starts = server.home.path().join("workspaces").join(field(&ended, "session_id")).join("starts");
    assert_eq!(std::fs::read_to_string(starts).expect("it started"), "start\nstart\n", "once in its conversation, once anew");
}
