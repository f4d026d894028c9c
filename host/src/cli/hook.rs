//! `coda hook`: what an agent's own hook runs before and after a tool call. It asks the gates of the task that it runs in, and
//! answers as that agent wants to be answered.
//!
//! Agents let a call pass whose hook crashes or takes too long. So everything that goes wrong here ends in a refusal, and
//! the refusal comes before `SHARE` of the agent's own limit is over.

mod shape;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use shape::{Asked, Phase, Shape};

/// Largest question of an agent.
const MAX_BYTES: u64 = 64 << 20;
/// Of the agent's limit: when the answer is there at the latest, in percent.
const SHARE: u32 = 75;
/// Of the agent's limit: how long people may take, in percent; the rest is for the way.
const PEOPLE: u32 = 60;
/// The shortest and the longest limit.
const LIMIT_S: (u64, u64) = (1, 3600);

/// Who asks.
#[derive(Debug, Args)]
#[command(
    after_help = "The agents that coda starts are configured to run this. It reads the agent's JSON on standard input, asks the\ngates of the task that CODA_GATEWAY_URL and CODA_GATEWAY_TOKEN name, and refuses on any doubt.\n\nExamples:\n  echo '{\"tool_name\": \"Bash\", \"tool_input\": {\"command\": \"ls\"}}' | coda hook --agent claude"
)]
pub(super) struct HookArgs {
    /// In whose shape to read and answer: claude, codex, gemini, qwen, goose or hermes
    #[arg(long, value_name = "AGENT")]
    agent: String,
    /// How long that agent waits for its hook; the answer comes before
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    limit_s: u64,
}

/// Answers on standard output, with the exit code that the agent reads.
pub(super) fn run(args: &HookArgs) -> ExitCode {
    // An agent takes any other end of this process for a permission.
    let reply = std::panic::catch_unwind(|| reply(args));
    answer(&reply.unwrap_or_else(|_| shape::unknown("refused by coda: its hook failed")))
}

fn reply(args: &HookArgs) -> shape::Reply {
    let began = Instant::now();
    let limit = Duration::from_secs(args.limit_s.clamp(LIMIT_S.0, LIMIT_S.1));
    let until = began + limit * SHARE / 100;
    let Some(shape) = Shape::named(&args.agent) else {
        return shape::unknown(&format!("refused by coda: it knows no hooks of an agent '{}'", args.agent));
    };
    let text = match input(until) {
        Ok(text) => text,
        Err(why) => return shape.refusal(Phase::Before, &doubt(&why)),
    };
    let asked = match shape.read(&text) {
        Ok(asked) => asked,
        Err(why) => return shape.refusal(Phase::Before, &doubt(&why)),
    };
    let phase = asked.phase;
    // People decide about calls; a result is judged at once.
    let wait = (limit * PEOPLE / 100).saturating_sub(began.elapsed());
    match verdict(&asked, wait, until) {
        Ok(said) => shape.reply(&asked, &said),
        Err(why) => shape.refusal(phase, &doubt(&why)),
    }
}

fn doubt(why: &str) -> String {
    format!("refused by coda: its gates could not be asked about this call, because {why}")
}

/// All of standard input, from a thread of its own: an agent may leave it open.
fn input(until: Instant) -> Result<String, String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes);
        let _ = tell.send(read.map(|_| bytes));
    });
    let read = told.recv_timeout(until.saturating_duration_since(Instant::now())).map_err(|_| "it does not end".to_owned())?;
    let bytes = read.map_err(|e| format!("it cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

/// The gates' answer, of this task's own listener.
fn verdict(asked: &Asked, wait: Duration, until: Instant) -> Result<Value, String> {
    let get = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (url, token) = (get("CODA_GATEWAY_URL")?, get("CODA_GATEWAY_TOKEN")?);
    let question = json!({
        "phase": asked.phase.word(), "call_id": asked.call_id, "tool": asked.tool, "arguments": asked.arguments,
        "working_directory": asked.working_directory, "content": asked.content, "wait_s": wait.as_secs(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let exchange = async {
        // The HTTP client wants to know whose cryptography it would use, also where it uses none.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The listener is on this machine: a proxy from the environment must not come between.
        let client = reqwest::Client::builder().no_proxy().build().map_err(|e| e.to_string())?;
        let request = client.post(format!("{}/agent/hook", url.trim_end_matches('/'))).bearer_auth(token).json(&question);
        let answer = request.send().await.map_err(|e| format!("the gateway does not answer: {e}"))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the gateway answers {status}"));
        }
        answer.json::<Value>().await.map_err(|e| format!("the gateway's answer makes no sense: {e}"))
    };
    let left = until.saturating_duration_since(Instant::now());
    runtime.block_on(async { tokio::time::timeout(left, exchange).await.map_err(|_| "the answer took too long".to_owned())? })
}

/// INVARIANT: a refusal that cannot be written still ends with the exit code by which all these agents take a refusal.
fn answer(reply: &shape::Reply) -> ExitCode {
    let written = std::io::stdout().write_all(reply.output.as_bytes()).and_then(|()| std::io::stdout().flush());
    let _ = std::io::stderr().write_all(reply.error.as_bytes());
    match written {
        Ok(()) => ExitCode::from(reply.code),
        Err(_) => ExitCode::from(shape::REFUSED),
    }
}
