//! From a stored task to a running agent: folders, envelope, gateway, process.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Pipeline, limit};
use crate::executor::{Ended, Launch};
use crate::gates::running::Running;
use crate::gateway::Access;
use crate::policy::Cleared;
use crate::policy::contract::{Permissions, Subject, Verdict};
use crate::store::StoreError;
use crate::task::envelope::{self, Facts};
use crate::task::{Reason, Task};

/// What an attempt has in hand before its process starts.
pub(super) struct Prepared {
    launch: Launch,
    /// Closes the task's way to the model when dropped.
    access: Access,
}

impl Pipeline {
    /// Where a task works: its named workspace, or its chain's own.
    pub(super) fn workspace_of(&self, task: &Task) -> PathBuf {
        self.0.parts.executor.workspace_path(task.workspace.as_deref(), task.chain.as_str())
    }

    /// Makes everything that the agent needs and nothing that it does not.
    pub(super) async fn prepare(&self, task: &Task, running: &Running) -> Result<Prepared, Reason> {
        let internal = |e: StoreError| limit("store", format!("the task could not be prepared: {e}"));
        let task_dir = self.task_dir(task);
        let folders = task_dir.clone();
        let made = tokio::task::spawn_blocking(move || make_folders(&folders)).await;
        made.unwrap_or_else(|e| Err(std::io::Error::other(e)))
            .map_err(|e| limit("disk", format!("its folder could not be made: {e}")))?;
        let prior = self.copy_prior(task, &task_dir).await.map_err(internal)?;
        let id = task.id.clone();
        let (on_record, grants, answer) = self
            .0
            .parts
            .store
            .call(move |s| Ok((s.prompt_on_record(&id)?, s.unused_grants(&id)?, s.last_answer(&id)?)))
            .await
            .map_err(internal)?;
        let approved: Vec<String> = grants
            .iter()
            .map(|g| {
                let item = &g.approval.items[g.item];
                format!("{}: {}", item.title, item.content)
            })
            .collect();
        let facts =
            Facts { io_dir: &task_dir.join("io"), prior_dir: prior.as_deref(), approved: &approved, answer: answer.as_deref() };
        let envelope = envelope::write(task, Cleared::on_record(on_record), &facts);
        let access = self.0.parts.gateway.open(&task.id, &task.agent).map_err(|e| limit("gateway", e.to_string()))?;
        let launch = Launch {
            task: task.id.clone(),
            attempt: task.attempt,
            agent: task.agent.clone(),
            envelope,
            task_dir,
            workspace: running.workspace.clone(),
            coda_home: self.0.parts.home.clone(),
            gateway_url: self.0.parts.gateway.url().to_owned(),
            gateway_token: access.token().to_owned(),
            yolo: task.permissions == Permissions::Yolo,
            timeout_s: task.timeout_s,
            secrets: vec![access.token().to_owned()],
            environment: std::collections::BTreeMap::new(),
        };
        Ok(Prepared { launch, access })
    }

    /// Starts the process, puts it on record, and waits for its end.
    pub(super) async fn run_agent(&self, task: &Task, running: &Running, prepared: Prepared) -> Result<Ended, Reason> {
        let Prepared { launch, access } = prepared;
        let mut run = self.0.parts.executor.start(launch).await.map_err(|e| limit("start", e.to_string()))?;
        self.set_control(&task.id, &run.control());
        let (id, attempt, pid, pid_start, sandbox) = (task.id.clone(), task.attempt, run.pid, run.pid_start, run.sandbox.clone());
        if let Err(e) = self.0.parts.store.call(move |s| s.set_process(&id, attempt, pid, pid_start, &sandbox)).await {
            tracing::error!(error = %e, "a process could not be put on record; it is ended");
            run.control().stop(crate::executor::StopReason::Shutdown);
        }
        // Cancelled while it was starting: the control came too late for `end`.
        let id = task.id.clone();
        if self.0.parts.store.call(move |s| s.task(&id)).await.is_ok_and(|now| now.status.is_final()) {
            run.control().stop(crate::executor::StopReason::Cancelled);
        }
        let mut progress = run.take_progress();
        let wait = run.wait();
        tokio::pin!(wait);
        let ended = loop {
            tokio::select! {
                ended = &mut wait => break ended,
                Some(line) = progress.recv() => self.note_progress(task, running, line).await,
            }
        };
        drop(access);
        Ok(ended)
    }

    /// A progress line is agent's text: screened like a result before anybody reads it.
    async fn note_progress(&self, task: &Task, running: &Running, line: String) {
        let Ok(judgment) = self.0.parts.gates.judge(running, Subject::Output { content: line }, "").await else { return };
        let shown = match judgment.verdict {
            Verdict::Allow { .. } => judgment.screened().to_owned(),
            Verdict::NeedsApproval(_) | Verdict::Deny { .. } => "[withheld by policy]".into(),
        };
        let id = task.id.clone();
        if let Err(e) = self.0.parts.store.call(move |s| s.set_progress(&id, &shown)).await {
            tracing::warn!(error = %e, "a progress line could not be stored");
        }
    }

    pub(super) fn task_dir(&self, task: &Task) -> PathBuf {
        self.0.parts.home.join("tasks").join(task.id.as_str())
    }

    /// Read-only copies of the chained results, for the agent to read.
    async fn copy_prior(&self, task: &Task, task_dir: &Path) -> Result<Option<PathBuf>, StoreError> {
        let Some(previous) = task.previous.clone() else { return Ok(None) };
        let earlier = self.0.parts.store.call(move |s| s.task_by_session(&previous)).await?;
        let Some(result) = earlier.result else { return Ok(None) };
        let dir = task_dir.join("io").join("prior");
        let file = dir.join(format!("{}.json", earlier.session));
        let text = serde_json::to_vec_pretty(&Value::clone(&result)).unwrap_or_default();
        let made = tokio::task::spawn_blocking({
            let dir = dir.clone();
            move || {
                std::fs::create_dir_all(&dir)?;
                if !file.exists() {
                    std::fs::write(&file, text)?;
                }
                Ok::<(), std::io::Error>(())
            }
        })
        .await;
        Ok(matches!(made, Ok(Ok(()))).then_some(dir))
    }
}

/// `task_dir` with `io` and `home`, private to the server's user.
fn make_folders(task_dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    for dir in [task_dir.to_owned(), task_dir.join("io"), task_dir.join("home")] {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    Ok(())
}

/// Writes a file that only the server's user can read.
pub(super) async fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let (path, bytes) = (path.to_owned(), bytes.to_vec());
    tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    })
    .await
    .unwrap_or_else(|e| Err(std::io::Error::other(e)))
}

/// What differs in the workspace since the attempt began; relative paths.
pub(super) async fn files_changed(_pipeline: &Pipeline, _task: &Task) -> Vec<String> {
    Vec::new()
}
