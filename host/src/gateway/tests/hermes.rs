//! The real Hermes behind the gateway, against the scripted model of tests/model. Compiled with the feature `e2e` only;
//! tests/e2e/gateway.sh installs Hermes and runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::stand::Gates;
use crate::gates::ToolGates;
use crate::gateway::sse::COMMENT;
use crate::gateway::{Access, Credential, Dialect, Gateway, Settings, Upstream};
use crate::id::TaskId;
use crate::policy::Cleared;
use crate::task::envelope::STAND_IN;

/// Hermes starts in about 3 s; a busy machine takes longer.
const HERMES_DEADLINE: Duration = Duration::from_secs(180);
/// A hold is long when the agent was told so often that it is to wait on.
const LONG_HOLD_COMMENTS: usize = 5;

/// A model, a gateway and a place for Hermes to work.
struct Bench {
    folder: tempfile::TempDir,
    model: tokio::process::Child,
    model_url: String,
    gates: Arc<Gates>,
    /// Where Hermes finds the gateway.
    url: String,
    /// Comments that passed on their way to Hermes.
    comments: watch::Receiver<usize>,
    _gateway: Gateway,
    access: Access,
}

/// What came of a run.
struct Ended {
    code: Option<i32>,
    screen: String,
    requests: Vec<Value>,
}

impl Bench {
    /// With this envelope for the agent.
    async fn new(script: &Value, envelope: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script_file = folder.path().join("script.json");
        std::fs::write(&script_file, script.to_string()).expect("written");
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/model/server.py");
        let mut model = tokio::process::Command::new("python3")
            .arg(server)
            .arg("--script")
            .arg(&script_file)
            .args(["--key", "upstream-key"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 starts");
        let stdout = model.stdout.take().expect("piped");
        let line = tokio::io::BufReader::new(stdout).lines().next_line().await.expect("read").expect("a line");
        let model_url = line.strip_prefix("listening ").expect("an address").to_owned();
        let gates = Arc::new(Gates::default());
        let settings = Settings { keepalive_s: 1, ..Settings::default() };
        let gateway = Gateway::bind(settings, Arc::clone(&gates) as Arc<dyn ToolGates>).expect("a gateway");
        let running = gateway.clone();
        tokio::spawn(async move { running.run(std::future::pending()).await });
        let key = folder.path().join("key");
        std::fs::write(&key, "upstream-key\n").expect("written");
        let (url, comments) = relay(&gateway).await;
        let upstream = Upstream {
            dialect: Dialect::Chat,
            base_url: format!("{model_url}/v1"),
            model: None,
            credential: Some(Credential::File(key)),
            ..Upstream::default()
        };
        let access = gateway.open(TaskId::new(), Cleared::for_test(envelope.to_owned()), upstream, Vec::new());
        for name in ["home", "work"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        Self { folder, model, model_url, gates, url, comments, _gateway: gateway, access }
    }

    fn work(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// Runs Hermes on the task in a terminal, called as the executor does, until it ends by itself.
    async fn run(&mut self) -> Ended {
        let home = self.folder.path().join("home");
        let config = format!(
            "model:\n  default: some-model\n  provider: custom\n  base_url: {}/model/v1\n  api_key: {}\nsecurity:\n  allow_lazy_installs: false\n",
            self.url, self.access.token
        );
        std::fs::write(home.join("config.yaml"), config).expect("written");
        let hermes = std::env::var("CODA_E2E_HERMES").expect("CODA_E2E_HERMES names the venv; tests/e2e/gateway.sh sets it");
        let (mut pty, pts) = pty_process::open().expect("a terminal");
        pty.resize(pty_process::Size::new(40, 120)).expect("a size");
        let mut child = pty_process::Command::new(Path::new(&hermes).join("bin/hermes"))
            .args(["chat", "--yolo"])
            .arg(format!("-q={STAND_IN}"))
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("TERM", "xterm-256color"), ("LANG", "C.UTF-8")])
            .envs([("HOME", &home), ("HERMES_HOME", &home)])
            .current_dir(self.folder.path().join("work"))
            .kill_on_drop(true)
            .spawn(pts)
            .expect("hermes starts");
        let mut screen = Vec::new();
        let code = tokio::time::timeout(HERMES_DEADLINE, async {
            let mut bytes = [0; 4096];
            // EIO and 0 both mean that the last program has closed the terminal.
            while let Ok(count @ 1..) = pty.read(&mut bytes).await {
                screen.extend_from_slice(&bytes[..count]);
            }
            child.wait().await.expect("waited").code()
        });
        let code = code.await.expect("hermes ends by itself");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let get = async |path: &str| -> Value {
            client.get(format!("{}{path}", self.model_url)).send().await.expect("sent").json().await.expect("JSON")
        };
        assert_eq!(get("/violations").await, json!([]), "the model saw a history that breaks a rule");
        let Value::Array(requests) = get("/requests").await else { panic!("a list") };
        let requests: Vec<Value> = requests.into_iter().filter(|r| r["body"]["tools"].is_array()).collect();
        self.model.start_kill().expect("killed");
        Ended { code, screen: String::from_utf8_lossy(&screen).into_owned(), requests }
    }
}

/// Stands between Hermes and the gateway and counts the comments that keep a held stream alive.
async fn relay(gateway: &Gateway) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let target = gateway.url().trim_start_matches("http://").to_owned();
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((agent, _)) = listener.accept().await {
            let (target, count) = (target.clone(), count.clone());
            tokio::spawn(async move {
                let gateway = TcpStream::connect(target).await.expect("it listens");
                let ((mut from_agent, mut to_agent), (mut from_gateway, mut to_gateway)) =
                    (agent.into_split(), gateway.into_split());
                let asking = tokio::spawn(async move { tokio::io::copy(&mut from_agent, &mut to_gateway).await });
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = from_gateway.read(&mut bytes).await {
                    let found = String::from_utf8_lossy(&bytes[..read]).matches(COMMENT.trim_end()).count();
                    if to_agent.write_all(&bytes[..read]).await.is_err() {
                        break;
                    }
                    count.send_modify(|all| *all += found);
                }
                asking.abort();
            });
        }
    });
    (url, counted)
}

