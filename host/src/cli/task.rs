//! `coda inbox`, `result`, `answer` and `task`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::{CliError, Context, Format};
use super::traffic::{ReplayArgs, TrafficArgs};
use super::{print, traffic, watch};
use crate::id::TaskId;
use crate::service::{InboxPage, TaskView};
use crate::task::Status;

const SUMMARY: usize = 60;

/// Which tasks.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coda inbox\n  coda inbox --status needs_approval,info_needed\n  coda inbox --all --limit 200 --json"
)]
pub(super) struct InboxArgs {
    /// Only these, separated by commas: queued, running, needs_approval, info_needed, completed, failed, timed_out, cancelled, denied
    #[arg(long, value_name = "WORDS", value_delimiter = ',', value_parser = status_word)]
    status: Vec<Status>,
    /// Tasks of everybody (needs the role viewer or operator)
    #[arg(long)]
    all: bool,
    /// How many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: Option<u32>,
    /// The page that the one before names
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Which result.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coda result task_…\n  coda result --diff task_… | less\n  coda result --json task_… | jq .result"
)]
pub(super) struct ResultArgs {
    /// Task
    #[arg(value_name = "TASK")]
    task: String,
    /// Print what it changed in its workspace, as a unified diff
    #[arg(long)]
    diff: bool,
}

/// What is answered.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coda answer task_… 'the table is main.sales.orders'\n  coda answer --watch task_… 'use the staging catalogue'"
)]
pub(super) struct AnswerArgs {
    /// Task
    #[arg(value_name = "TASK")]
    task: String,
    /// The answer, in words
    #[arg(value_name = "TEXT", required = true)]
    text: Vec<String>,
    /// Follow the task from there
    #[arg(long, short)]
    watch: bool,
}

