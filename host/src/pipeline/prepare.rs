//! From a stored task to a running agent: folders, envelope, gateway, process.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::sync::watch;

use super::progress::Lines;
use super::{Pipeline, limit};
use crate::executor::workspace::{Baseline, Changes, place_prior};
use crate::executor::{self, Ended, How, Launch, ResultFile, StopReason};
use crate::gates::running::Running;
use crate::gates::screen::Keep;
use crate::gateway::{Access, Heard, Upstream, WayOut};
use crate::id::SessionId;
use crate::policy::Cleared;
use crate::policy::contract::Permissions;
use crate::store::StoreError;
use crate::task::conversation::Conversation;
use crate::task::envelope::{self, Facts};
use crate::task::{Reason, Status, Task};

/// The record of model traffic, in a task's folder.
pub(crate) const TRAFFIC: &str = "traffic.jsonl";

/// What an attempt has in hand before its process starts.
pub(super) struct Prepared {
    launch: Launch,
    /// Closes the task's way to the model when dropped.
    access: Access,
}

/// How a start of an agent ended, and what it was about.
pub(super) struct Ran {
    pub(super) ended: Ended,
    /// How it was told to begin.
    conversation: Conversation,
    heard: Heard,
}

impl Ran {
    /// Whether the agent ended at once where it should have gone on in its conversation: nothing was said to the model, so
    /// that nothing is done twice where it begins anew.
    pub(super) fn could_not_go_on(&self) -> bool {
        self.conversation == Conversation::Resumed
            && !self.heard.is_asked
            && matches!(self.ended.how, How::Exited { .. } | How::Signalled { .. })
            && matches!(self.ended.result, ResultFile::Missing)
    }
}

impl Pipeline {
    /// Makes everything that the agent needs and nothing that it does not. It goes on in the conversation of the attempt
    /// before where that is `wanted`, and possible.
    pub(super) async fn prepare(&self, task: &Task, running: &Running, wanted: Conversation) -> Result<Prepared, Reason> {
        let internal = |e: StoreError| limit("store", format!("the task could not be prepared: {e}"));
        let task_dir = self.task_dir(task);
        let prior = self.prior(task).await.map_err(internal)?;
        let (folders, has_prior) = (task_dir.clone(), !prior.is_empty());
        let made = tokio::task::spawn_blocking(move || {
            make_folders(&folders)?;
            if prior.is_empty() { Ok(()) } else { place_prior(&folders.join("io"), &prior) }
        });
        let made = made.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        made.map_err(|e| limit("disk", format!("its folder could not be made: {e}")))?;
        let conversation = self.ready_home(task, wanted).await?;
        let prior_dir = has_prior.then(|| task_dir.join("io").join("prior"));
        let id = task.id.clone();
        let (on_record, grants, answers) = self
            .0
            .parts
            .store
            .call(move |s| Ok((s.prompt_on_record(&id)?, s.unused_grants(&id)?, s.answers(&id)?)))
            .await
            .map_err(internal)?;
        let approved: Vec<String> = grants
            .iter()
            .map(|g| {
                let item = &g.approval.items[g.item];
                let with = if item.arguments.is_empty() { "" } else { " with " };
                format!("{}: {}{with}{}", item.title, item.content, item.arguments)
            })
            .collect();
        let facts = Facts {
            io_dir: &task_dir.join("io"),
            prior_dir: prior_dir.as_deref(),
            approved: &approved,
            answer: (!answers.is_empty()).then_some(answers.as_str()),
        };
        let told = envelope::tell(task, &Cleared::on_record(on_record), &facts, conversation);
        let envelope = told.envelope.clone();
        let forwarded = self.0.parts.gateway.forwarded().of(&task.id).map(|token| token.reveal().to_owned());
        let secrets: Vec<String> = forwarded.into_iter().collect();
        let mut access = self.0.parts.gateway.open(task.id.clone(), told, self.model_of(&task.agent), secrets.clone());
        let way_out = match self.0.parts.egress.get(&task.agent) {
            Some(egress) => access.let_out(egress.clone()),
            None => WayOut::default(),
        };
        if let Some(hosted) = self.0.parts.hosted_tools.get(&task.agent) {
            access.let_ask_for(hosted.clone());
        }
        let secrets: Vec<String> = std::iter::once(access.token.clone()).chain(secrets).chain(way_out.secret).collect();
        access.record(&task_dir.join(TRAFFIC), task.attempt, executor::text_mask(&secrets));
        let launch = Launch {
            task: task.id.clone(),
            attempt: task.attempt,
            agent: task.agent.clone(),
            conversation,
            envelope,
            task_dir,
            workspace: running.workspace.clone(),
            coda_home: self.0.parts.home.clone(),
            gateway_url: self.0.parts.gateway.url(),
            gateway_token: access.token.clone(),
            yolo: task.permissions == Permissions::Yolo,
            timeout_s: task.timeout_s,
            secrets,
            environment: way_out.environment,
        };
        Ok(Prepared { launch, access })
    }

