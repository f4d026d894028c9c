//! Reading: inbox, one task, its events, its files.

use super::views::{ApprovalSummary, InboxPage, InboxQuery, TaskView, Watchable};
use super::{Service, ServiceError, wording};
use crate::env;
use crate::event::TaskEvent;
use crate::id::TaskId;
use crate::identity::{Principal, Role};
use crate::store::inbox::Scope;
use crate::task::{Status, Task, shortened};

const PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;
const MAX_EVENTS: u32 = 1000;
const SUMMARY_CHARS: usize = 100;

impl Service {
    /// The principal's tasks of the inbox window (24 h, plus everything that still waits), newest first.
    pub async fn inbox(&self, who: &Principal, query: InboxQuery) -> Result<InboxPage, ServiceError> {
        let reads = |role: &Role| [Role::VIEWER, Role::OPERATOR].contains(&role.0.as_str());
        let grants = who.grants.iter().filter(|g| query.all && reads(&g.role));
        let others: Vec<_> = grants.map(|g| g.labels.clone()).collect();
        if query.all && others.is_empty() {
            return Err(ServiceError::Forbidden("the tasks of others need the role viewer or operator".into()));
        }
        let before = query.cursor.as_deref().map(read_cursor).transpose()?;
        let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let scope = Scope {
            tenant: who.tenant.clone(),
            principal: who.name.clone(),
            others,
            since_ms: env::now_ms().saturating_sub(self.0.settings.inbox_window_s * 1000),
        };
        let (tasks, counts) = self
            .0
            .store
            .call(move |s| {
                let before = before.as_ref().map(|(ms, id)| (*ms, id.as_str()));
                Ok((s.inbox(&scope, &query.status, before, limit + 1)?, s.counts(&scope)?))
            })
            .await?;
        let more = tasks.len() > limit as usize;
        let next_cursor = more.then(|| tasks.get(limit as usize - 1).map(cursor_after)).flatten();
        let mut views = Vec::with_capacity(tasks.len());
        for task in tasks.iter().take(limit as usize) {
            views.push(self.view(task).await?);
        }
        Ok(InboxPage { tasks: views, counts, next_cursor })
    }

    /// One task with its result.
    pub async fn task(&self, who: &Principal, task: &TaskId) -> Result<TaskView, ServiceError> {
        let task = self.readable(who, task).await?;
        self.note_read(who, &task, "task").await?;
        let mut view = self.view(&task).await?;
        view.result.clone_from(&task.result);
        let (id, attempt) = (task.id.clone(), task.attempt);
        (view.sandbox, view.resumed) =
            self.0.store.call(move |s| Ok((s.sandbox(&id, attempt)?, s.resumed(&id, attempt)?))).await?;
        view.acting_as = Some(task.acting_as.clone());
        view.usage = super::usage::of_task(&task);
        view.files_changed = task.result.as_ref().and_then(|r| serde_json::from_value(r.get("files_changed")?.clone()).ok());
        Ok(view)
    }

    /// A unified diff of the files that the task changed, screened.
    pub async fn diff(&self, who: &Principal, task: &TaskId) -> Result<String, ServiceError> {
        let task = self.readable(who, task).await?;
        self.note_read(who, &task, "diff").await?;
        let path = self.0.home.join("tasks").join(task.id.as_str()).join("changes.diff");
        match tokio::fs::read_to_string(&path).await {
            Ok(diff) => Ok(diff),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(ServiceError::NotFound(format!("a diff of {}", task.id))),
            Err(e) => Err(ServiceError::Internal(e.kind().to_string())),
        }
    }

    /// The task's events after `after`, at most `limit`.
    pub async fn events(&self, who: &Principal, task: &TaskId, after: u64, limit: u32) -> Result<Vec<TaskEvent>, ServiceError> {
        let task = self.readable(who, task).await?;
        let id = task.id.clone();
        let events = self.0.store.call(move |s| s.events(Some(&id), after, limit.clamp(1, MAX_EVENTS))).await?;
        if !events.is_empty() {
            self.note_read(who, &task, "events").await?;
        }
        Ok(events)
    }

