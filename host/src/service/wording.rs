//! One sentence that tells a user what can be done now.

use super::views::ApprovalSummary;
use crate::task::{Status, Task};

/// What `next` says of a task.
pub(super) fn next(task: &Task, approval: Option<&ApprovalSummary>, viewer_url: &str) -> String {
    match task.status {
        Status::Queued => {
            format!("The task is accepted and starts when a place is free; there is no need to wait, watch it at {viewer_url}.")
        }
        Status::Running => {
            format!("The agent is at work; there is no need to wait, look into the inbox later or watch it at {viewer_url}.")
        }
        Status::NeedsApproval => match approval {
            Some(a) => {
                let who: Vec<String> = a.requirements.iter().map(|r| format!("{} x {}", r.count, r.role)).collect();
                format!("People must decide ({}) until {}: {}", who.join(", "), a.expires_at, a.url)
            }
            None => "The approval is given; the task goes on in a moment.".into(),
        },
        Status::InfoNeeded => {
            format!(
                "The agent needs an answer (see feedback): give it with `coda answer {}`, or hand over a new task with previous_session_id.",
                task.id
            )
        }
        Status::Completed => format!("Done: take the whole result with coda_get_result, or replay the terminal at {viewer_url}."),
        Status::Failed | Status::TimedOut | Status::Cancelled | Status::Denied => match &task.reason {
            Some(reason) => format!(
                "It ended without success: {}. Hand over a new task with previous_session_id to go on from here.",
                reason.text.trim_end_matches('.')
            ),
            None => "It ended without success.".into(),
        },
    }
}