fn turn(text: &str, command: &str) -> Value {
    json!({"text": text, "calls": [{"name": "terminal", "arguments": {"command": command}}]})
}

const TASK: &str = "---CODA-TASK---\nTASK:\nDo what is to be done.\n---END-CODA-TASK---";

#[tokio::test]
async fn a_harmless_call_runs_and_the_task_completes() {
    let script = json!({"turns": [turn("I write it.", "echo hi > out.txt && cat out.txt"), {"text": "All is written."}]});
    let mut bench = Bench::new(&script, TASK).await;
    let ended = bench.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert_eq!(std::fs::read_to_string(bench.work("out.txt")).expect("written"), "hi\n");
    assert!(ended.screen.contains("All is written."), "{}", ended.screen);
    assert_eq!(ended.requests.len(), 2);
    assert!(!format!("{:?}", ended.requests).contains("coda_task_"), "the task's token stays here");
}

#[tokio::test]
async fn a_destructive_call_never_runs_the_model_is_told_and_the_task_goes_on() {
    let script = json!({"turns": [
        turn("I destroy it.", "touch destroy-canary"),
        {"expect": {"contains": ["refused by test-rule"]}, "text": "Then I look.", "calls": [
            {"name": "terminal", "arguments": {"command": "echo safe > out.txt"}},
            {"name": "terminal", "arguments": {"command": "touch destroy-canary"}}]},
        {"expect": {"contains": ["call_2_1 destroys", "call_1_0 destroys"]}, "text": "I could not destroy it."},
    ]});
    let mut bench = Bench::new(&script, TASK).await;
    let ended = bench.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert!(!bench.work("destroy-canary").exists());
    assert!(bench.work("out.txt").exists());
    assert!(ended.screen.contains("I could not destroy it."), "{}", ended.screen);
    assert_eq!(ended.requests.len(), 3);
}

#[tokio::test]
async fn a_call_that_is_held_long_runs_once_when_it_is_approved() {
    let script = json!({"turns": [turn("I ask first.", "echo hold >> canary"), {"text": "It was approved."}]});
    let mut bench = Bench::new(&script, TASK).await;
    let (gates, mut comments) = (Arc::clone(&bench.gates), bench.comments.clone());
    tokio::spawn(async move {
        gates.held.notified().await;
        let before = *comments.borrow();
        let heard = comments.wait_for(|now| *now >= before + LONG_HOLD_COMMENTS).await;
        heard.expect("the relay lives as long as the test");
        gates.decided.notify_one();
    });
    let ended = bench.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert_eq!(std::fs::read_to_string(bench.work("canary")).expect("written"), "hold\n");
    assert_eq!((ended.requests.len(), bench.gates.asked.lock().expect("asked").len()), (2, 1));
}

#[tokio::test]
async fn a_secret_in_a_result_never_reaches_the_model() {
    let script = json!({"turns": [
        turn("I read it.", "cat config.env"),
        {"expect": {"contains": ["[masked]"], "absent": ["s3cret"]}, "text": "I have read it."},
    ]});
    let mut bench = Bench::new(&script, TASK).await;
    std::fs::write(bench.work("config.env"), "KEY=s3cret\n").expect("written");
    let ended = bench.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert!(!format!("{:?}", ended.requests).contains("s3cret"));
}

#[tokio::test]
async fn a_parked_call_ends_the_turn() {
    let script = json!({"turns": [
        turn("I ask.", "echo later > canary"),
        {"expect": {"contains": ["parked: end your turn"]}, "text": "I wait for approval."},
    ]});
    let mut bench = Bench::new(&script, TASK).await;
    let ended = bench.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert!(!bench.work("canary").exists());
    assert!(ended.screen.contains("I wait for approval."), "{}", ended.screen);
}

/// What Hermes would expand, format, cut, take for a flag or not take at all on its command line.
#[tokio::test]
async fn the_model_reads_the_task_as_it_was_cleared_and_hermes_knows_nothing_of_it() {
    let long = "one of many words, ".repeat(20_000);
    let task = format!("---CODA-TASK---\n@file:notes.txt @diff [/bold] \"MY-WORDS\"\n{long}\n---END-CODA-TASK---\n");
    let script = json!({"turns": [turn("I look.", "echo hi"), {"text": "I have seen it."}]});
    let mut bench = Bench::new(&script, &task).await;
    std::fs::write(bench.work("notes.txt"), "NOT-TO-BE-READ\n").expect("written");
    let ended = bench.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert_eq!(ended.requests.len(), 2);
    for request in &ended.requests {
        let messages = request["body"]["messages"].as_array().expect("a list");
        let said: Vec<&Value> = messages.iter().filter(|m| m["role"] == "user").map(|m| &m["content"]).collect();
        assert!(said == [task.as_str()], "{} of the user's messages, not the task as it is", said.len());
        assert!(!request.to_string().contains("NOT-TO-BE-READ"), "Hermes read a file before any gate");
    }
    assert!(ended.screen.contains("I have seen it.") && !ended.screen.contains("MY-WORDS"), "{}", ended.screen);
}
