//! Ending in order: a signal cancels a token, every tracked task sees it, and what is late after a bound is named.
//!
//! ```text
//! SIGTERM, SIGINT ─► token cancelled ─► tasks end ─► all done, or the late ones are reported
//! SIGHUP ─► reload is notified
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// SIGXFSZ, which tokio has no name for.
const FILE_TOO_LARGE: i32 = rustix::process::Signal::XFSZ.as_raw();

/// A handle; clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tracker: TaskTracker,
    reload: Arc<Notify>,
    // A std mutex: held for one insertion or removal, never across an await.
    alive: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Shutdown {
    /// One that nothing has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when it is time to end.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Notified on SIGHUP.
    #[must_use]
    pub fn reload(&self) -> Arc<Notify> {
        self.reload.clone()
    }

    /// Asks everything to end.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Runs `work` as a task that shutdown waits for. It is expected to end soon after the token is cancelled.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let listed = Listed::new(name, self.alive.clone());
        self.tracker.spawn(async move {
            let _listed = listed;
            work.await
        })
    }

    /// Listens for SIGTERM, SIGINT and SIGHUP until the first of the former two. Further ones change nothing: the end has
    /// a bound, and what was promised is durable at any moment.
    pub fn listen(&self) -> std::io::Result<()> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut hup = signal(SignalKind::hangup())?;
        // Taken so that a limit on file sizes is an error of the write, as a full disk is, and not the server's end.
        drop(signal(SignalKind::from_raw(FILE_TOO_LARGE))?);
        let shutdown = self.clone();
        self.spawn("signals", async move {
            loop {
                tokio::select! {
                    _ = term.recv() => { tracing::info!("SIGTERM: ending"); break }
                    _ = int.recv() => { tracing::info!("SIGINT: ending"); break }
                    _ = hup.recv() => { tracing::info!("SIGHUP: reloading"); shutdown.reload.notify_one() }
                    () = shutdown.token.cancelled() => return,
                }
            }
            shutdown.begin();
        });
        Ok(())
    }

    /// Waits until everything tracked has ended, at most `cap`. Err names what is late, with how many of each.
    pub async fn drain(&self, cap: Duration) -> Result<(), String> {
        self.tracker.close();
        if tokio::time::timeout(cap, self.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        let late: Vec<String> = alive.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        Err(late.join(", "))
    }
}

/// On the list of running tasks until it is dropped.
struct Listed {
    name: &'static str,
    list: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Listed {
    fn new(name: &'static str, list: Arc<Mutex<BTreeMap<&'static str, usize>>>) -> Self {
        *list.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self { name, list }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = list.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                list.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_listen_end_and_late_ones_are_named() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        shutdown.spawn("polite", async move { token.cancelled().await });
        let stuck = shutdown.spawn("stuck", std::future::pending::<()>());
        shutdown.begin();
        assert_eq!(shutdown.drain(Duration::from_millis(20)).await, Err("stuck (1)".to_owned()));
        stuck.abort();
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Ok(()));
    }
}
