//! The life of a task as one pure function. It does no IO: `pipeline` carries out the effects, `store` keeps the state.
//!
//! ```text
//! accepted ─► queued ─► running ─► completed | failed | timed_out
//!    │           ▲         │ ▲
//!    │           │    hold │ │ release
//!    │           │         ▼ │
//!    │           │   needs_approval/held
//!    │           │         │ the agent ends while something waits, or asks
//!    │  resume   │         ▼
//!    ├─────────► needs_approval/parked, info_needed/parked ─► denied (refused, expired)
//!    └─► denied          cancelled: from anywhere that is not final
//! ```

use crate::task::{EndedBy, Reason, Status, Waiting};

/// Where a task stands, as far as transitions care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Status.
    pub status: Status,
    /// How it waits.
    pub waiting: Option<Waiting>,
    /// 0 before the first start.
    pub attempt: u32,
}

/// What can happen to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A place is free and the agent is about to be started.
    Start,
    /// A call waits for people; the process lives.
    Hold,
    /// Nothing waits any more; the process goes on.
    Release,
    /// The agent ended while a request for approval is open.
    Park,
    /// The agent asked the submitter a question and ended.
    Ask,
    /// What was waited for has come: the task may start its next attempt.
    Resume,
    /// It is over.
    End(Status, Reason),
    /// The server died while the agent ran; `requests_open` says whether approval can still bring it on.
    Interrupt {
        /// A request is open and no released call is without its result.
        resumable: bool,
    },
}

/// What a transition asks the pipeline to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The task left or joined the queue or a place: look for the next one.
    Dispatch,
    /// Held time does not count.
    StopClocks,
    /// Running time counts again.
    ResumeClocks,
    /// The agent, if it lives, must end.
    EndProcess,
}

/// A transition that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from} cannot {what}")]
pub struct Refused {
    /// Where it stands.
    pub from: Status,
    /// What was wanted.
    pub what: &'static str,
}

/// One step. Ended tasks refuse everything; `End` on an ended task too, so that the first end stays.
pub fn step(state: State, happening: &Happening) -> Result<(State, Vec<Effect>), Refused> {
    let State { status, waiting, attempt } = state;
    let refused = |what| Err(Refused { from: status, what });
    let to = |status, waiting| State { status, waiting, attempt };
    match happening {
        Happening::Start => match status {
            Status::Queued => Ok((State { status: Status::Running, waiting: None, attempt: attempt + 1 }, vec![])),
            _ => refused("start"),
        },
        Happening::Hold => match (status, waiting) {
            (Status::Running, _) => {
                Ok((to(Status::NeedsApproval, Some(Waiting::Held)), vec![Effect::StopClocks, Effect::Dispatch]))
            }
            _ => refused("be held"),
        },
        Happening::Release => match (status, waiting) {
            (Status::NeedsApproval, Some(Waiting::Held)) => Ok((to(Status::Running, None), vec![Effect::ResumeClocks])),
            _ => refused("be released"),
        },
        Happening::Park => match status {
            Status::Running | Status::NeedsApproval => {
                Ok((to(Status::NeedsApproval, Some(Waiting::Parked)), vec![Effect::EndProcess, Effect::Dispatch]))
            }
            _ => refused("be parked"),
        },
        Happening::Ask => match (status, waiting) {
            (Status::Running, _) | (Status::NeedsApproval, Some(Waiting::Held)) => {
                Ok((to(Status::InfoNeeded, Some(Waiting::Parked)), vec![Effect::EndProcess, Effect::Dispatch]))
            }
            _ => refused("ask"),
        },
        Happening::Resume => match (status, waiting) {
            (Status::NeedsApproval | Status::InfoNeeded, Some(Waiting::Parked)) => {
                Ok((to(Status::Queued, None), vec![Effect::Dispatch]))
            }
            _ => refused("go on"),
        },
        Happening::End(end, _) if end.is_final() && !status.is_final() => {
            Ok((to(*end, None), vec![Effect::EndProcess, Effect::Dispatch]))
        }
        Happening::End(_, _) => refused("end"),
        Happening::Interrupt { resumable } => match (status, waiting, resumable) {
            (Status::Running | Status::NeedsApproval, None | Some(Waiting::Held), true) => {
                Ok((to(Status::NeedsApproval, Some(Waiting::Parked)), vec![]))
            }
            (Status::Running | Status::NeedsApproval, None | Some(Waiting::Held), false) => {
                Ok((to(Status::Failed, None), vec![]))
            }
            _ => refused("be interrupted"),
        },
    }
}

