//! What the tests need: a CODA_HOME, an executor whose agents are shell scripts, and waiting with a deadline.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::executor::agent::{Kind, Profile};
use crate::executor::{Ended, Executor, Frame, Launch, Progress, Run, Settings, StartError};
use crate::id::TaskId;
use crate::policy::Cleared;
use crate::task::conversation::Conversation;

/// No test waits longer for an event.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Waits until a condition of the outside world holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !holds() {
            look.tick().await;
        }
    })
    .await;
}

pub(in crate::executor) struct Stage {
    pub(super) dir: tempfile::TempDir,
    pub(super) settings: Settings,
    pub(super) secrets: Vec<String>,
    pub(super) timeout_s: u64,
    pub(super) attempt: u32,
    pub(super) task: TaskId,
    pub(in crate::executor) prompt: String,
    pub(super) agent: String,
    pub(super) gateway_url: String,
}

impl Stage {
    /// An agent that is this bash script.
    pub(in crate::executor) fn with(script: &str) -> Self {
        Self::below(&std::env::temp_dir(), script)
    }

    pub(super) fn below(parent: &Path, script: &str) -> Self {
        let dir = tempfile::tempdir_in(parent).expect("a directory");
        let agent = dir.path().join("agent.sh");
        std::fs::write(&agent, format!("#!/bin/bash\n{script}\n")).expect("writes");
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).expect("sets");
        let profile = Profile { kind: Kind::Custom, command: agent, ..Profile::default() };
        let own = [std::env::current_exe().expect("we have a path").into(), "executor::tests::reexec".into()];
        let flags = ["--exact", "--nocapture", "--quiet"].map(Into::into);
        let settings = Settings {
            agents: BTreeMap::from([("script".to_owned(), profile)]),
            own_program: own.into_iter().chain(flags).collect(),
            grace_s: 1,
            result_grace_s: 1,
            ..Settings::default()
        };
        let home = dir.path().join("home");
        std::fs::create_dir_all(home.join("workspace")).expect("makes");
        Self {
            dir,
            settings,
            secrets: Vec::new(),
            timeout_s: 120,
            attempt: 1,
            task: TaskId::new(),
            prompt: "---CODA-TASK---\nTASK:\nnothing\n".into(),
            agent: "script".into(),
            gateway_url: "http://127.0.0.1:9".into(),
        }
    }

    /// CODA_HOME. The agent's script lies outside of it.
    pub(super) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(super) fn workspace(&self) -> PathBuf {
        self.home().join("workspace")
    }

    pub(super) fn task_dir(&self) -> PathBuf {
        self.home().join("tasks").join(self.task.as_str())
    }

    pub(in crate::executor) fn launch(&self) -> Launch {
        Launch {
            task: self.task.clone(),
            attempt: self.attempt,
            agent: self.agent.clone(),
            conversation: Conversation::New,
            envelope: Cleared::for_test(self.prompt.clone()),
            task_dir: self.task_dir(),
            workspace: self.workspace(),
            coda_home: self.home(),
            gateway_url: self.gateway_url.clone(),
            gateway_token: "the-task-token".into(),
            yolo: false,
            timeout_s: self.timeout_s,
            secrets: self.secrets.clone(),
            environment: BTreeMap::new(),
        }
    }

    pub(super) async fn start(&self) -> Result<(Executor, Run, watch::Receiver<Option<Progress>>), StartError> {
        let executor = Executor::new(self.settings.clone());
        let (progress, lines) = watch::channel(None);
        let run = soon("start", executor.start(self.launch(), progress)).await?;
        Ok((executor, run, lines))
    }

    /// Runs it to its end.
    pub(super) async fn run(&self) -> Ended {
        let (_executor, run, _lines) = self.start().await.expect("starts");
        soon("the end", run.wait()).await
    }

    /// Everything that the terminal showed, from the transcript.
    pub(super) fn shown(&self) -> String {
        let text = std::fs::read_to_string(self.task_dir().join("transcript.cast")).expect("a transcript");
        let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        events.filter(|e| e[1] == "o").filter_map(|e| e[2].as_str().map(str::to_owned)).collect()
    }
}

/// The screen of a live task, once it shows `text`.
pub(super) async fn screen_with(executor: &Executor, task: &TaskId, text: &str) -> String {
    soon("the screen", async {
        let mut live = executor.sessions().subscribe(task).expect("it is live");
        let mut screen = super::super::screen::Screen::new(1, 1);
        loop {
            match live.next().await {
                Frame::Snapshot(snapshot) => {
                    screen = super::super::screen::Screen::new(snapshot.columns, snapshot.rows);
                    screen.feed(&snapshot.bytes);
                }
                Frame::Output(delta) => screen.feed(&delta.bytes),
                Frame::Display(_) => {}
                Frame::End => panic!("the terminal ended without {text:?}; it shows {:?}", screen.text()),
            }
            if screen.text().contains(text) {
                return screen.text();
            }
        }
    })
    .await
}

/// Runs one test of this binary once more, as somebody who is not root: root hides what permissions forbid.
pub(super) async fn as_ordinary_user(test: &str) {
    if !rustix::process::geteuid().is_root() {
        // Then the test itself was this one.
        return;
    }
    // A copy, because an ordinary user may not get to the build's folder.
    let dir = tempfile::tempdir().expect("a directory");
    let copy = dir.path().join("coda-tests");
    std::fs::copy(std::env::current_exe().expect("we have a path"), &copy).expect("copies");
    for path in [dir.path(), copy.as_path()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("sets");
    }
    let user = std::env::var("CODA_TEST_USER").unwrap_or_else(|_| "nobody".into());
    let home = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).expect("sets");
    let line = format!("HOME={} exec {} {test} --exact --nocapture", home.path().display(), copy.display());
    let output =
        tokio::process::Command::new("su").args(["-s", "/bin/bash", &user, "-c", &line]).output().await.expect("su runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "as {user}:\n{said}");
}
