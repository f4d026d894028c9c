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
}