    /// The home of the attempt's agent, and how its conversation begins.
    async fn ready_home(&self, task: &Task, wanted: Conversation) -> Result<Conversation, Reason> {
        let (executor, id, agent, task_dir) =
            (self.0.parts.executor.clone(), task.id.clone(), task.agent.clone(), self.task_dir(task));
        let ready = tokio::task::spawn_blocking(move || executor.ready_home(&id, &agent, &task_dir, wanted)).await;
        let ready = ready.map_err(|e| limit("internal", format!("its home could not be made: {e}")))?;
        ready.map_err(|e| limit("disk", e.to_string()))
    }

    /// Starts the process, puts it on record, and waits for its end.
    pub(super) async fn run_agent(&self, task: &Task, running: &Running, prepared: Prepared) -> Result<Ran, Reason> {
        let Prepared { launch, mut access } = prepared;
        let conversation = launch.conversation;
        self.note_conversation(task, conversation).await;
        let mut heard = access.heard().ok_or_else(|| limit("internal", "its way to the model is closed"))?;
        let (tell, newest) = watch::channel(None);
        let mut run = self.0.parts.executor.start(launch, tell).await.map_err(|e| limit("start", e.to_string()))?;
        if let Some(listener) = run.listener.take() {
            access.move_inside(listener).map_err(|e| limit("start", format!("no gateway for the task's network: {e}")))?;
        }
        let control = run.control();
        self.set_control(&task.id, &control);
        let (id, attempt, pid, pid_start, sandbox) = (task.id.clone(), task.attempt, run.pid, run.pid_start, run.sandbox.clone());
        if let Err(e) = self.0.parts.store.call(move |s| s.set_process(&id, attempt, pid, pid_start, &sandbox)).await {
            tracing::error!(error = %e, "a process could not be put on record; it is ended");
            control.stop(StopReason::Shutdown);
        }
        // Cancelled while it was starting: the control came too late for `end`.
        let id = task.id.clone();
        let now = self.0.parts.store.call(move |s| s.task(&id)).await.map(|task| task.status);
        if let Some(reason) = stop_at_start(now) {
            control.stop(reason);
        }
        let (mut lines, mut noted) = (Lines::new(newest), conversation);
        let wait = run.wait();
        tokio::pin!(wait);
        let ended = loop {
            tokio::select! {
                ended = &mut wait => break ended,
                line = lines.next() => self.note_progress(task, running, &line).await,
                seen = seen(&mut heard, noted) => {
                    noted = seen;
                    self.note_conversation(task, noted).await;
                }
            }
        };
        // What it said last says most.
        if let Some(line) = lines.last() {
            self.note_progress(task, running, &line).await;
        }
        let heard = *heard.borrow();
        drop(access);
        Ok(Ran { ended, conversation, heard })
    }

    /// How a later attempt's conversation begins, for people.
    async fn note_conversation(&self, task: &Task, conversation: Conversation) {
        // A runbook has none: it skips the steps that it has done.
        if task.attempt < 2 || task.agent == "runbook" {
            return;
        }
        let id = task.id.clone();
        if let Err(e) = self.0.parts.store.call(move |s| s.note_conversation(&id, conversation)).await {
            tracing::warn!(error = %e, "how an agent's conversation begins could not be noted");
        }
    }

