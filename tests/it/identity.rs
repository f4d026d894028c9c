//! Identity comes from the transport, and from nowhere that an agent can reach.

use serde_json::json;

use crate::person::{Person, behind_a_proxy, client};
use crate::server::{Server, field};

#[test]
fn an_agent_cannot_approve_with_anything_it_can_reach() {
    let server = Server::start();
    let held = server.runbook("echo alive > canary\nrm -rf canary");
    let approval = field(&held["approval"], "approval_id");
    let coda = env!("CARGO_BIN_EXE_coda");
    let home = server.home.path().display();
    let url = &server.url;
    // Every way an agent could think of, each step's outcome is printed and none may work.
    let attempts = [
        format!("CODA_HOME={home} {coda} approval approve {approval} && echo BRO''KEN-1 || echo held-1"),
        format!("cat {home}/keys/local.key && echo BRO''KEN-2 || echo held-2"),
        format!("ls {home}/cli && echo BRO''KEN-3 || echo held-3"),
        format!(
            "curl -s -o /dev/null -w '%{{http_code}}' -X POST {url}/v1/approvals/{approval}/decision -H \"authorization: Bearer $CODA_GATEWAY_TOKEN\" \
             -H 'content-type: application/json' -d '{{\"decision\":\"approve\",\"reason\":\"\"}}' | grep -q 200 && echo BRO''KEN-4 || echo held-4"
        ),
        format!(
            "curl -s -o /dev/null -w '%{{http_code}}' -X POST {url}/v1/approvals/{approval}/decision -H 'x-forwarded-email: local' -H 'origin: {url}' \
             -H 'content-type: application/json' -d '{{\"decision\":\"approve\",\"reason\":\"\"}}' | grep -q 200 && echo BRO''KEN-5 || echo held-5"
        ),
        format!("cat {home}/coda.db > /dev/null && echo BRO''KEN-6 || echo held-6"),
    ];
    let task = server.runbook(&attempts.join("\n"));
    // A policy may have stopped a step; what may not happen is that one worked.
    let result = server.json(&["result", &field(&task, "task_id")]).to_string();
    assert!(!result.contains("BROKEN-"), "{result}");
    assert!(server.in_workspace(&held, "canary").exists());
    let now = server.json(&["approval", "show", &approval]);
    assert_eq!(field(&now, "status"), "open");
}

#[test]
fn identity_headers_count_only_with_the_proxys_secret() {
    let server = behind_a_proxy("[[role]]\nname = \"viewer\"\nprincipals = [\"ann@example.com\"]\n");
    let client = client();
    let forged =
        client.get(format!("{}/v1/whoami", server.url)).header("x-forwarded-email", "ann@example.com").send().expect("an answer");
    assert_eq!(forged.status().as_u16(), 401);
    let (status, who) = Person::new(&server, "ann@example.com").get("/v1/whoami");
    assert_eq!(status, 200, "{who:#}");
    assert_eq!(who["principal"], json!("ann@example.com"), "{who:#}");
}

#[test]
fn a_token_submits_and_never_decides() {
    let server = Server::start();
    let created = server.json(&["token", "create", "--role", "submitter", "--role", "approver", "--expires", "1h"]);
    let secret = field(&created, "secret");
    let client = client();
    let body = json!({ "prompt": "```sh\nrm -rf something\n```", "agent": "runbook" });
    let answer = client.post(format!("{}/v1/tasks", server.url)).bearer_auth(&secret).json(&body).send().expect("an answer");
    assert_eq!(answer.status().as_u16(), 201);
    let task: serde_json::Value = answer.json().expect("json");
    let waiting = server.settle(&field(&task, "task_id"));
    let approval = field(&waiting["approval"], "approval_id");
    let decide = client
        .post(format!("{}/v1/approvals/{approval}/decision", server.url))
        .bearer_auth(&secret)
        .json(&json!({"decision": "approve", "reason": ""}));
    assert_eq!(decide.send().expect("an answer").status().as_u16(), 403);
    assert!(server.coda(&["token", "revoke", &field(&created, "token_id")]).status.success());
    let after = client.get(format!("{}/v1/whoami", server.url)).bearer_auth(&secret).send().expect("an answer");
    assert_eq!(after.status().as_u16(), 401);
}