/// Verbs about tasks.
#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// As `coda inbox`
    List(InboxArgs),
    /// One task, without its result
    #[command(after_help = "Examples:\n  coda task show task_…")]
    Show {
        /// Task
        #[arg(value_name = "TASK")]
        task: String,
    },
    /// Follow a task to its end and print its result
    #[command(after_help = "Examples:\n  coda task watch task_…\n  coda task watch --until needs_approval task_…")]
    Watch {
        /// Task
        #[arg(value_name = "TASK")]
        task: String,
        /// Stop as soon as it stands here
        #[arg(long, value_name = "STATUS", value_parser = status_word)]
        until: Option<Status>,
    },
    /// What a task and its model said to each other, where gateway.record_bytes lets it be recorded
    #[command(
        after_help = "Examples:\n  coda task traffic task_…\n  coda task traffic --json task_… | jq '.requests[0].messages'\n  coda task traffic --output task.jsonl task_…"
    )]
    Traffic(TrafficArgs),
    /// A model that says again what a task's model said: requests must come as they came then
    #[command(
        after_help = "Examples:\n  coda task replay task_…\n  coda task replay --file task.jsonl --listen 127.0.0.1:9911\n\nIt prints a [models.replay] for coda.toml; hand the task's prompt over to an agent with model = \"replay\"."
    )]
    Replay(ReplayArgs),
    /// End a task
    #[command(after_help = "Examples:\n  coda task cancel task_…\n  coda task cancel --reason 'wrong branch' task_…")]
    Cancel {
        /// Task
        #[arg(value_name = "TASK")]
        task: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

pub(super) async fn run(command: TaskCommand, context: &Context) -> Result<(), CliError> {
    match command {
        TaskCommand::List(args) => inbox(args, context).await,
        TaskCommand::Show { task } => {
            let answer = context.get(&format!("/v1/tasks/{}", task_id(&task)?)).await?;
            show(context, &answer)
        }
        TaskCommand::Watch { task, until } => {
            let task = task_id(&task)?;
            let view = watch::follow(context, task.as_str(), until).await?;
            if Some(view.status) == until && !view.status.is_final() {
                return if context.format == Format::Json { show_json(context, task.as_str()).await } else { Ok(()) };
            }
            show_result(context, task.as_str()).await
        }
        TaskCommand::Traffic(args) => traffic::show(args, context).await,
        TaskCommand::Replay(args) => traffic::replay(args, context).await,
        TaskCommand::Cancel { task, reason } => {
            let answer = context.post(&format!("/v1/tasks/{}/cancel", task_id(&task)?), &json!({ "reason": reason })).await?;
            show(context, &answer)
        }
    }
}

pub(super) async fn inbox(args: InboxArgs, context: &Context) -> Result<(), CliError> {
    let mut query = vec![format!("all={}", args.all)];
    if !args.status.is_empty() {
        query.push(format!("status={}", args.status.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(",")));
    }
    query.extend(args.limit.map(|n| format!("limit={n}")));
    if let Some(cursor) = &args.cursor {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~:=".contains(c);
        if !cursor.chars().all(plain) {
            return Err(CliError::Usage("--cursor takes what the page before printed".into()));
        }
        query.push(format!("cursor={}", cursor.replace('=', "%3D").replace(':', "%3A")));
    }
    let answer = context.get(&format!("/v1/tasks?{}", query.join("&"))).await?;
    if context.format == Format::Json {
        return print::json(&answer);
    }
    let page: InboxPage = serde_json::from_value(answer)
        .map_err(|e| CliError::Failed(format!("the server tells of tasks in a form that this coda does not know: {e}")))?;
    if page.tasks.is_empty() {
        return print::line("no tasks; hand one over with `coda run`");
    }
    let row = |task: &TaskView| {
        let words = task.summary.as_deref().or(task.progress.as_deref()).unwrap_or(&task.prompt_summary);
        let mut row = vec![
            task.task_id.to_string(),
            print::status(task.status),
            print::clean(&task.agent),
            print::relative(&task.created_at),
        ];
        if args.all {
            row.push(print::clean(&task.principal));
        }
        row.push(print::short(words, SUMMARY));
        row
    };
    let rows: Vec<Vec<String>> = page.tasks.iter().map(row).collect();
    let head: &[&str] = if args.all {
        &["TASK", "STATUS", "AGENT", "CREATED", "BY", "ABOUT"]
    } else {
        &["TASK", "STATUS", "AGENT", "CREATED", "ABOUT"]
    };
    print::raw(&print::table(head, &rows))?;
    let counts: Vec<String> = page.counts.iter().filter(|(_, n)| **n > 0).map(|(word, n)| format!("{n} {word}")).collect();
    print::line(&print::paint(print::Colour::Dim, &counts.join(", ")))?;
    match page.next_cursor {
        Some(cursor) => print::line(&format!("more: coda inbox --cursor {}", print::clean(&cursor))),
        None => Ok(()),
    }
}

pub(super) async fn result(args: ResultArgs, context: &Context) -> Result<(), CliError> {
    let task = task_id(&args.task)?;
    if !args.diff {
        return show_result(context, task.as_str()).await;
    }
    let answer = context.get(&format!("/v1/tasks/{task}/diff")).await?;
    match context.format {
        Format::Json => print::json(&answer),
        Format::Human => print::raw(&print::clean(answer["diff"].as_str().unwrap_or_default())),
    }
}

pub(super) async fn answer(args: AnswerArgs, context: &Context) -> Result<(), CliError> {
    let task = task_id(&args.task)?;
    let answer = context.post(&format!("/v1/tasks/{task}/answer"), &json!({ "text": args.text.join(" ") })).await?;
    if !args.watch {
        return show(context, &answer);
    }
    watch::follow(context, task.as_str(), None).await?;
    show_result(context, task.as_str()).await
}

async fn show_json(context: &Context, task: &str) -> Result<(), CliError> {
    print::json(&context.get(&format!("/v1/tasks/{task}")).await?)
}

/// Prints a task's result, and fails where it did not complete.
pub(super) async fn show_result(context: &Context, task: &str) -> Result<(), CliError> {
    let answer = context.get(&format!("/v1/tasks/{task}")).await?;
    let view = watch::view(answer.clone())?;
    match context.format {
        Format::Json => print::json(&answer)?,
        Format::Human => print_result(&view)?,
    }
    watch::outcome(&view)
}

fn print_result(view: &TaskView) -> Result<(), CliError> {
    let seconds = view.elapsed_s.max(0.0).round();
    print::line(&format!("{}  {}  {seconds} s", view.task_id, print::status(view.status)))?;
    let Some(result) = &view.result else {
        return match &view.feedback {
            Some(feedback) => print::line(&print::clean(feedback)),
            None => Ok(()),
        };
    };
    for key in ["summary", "feedback"] {
        if let Some(text) = result[key].as_str().filter(|t| !t.is_empty()) {
            print::line(&print::clean(text))?;
        }
    }
    for error in result["errors"].as_array().into_iter().flatten() {
        print::line(&format!("error: {}", print::clean(&plain(error))))?;
    }
    for step in result["artifacts"]["steps"].as_array().into_iter().flatten() {
        let command = step["command"].as_str().unwrap_or_default();
        let name = step["step"].as_str().or(step["id"].as_str()).unwrap_or("step");
        print::line(&print::paint(print::Colour::Dim, &format!("── {}  {}", print::clean(name), print::short(command, 200))))?;
        if let Some(output) = step["output"].as_str().or(step["content"].as_str()).filter(|o| !o.is_empty()) {
            print::line(print::clean(output).trim_end())?;
        }
    }
    let changed = view.files_changed.as_deref().unwrap_or_default();
    if !changed.is_empty() {
        print::line(&format!("changed: {}", print::clean(&changed.join(", "))))?;
    }
    print::line(&print::paint(print::Colour::Dim, &print::clean(&view.viewer_url)))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One task in a few lines.
fn show(context: &Context, answer: &Value) -> Result<(), CliError> {
    if context.format == Format::Json {
        return print::json(answer);
    }
    let view = watch::view(answer.clone())?;
    let by = match view.acting_as.as_ref().filter(|name| **name != view.principal) {
        Some(service) => format!("{}, acting as {}", print::clean(&view.principal), print::clean(service)),
        None => print::clean(&view.principal),
    };
    let conversation = match view.resumed {
        Some(true) => ", which goes on in its conversation",
        Some(false) => ", in a new conversation",
        None => "",
    };
    let mut lines: Vec<(&str, String)> = vec![
        ("task", view.task_id.to_string()),
        ("session", view.session_id.to_string()),
        ("status", print::status(view.status)),
        ("agent", format!("{}, attempt {}{conversation}", print::clean(&view.agent), view.attempt)),
        ("by", by),
        ("created", print::relative(&view.created_at)),
        ("about", print::short(&view.prompt_summary, 100)),
    ];
    if let Some(usage) = &view.usage {
        lines.push(("used", usage.to_string()));
    }
    let more = [
        ("sandbox", view.sandbox.as_deref()),
        ("progress", view.progress.as_deref()),
        ("summary", view.summary.as_deref()),
        ("asks", view.feedback.as_deref()),
        ("reason", view.reason.as_ref().map(|r| r.text.as_str())),
        ("decide", view.approval.as_ref().map(|a| a.url.as_str())),
    ];
    lines.extend(more.into_iter().filter_map(|(name, text)| Some((name, print::clean(text?)))));
    lines.push(("watch", print::clean(&view.viewer_url)));
    lines.push(("next", print::clean(&view.next)));
    for (name, text) in lines {
        print::line(&format!("{}  {text}", print::paint(print::Colour::Dim, &format!("{name:<8}"))))?;
    }
    Ok(())
}

/// A task id, before it becomes part of a path.
pub(super) fn task_id(text: &str) -> Result<TaskId, CliError> {
    TaskId::parse(text).map_err(|e| CliError::Usage(e.to_string()))
}

fn status_word(word: &str) -> Result<Status, String> {
    let known = || Status::ALL.map(Status::as_str).join(", ");
    Status::parse(word).ok_or_else(|| format!("use one of {}", known()))
}
