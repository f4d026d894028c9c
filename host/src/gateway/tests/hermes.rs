//! The real Hermes behind the gateway, against the scripted model of tests/model. Compiled with the feature `e2e` only;
//! tests/e2e/gateway.sh installs Hermes and runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};

use super::stand::Gates;
use crate::gates::ToolGates;
use crate::gateway::{Access, Credential, Gateway, Settings, Upstream};
use crate::id::TaskId;

/// Hermes starts in about 3 s; a busy machine takes longer.
const HERMES_DEADLINE: Duration = Duration::from_secs(180);
/// Longer than the usual patience of HTTP clients.
const LONG_HOLD: Duration = Duration::from_secs(75);

/// A model, a gateway and a place for Hermes to work.
struct Bench {
    folder: tempfile::TempDir,
    model: tokio::process::Child,
    model_url: String,
    gates: Arc<Gates>,
    gateway: Gateway,
    access: Access,
}

/// What came of a run.
struct Ended {
    code: Option<i32>,
    screen: String,
    requests: Vec<Value>,
}

impl Bench {
    async fn new(script: &Value) -> Self {
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
        let gateway = Gateway::bind(Settings::default(), Arc::clone(&gates) as Arc<dyn ToolGates>).expect("a gateway");
        let running = gateway.clone();
        tokio::spawn(async move { running.run(std::future::pending()).await });
        let key = folder.path().join("key");
        std::fs::write(&key, "upstream-key\n").expect("written");
        let upstream = Upstream { base_url: format!("{model_url}/v1"), model: None, credential: Some(Credential::File(key)) };
        let access = gateway.open(TaskId::new(), upstream, Vec::new());
        for name in ["home", "work"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        Self { folder, model, model_url, gates, gateway, access }
    }

    fn work(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// Runs Hermes on a task in a terminal until it ends by itself.
    async fn run(&mut self, task: &str) -> Ended {
        let home = self.folder.path().join("home");
        let config = format!(
            "model:\n  default: some-model\n  provider: custom\n  base_url: {}/model/v1\n  api_key: {}\nsecurity:\n  allow_lazy_installs: false\n",
            self.gateway.url(),
            self.access.token
        );
        std::fs::write(home.join("config.yaml"), config).expect("written");
        let hermes = std::env::var("CODA_E2E_HERMES").expect("CODA_E2E_HERMES names the venv; tests/e2e/gateway.sh sets it");
        let (mut pty, pts) = pty_process::open().expect("a terminal");
        pty.resize(pty_process::Size::new(40, 120)).expect("a size");
        let mut child = pty_process::Command::new(Path::new(&hermes).join("bin/hermes"))
            .args(["chat", "--yolo"])
            .arg(format!("-q={task}"))
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

fn turn(text: &str, command: &str) -> Value {
    json!({"text": text, "calls": [{"name": "terminal", "arguments": {"command": command}}]})
}

const TASK: &str = "---CODA-TASK---\nTASK:\nDo what is to be done.\n---END-CODA-TASK---";

#[tokio::test]
async fn a_harmless_call_runs_and_the_task_completes() {
    let script = json!({"turns": [turn("I write it.", "echo hi > out.txt && cat out.txt"), {"text": "All is written."}]});
    let mut bench = Bench::new(&script).await;
    let ended = bench.run(TASK).await;
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
    let mut bench = Bench::new(&script).await;
    let ended = bench.run(TASK).await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert!(!bench.work("destroy-canary").exists());
    assert!(bench.work("out.txt").exists());
    assert!(ended.screen.contains("I could not destroy it."), "{}", ended.screen);
    assert_eq!(ended.requests.len(), 3);
}

#[tokio::test]
async fn a_call_that_is_held_long_runs_once_when_it_is_approved() {
    let script = json!({"turns": [turn("I ask first.", "echo hold >> canary"), {"text": "It was approved."}]});
    let mut bench = Bench::new(&script).await;
    let gates = Arc::clone(&bench.gates);
    tokio::spawn(async move {
        gates.held.notified().await;
        tokio::time::sleep(LONG_HOLD).await;
        gates.decided.notify_one();
    });
    let ended = bench.run(TASK).await;
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
    let mut bench = Bench::new(&script).await;
    std::fs::write(bench.work("config.env"), "KEY=s3cret\n").expect("written");
    let ended = bench.run(TASK).await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert!(!format!("{:?}", ended.requests).contains("s3cret"));
}

#[tokio::test]
async fn a_parked_call_ends_the_turn() {
    let script = json!({"turns": [
        turn("I ask.", "echo later > canary"),
        {"expect": {"contains": ["parked: end your turn"]}, "text": "I wait for approval."},
    ]});
    let mut bench = Bench::new(&script).await;
    let ended = bench.run(TASK).await;
    assert_eq!(ended.code, Some(0), "{}", ended.screen);
    assert!(!bench.work("canary").exists());
    assert!(ended.screen.contains("I wait for approval."), "{}", ended.screen);
}
