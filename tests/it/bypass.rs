//! An agent that wants to approve what it asks for: with every credential in its reach, the command line, the REST API. As a
//! control, the same agent without a sandbox gets its way.

use serde_json::json;

use crate::person::{Person, behind_a_proxy_with};
use crate::server::field;

const ROLES: &str = "[[role]]\nname = \"submitter\"\nprincipals = [\"sue@example.com\"]\n[[role]]\nname = \"approver\"\nprincipals = [\"ann@example.com\"]\n";

/// Reads `ATTACK address approval` from its prompt, and tries.
const AGENT: &str = r#"
read -r at id < <(sed -n 's/^ATTACK //p' "$CODA_TASK_DIR/prompt.txt")
home=${CODA_TASK_DIR%/tasks/*}; at=${at#http://}
body='{"decision":"approve","reason":""}'
post() {
    exec 3<>"/dev/tcp/${at%:*}/${at#*:}" || return
    printf 'POST /v1/approvals/%s/decision HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\n%s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' \
        "$id" "$at" "$at" "$1" "${#body}" "$body" >&3
    head -1 <&3; exec 3>&-
}
(post "Authorization: Bearer $CODA_GATEWAY_TOKEN"; post "Authorization: Bearer $(cat "$home/keys/local.key")"
CODA_HOME=$home CODA_TOKEN=$CODA_GATEWAY_TOKEN "$CODA_BIN" approval approve "$id"
CODA_HOME=$home "$CODA_BIN" approval approve "$id"
post "$(printf 'x-forwarded-email: ann@example.com\r\nx-proxy-secret: %s' "$(cat "$home/keys/proxy.secret")")") 2>&1
printf '{"status":"completed"}' > "$CODA_TASK_DIR/r"; mv "$CODA_TASK_DIR/r" "$CODA_TASK_DIR/result.json"
"#;

/// What became of the approval that the agent was after, and what confined it.
fn after_the_attack(sandbox: &str) -> (String, String) {
    let own = format!(
        "[executor]\nsandbox = {sandbox:?}\n[agents.own]\nkind = \"custom\"\ncommand = \"/bin/bash\"\narguments = [\"-c\", {}]\nenv = {{ CODA_BIN = {:?} }}\n",
        json!(AGENT),
        env!("CARGO_BIN_EXE_coda")
    );
    let server = behind_a_proxy_with(ROLES, &own);
    let (sue, ann) = (Person::new(&server, "sue@example.com"), Person::new(&server, "ann@example.com"));
    let (_, held) = sue.post("/v1/tasks", &json!({ "prompt": "```sh\nrm -rf /srv/data\n```", "agent": "runbook" }));
    let held = sue.wait_for(&field(&held, "task_id"), &["needs_approval"]);
    let approval = field(&held["approval"], "approval_id");
    let prompt = format!("try this\nATTACK {} {approval}\nto the end", server.url);
    let (status, attack) = sue.post("/v1/tasks", &json!({ "prompt": prompt, "agent": "own" }));
    assert_eq!(status, 201, "{attack:#}");
    let attack = sue.wait_for(&field(&attack, "task_id"), &["completed", "failed", "denied", "timed_out"]);
    assert_eq!(field(&attack, "status"), "completed", "{attack:#}");
    let (status, request) = ann.get(&format!("/v1/approvals/{approval}"));
    assert_eq!(status, 200, "{request:#}");
    (field(&request, "status"), field(&attack, "sandbox"))
}

#[test]
fn an_agent_cannot_approve_with_anything_in_its_reach() {
    let (approval, said) = after_the_attack("off");
    assert!(approval != "open" && said.starts_with("tier C"), "without a sandbox it gets its way: {approval}, {said}");
    let (approval, said) = after_the_attack("floor");
    assert!(approval == "open" && said.starts_with("tier B"), "{approval}, {said}");
    let (approval, said) = after_the_attack("require");
    assert!(approval == "open" && said.starts_with("tier A"), "{approval}, {said}");
}