    /// As `events`, but waits up to `wait` for the first one.
    pub async fn await_events(
        &self,
        who: &Principal,
        task: &TaskId,
        after: u64,
        limit: u32,
        wait: std::time::Duration,
    ) -> Result<Vec<TaskEvent>, ServiceError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut commits = self.0.store.commits();
        loop {
            commits.mark_unchanged();
            let events = self.events(who, task, after, limit).await?;
            if !events.is_empty() || tokio::time::timeout_at(deadline, commits.changed()).await.is_err() {
                return Ok(events);
            }
        }
    }

    /// Whether the principal may watch this task, and if so where its transcript lies.
    pub async fn watch(&self, who: &Principal, task: &TaskId) -> Result<Watchable, ServiceError> {
        let task = self.readable(who, task).await?;
        self.note_read(who, &task, "terminal").await?;
        let transcript = self.0.home.join("tasks").join(task.id.as_str()).join("transcript.cast");
        Ok(Watchable { task: task.id, status: task.status, transcript, ended_ms: task.ended_ms })
    }

    /// Where the record of the task's model traffic lies, if there is one: for those who may watch it.
    pub async fn traffic(&self, who: &Principal, task: &TaskId) -> Result<std::path::PathBuf, ServiceError> {
        let task = self.readable(who, task).await?;
        self.note_read(who, &task, "traffic").await?;
        Ok(self.0.home.join("tasks").join(task.id.as_str()).join(crate::pipeline::TRAFFIC))
    }

    /// The same for one who is watching already: that they read is on record since they began.
    pub async fn still_watches(&self, who: &Principal, task: &TaskId) -> Result<crate::task::Status, ServiceError> {
        Ok(self.readable(who, task).await?.status)
    }

    /// Reading somebody else's task is on record.
    pub(super) async fn note_read(&self, who: &Principal, task: &Task, what: &'static str) -> Result<(), ServiceError> {
        if task.principal == who.name {
            return Ok(());
        }
        let (actor, task) = (who.name.clone(), task.clone());
        Ok(self.0.store.call(move |s| s.note_read(&actor, &task, what)).await?)
    }

    /// A task as its owner sees it, without the result.
    pub(super) async fn view(&self, task: &Task) -> Result<TaskView, ServiceError> {
        let approval = self.approval_summary(task).await?;
        let text = |name: &str| task.result.as_ref().and_then(|r| r.get(name)?.as_str().map(shortened));
        let viewer_url = format!("{}/tasks/{}", self.0.settings.public_url, task.id);
        Ok(TaskView {
            task_id: task.id.clone(),
            session_id: task.session.clone(),
            status: task.status,
            waiting: task.waiting,
            principal: task.principal.clone(),
            agent: task.agent.clone(),
            attempt: task.attempt,
            sandbox: None,
            resumed: None,
            acting_as: None,
            usage: None,
            prompt_summary: one_line(&task.prompt, SUMMARY_CHARS),
            summary: text("summary"),
            progress: task.progress.clone().filter(|_| !task.status.is_final()),
            elapsed_s: elapsed_s(task),
            created_at: env::rfc3339(task.created_ms),
            previous_session_id: task.previous.clone(),
            next: wording::next(task, approval.as_ref(), &viewer_url),
            viewer_url,
            reason: task.reason.clone(),
            approval,
            feedback: text("feedback").filter(|_| task.status == Status::InfoNeeded),
            result: None,
            files_changed: None,
            warnings: Vec::new(),
        })
    }

    async fn approval_summary(&self, task: &Task) -> Result<Option<ApprovalSummary>, ServiceError> {
        if task.status != Status::NeedsApproval {
            return Ok(None);
        }
        let id = task.id.clone();
        let pending = self.0.store.call(move |s| s.pending_approval(&id)).await?;
        Ok(pending.map(|a| ApprovalSummary {
            url: format!("{}/approvals/{}", self.0.settings.public_url, a.id),
            approval_id: a.id,
            requirements: a.requirements,
            expires_at: env::rfc3339(a.expires_ms),
            reason: shortened(&a.demand.reason),
        }))
    }
}

/// From the first start to the end, or to now; one decimal.
fn elapsed_s(task: &Task) -> f64 {
    let Some(start) = task.started_ms else { return 0.0 };
    let end = task.ended_ms.unwrap_or_else(env::now_ms);
    let tenths = end.saturating_sub(start) / 100;
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

pub(super) fn one_line(text: &str, chars: usize) -> String {
    let line = before_fence(text).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The words before the first fenced block, which say it better than its lines run together; everything if there are none.
fn before_fence(text: &str) -> &str {
    let words = if text.starts_with("```") { "" } else { text.split_once("\n```").map_or(text, |(words, _)| words) };
    if words.trim().is_empty() { text } else { words }
}

fn cursor_after(task: &Task) -> String {
    format!("{}.{}", task.created_ms, task.id)
}

fn read_cursor(cursor: &str) -> Result<(u64, String), ServiceError> {
    let invalid =
        || ServiceError::Invalid("cursor is not one that an inbox answer gave: leave it out to start from the newest".into());
    let (ms, id) = cursor.split_once('.').ok_or_else(invalid)?;
    let id = TaskId::parse(id).map_err(|_| invalid())?;
    Ok((ms.parse().map_err(|_| invalid())?, id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_task_in_one_line_is_its_words() {
        assert_eq!(one_line("Tidy  up.\nAll of it.\n```sh\nrm x\n```\nThanks", 80), "Tidy up. All of it.");
        assert_eq!(one_line("```sh\nls\n```", 80), "```sh ls ```");
        assert_eq!(one_line("\n```sh\nls\n```", 80), "```sh ls ```");
        assert_eq!(one_line("use ```x``` here", 5), "use `…");
    }
}
