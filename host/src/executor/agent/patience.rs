//! How long an agent bears an answer of its model that does not come while people decide about a call. Measured for the
//! releases that coda is tested with (`tested.toml`); whatever is not measured is taken to bear little.

use super::Kind;

/// What an agent bears that nobody measured, in seconds.
pub const UNMEASURED_HOLD_S: u64 = 60;

/// The longest hold of an agent, in seconds. `own`: what its profile says. `tested`: whether its release is one of those that
/// were measured. `None`: it waits as long as it is asked to.
#[must_use]
pub fn max_hold_s(kind: Kind, own: Option<u64>, tested: Option<bool>) -> Option<u64> {
    let measured = || kind.tested().filter(|_| tested == Some(true)).map(|tested| tested.max_hold_s);
    match kind {
        // It asks the gates itself, and waits for them.
        Kind::Runbook => None,
        Kind::Hermes
        | Kind::OpenCode
        | Kind::Goose
        | Kind::Pi
        | Kind::Qwen
        | Kind::Claude
        | Kind::Codex
        | Kind::Gemini
        | Kind::Custom => own.or_else(measured).or(Some(UNMEASURED_HOLD_S)),
    }
}

/// How long a call is held, in seconds: as long as people may take, and its agent bears (`None` = however long).
#[must_use]
pub fn hold_s(people: u64, agent: Option<u64>) -> u64 {
    agent.map_or(people, |bears| people.min(bears))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_with_the_shorter_patience() {
        for (people, agent, expected) in [(600, Some(60), 60), (25, Some(600), 25), (600, None, 600), (0, Some(60), 0)] {
            assert_eq!(hold_s(people, agent), expected, "{people} {agent:?}");
        }
    }

    #[test]
    fn what_the_profile_says_comes_before_what_was_measured_and_both_before_the_minute() {
        let measured = Kind::Claude.tested().map(|tested| tested.max_hold_s);
        for (kind, own, tested, expected) in [
            (Kind::Claude, None, Some(true), measured),
            (Kind::Claude, Some(7), Some(true), Some(7)),
            (Kind::Claude, Some(7), Some(false), Some(7)),
            (Kind::Claude, None, Some(false), Some(UNMEASURED_HOLD_S)),
            (Kind::Claude, None, None, Some(UNMEASURED_HOLD_S)),
            (Kind::Custom, None, None, Some(UNMEASURED_HOLD_S)),
            (Kind::Custom, Some(500), None, Some(500)),
            (Kind::Runbook, None, None, None),
        ] {
            assert_eq!(max_hold_s(kind, own, tested), expected, "{kind:?} {own:?} {tested:?}");
        }
    }

    #[test]
    fn every_known_agent_was_measured_to_bear_more_than_the_unmeasured() {
        assert!(Kind::known().all(|kind| kind.tested().is_some_and(|tested| tested.max_hold_s > UNMEASURED_HOLD_S)));
    }
}
