//! Evaluations run on blocking threads, at most so many at a time: fewer than the pool of instances has places, because
//! an exhausted pool is an error and not a wait.
//!
//! Fuel and epochs end every guest. What they cannot end is a call into the host that never returns; for that there is a
//! host timeout: the worker is given up, counted, and replaced, up to a bound.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::{Fault, FaultKind};

/// The workers; clones share them.
#[derive(Clone)]
pub(super) struct Workers(Arc<Shared>);

struct Shared {
    permits: Arc<Semaphore>,
    queue_timeout: Duration,
    max_lost: u32,
    lost: AtomicU32,
    lost_ever: AtomicU32,
}

/// The permit of one piece of work: given back by whoever is first, the work at its end or its waiter at the timeout.
type Place = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Workers {
    pub(super) fn new(workers: u32, queue_timeout: Duration, max_lost: u32) -> Self {
        let permits = Arc::new(Semaphore::new(workers.max(1) as usize));
        Self(Arc::new(Shared { permits, queue_timeout, max_lost, lost: AtomicU32::new(0), lost_ever: AtomicU32::new(0) }))
    }

    /// Workers given up and not yet come back.
    pub(super) fn lost(&self) -> u32 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Workers given up since the start.
    pub(super) fn lost_ever(&self) -> u32 {
        self.0.lost_ever.load(Ordering::Relaxed)
    }

    /// Workers that have nothing to do.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.0.permits.available_permits()
    }

    /// Whether no lost worker can be replaced any more.
    pub(super) fn is_exhausted(&self) -> bool {
        self.lost() >= self.0.max_lost
    }

    /// Runs `work`, waiting for a place first and at most `limit` for its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let waiting = tokio::time::timeout(self.0.queue_timeout, Arc::clone(&self.0.permits).acquire_owned());
        let Ok(Ok(permit)) = waiting.await else {
            let waited = self.0.queue_timeout.as_millis();
            return Err(Fault::new(FaultKind::Busy, format!("no worker was free for {waited} ms (queue_timeout_ms)")));
        };
        let place: Place = Arc::new(Mutex::new(Some(permit)));
        let shared = Arc::clone(&self.0);
        let held = Arc::clone(&place);
        let work = tokio::task::spawn_blocking(move || {
            let leaving = Leaving { place: held, shared };
            let value = work();
            drop(leaving);
            value
        });
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_panicked)) => Err(Fault::new(FaultKind::HostPanic, "the host panicked; the log has the place")),
            Err(_elapsed) => {
                self.give_up(&place);
                Err(Fault::new(FaultKind::HostTimeout, format!("no answer within {} ms", limit.as_millis())))
            }
        }
    }

    fn give_up(&self, place: &Place) {
        let Some(permit) = place.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.0.lost_ever.fetch_add(1, Ordering::Relaxed);
        let lost = self.0.lost.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(lost, "a policy evaluation did not come back; its worker is given up");
        if lost > self.0.max_lost {
            // Not replaced: the pool of instances has no place for yet another.
            permit.forget();
        }
    }
}

/// The end of a piece of work, by return or by panic.
struct Leaving {
    place: Place,
    shared: Arc<Shared>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let permit = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        if permit.is_none() {
            let lost = self.shared.lost.fetch_sub(1, Ordering::Relaxed);
            if lost > self.shared.max_lost {
                self.shared.permits.add_permits(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lost_worker_is_counted_and_replaced_and_comes_back() {
        let workers = Workers::new(1, LONG, 2);
        let (release, wait) = channel::<()>();
        let (ended, end) = channel::<()>();
        let stuck = workers.run(SHORT, move || {
            let _ = wait.recv();
            let _ = ended.send(());
        });
        assert_eq!(stuck.await.unwrap_err().kind, FaultKind::HostTimeout);
        assert_eq!((workers.lost(), workers.lost_ever()), (1, 1));
        assert_eq!(workers.run(LONG, || 7).await, Ok(7));
        drop(release);
        end.recv().unwrap();
        while workers.lost() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.run(LONG, || 8).await, Ok(8));
        assert_eq!((workers.lost(), workers.lost_ever()), (0, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn past_the_bound_nothing_is_replaced_and_the_queue_says_busy() {
        let workers = Workers::new(1, SHORT, 1);
        let mut held = Vec::new();
        for _ in 0..2 {
            let (release, wait) = channel::<()>();
            held.push(release);
            assert_eq!(workers.run(SHORT, move || wait.recv().is_ok()).await.unwrap_err().kind, FaultKind::HostTimeout);
        }
        assert!(workers.is_exhausted());
        assert_eq!(workers.run(LONG, || ()).await.unwrap_err().kind, FaultKind::Busy);
        held.clear();
        while workers.lost() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.run(LONG, || 9).await, Ok(9));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_is_a_fault_and_frees_its_place() {
        let workers = Workers::new(1, LONG, 1);
        let panicked: Result<(), Fault> = workers.run(LONG, || panic!("on purpose")).await;
        assert_eq!(panicked.unwrap_err().kind, FaultKind::HostPanic);
        assert_eq!(workers.run(LONG, || 1).await, Ok(1));
    }
}
