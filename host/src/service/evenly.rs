//! Who asks for what they may not see, and for what does not exist, is told so after the same time.
//!
//! Looking at something takes longer than finding nothing. So such an answer leaves at the next beat after the question
//! came, and both are found within the first.

use std::time::Duration;

use tokio::time::Instant;

/// Distance of two beats.
const BEAT: Duration = Duration::from_millis(5);

/// Waits for the next beat since `began`.
pub(crate) async fn not_found(began: Instant) {
    tokio::time::sleep(left(began.elapsed())).await;
}

fn left(elapsed: Duration) -> Duration {
    let beat = BEAT.as_nanos();
    let over = elapsed.as_nanos() % beat;
    Duration::from_nanos(u64::try_from(beat - over).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leaves_at_a_beat() {
        for (elapsed_us, left_us) in [(0, 5_000), (300, 4_700), (800, 4_200), (4_999, 1), (5_000, 5_000), (12_000, 3_000)] {
            assert_eq!(left(Duration::from_micros(elapsed_us)), Duration::from_micros(left_us), "{elapsed_us}");
        }
    }
}
