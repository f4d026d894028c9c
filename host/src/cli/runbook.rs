//! `coda agent-runbook`, hidden: the runbook agent. It runs the shell block of a task, one complete command after the
//! other, and asks for each before it runs and for each output before it keeps it.
//!
//! ```text
//! io/prompt.txt ─ first shell block ─► steps ─ [plan] ─► for each: ask ─ run ─ screen ─► io/result.json
//! ```
//! It runs inside the sandbox and has no rights of its own: the gates are on the other side of the gateway. A later
//! attempt skips what finished, and repeats nothing that may have run.

mod gateway;
mod kept;
mod shell;
mod steps;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use gateway::{Gateway, GatewayError, Screened, Verdict};
use kept::{Kept, Memory};
use steps::Step;

/// Longest piece of a command in a summary, in characters.
const SHOWN_CHARS: usize = 120;

/// Runs it.
#[must_use]
pub fn run() -> ExitCode {
    ExitCode::from(main())
}

pub(crate) fn main() -> u8 {
    let Some(io) = std::env::var_os("CODA_TASK_DIR").map(PathBuf::from) else {
        eprintln!("agent-runbook is coda's own agent and runs inside a task; use `coda run --agent runbook` instead");
        return 2;
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("no runtime: {e}");
            return 1;
        }
    };
    let outcome = runtime.block_on(work(&io));
    say(&format!("\n{}: {}\n", outcome.status, outcome.summary));
    match write_result(&io, &outcome) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("{} cannot be written: {e}", io.join("result.json").display());
            1
        }
    }
}

/// What becomes result.json.
struct Outcome {
    status: &'static str,
    summary: String,
    feedback: String,
    steps: Vec<Value>,
    errors: Vec<String>,
}

impl Outcome {
    fn failed(summary: String) -> Self {
        let errors = vec![summary.clone()];
        Self { status: "failed", summary, feedback: String::new(), steps: Vec::new(), errors }
    }
}

