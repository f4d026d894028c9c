//! `coda task traffic` and `coda task replay`: the record of what a task and its model said to each other, for people, and
//! as a model that says it again.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use clap::Args;
use serde_json::{Value, json};

use super::context::{CliError, Context, Format};
use super::print;
use super::task::task_id;
use crate::env;
use crate::gateway::replay::{Answer, Recorded, Replay, Traffic};

/// Words of one message that are shown.
const WORDS: usize = 300;

/// Whose traffic, and where to.
#[derive(Debug, Args)]
pub(super) struct TrafficArgs {
    /// Task
    #[arg(value_name = "TASK")]
    task: String,
    /// Write the record as it is (JSON lines) to this file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is said again, and where.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Task; its record comes from the server
    #[arg(value_name = "TASK", required_unless_present = "file", conflicts_with = "file")]
    task: Option<String>,
    /// A record that `coda task traffic --output` wrote
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which attempt of the task
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    attempt: u32,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

pub(super) async fn show(args: TrafficArgs, context: &Context) -> Result<(), CliError> {
    let task = task_id(&args.task)?;
    let text = context.text(&format!("/v1/tasks/{task}/traffic")).await?;
    if text.is_empty() {
        return Err(nothing(&args.task));
    }
    if let Some(path) = &args.output {
        use std::os::unix::fs::OpenOptionsExt as _;
        let failed = |e: std::io::Error| CliError::Failed(format!("{}: {e}", path.display()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        return file.write_all(text.as_bytes()).map_err(failed);
    }
    let traffic = read(&text)?;
    if context.format == Format::Json {
        let requests: Vec<Value> = traffic.requests.iter().map(document).collect();
        return print::json(&json!({ "task_id": task, "requests": requests, "cut_at_bytes": traffic.cut_at_bytes }));
    }
    let mut known = 0;
    for request in &traffic.requests {
        known = if request.number == 1 { 0 } else { known };
        say(request, known)?;
        known = known.max(request.messages.len());
    }
    match traffic.cut_at_bytes {
        Some(limit) => print::line(&format!("cut here: {limit} bytes are the most, gateway.record_bytes")),
        None => Ok(()),
    }
}

fn nothing(task: &str) -> CliError {
    let why = "its agent asked no model, its retention is over, or gateway.record_bytes was 0, the default";
    let message = format!("no model traffic of {task} is on record: {why}");
    CliError::Refused { code: "not_found".into(), message }
}

fn read(text: &str) -> Result<Traffic, CliError> {
    Traffic::read(text).map_err(|e| CliError::Failed(e.to_string()))
}

fn document(request: &Recorded) -> Value {
    let answer = request.answer.as_ref().map(|a| {
        let failed = a.failed.as_ref().map(|(status, message)| json!({ "status": status, "message": message }));
        let said = request.said().map(|said| {
            let call =
                |(id, tool, arguments): (String, String, String)| json!({ "id": id, "tool": tool, "arguments": arguments });
            json!({ "text": said.text, "calls": said.calls.into_iter().map(call).collect::<Vec<_>>() })
        });
        json!({ "stream": a.stream, "body": a.body, "failed": failed, "said": said })
    });
    json!({
        "attempt": request.attempt, "number": request.number, "time_ms": request.time_ms, "dialect": request.dialect,
        "path": request.path, "frame": request.frame, "messages": request.messages, "answer": answer,
        "verdicts": request.verdicts,
    })
}

/// One request for a person: what is new in it, what was said, what became of the calls.
fn say(request: &Recorded, known: usize) -> Result<(), CliError> {
    let time = env::rfc3339(request.time_ms);
    let head = format!(
        "── attempt {}, request {}  {}  {} {}  {} messages",
        request.attempt,
        request.number,
        time.get(11..19).unwrap_or_default(),
        print::clean(&request.dialect),
        print::clean(&request.path),
        request.messages.len()
    );
    print::line(&print::paint(print::Colour::Dim, &head))?;
    for message in request.messages.iter().skip(known) {
        let who = message["role"].as_str().or(message["type"].as_str()).unwrap_or("?");
        print::line(&format!("> {}: {}", print::clean(who), print::short(&words(message), WORDS)))?;
    }
    let Some(answer) = &request.answer else { return print::line("< no answer is on record") };
    if let Some((status, message)) = &answer.failed {
        return print::line(&format!("< failed with {status}: {}", print::clean(message)));
    }
    let Some(said) = request.said() else {
        return print::line(&format!("< {}", print::short(&answer.body, WORDS)));
    };
    if !said.text.is_empty() {
        print::line(&format!("< {}", print::short(&said.text, WORDS)))?;
    }
    for (id, tool, arguments) in &said.calls {
        let verdict = request.verdicts.iter().find(|v| v["call"] == id.as_str());
        let of = |key: &str| verdict.and_then(|v| v[key].as_str()).unwrap_or_default().to_owned();
        let why = [of("decision"), of("approval"), of("message")].join(" ");
        print::line(&format!("< {} {}", print::clean(tool), print::short(arguments, WORDS)))?;
        print::line(&format!("  {} {}", print::clean(&of("outcome")), print::short(why.trim(), WORDS)))?;
    }
    Ok(())
}

/// All texts of a message, in their order.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(" "),
        Value::Object(map) => {
            let telling = map.iter().filter(|(key, _)| !["role", "type", "id"].contains(&key.as_str()));
            telling.map(|(_, item)| words(item)).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// Serves until it is interrupted.
pub(super) async fn replay(args: ReplayArgs, context: &Context) -> Result<(), CliError> {
    let text = match (&args.file, &args.task) {
        (Some(path), _) => {
            std::fs::read_to_string(path).map_err(|e| CliError::Failed(format!("cannot read {}: {e}", path.display())))?
        }
        (None, task) => {
            let task = task_id(task.as_deref().unwrap_or_default())?;
            let text = context.text(&format!("/v1/tasks/{task}/traffic")).await?;
            if text.is_empty() {
                return Err(nothing(task.as_str()));
            }
            text
        }
    };
    let traffic = read(&text)?;
    let (dialect, path) = traffic.requests.first().map_or_else(Default::default, |r| (r.dialect.clone(), r.path.clone()));
    let replay = Replay::new(traffic, args.attempt).map_err(|e| CliError::Failed(e.to_string()))?;
    let failed = |e: std::io::Error| CliError::Failed(format!("cannot listen on {}: {e}", args.listen));
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let model = path.strip_prefix("/models/").and_then(|rest| rest.split(':').next()).unwrap_or("replay");
    let lines = json!({ "base_url": format!("http://{address}"), "dialect": dialect, "requests": replay.counts().0 });
    match context.format {
        Format::Json => print::json(&lines)?,
        Format::Human => print::line(&format!(
            "[models.replay]\nbase_url = \"http://{address}\"\ndialect = \"{}\"\nmodel = \"{}\"",
            print::clean(&dialect),
            print::clean(model)
        ))?,
    }
    let app = Router::new().fallback(say_again).with_state(Arc::new(Mutex::new(replay)));
    axum::serve(listener, app).await.map_err(failed)
}

async fn say_again(State(replay): State<Arc<Mutex<Replay>>>, uri: Uri, body: Bytes) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (answer, (all, asked)) = {
        let mut replay = replay.lock().unwrap_or_else(PoisonError::into_inner);
        (replay.answer(path, &body), replay.counts())
    };
    match answer {
        Ok(Answer { body, stream, failed }) => {
            print::progress(&format!("{asked} of {all} requests answered"));
            if let Some((status, message)) = failed {
                return refused(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), &message);
            }
            let kind = if stream { "text/event-stream" } else { "application/json" };
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(diverged) => {
            print::progress(&print::clean(&diverged.to_string()));
            refused(StatusCode::CONFLICT, &diverged.to_string())
        }
    }
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "error": { "message": message, "type": "coda_replay" } }))).into_response()
}
