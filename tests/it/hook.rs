//! `coda hook` as agents run it: whatever goes wrong, the answer is no, in that agent's words and before its own limit.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const QUESTION: &str =
    r#"{"hook_event_name":"PreToolUse","event":"PreToolUse","tool_name":"Bash","tool_input":{"command":"ls"}}"#;

/// One hook, at a gateway of this address.
fn ask(agent: &str, limit_s: u32, gateway: Option<&str>, question: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coda"));
    command.args(["hook", "--agent", agent, "--limit-s", &limit_s.to_string()]).env_clear();
    if let Some(url) = gateway {
        command.envs([("CODA_GATEWAY_URL", url), ("CODA_GATEWAY_TOKEN", "token")]);
    }
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(question.as_bytes()).expect("writes");
    child.wait_with_output().expect("ends")
}

/// What an agent of this kind takes for a no, and why it was said.
fn refused(agent: &str, output: &Output) -> String {
    let words: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let of = &words["hookSpecificOutput"];
    let (is_no, why, code) = match agent {
        "claude" | "codex" | "qwen" => (of["permissionDecision"] == "deny", &of["permissionDecisionReason"], 0),
        "gemini" => (words["decision"] == "deny", &words["reason"], 0),
        "goose" => (words["decision"] == "block", &words["reason"], 2),
        "hermes" => (words["action"] == "block", &words["message"], 0),
        _ => (words["decision"] == "block", &words["reason"], 2),
    };
    assert!(is_no && output.status.code() == Some(code), "{agent}: {output:?}");
    why.as_str().expect("a reason").to_owned()
}

const AGENTS: [&str; 6] = ["claude", "codex", "qwen", "gemini", "goose", "hermes"];

#[test]
fn without_a_gateway_every_answer_is_no() {
    for agent in AGENTS {
        assert!(refused(agent, &ask(agent, 60, None, QUESTION)).contains("CODA_GATEWAY_URL is not set"));
        let why = refused(agent, &ask(agent, 60, Some("http://127.0.0.1:9"), QUESTION));
        assert!(why.contains("does not answer"), "{agent}: {why}");
    }
}

#[test]
fn a_question_that_makes_no_sense_is_answered_with_no() {
    for question in ["", "{", "[]", "{}", "\u{0}", r#"{"tool_name":"Bash","tool_input":"ls"}"#] {
        refused("claude", &ask("claude", 60, Some("http://127.0.0.1:9"), question));
        refused("goose", &ask("goose", 60, Some("http://127.0.0.1:9"), question));
    }
    assert!(refused("unknown", &ask("unknown", 60, None, QUESTION)).contains("no hooks of an agent 'unknown'"));
}

#[test]
fn a_gateway_that_never_answers_is_waited_for_less_than_the_agent_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    // The agent would let the call pass after two seconds. That the answer comes at all shows that it gave up: nobody else
    // ends the wait.
    let why = refused("claude", &ask("claude", 2, Some(&url), QUESTION));
    assert!(why.contains("took too long"), "{why}");
}

#[test]
fn only_a_plain_permission_lets_the_call_pass() {
    let said = |status: &str, body: Value| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (status, body) = (status.to_owned(), body.to_string());
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            read_request(&mut stream);
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).expect("answers");
        });
        let output = ask("claude", 60, Some(&url), QUESTION);
        serving.join().expect("served");
        output
    };
    let passed = said("200 OK", json!({"verdict": "run"}));
    assert!(passed.status.success() && passed.stdout.is_empty(), "{passed:?}");
    for body in [
        json!({"verdict": "RUN"}),
        json!({"verdict": ["run"]}),
        json!("run"),
        json!({}),
        json!({"verdict": "held", "message": "held as approval x"}),
    ] {
        refused("claude", &said("200 OK", body));
    }
    refused("claude", &said("500 Internal Server Error", json!({"verdict": "run"})));
}

/// Reads a request with its body: answered earlier, the client would see a broken connection.
fn read_request(stream: &mut std::net::TcpStream) {
    use std::io::Read as _;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return;
            }
        }
        let count = stream.read(&mut piece).expect("reads");
        assert!(count > 0, "the request broke off");
        bytes.extend_from_slice(&piece[..count]);
    }
}
