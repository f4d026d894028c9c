//! A clock that can stand still: bounds a task's running time. It is told what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// Counts running time against a bound.
#[derive(Debug)]
pub(super) struct Clock {
    limit: Duration,
    before: Duration,
    /// `None` while it stands still.
    since: Option<Instant>,
}

impl Clock {
    /// A running one.
    pub(super) fn started(limit: Duration, now: Instant) -> Self {
        Self { limit, before: Duration::ZERO, since: Some(now) }
    }

    /// Stands still from now on.
    pub(super) fn hold(&mut self, now: Instant) {
        self.before = self.used(now);
        self.since = None;
    }

    /// Runs from now on.
    pub(super) fn run(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    pub(super) fn is_held(&self) -> bool {
        self.since.is_none()
    }

    /// Time that counts.
    pub(super) fn used(&self, now: Instant) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.used(now) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_time_does_not_count() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let mut clock = Clock::started(Duration::from_secs(10), begin);
        clock.hold(at(6));
        clock.hold(at(7));
        assert!(clock.is_held() && !clock.is_over(at(1000)));
        clock.run(at(1000));
        clock.run(at(1002));
        assert_eq!(clock.used(at(1003)), Duration::from_secs(9));
        assert!(!clock.is_over(at(1003)) && clock.is_over(at(1004)));
    }
}