    /// A progress line is agent's text: screened like a result before anybody reads it. One at which no policy noticed
    /// anything leaves no decision: there may be many, and they authorise nothing.
    async fn note_progress(&self, task: &Task, running: &Running, line: &str) {
        let Ok(screened) = self.0.parts.gates.screen(running, line, Keep::Noticed).await else { return };
        let shown = screened.text.unwrap_or_else(|| "[withheld by policy]".into());
        let id = task.id.clone();
        if let Err(e) = self.0.parts.store.call(move |s| s.set_progress(&id, &shown)).await {
            tracing::warn!(error = %e, "a progress line could not be stored");
        }
    }

    pub(super) fn task_dir(&self, task: &Task) -> PathBuf {
        self.0.parts.home.join("tasks").join(task.id.as_str())
    }

    /// The chained results, for the agent to read.
    async fn prior(&self, task: &Task) -> Result<Vec<(SessionId, Value)>, StoreError> {
        let Some(previous) = task.previous.clone() else { return Ok(Vec::new()) };
        let earlier = self.0.parts.store.call(move |s| s.task_by_session(&previous)).await?;
        Ok(earlier.result.map(|result| (earlier.session, result)).into_iter().collect())
    }

    /// Where an agent's model is; an agent that has none gets an address that nothing answers.
    fn model_of(&self, agent: &str) -> Upstream {
        self.0.parts.models.get(agent).cloned().unwrap_or_default()
    }

    /// The workspace as it was before the first attempt.
    pub(super) async fn baseline(&self, task: &Task, workspace: &Path) -> Option<Baseline> {
        let (file, workspace) = (self.task_dir(task).join("baseline.json"), workspace.to_owned());
        let taken = tokio::task::spawn_blocking(move || {
            if let Ok(kept) = Baseline::load(&file) {
                return Some(kept);
            }
            let baseline = Baseline::take(&workspace);
            if let Err(e) = file.parent().map_or(Ok(()), make_folders).and_then(|()| baseline.save(&file)) {
                tracing::warn!(error = %e, "the state of a workspace could not be kept; a later attempt compares with its own start");
            }
            Some(baseline)
        });
        taken.await.unwrap_or_default()
    }

    /// What differs since, listed by the host and never by the agent; the screened diff is kept beside the transcript.
    pub(super) async fn changes(&self, task: &Task, running: &Running, baseline: Option<Baseline>) -> Changes {
        let Some(baseline) = baseline else { return Changes::default() };
        let workspace = running.workspace.clone();
        let changes = tokio::task::spawn_blocking(move || baseline.changes(&workspace)).await.unwrap_or_default();
        let screened = self.0.parts.gates.screen(running, &changes.diff, Keep::All).await;
        let screened = screened.ok().and_then(|s| s.text).unwrap_or_else(|| "[the diff was withheld by policy]\n".to_owned());
        if let Err(e) = write_private(&self.task_dir(task).join("changes.diff"), screened.as_bytes()).await {
            tracing::warn!(error = %e, "a diff could not be kept");
        }
        changes
    }
}

/// Ready when the conversation is seen to be another than was noted.
async fn seen(heard: &mut watch::Receiver<Heard>, noted: Conversation) -> Conversation {
    let is_another = |heard: &Heard| heard.conversation.is_some_and(|seen| seen != noted);
    let seen = heard.wait_for(is_another).await.ok().and_then(|heard| heard.conversation);
    match seen {
        Some(seen) => seen,
        None => std::future::pending().await,
    }
}

/// Whether an agent that has just started must not go on: its task has ended, or nobody can tell.
fn stop_at_start(now: Result<Status, StoreError>) -> Option<StopReason> {
    match now {
        Ok(status) if status.is_final() => Some(StopReason::Cancelled),
        Ok(_) => None,
        Err(e) => {
            tracing::error!(error = %e, "a task that starts could not be read; its agent is ended");
            Some(StopReason::Shutdown)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_goes_on_only_where_its_task_is_known_to_run() {
        assert_eq!(stop_at_start(Ok(Status::Running)), None);
        assert_eq!(stop_at_start(Ok(Status::Cancelled)), Some(StopReason::Cancelled));
        let broken = StoreError::Database("disk I/O error".into());
        assert_eq!(stop_at_start(Err(broken)), Some(StopReason::Shutdown));
    }
}
