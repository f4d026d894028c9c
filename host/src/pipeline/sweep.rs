//! What time brings: requests expire, what is finished and old goes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Pipeline;
use crate::env;
use crate::executor::StopReason;
use crate::store::StoreError;

const EXPIRY_PERIOD: Duration = Duration::from_secs(1);
const RETENTION_PERIOD: Duration = Duration::from_secs(600);

/// How long what is finished is kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Terminal recordings, in seconds after the end.
    pub transcripts_s: u64,
    /// What was judged, in seconds.
    pub replay_inputs_s: u64,
    /// Workspaces of chains, in seconds after the last end.
    pub workspaces_s: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { transcripts_s: 7 * 86_400, replay_inputs_s: 14 * 86_400, workspaces_s: 7 * 86_400 }
    }
}

impl Pipeline {
    pub(super) async fn sweep(self, shutdown: CancellationToken) {
        let mut expiry = tokio::time::interval(EXPIRY_PERIOD);
        let mut retention = tokio::time::interval(RETENTION_PERIOD);
        expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let done = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = expiry.tick() => self.expire().await,
                _ = retention.tick() => self.forget().await,
            };
            if let Err(e) = done {
                tracing::error!(error = %e, "a clock of the store failed; it is tried again");
            }
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

    /// Contents go; the records of what was decided stay.
    async fn forget(&self) -> Result<(), StoreError> {
        let (now, kept) = (env::now_ms(), self.0.parts.settings.retention.clone());
        let before = |seconds: u64| now.saturating_sub(seconds.saturating_mul(1000));
        let (inputs, transcripts, workspaces) =
            (before(kept.replay_inputs_s), before(kept.transcripts_s), before(kept.workspaces_s));
        let (tasks, chains) = self.0.parts.store.call(move |s| s.forget(inputs, transcripts, workspaces)).await?;
        let home = self.0.parts.home.clone();
        let removed = tokio::task::spawn_blocking(move || {
            for task in tasks {
                let _ = std::fs::remove_dir_all(home.join("tasks").join(task));
            }
            for chain in chains {
                let _ = std::fs::remove_dir_all(home.join("workspaces").join(chain));
            }
        });
        let _ = removed.await;
        Ok(())
    }
}