/// The reason of a task that a restart interrupted.
#[must_use]
pub fn interrupted(at: &str) -> Reason {
    Reason {
        by: EndedBy::Limit,
        code: "interrupted".into(),
        text: format!("interrupted at {at}: the server stopped while the agent was running"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn happenings() -> impl Strategy<Value = Happening> {
        let reason = Reason { by: EndedBy::Agent, code: "x".into(), text: String::new() };
        prop_oneof![
            Just(Happening::Start),
            Just(Happening::Hold),
            Just(Happening::Release),
            Just(Happening::Park),
            Just(Happening::Ask),
            Just(Happening::Resume),
            proptest::sample::select(Status::ALL.to_vec()).prop_map(move |s| Happening::End(s, reason.clone())),
            any::<bool>().prop_map(|resumable| Happening::Interrupt { resumable }),
        ]
    }

    /// The model: the picture at the head of this file as a table. Everything that is not in it is refused.
    fn modelled(state: State, happening: &Happening) -> Option<State> {
        use Status::{Failed, InfoNeeded, NeedsApproval, Queued, Running};
        use Waiting::{Held, Parked};
        let to = |status, waiting| Some(State { status, waiting, ..state });
        match (state.status, state.waiting, happening) {
            (Queued, None, Happening::Start) => Some(State { status: Running, waiting: None, attempt: state.attempt + 1 }),
            (Running, None, Happening::Hold) => to(NeedsApproval, Some(Held)),
            (NeedsApproval, Some(Held), Happening::Release) => to(Running, None),
            (Running, None, Happening::Park) | (NeedsApproval, Some(Held | Parked), Happening::Park) => {
                to(NeedsApproval, Some(Parked))
            }
            (Running, None, Happening::Ask) | (NeedsApproval, Some(Held), Happening::Ask) => to(InfoNeeded, Some(Parked)),
            (NeedsApproval | InfoNeeded, Some(Parked), Happening::Resume) => to(Queued, None),
            (Running, None, Happening::Interrupt { resumable })
            | (NeedsApproval, Some(Held), Happening::Interrupt { resumable }) => {
                if *resumable {
                    to(NeedsApproval, Some(Parked))
                } else {
                    to(Failed, None)
                }
            }
            (Queued | Running | NeedsApproval | InfoNeeded, _, Happening::End(end, _)) if end.is_final() => to(*end, None),
            _ => None,
        }
    }

    /// What must be done besides, by where the step leads from and to.
    fn carried_out(before: State, after: State, effects: &[Effect]) -> Result<(), String> {
        let clocks_run = |s: State| s.status == Status::Running;
        let has = |effect| effects.contains(&effect);
        let held = after.waiting == Some(Waiting::Held);
        let wrong = match () {
            () if clocks_run(before) && held && !has(Effect::StopClocks) => "held time counts",
            () if before.waiting == Some(Waiting::Held) && clocks_run(after) && !has(Effect::ResumeClocks) => {
                "running time does not count"
            }
            () if after.status.is_final() && !has(Effect::EndProcess) && after.status != Status::Failed => {
                "a process outlives its task"
            }
            () if after.status == Status::Queued && !has(Effect::Dispatch) => "a queued task waits for nothing",
            () => return Ok(()),
        };
        Err(format!("{wrong}: {before:?} to {after:?} with {effects:?}"))
    }

    proptest! {
        #[test]
        fn every_story_goes_as_the_table_says(story in proptest::collection::vec(happenings(), 0..60)) {
            let mut state = State { status: Status::Queued, waiting: None, attempt: 0 };
            for happening in &story {
                let done = step(state, happening);
                prop_assert_eq!(done.as_ref().ok().map(|(after, _)| *after), modelled(state, happening), "{:?} {:?}", state, happening);
                if let Ok((after, effects)) = done {
                    prop_assert_eq!(carried_out(state, after, &effects), Ok(()));
                    state = after;
                }
            }
        }

        #[test]
        fn waiting_goes_with_waiting_states_and_ends_are_final(story in proptest::collection::vec(happenings(), 0..40)) {
            let mut state = State { status: Status::Queued, waiting: None, attempt: 0 };
            for happening in &story {
                let before = state;
                if let Ok((after, _)) = step(state, happening) {
                    prop_assert!(!before.status.is_final(), "left {}", before.status);
                    prop_assert!(after.attempt == before.attempt || (after.attempt == before.attempt + 1 && *happening == Happening::Start));
                    state = after;
                }
                prop_assert_eq!(state.waiting.is_some(), matches!(state.status, Status::NeedsApproval | Status::InfoNeeded));
                prop_assert!(state.status != Status::Running || state.attempt > 0);
            }
        }
    }

    #[test]
    fn a_prompt_that_waits_starts_only_after_it_was_resumed() {
        let parked = State { status: Status::NeedsApproval, waiting: Some(Waiting::Parked), attempt: 0 };
        assert!(step(parked, &Happening::Start).is_err());
        let (queued, effects) = step(parked, &Happening::Resume).expect("resumes");
        assert_eq!(effects, [Effect::Dispatch]);
        assert_eq!(step(queued, &Happening::Start).expect("starts").0.attempt, 1);
    }
}
