//! Following a task: its events as they come, its status when it changes, until it ends or needs its submitter.

use std::time::Duration;

use serde_json::Value;

use super::context::{CliError, Context, Format};
use super::print;
use crate::service::TaskView;
use crate::task::Status;

const PAGE: u32 = 200;
/// How long one question for news waits at the server.
const WAIT_S: u64 = 20;
/// Between two tries to reach a server that is away.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a server may be away, for a restart, before following it ends.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_WORDS: usize = 160;

/// Follows `task` until it has ended, asks its submitter, or stands at `until`. Progress goes to standard error, unless
/// the output is for machines.
pub(super) async fn follow(context: &Context, task: &str, until: Option<Status>) -> Result<TaskView, CliError> {
    let mut seen = Seen { after: 0, status: None };
    let mut away: Option<tokio::time::Instant> = None;
    loop {
        let looked = match look(context, task, &mut seen).await {
            Ok(view) if view.status.is_final() || view.status == Status::InfoNeeded || Some(view.status) == until => {
                return Ok(view);
            }
            Ok(_) => await_news(context, task, &seen).await,
            Err(e) => Err(e),
        };
        match looked {
            Ok(()) => away = None,
            Err(CliError::Unreachable(why)) => {
                let since = *away.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(CliError::Unreachable(why));
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(other) => return Err(other),
        }
    }
}

/// Returns when something has happened that was not seen, or after a while.
async fn await_news(context: &Context, task: &str, seen: &Seen) -> Result<(), CliError> {
    context.get(&format!("/v1/tasks/{task}/events?after={}&limit=1&wait_s={WAIT_S}", seen.after)).await.map(drop)
}

struct Seen {
    after: u64,
    status: Option<Status>,
}

/// One look: the task, and what happened since. The task is read before its events, so that none is missed at the end.
async fn look(context: &Context, task: &str, seen: &mut Seen) -> Result<TaskView, CliError> {
    let view = view(context.get(&format!("/v1/tasks/{task}")).await?)?;
    loop {
        let page = context.get(&format!("/v1/tasks/{task}/events?after={}&limit={PAGE}", seen.after)).await?;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        for event in &events {
            if context.format == Format::Human && !is_routine(event) {
                print::progress(&event_line(event));
            }
            seen.after = event["seq"].as_u64().unwrap_or(seen.after);
        }
        if events.len() < PAGE as usize {
            break;
        }
    }
    if seen.status != Some(view.status) {
        seen.status = Some(view.status);
        if context.format == Format::Human {
            say_status(&view);
        }
    }
    Ok(view)
}

fn say_status(view: &TaskView) {
    print::progress(&format!("── {}", print::status(view.status)));
    if let Some(approval) = &view.approval {
        let who: Vec<String> = approval.requirements.iter().map(|r| format!("{} × {}", r.count, r.role)).collect();
        print::progress(&format!("   {}", print::short(&approval.reason, MAX_WORDS)));
        print::progress(&format!("   waits for {}, until {}", who.join(" and "), print::relative(&approval.expires_at)));
        print::progress(&format!("   {}", print::clean(&approval.url)));
        print::progress(&format!("   coda approval show {0}\n   coda approval approve {0}", approval.approval_id));
    }
}

/// Judgments that let something pass are most of what happens, and on record; people follow what stops or changes.
fn is_routine(event: &Value) -> bool {
    event["kind"] == "judged" && event["body"]["verdict"] == "allow"
}

/// One event for a person: when, what, and what its body says in words.
pub(super) fn event_line(event: &Value) -> String {
    let time = event["time_ms"].as_u64().map(crate::env::rfc3339).unwrap_or_default();
    let clock = time.get(11..19).unwrap_or_default();
    let kind = event["kind"].as_str().unwrap_or("?");
    let words = [
        "step", "tool", "host", "why", "status", "verdict", "decision", "by", "code", "reason", "message", "text", "summary",
        "command",
    ];
    let mut said: Vec<String> = Vec::new();
    for word in words {
        let text = match &event["body"][word] {
            Value::String(text) => text.clone(),
            Value::Object(inner) => inner.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        if !text.is_empty() && !text.starts_with("dec_") && !said.contains(&text) {
            said.push(text);
        }
    }
    format!(
        "{} {:<12} {}",
        print::paint(print::Colour::Dim, clock),
        print::clean(kind),
        print::short(&said.join("; "), MAX_WORDS)
    )
    .trim_end()
    .to_owned()
}

/// Reads a task as the server tells it.
pub(super) fn view(value: Value) -> Result<TaskView, CliError> {
    serde_json::from_value(value)
        .map_err(|e| CliError::Failed(format!("the server tells of a task in a form that this coda does not know: {e}")))
}

/// The exit that a task's status stands for.
pub(super) fn outcome(view: &TaskView) -> Result<(), CliError> {
    let reason = view.reason.as_ref().map(|r| format!(": {}", print::short(&r.text, 400))).unwrap_or_default();
    match view.status {
        Status::Completed => Ok(()),
        Status::Failed | Status::TimedOut | Status::Cancelled | Status::Denied => {
            Err(CliError::NotCompleted(format!("{} ended {}{reason}", view.task_id, view.status)))
        }
        Status::NeedsApproval => {
            let id = view.approval.as_ref().map(|a| a.approval_id.to_string()).unwrap_or_else(|| "ID".into());
            Err(CliError::Waits(format!("{} waits for an approval: `coda approval show {id}`", view.task_id)))
        }
        Status::InfoNeeded => {
            Err(CliError::Waits(format!("{0} asks for more: answer it with `coda answer {0} TEXT`", view.task_id)))
        }
        Status::Queued | Status::Running => {
            Err(CliError::Waits(format!("{0} is {1}: follow it with `coda task watch {0}`", view.task_id, view.status)))
        }
    }
}

#[cfg(test)]
mod tests;
