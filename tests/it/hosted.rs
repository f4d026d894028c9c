//! A tool that runs at the model's provider: stripped, unless the operator lists it for the agent and the policies allow its
//! declaration; what it answers is screened like any tool's result.

use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};

use crate::guest;
use crate::server::{DEADLINE, Server, field, text};
use crate::upstream::{Seen, Upstream};

const SECRET: &str = concat!("ghp", "_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");

/// Asks its model three times to run something at the provider, and says what it heard.
const AGENT: &str = r#"
import json, os, urllib.request
tool = {"type": "code_execution_20250825", "name": "code_execution"}
messages, heard = [{"role": "user", "content": "go"}], []
for turn in range(3):
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages, "tools": [tool]}).encode()
    request = urllib.request.Request(os.environ["CODA_GATEWAY_URL"] + "/model/anthropic/v1/messages", body,
        {"x-api-key": os.environ["CODA_GATEWAY_TOKEN"], "Content-Type": "application/json"})
    content = json.load(urllib.request.urlopen(request))["content"]
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": "again"}]
    heard.append(json.dumps(content))
folder = os.environ["CODA_TASK_DIR"]
with open(folder + "/r", "w") as f:
    json.dump({"status": "completed", "summary": "\n".join(heard)}, f)
os.rename(folder + "/r", folder + "/result.json")
"#;

fn config(url: &str) -> String {
    let agent = |name: &str, more: &str| {
        format!(
            "[agents.{name}]\nkind = \"custom\"\ncommand = \"python3\"\narguments = [\"-c\", {}]\nmodel = \"m\"\n{more}\n",
            json!(AGENT)
        )
    };
    let model = format!("[models.m]\ndialect = \"messages\"\nbase_url = \"{url}\"\nmodel = \"m\"\n");
    agent("own", "hosted_tools = [\"code_execution*\"]") + &agent("other", "") + &model
}

/// Runs at the provider what it is offered to, and prints a secret.
fn answer(seen: &Seen) -> (u16, Value) {
    let words = |text: &str| json!({"type": "text", "text": text});
    let ran = json!({"type": "code_execution_result", "stdout": format!("token {SECRET}"), "stderr": "", "return_code": 0, "content": []});
    let content = match is_offered(seen) {
        true => json!([
            {"type": "server_tool_use", "id": "srv_1", "name": "code_execution", "input": {"code": "print(token)"}},
            {"type": "code_execution_tool_result", "tool_use_id": "srv_1", "content": ran},
            words("I ran it."),
        ]),
        false => json!([words("I have nothing to run it with.")]),
    };
    let usage = json!({"input_tokens": 10, "output_tokens": 5});
    (
        200,
        json!({"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason": "end_turn", "usage": usage}),
    )
}

fn is_offered(seen: &Seen) -> bool {
    seen.said.contains("\"code_execution_20250825\"")
}

/// Verdicts and codes at the gate `tool-call`, by the audit log.
fn verdicts(server: &Server, task: &str) -> Vec<String> {
    let page = server.json(&["audit", "show", "--task", task, "--limit", "1000"]);
    let all = page["records"].as_array().cloned().unwrap_or_default();
    let at_gate = all.iter().filter(|record| record["kind"] == "decision" && record["body"]["gate"] == "tool-call");
    at_gate.map(|record| format!("{} {}", field(&record["body"], "verdict"), record["body"]["codes"])).collect()
}

#[test]
fn it_is_offered_while_listed_and_allowed_and_its_answer_is_screened() {
    let upstream = Upstream::start(answer);
    let mut server = Server::with_config(&config(&upstream.url));
    server.run();

    let other = server.json(&["run", "--agent", "other", "look"]);
    let other = server.watch(&field(&other, "task_id"));
    assert_eq!(field(&other, "status"), "completed", "{other:#}");
    assert!(upstream.seen().iter().all(|seen| !is_offered(seen)), "not listed");
    assert_eq!(verdicts(&server, &field(&other, "task_id")), [""; 0], "and so not even asked about");

    let before = upstream.seen().len();
    let task = server.json(&["run", "--agent", "own", "look"]);
    let ended = server.watch(&field(&task, "task_id"));
    let seen = upstream.seen();
    assert!(seen[before..].iter().all(is_offered), "{ended:#}");
    assert!(seen.iter().all(|seen| !seen.said.contains(SECRET)), "the model reads its own results screened");
    let summary = field(&ended["result"], "summary");
    assert!(
        !summary.contains(SECRET) && summary.contains("I ran it.") && summary.contains("code_execution_tool_result"),
        "{summary}"
    );
    assert!(seen[before + 1].said.contains("\"srv_1\"") && seen[before + 1].said.contains("token "), "{}", seen[before + 1].said);
    assert_eq!(verdicts(&server, &field(&task, "task_id")), ["allow []"], "once for the task");
}

#[test]
fn another_set_judges_it_again() {
    let (asked, was_asked) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let (asked, may_go) = (Mutex::new(asked), Mutex::new(Some(may_go)));
    let upstream = Upstream::start(move |seen| {
        let gate = may_go.lock().expect("the gate").take();
        if let Some(gate) = gate {
            asked.lock().expect("asked").send(()).expect("the test listens");
            gate.recv_timeout(DEADLINE).expect("the test lets it go");
        }
        answer(seen)
    });
    let mut server = Server::with_config(&config(&upstream.url));
    guest::policies(&server, &guest::entry("lenient", "", "gates = [\"prompt\", \"tool-call\", \"tool-result\", \"output\"]"));
    server.run();
    let task = server.json(&["run", "--agent", "own", "look"]);
    was_asked.recv_timeout(DEADLINE).expect("it asks");
    // While the first answer is on its way.
    let ask = guest::entry("strict", "do = \"ask\", word = \"approver\", only = \"code_execution\"", "gates = [\"tool-call\"]");
    guest::policies(&server, &(ask + &guest::entry("lenient", "", "gates = [\"prompt\", \"tool-result\", \"output\"]")));
    let loaded = server.coda(&["policy", "load"]);
    assert!(loaded.status.success(), "{}", text(&loaded));
    go.send(()).expect("it waits");
    let ended = server.watch(&field(&task, "task_id"));
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    let offered: Vec<bool> = upstream.seen().iter().map(is_offered).collect();
    assert_eq!(offered, [true, false, false], "people are not asked about it: what wants them is stripped");
    let verdicts = verdicts(&server, &field(&task, "task_id"));
    assert_eq!((verdicts.len(), verdicts[0].as_str()), (2, "allow []"), "{verdicts:?}");
    assert!(verdicts[1].starts_with("needs-approval"), "{verdicts:?}");
}
