//! Loads the policy folder when it changes and has been quiet for a moment. What a set is may also change by a component
//! that is replaced, or a suite, so everything below the folder counts.

use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::policies::{Policies, PolicyError};
use super::reload::Trigger;

/// Watches until it is dropped.
#[must_use = "the folder is watched for as long as this lives"]
pub struct Watch {
    _watcher: notify::RecommendedWatcher,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Policies {
    /// Begins to watch the policy folder. Call it inside the runtime.
    pub fn watch(&self) -> Result<Watch, PolicyError> {
        // One place is enough: a change that finds it taken is covered by the load that is due.
        let (changed, changes) = mpsc::channel(1);
        let told = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = changed.try_send(());
            }
        };
        let unwatched = |e: notify::Error| {
            PolicyError::Engine(format!("the policy folder {} cannot be watched: {e}", self.0.folder.display()))
        };
        let mut watcher = notify::recommended_watcher(told).map_err(unwatched)?;
        watcher.watch(&self.0.folder, RecursiveMode::Recursive).map_err(unwatched)?;
        let task = tokio::spawn(load_when_quiet(self.clone(), changes));
        Ok(Watch { _watcher: watcher, task })
    }
}

async fn load_when_quiet(policies: Policies, mut changes: mpsc::Receiver<()>) {
    let quiet = Duration::from_millis(policies.0.settings.watch_debounce_ms);
    while changes.recv().await.is_some() {
        while let Ok(Some(())) = tokio::time::timeout(quiet, changes.recv()).await {}
        // A failure is in the log and in the status.
        let _ = policies.load("system", Trigger::Watch).await;
    }
}
