//! The record of a task's model traffic through the command line: shown, handed out, and heard again by another task.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Server, field, text};

/// Asks its model, "runs" what it calls, and says in the end what it heard.
const AGENT: &str = r#"
import json, os, urllib.request
secret = "ghp" + "_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
tool = {"type": "function", "function": {"name": "terminal", "parameters": {"type": "object"}}}
messages, heard = [{"role": "user", "content": open(os.environ["CODA_TASK_DIR"] + "/prompt.txt").read()}], []
while True:
    body = json.dumps({"model": "m", "messages": messages, "tools": [tool]}).encode()
    request = urllib.request.Request(os.environ["CODA_GATEWAY_URL"] + "/model/v1/chat/completions", body,
        {"Authorization": "Bearer " + os.environ["CODA_GATEWAY_TOKEN"], "Content-Type": "application/json"})
    try:
        message = json.load(urllib.request.urlopen(request))["choices"][0]["message"]
    except urllib.error.HTTPError as e:
        heard.append(e.read().decode())
        break
    messages.append(message)
    heard.append(message.get("content") or "")
    calls = message.get("tool_calls") or []
    for call in calls:
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "the key is " + secret})
    if not calls:
        break
folder = os.environ["CODA_TASK_DIR"]
with open(folder + "/r", "w") as f:
    json.dump({"status": "completed", "summary": " / ".join(heard)}, f)
os.rename(folder + "/r", folder + "/result.json")
"#;

/// A model that says these messages, one for each request. What it was asked.
fn model(messages: Vec<Value>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for message in messages {
            let Ok((mut stream, _)) = listener.accept() else { return };
            seen.lock().expect("asked").push(body_of(&mut stream));
            let finish = if message["tool_calls"].is_array() { "tool_calls" } else { "stop" };
            let answer = json!({ "id": "1", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{ "index": 0, "message": message, "finish_reason": finish }] });
            let answer = answer.to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
            let _ = stream.write_all(format!("{head} {}\r\n\r\n{answer}", answer.len()).as_bytes());
        }
    });
    (url, asked)
}

fn body_of(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("text")
}

fn config(url: &str) -> String {
    format!(
        "[gateway]\nrecord_bytes = 1000000\n[agents.own]\nkind = \"custom\"\ncommand = \"python3\"\narguments = [\"-c\", {}]\nmodel = \"m\"\n\
         [models.m]\nbase_url = {url:?}\nmodel = \"m\"\n",
        json!(AGENT)
    )
}

fn run(server: &Server) -> Value {
    let task = server.json(&["run", "--agent", "own", "look at the key"]);
    let ended = server.watch(&field(&task, "task_id"));
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    ended
}

/// `coda task replay`, and where it listens.
struct Again(Child, String);

impl Again {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let line = [&["--json", "task", "replay"], arguments].concat();
        let mut child = server.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = serde_json::Deserializer::from_reader(child.stdout.take().expect("piped")).into_iter::<Value>();
        let said = lines.next().expect("it says where it listens").expect("JSON");
        Self(child, field(&said, "base_url"))
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_task_is_recorded_shown_and_heard_again() {
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "terminal", "arguments": "{\"command\": \"cat key\"}" } });
    let (url, asked) = model(vec![
        json!({ "role": "assistant", "content": "I look.", "tool_calls": [call] }),
        json!({ "role": "assistant", "content": "I have seen it." }),
    ]);
    let mut server = Server::with_config(&config(&url));
    server.run();
    let first = run(&server);
    let id = field(&first, "task_id");
    let summary = field(&first["result"], "summary");
    assert_eq!(summary, "I look. / I have seen it.");
    let shown = server.coda(&["task", "traffic", &id]);
    let shown = text(&shown);
    for words in [
        "attempt 1, request 2",
        "> user: ",
        "< I look.",
        "< terminal {\"command\": \"cat key\"}",
        "released dec_",
        "< I have seen it.",
    ] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    let file = server.path("kept.jsonl");
    let written = server.coda(&["task", "traffic", "--output", &file.display().to_string(), &id]);
    assert!(written.status.success(), "{}", text(&written));
    let record = std::fs::read_to_string(&file).expect("a record");
    let sent = asked.lock().expect("asked").join("\n");
    for secret in ["a1B2c3D4e5F6", "coda_task_"] {
        assert!(![&record, &shown, &sent].iter().any(|text| text.contains(secret)), "{secret} in {record}");
    }
    assert!(server.json(&["task", "traffic", &id])["requests"][1]["messages"].as_array().is_some_and(|m| m.len() == 3));

    // The same again, from the record alone.
    let again = Again::start(&server, &["--file", &file.display().to_string()]);
    server.stop();
    std::fs::write(server.path("coda.toml"), config(&again.1)).expect("coda.toml");
    server.run();
    assert_eq!(field(&run(&server)["result"], "summary"), summary);
    // A third time it is over, and the agent is told.
    let over = field(&run(&server)["result"], "summary");
    assert!(over.contains("the record ends after 2 requests"), "{over}");
}

#[test]
fn a_task_without_a_record_says_why_there_is_none() {
    let server = Server::start();
    let ended = server.runbook("echo hello");
    let shown = server.coda(&["task", "traffic", &field(&ended, "task_id")]);
    assert_eq!(shown.status.code(), Some(5), "{}", text(&shown));
    assert!(text(&shown).contains("gateway.record_bytes"), "{}", text(&shown));
}