fn write_result(io: &Path, outcome: &Outcome) -> std::io::Result<()> {
    let result = json!({
        "status": outcome.status,
        "summary": outcome.summary,
        "feedback": outcome.feedback,
        "files_changed": [],
        "artifacts": {"steps": outcome.steps},
        "errors": outcome.errors,
    });
    let beside = io.join("result.json.part");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(format!("{result:#}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(beside, io.join("result.json"))
}

async fn work(io: &Path) -> Outcome {
    let prompt = match std::fs::read_to_string(io.join("prompt.txt")) {
        Ok(prompt) => prompt,
        Err(e) => return Outcome::failed(format!("the task's text cannot be read: {e}")),
    };
    let block = match steps::read(&prompt) {
        Ok(block) => block,
        Err(e) => {
            let mut outcome = Outcome::failed(e.to_string());
            if matches!(e, steps::StepsError::NoBlock) {
                outcome.status = "info_needed";
                outcome.feedback =
                    "Which commands should run? Put them into a block that begins with ```sh and ends with ```.".into();
            }
            return outcome;
        }
    };
    let runbook = match Runbook::new(io, block.steps) {
        Ok(runbook) => runbook,
        Err(why) => return Outcome::failed(why),
    };
    runbook.run(block.is_plan).await
}

struct Runbook {
    io: PathBuf,
    steps: Vec<Step>,
    gateway: Gateway,
    memory: Memory,
    cwd: PathBuf,
    done: Vec<Value>,
}

/// Why a runbook goes no further.
enum Stop {
    Failed(String),
    Waits(String),
}

impl From<GatewayError> for Stop {
    fn from(error: GatewayError) -> Self {
        Stop::Failed(format!("{error}; nothing runs without an answer"))
    }
}

impl Runbook {
    fn new(io: &Path, steps: Vec<Step>) -> Result<Self, String> {
        let cwd = std::env::current_dir().map_err(|e| format!("the working directory is gone: {e}"))?;
        let home = std::env::var_os("HOME").map_or_else(|| io.to_owned(), PathBuf::from);
        let gateway = Gateway::from_environment().map_err(|e| e.to_string())?;
        Ok(Self { io: io.to_owned(), steps, gateway, memory: Memory::open(&home), cwd, done: Vec::new() })
    }

    async fn run(mut self, is_plan: bool) -> Outcome {
        let count = self.steps.len();
        match self.all(is_plan).await {
            Ok(()) => {
                let summary = match count {
                    1 => "The one step ran and ended with exit code 0.".to_owned(),
                    _ => format!("All {count} steps ran and ended with exit code 0."),
                };
                Outcome { status: "completed", summary, feedback: String::new(), steps: self.done, errors: Vec::new() }
            }
            Err(Stop::Failed(why)) => Outcome { steps: self.done, ..Outcome::failed(why) },
            Err(Stop::Waits(why)) => {
                Outcome { status: "needs_approval", summary: why, feedback: String::new(), steps: self.done, errors: Vec::new() }
            }
        }
    }

    async fn all(&mut self, is_plan: bool) -> Result<(), Stop> {
        let before = self.gateway.calls().await?;
        let steps = std::mem::take(&mut self.steps);
        let has_begun = |step: &Step| before.iter().any(|call| call.call_id == step.id);
        if is_plan {
            let ahead: Vec<(&Step, PathBuf)> =
                steps::directories(&steps, &self.cwd).into_iter().filter(|(step, _)| !has_begun(step)).collect();
            if !ahead.is_empty() {
                self.gateway.plan(&ahead).await?.map_err(|message| Stop::Failed(format!("The plan was refused: {message}")))?;
            }
        }
        for (index, step) in steps.iter().enumerate() {
            let state = before.iter().rfind(|call| call.call_id == step.id);
            match state {
                Some(call) if call.is_finished() => self.skip(step, call.attempt)?,
                Some(call) => {
                    return Err(Stop::Failed(format!(
                        "{} was released in attempt {} and may have run, but did not finish: it is not repeated. \
                         Look at what it did, then hand over a task with the rest: {}",
                        step.id,
                        call.attempt,
                        shown(&step.command)
                    )));
                }
                None => self.step(step, index + 1, steps.len()).await?,
            }
        }
        Ok(())
    }

    /// A step of an older attempt: its place, output and exit code are kept.
    fn skip(&mut self, step: &Step, attempt: u32) -> Result<(), Stop> {
        say(&format!("{} finished in attempt {attempt}: {}\n", step.id, shown(&step.command)));
        let Some(kept) = self.memory.get(&step.id) else {
            self.done.push(json!({"id": step.id, "command": step.command, "attempt": attempt}));
            return Ok(());
        };
        self.cwd.clone_from(&kept.cwd);
        self.done.push(json!({"id": step.id, "command": step.command, "attempt": attempt,
            "exit_code": kept.exit_code, "output": kept.output}));
        failed_step(step, kept.exit_code)
    }

    async fn step(&mut self, step: &Step, number: usize, count: usize) -> Result<(), Stop> {
        self.progress(&step.id, &format!("step {number} of {count}: {}", shown(&step.command)));
        say(&format!("$ {}\n", printable(&step.command)));
        match self.gateway.ask(step, &self.cwd).await? {
            Verdict::Run => {}
            Verdict::Refuse(message) => {
                return Err(Stop::Failed(format!("{} ({}) did not run: {message}", step.id, shown(&step.command))));
            }
            Verdict::Park(message) => return Err(Stop::Waits(format!("{} waits for approval. {message}", step.id))),
        }
        let ran = shell::run(&step.command, &self.cwd).await;
        let ran = ran.map_err(|e| Stop::Failed(format!("{} could not be started: {e}", step.id)))?;
        let content = match ran.exit_code {
            0 => ran.output,
            code => format!("{}\n[exit code {code}]", ran.output),
        };
        let output = match self.gateway.screen(step, &content).await? {
            Screened::Deliver(text) => text,
            Screened::Withhold(message) => format!("[withheld: {message}]"),
        };
        self.cwd = ran.cwd;
        let kept = Kept { cwd: self.cwd.clone(), exit_code: ran.exit_code, output: output.clone() };
        self.memory.keep(&step.id, kept);
        self.done.push(json!({"id": step.id, "command": step.command, "exit_code": ran.exit_code, "output": output}));
        failed_step(step, ran.exit_code)
    }

    /// One line in status.jsonl. Its loss is no reason to stop.
    fn progress(&self, step: &str, message: &str) {
        let path = self.io.join("status.jsonl");
        let file = std::fs::File::options().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{}", json!({"step": step, "message": message})));
    }
}

fn failed_step(step: &Step, exit_code: i32) -> Result<(), Stop> {
    match exit_code {
        0 => Ok(()),
        code => Err(Stop::Failed(format!("{} ended with exit code {code}: {}", step.id, shown(&step.command)))),
    }
}

/// The begin of a command on one line.
fn shown(command: &str) -> String {
    let line = printable(command.lines().next().unwrap_or_default());
    match command.lines().count() > 1 || line.chars().count() > SHOWN_CHARS {
        true => line.chars().take(SHOWN_CHARS).chain("…".chars()).collect(),
        false => line,
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// To the terminal. Nobody is there to complain to when it is gone.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
