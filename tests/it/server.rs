//! A server of one test: own CODA_HOME, own port, ended with the test. Its address comes from its first line of output,
//! so nothing here waits by the clock.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// How long a test waits for anything that should happen.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long a server may take to start: the first of all compiles the policies, with a program that is not optimised.
const START: Duration = Duration::from_secs(300);

pub struct Server {
    pub home: tempfile::TempDir,
    child: Option<Child>,
    pub url: String,
    extra: Vec<(String, String)>,
    /// What it said after its address.
    pub stdout: std::sync::Mutex<Option<mpsc::Receiver<String>>>,
}

impl Server {
    /// A server on the embedded defaults.
    pub fn start() -> Self {
        let mut server = Self::with_config("");
        server.run();
        server
    }

    /// A CODA_HOME with this coda.toml; its server is not started yet.
    pub fn with_config(config: &str) -> Self {
        let home = tempfile::Builder::new().prefix("coda-it-").tempdir().expect("a temporary folder");
        let server = Self { home, child: None, url: String::new(), extra: Vec::new(), stdout: std::sync::Mutex::default() };
        let init = server.coda(&["init"]);
        assert!(init.status.success(), "{}", text(&init));
        std::fs::write(server.path("coda.toml"), config).expect("coda.toml can be written");
        server
    }

    /// A variable that the server and its commands get from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.extra.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the process and waits until it says where it listens.
    pub fn run(&mut self) {
        let mut child = self.command(&["serve"]).stdout(Stdio::piped()).stderr(self.log()).spawn().expect("coda starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        self.child = Some(child);
        loop {
            match heard.recv_timeout(START) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("coda listens on ") {
                        self.url = address.trim().to_owned();
                        self.stdout = std::sync::Mutex::new(Some(heard));
                        return;
                    }
                }
                Err(e) => panic!("coda serve did not say where it listens ({e}):\n{}", self.log_text()),
            }
        }
    }

    /// Starts the process with standard output and error going there, and waits until it can be asked.
    pub fn run_with_output_to(&mut self, path: &str) {
        let to = || std::fs::File::options().write(true).open(path).map(Stdio::from).expect("an output");
        self.child = Some(self.command(&["serve"]).stdout(to()).stderr(to()).spawn().expect("coda starts"));
        // A command waits for a server that is just starting.
        let status = self.json(&["policy", "status"]);
        assert_eq!(status["ready"], Value::Bool(true), "{status:#}");
        let told = std::fs::read_to_string(self.path("server.json")).expect("it says where it listens");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        self.url = field(&told, "address");
    }

    /// kill -9, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and its exit status.
    pub fn stop(&mut self) -> Option<std::process::ExitStatus> {
        let mut child = self.child.take()?;
        let pid = rustix_pid(&child);
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        child.wait().ok()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coda"));
        command
            .args(arguments)
            .env("CODA_HOME", self.home.path())
            .env("CODA_SERVER_LISTEN", "127.0.0.1:0")
            .env("CODA_POLICY_CACHE", policy_cache())
            .env_remove("CODA_TOKEN")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        for (name, value) in &self.extra {
            command.env(name, value);
        }
        command
    }

    /// Runs a command as a user types it.
    pub fn coda(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("coda runs")
    }

    /// The same with `--json`: its answer.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let output = self.coda(&all);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("coda {arguments:?} gave no JSON ({e}):\n{}", text(&output)))
    }

    /// Hands shell commands to the runbook agent and waits until the task has ended or people must decide.
    pub fn runbook(&self, commands: &str) -> Value {
        let task = self.submit(commands);
        self.settle(&field(&task, "task_id"))
    }

    /// Hands shell commands over and does not wait.
    pub fn submit(&self, commands: &str) -> Value {
        let prompt = format!("Run this:\n\n```sh\n{commands}\n```\n");
        self.json(&["run", "--agent", "runbook", &prompt])
    }

    /// Hands a prompt over and waits as `runbook` does.
    pub fn run_and_settle(&self, prompt: &str) -> Value {
        let task = self.json(&["run", "--agent", "runbook", prompt]);
        self.settle(&field(&task, "task_id"))
    }

    /// Waits until a task has ended or people must decide.
    pub fn settle(&self, task: &str) -> Value {
        self.json(&["task", "watch", "--until", "needs_approval", task])
    }

    /// Waits until a task has ended.
    pub fn watch(&self, task: &str) -> Value {
        self.json(&["task", "watch", task])
    }

    /// A file of a task's own workspace, for a task that continues no other.
    pub fn in_workspace(&self, task: &Value, name: &str) -> PathBuf {
        self.home.path().join("workspaces").join(field(task, "session_id")).join(name)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn log(&self) -> Stdio {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.path("server.log")).expect("a log file");
        Stdio::from(file)
    }

    pub fn log_text(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(self.path("server.log")) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- server log ---\n{}", self.log_text());
        }
        end_agents(self.home.path());
    }
}

/// A killed server leaves its agents behind; the test does not.
fn end_agents(home: &Path) {
    let mark = home.display().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if pid != std::process::id() && String::from_utf8_lossy(&environment).contains(&mark) {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

fn rustix_pid(child: &Child) -> String {
    child.id().to_string()
}

pub fn text(output: &Output) -> String {
    format!("{}\n{}\n{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A field as text.
pub fn field(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no text '{name}' in {value:#}")).to_owned()
}

/// Compiled once for all tests, or once for all checkouts where scripts/test.sh says so; what a first start costs is the
/// bench's matter. A test that looks at a cache or breaks one sets its own.
fn policy_cache() -> OsString {
    std::env::var_os("CODA_POLICY_CACHE").unwrap_or_else(|| concat!(env!("CARGO_TARGET_TMPDIR"), "/policy-cache").into())
}
