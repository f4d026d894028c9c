//! Progress lines on their way to people: the newest only, at a pace, and so many per attempt.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::executor::Progress;

/// Between two lines, while an attempt has told few.
const QUICK: Duration = Duration::from_secs(1);
/// Lines of an attempt that come at that pace.
const QUICK_LINES: u32 = 300;
/// Between two lines after that.
const SLOW: Duration = Duration::from_secs(60);
/// Lines of an attempt in all; at that pace they last for more than a day.
const MAX_LINES: u32 = 2000;

/// When lines may be told.
#[derive(Debug)]
struct Pace {
    told: u32,
    next: Instant,
}

impl Pace {
    /// From when on the next line may be told; `None` = never.
    fn next(&self) -> Option<Instant> {
        (self.told < MAX_LINES).then_some(self.next)
    }

    fn tell(&mut self, now: Instant) {
        self.told += 1;
        self.next = now + if self.told < QUICK_LINES { QUICK } else { SLOW };
    }
}

/// The lines of one attempt.
pub(super) struct Lines {
    newest: watch::Receiver<Option<Progress>>,
    pace: Pace,
}

impl Lines {
    pub(super) fn new(newest: watch::Receiver<Option<Progress>>) -> Self {
        Self { newest, pace: Pace { told: 0, next: Instant::now() } }
    }

    /// The next line that may be told. Safe to drop while it waits; never ready once there is none any more.
    pub(super) async fn next(&mut self) -> String {
        if let Some(moment) = self.pace.next() {
            tokio::time::sleep_until(moment).await;
            if self.newest.changed().await.is_ok()
                && let Some(line) = self.take()
            {
                return line;
            }
        }
        std::future::pending().await
    }

    /// What the agent said last, if that was not told yet.
    pub(super) fn last(&mut self) -> Option<String> {
        let unseen = self.newest.borrow_and_update().has_changed();
        if unseen && self.pace.next().is_some() { self.take() } else { None }
    }

    fn take(&mut self) -> Option<String> {
        let Progress { step, message } = self.newest.borrow_and_update().clone()?;
        self.pace.tell(Instant::now());
        Some(if message.is_empty() { step } else { message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u32) -> Option<Progress> {
        Some(Progress { step: "s".into(), message: n.to_string() })
    }

    #[tokio::test]
    async fn only_the_newest_line_is_told_and_once() {
        let (agent, newest) = watch::channel(None);
        let mut lines = Lines::new(newest);
        assert_eq!(lines.last(), None);
        for n in 0..1000 {
            agent.send_replace(line(n));
        }
        assert_eq!(lines.next().await, "999");
        assert_eq!(lines.last(), None, "told once");
        agent.send_replace(line(1));
        agent.send_replace(Some(Progress { step: "execute_1".into(), message: String::new() }));
        drop(agent);
        assert_eq!(lines.last().as_deref(), Some("execute_1"), "also after the agent's end");
        assert_eq!(lines.last(), None);
    }

    #[test]
    fn lines_come_at_most_once_a_second_later_once_a_minute_and_so_many_per_attempt() {
        let begin = Instant::now();
        let mut pace = Pace { told: 0, next: begin };
        let mut moments = Vec::new();
        while let Some(moment) = pace.next() {
            pace.tell(moment);
            moments.push(moment);
        }
        assert_eq!(moments.len(), MAX_LINES as usize);
        let gaps: Vec<u64> = moments.windows(2).map(|w| (w[1] - w[0]).as_secs()).collect();
        assert_eq!((gaps[0], gaps[QUICK_LINES as usize], *gaps.iter().min().expect("some")), (1, 60, 1));
        assert!(moments.last().is_some_and(|last| *last - begin > Duration::from_secs(86_400)), "enough for the longest task");
    }
}
