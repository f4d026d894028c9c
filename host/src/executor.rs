//! The executor: runs one agent program in a pseudo-terminal, watches it, and ends it with its whole process tree.
//!
//! ```text
//! Launch ─ start ─► Run ─ wait ─► Ended       Sessions: the live terminals, for the viewer
//! ```
//! It knows nothing of policies or people. What it lets through to transcript and viewer is masked terminal bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::id::TaskId;
use crate::policy::Cleared;

/// Everything that one attempt of a task needs to start.
#[derive(Debug)]
pub struct Launch {
    /// Which task.
    pub task: TaskId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Agent name, such as `hermes`.
    pub agent: String,
    /// The text that the agent gets.
    pub envelope: Cleared<String>,
    /// `CODA_HOME/tasks/ID`: the host's alone; `io` and `home` below it are the agent's.
    pub task_dir: PathBuf,
    /// Where the agent works.
    pub workspace: PathBuf,
    /// Hidden from the agent but for what it needs.
    pub coda_home: PathBuf,
    /// The listener that stands between agent and model: `http://127.0.0.1:PORT`.
    pub gateway_url: String,
    /// The task's own secret for that listener.
    pub gateway_token: String,
    /// Whether the agent's own questions are off.
    pub yolo: bool,
    /// Bound on running time, held time not counted.
    pub timeout_s: u64,
    /// Values that must never be shown: masked exactly.
    pub secrets: Vec<String>,
    /// Extra environment from the agent's profile.
    pub environment: BTreeMap<String, String>,
}

/// stub
#[derive(Clone)]
pub struct Control;
impl Control {
    /// stub
    pub fn hold(&self) {}
    /// stub
    pub fn go_on(&self) {}
    /// stub
    pub fn stop(&self, _why: StopReason) {}
}
/// stub
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// x
    Cancelled,
    /// x
    Shutdown,
}
/// stub
#[derive(Clone)]
pub struct Executor;
/// stub
pub struct Run {
    /// x
    pub pid: i32,
    /// x
    pub pid_start: u64,
    /// x
    pub sandbox: String,
    /// x
    pub progress: tokio::sync::mpsc::Receiver<String>,
}
impl Run {
    /// x
    pub fn control(&self) -> Control {
        Control
    }
    /// x
    pub fn take_progress(&mut self) -> tokio::sync::mpsc::Receiver<String> {
        tokio::sync::mpsc::channel(1).1
    }
    /// x
    pub async fn wait(self) -> Ended {
        Ended { how: How::Exited(0), result: ResultFile::Missing }
    }
}
impl Executor {
    /// x
    pub fn workspace_path(&self, _name: Option<&str>, chain: &str) -> PathBuf {
        PathBuf::from(chain)
    }
    /// x
    pub async fn start(&self, _launch: Launch) -> Result<Run, String> {
        Err("stub".into())
    }
}
/// stub
pub struct Ended {
    /// x
    pub how: How,
    /// x
    pub result: ResultFile,
}
/// stub
#[derive(Debug)]
pub enum How {
    /// x
    Exited(i32),
    /// x
    Deadline,
    /// x
    Stopped(StopReason),
}
impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
/// stub
pub enum ResultFile {
    /// x
    Missing,
    /// x
    Invalid {
        /// x
        why: String,
    },
    /// x
    Valid(serde_json::Map<String, serde_json::Value>),
}
/// stub
pub async fn end_leftovers(_task: &TaskId, _process: Option<(i32, u64)>) {}
