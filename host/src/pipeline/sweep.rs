//! What time brings: requests expire, what is finished and old goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Pipeline;
use crate::env::{self, Millis};
use crate::executor::StopReason;
use crate::id::SessionId;
use crate::store::StoreError;

const EXPIRY_PERIOD: Duration = Duration::from_secs(1);
const RETENTION_PERIOD: Duration = Duration::from_secs(600);
/// Folders asked about at a time.
const FOLDERS: usize = 500;

/// How long what is finished is kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Terminal recordings, in seconds after the end.
    pub transcripts_s: u64,
    /// What was judged, in seconds.
    pub contents_s: u64,
    /// Decisions on tasks that have ended, in seconds.
    pub decisions_s: u64,
    /// Workspaces of chains, in seconds after the last end.
    pub workspaces_s: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { transcripts_s: 7 * 86_400, contents_s: 14 * 86_400, decisions_s: 400 * 86_400, workspaces_s: 7 * 86_400 }
    }
}

impl Pipeline {
    pub(super) async fn sweep(self, shutdown: CancellationToken) {
        // Side by side: thousands of folders take minutes to remove, and no request waits that long for its end.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.expire_for_ever() => {}
            () = self.forget_for_ever() => {}
        }
    }

    async fn expire_for_ever(&self) {
        let mut clock = clock(EXPIRY_PERIOD);
        loop {
            clock.tick().await;
            note(self.expire().await);
        }
    }

    async fn forget_for_ever(&self) {
        let mut clock = clock(RETENTION_PERIOD);
        loop {
            clock.tick().await;
            note(self.forget().await);
        }
    }

    async fn expire(&self) -> Result<(), StoreError> {
        let now = env::now_ms();
        for approval in self.0.parts.store.call(move |s| s.expire_approvals(now)).await? {
            if let Err(e) = self.decided(&approval).await {
                tracing::error!(error = %e, "an expired request could not be carried out; it is tried again");
            }
        }
        self.settle_decided().await?;
        self.stop_ended().await?;
        self.forget_credentials().await?;
        self.look_for_work();
        Ok(())
    }

    /// An agent whose task has ended must end too, whatever came between.
    async fn stop_ended(&self) -> Result<(), StoreError> {
        let live: Vec<_> = self.live().iter().filter_map(|(id, l)| Some((id.clone(), l.control.clone()?))).collect();
        for (id, control) in live {
            if self.0.parts.store.call(move |s| s.task(&id)).await?.status.is_final() {
                control.stop(StopReason::Cancelled);
            }
        }
        Ok(())
    }

    /// Contents go; the records of what was decided stay. Folders are looked for on the disk, so that none is missed.
    async fn forget(&self) -> Result<(), StoreError> {
        let (now, kept) = (env::now_ms(), self.0.parts.settings.retention.clone());
        let before = |seconds: u64| now.saturating_sub(seconds.saturating_mul(1000));
        let (contents, decisions) = (before(kept.contents_s), before(kept.decisions_s));
        self.0.parts.store.call(move |s| s.forget(contents, decisions)).await?;
        let (tasks, transcripts) = (self.0.parts.home.join("tasks"), before(kept.transcripts_s));
        for names in folders(&tasks).await {
            for over in self.0.parts.store.call(move |s| s.tasks_over(&names, transcripts)).await? {
                remove(tasks.join(over)).await;
            }
        }
        let (chains, workspaces) = (self.0.parts.home.join("workspaces"), before(kept.workspaces_s));
        for names in folders(&chains).await {
            for over in self.0.parts.store.call(move |s| s.chains_over(&names, workspaces)).await? {
                self.forget_workspace(over, workspaces).await?;
            }
        }
        Ok(())
    }

    /// Removes a chain's workspace while no task can take it; one that began meanwhile keeps it.
    async fn forget_workspace(&self, chain: String, before: Millis) -> Result<(), StoreError> {
        let Some(lease) = SessionId::parse(&chain).ok().and_then(|chain| self.0.parts.workspaces.take(&chain)) else {
            return Ok(());
        };
        let wanted = vec![chain];
        for over in self.0.parts.store.call(move |s| s.chains_over(&wanted, before)).await? {
            remove(self.0.parts.home.join("workspaces").join(over)).await;
        }
        drop(lease);
        Ok(())
    }
}

fn clock(period: Duration) -> tokio::time::Interval {
    let mut clock = tokio::time::interval(period);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    clock
}

fn note(done: Result<(), StoreError>) {
    if let Err(e) = done {
        tracing::error!(error = %e, "a clock of the store failed; it is tried again");
    }
}

/// The names in a folder, in pieces of a size that one question to the store may have.
async fn folders(parent: &Path) -> Vec<Vec<String>> {
    let parent = parent.to_owned();
    let listed = tokio::task::spawn_blocking(move || {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    });
    listed.await.unwrap_or_default().chunks(FOLDERS).map(<[String]>::to_vec).collect()
}

async fn remove(folder: PathBuf) {
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(&folder).map_err(|e| (folder, e))).await;
    if let Ok(Err((folder, e))) = removed {
        tracing::warn!(folder = %folder.display(), error = %e, "an old folder could not be removed; it is tried again");
    }
}
