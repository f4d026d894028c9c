//! `coda run`: hands a task over, and follows it where that is asked for.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::context::{CliError, Context, Format};
use super::{print, task, watch};

const MAX_INPUT_BYTES: u64 = 16 << 20;
const EXAMPLES: &str = "\
Examples:
  coda run 'tidy up the README'
  coda run --watch --agent runbook --file steps.md
  generate-prompt | coda run -
  coda run --workspace site --timeout 600 'run the tests and fix what fails'
  coda run --previous sess_… 'now do the same for the other module'";

/// What is handed over.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// What to do, in words; `-` reads it from standard input
    #[arg(value_name = "PROMPT", required_unless_present = "file", conflicts_with = "file")]
    prompt: Vec<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Agent [default: as configured]
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Named workspace [default: one of the chain's own]
    #[arg(long, value_name = "NAME")]
    workspace: Option<String>,
    /// Whether the agent asks its own questions; coda's gates are the same either way
    #[arg(long, value_enum, value_name = "WORD", default_value = "smart")]
    permissions: PermissionsWord,
    /// Bound on its running time, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// More to know, as JSON text or @FILE
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// Session, or task, whose results and workspace this one continues
    #[arg(long, value_name = "ID")]
    previous: Option<String>,
    /// The same key again returns the same task
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Leave the workflow protocol out of what the agent is told
    #[arg(long)]
    no_protocol: bool,
    /// Follow the task to its end and print its result
    #[arg(long, short)]
    watch: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PermissionsWord {
    Smart,
    Yolo,
}

pub(super) async fn run(args: RunArgs, context: &Context) -> Result<(), CliError> {
    let watching = args.watch;
    let body = submission(args, context).await?;
    let answer = context.post("/v1/tasks", &body).await?;
    if !watching {
        return accepted(answer, context);
    }
    let view = watch::view(answer)?;
    if context.format == Format::Human {
        print::progress(&format!("{}  {}", view.task_id, print::clean(&view.viewer_url)));
    }
    watch::follow(context, view.task_id.as_str(), None).await?;
    task::show_result(context, view.task_id.as_str()).await
}

fn accepted(answer: Value, context: &Context) -> Result<(), CliError> {
    if context.format == Format::Json {
        print::json(&answer)?;
        return denied_at_once(&answer);
    }
    let view = watch::view(answer.clone())?;
    print::line(&format!("{}  {}", view.task_id, print::status(view.status)))?;
    print::line(&format!("watch   {}", print::clean(&view.viewer_url)))?;
    if let Some(approval) = &view.approval {
        print::line(&format!("decide  {}", print::clean(&approval.url)))?;
    }
    print::line(&print::clean(&view.next))?;
    for warning in &view.warnings {
        print::progress(&format!("note: {}", print::clean(warning)));
    }
    denied_at_once(&answer)
}

/// A prompt that a policy refused is an ended task: scripts must notice.
fn denied_at_once(answer: &Value) -> Result<(), CliError> {
    let view = watch::view(answer.clone())?;
    if view.status.is_final() { watch::outcome(&view) } else { Ok(()) }
}

async fn submission(args: RunArgs, context: &Context) -> Result<Value, CliError> {
    let mut body = Map::new();
    body.insert("prompt".into(), prompt(&args)?.into());
    if let Some(text) = &args.context {
        body.insert("context".into(), context_value(text)?);
    }
    if let Some(previous) = &args.previous {
        body.insert("previous_session_id".into(), session(previous, context).await?.into());
    }
    let permissions = match args.permissions {
        PermissionsWord::Smart => "smart",
        PermissionsWord::Yolo => "yolo",
    };
    body.insert("permissions".into(), permissions.into());
    body.insert("workflow_protocol".into(), (!args.no_protocol).into());
    let given = [
        ("agent", args.agent.map(Value::from)),
        ("workspace", args.workspace.map(Value::from)),
        ("timeout_s", args.timeout.map(Value::from)),
        ("idempotency_key", args.idempotency_key.map(Value::from)),
    ];
    body.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Ok(json!(body))
}

fn prompt(args: &RunArgs) -> Result<String, CliError> {
    if let Some(file) = &args.file {
        return read_file(file);
    }
    if args.prompt.as_slice() == ["-"] {
        if std::io::stdin().is_terminal() {
            print::progress("the prompt, then Ctrl-D:");
        }
        return read_bounded(std::io::stdin(), "standard input");
    }
    Ok(args.prompt.join(" "))
}

fn read_file(file: &std::path::Path) -> Result<String, CliError> {
    let name = file.display().to_string();
    let opened = std::fs::File::open(file).map_err(|e| CliError::Usage(format!("cannot read {name}: {e}")))?;
    read_bounded(opened, &name)
}

fn read_bounded(from: impl std::io::Read, name: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let read = from.take(MAX_INPUT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|e| CliError::Usage(format!("cannot read {name}: {e}")))?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(CliError::Usage(format!("{name} is larger than {MAX_INPUT_BYTES} bytes")));
    }
    Ok(text)
}

fn context_value(text: &str) -> Result<Value, CliError> {
    let text = match text.strip_prefix('@') {
        Some(file) => read_file(std::path::Path::new(file))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text)
        .map_err(|e| CliError::Usage(format!("--context is not JSON: {e}; a text needs quotes of its own")))
}

/// A session id, or that of a task.
async fn session(id: &str, context: &Context) -> Result<String, CliError> {
    if !id.starts_with("task_") {
        return Ok(id.to_owned());
    }
    let view = watch::view(context.get(&format!("/v1/tasks/{}", task::task_id(id)?)).await?)?;
    Ok(view.session_id.to_string())
}
