//! `coda policy`: which policies judge, how sets come and go, and how well they judge. All but `validate`, `test` and
//! `score` ask the running server.

mod score;
mod suite;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};

use super::context::{CliError, Context, Format};
use crate::policy::{Settings, Target, Trial, validate};

const SHORT_DIGEST: usize = 12;

/// Policies: what judges, what waits, what went wrong.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// List the policies that judge, in order.
    #[command(after_help = "Examples:\n  coda policy list\n  coda policy list --json")]
    List,
    /// Say how policies stand: live set, candidate, pin, quarantine, last error, what each evaluation costs.
    #[command(after_help = "Examples:\n  coda policy status\n  coda policy status --json | jq .live.policies")]
    Status,
    /// Load the policy folder: check, compile, configure and run the policies' own tests. Promotes, unless the set is staged.
    #[command(after_help = "Examples:\n  coda policy load")]
    Load,
    /// Make the candidate live. Chains that began keep the set that they began with.
    #[command(after_help = "Examples:\n  coda policy promote")]
    Promote,
    /// Go back to the set that was live before, and keep it: the bad set does not come back until `unpin`.
    #[command(
        after_help = "Examples:\n  coda policy rollback --reason \"denies every deploy\"\n  coda policy rollback 4 --reason \"known good\""
    )]
    Rollback {
        /// The generation to go back to, as `coda policy status` lists it.
        generation: Option<u64>,
        /// Why; goes into the audit log and is shown where the set is refused.
        #[arg(long)]
        reason: String,
    },
    /// Lift the pin and the quarantine of a rollback. The live set stays; the next load counts again.
    #[command(after_help = "Examples:\n  coda policy unpin && coda policy load")]
    Unpin,
    /// Check a policy folder as a load would, without a server.
    #[command(after_help = "Examples:\n  coda policy validate ./policies\n  coda policy validate ./policies --json")]
    Validate {
        /// The folder with policies.toml; CODA_HOME/policies if left out.
        folder: Option<PathBuf>,
    },
    /// Run policies' own tests on the real components in the real engine, without a server.
    Test(suite::TestArgs),
    /// Measure how well policies judge labelled rows, without a server.
    Score(score::ScoreArgs),
}

/// Runs one.
pub async fn run(command: PolicyCommand, context: &Context) -> Result<(), CliError> {
    match command {
        PolicyCommand::List => show(context, &context.get("/v1/policies").await?, list),
        PolicyCommand::Status => show(context, &context.get("/v1/policies").await?, status),
        PolicyCommand::Load => show(context, &context.post("/v1/policies/load", &json!({})).await?, loaded),
        PolicyCommand::Promote => show(context, &context.post("/v1/policies/promote", &json!({})).await?, live),
        PolicyCommand::Rollback { generation, reason } => {
            let body = json!({ "generation": generation, "reason": reason });
            let pinned = |answer: &Value| format!("{}, and pinned until `coda policy unpin`", live(answer));
            show(context, &context.post("/v1/policies/rollback", &body).await?, pinned)
        }
        PolicyCommand::Unpin => {
            let lifted = |_: &Value| "pin and quarantine are lifted; `coda policy load` loads the policy folder".to_owned();
            show(context, &context.post("/v1/policies/unpin", &json!({})).await?, lifted)
        }
        PolicyCommand::Validate { folder } => check_folder(context, folder).await,
        // Nothing else runs in this process, so it may keep the thread.
        PolicyCommand::Test(args) => suite::run(&args, context),
        PolicyCommand::Score(args) => score::run(&args, context),
    }
}

/// The policies at a path, or the bundled ones, ready to be asked.
fn open(context: &Context, path: Option<&Path>) -> Result<Trial, CliError> {
    let target = path.map_or(Target::Bundled, Target::at);
    let settings = Settings { guests: overridden(), ..Settings::default() };
    let set = std::env::var_os("CODA_POLICY_CACHE").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    // A CODA_HOME that nobody made is not made here.
    let cache = set.map(|set| context.home.join(set)).or_else(|| context.home.is_dir().then(|| context.home.join("cache")));
    let mut waiting = Progress::new("");
    waiting.say("compiling policies …");
    let trial = Trial::open(&target, &settings, cache).map_err(|error| CliError::Usage(error.to_string()));
    waiting.end();
    trial
}

/// A folder that replaces the bundled policies.
fn overridden() -> Option<PathBuf> {
    std::env::var_os("CODA_GUESTS").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Which component judged.
#[derive(Debug, Clone, Serialize)]
struct Digest {
    name: String,
    version: String,
    sha256: String,
}

fn digests(trial: &Trial) -> Vec<Digest> {
    let one = |policy: crate::policy::PolicyStatus| Digest { name: policy.name, version: policy.version, sha256: policy.digest };
    trial.policies().into_iter().map(one).collect()
}

/// A line on the terminal that counts; nothing where standard error is none.
struct Progress {
    what: &'static str,
    shown: bool,
    terminal: bool,
}

impl Progress {
    const EVERY: u64 = 100;

    fn new(what: &'static str) -> Self {
        Self { what, shown: false, terminal: std::io::stderr().is_terminal() }
    }

    fn at(&mut self, done: u64) {
        if done.is_multiple_of(Self::EVERY) {
            self.say(&format!("{done} {}", self.what));
        }
    }

    fn say(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            // A terminal that went away is no failure.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

async fn check_folder(context: &Context, folder: Option<PathBuf>) -> Result<(), CliError> {
    let folder = folder.unwrap_or_else(|| context.home.join("policies"));
    let settings = Settings { guests: overridden(), ..Settings::default() };
    let checked = tokio::task::spawn_blocking(move || validate(&folder, &settings)).await;
    let checked = checked.map_err(|e| CliError::Failed(format!("checking the folder ended early: {e}")))?;
    let valid = checked.map_err(|e| CliError::Failed(e.to_string()))?;
    let answer = serde_json::to_value(&valid).map_err(|e| CliError::Failed(e.to_string()))?;
    show(context, &answer, |answer| {
        let mut lines =
            vec![format!("the folder is a valid set {}; {} policy tests passed", short(&answer["digest"]), answer["tests"])];
        lines.extend(policies(&answer["policies"]));
        lines.extend(open_gates(&answer["open_gates"]));
        lines.join("\n")
    })
}

fn show(context: &Context, answer: &Value, human: impl FnOnce(&Value) -> String) -> Result<(), CliError> {
    let text = match context.format {
        Format::Human => human(answer),
        Format::Json => serde_json::to_string_pretty(answer).unwrap_or_default(),
    };
    // A reader that went away is no failure.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    Ok(())
}

fn list(answer: &Value) -> String {
    let lines = policies(&answer["live"]["policies"]);
    if lines.is_empty() { "no policy judges; `coda policy status` says more".into() } else { lines.join("\n") }
}

fn status(answer: &Value) -> String {
    let mut lines = Vec::new();
    match answer["not_ready_because"].as_str() {
        Some(why) => lines.push(format!("NOT READY: {why}")),
        None => {
            lines.push(format!("ready: generation {}, set {}", answer["live"]["generation"], short(&answer["live"]["digest"])))
        }
    }
    lines.extend(answer["degraded"].as_str().map(|why| format!("degraded: {why}")));
    lines.extend(answer["pinned"].as_u64().map(|pinned| format!("pinned: generation {pinned}; `coda policy unpin` lifts it")));
    if let Some(generation) = answer["candidate"]["generation"].as_u64() {
        lines.push(format!(
            "candidate: generation {generation}, set {}; `coda policy promote` makes it live",
            short(&answer["candidate"]["digest"])
        ));
    }
    for bad in answer["quarantine"].as_array().into_iter().flatten() {
        lines.push(format!("quarantine: {} ({}, by {})", short(&bad["digest"]), text(&bad["reason"]), text(&bad["by"])));
    }
    if let Some(error) = answer["last_error"]["message"].as_str() {
        lines.push(format!("last error, {}: {error}", text(&answer["last_error"]["time"])));
    }
    lines.extend(policies(&answer["live"]["policies"]));
    lines.extend(open_gates(&answer["live"]["open_gates"]));
    lines.join("\n")
}

fn loaded(answer: &Value) -> String {
    let state = match answer["state"].as_str() {
        Some("live") => "is live",
        Some("unchanged") => "was live already; nothing changed",
        Some(_) | None => "is the candidate; `coda policy promote` makes it live",
    };
    let note = answer["note"].as_str().map(|note| format!("\n{note}")).unwrap_or_default();
    let (generation, digest, tests) = (&answer["generation"], short(&answer["digest"]), &answer["tests"]);
    format!("generation {generation}, set {digest} {state}; {tests} policy tests passed{note}")
}

fn live(answer: &Value) -> String {
    format!("generation {} is live", answer["generation"])
}

/// One line each: name, mode, where, digest, what an evaluation starts from.
fn policies(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.map(|policy| {
        let gates: Vec<&str> = policy["gates"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let start = match policy["cost"]["snapshot"].as_bool() {
            Some(true) => "from a snapshot".to_owned(),
            Some(false) | None => {
                format!(
                    "configured in each evaluation ({} us): {}",
                    policy["cost"]["configure_us"],
                    text(&policy["cost"]["no_snapshot_because"])
                )
            }
        };
        format!(
            "{:<24} {:<8} {:<40} {}  {} {}, {start}",
            text(&policy["name"]),
            text(&policy["mode"]),
            gates.join(","),
            short(&policy["digest"]),
            text(&policy["describes_itself_as"]),
            text(&policy["version"]),
        )
    })
    .collect()
}

fn open_gates(gates: &Value) -> Option<String> {
    let gates: Vec<&str> = gates.as_array()?.iter().filter_map(Value::as_str).collect();
    (!gates.is_empty()).then(|| format!("no policy judges at {}: everything passes there", gates.join(", ")))
}

/// Text of the server's, without what would act on the terminal.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

fn short(digest: &Value) -> String {
    short_text(&text(digest))
}

fn short_text(digest: &str) -> String {
    digest.chars().take(SHORT_DIGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_an_operator_must_know() {
        let answer = json!({
            "not_ready_because": null, "degraded": "the policy folder does not load: x", "pinned": 3,
            "live": { "generation": 3, "digest": "0123456789abcdef", "open_gates": ["output"], "policies": [{
                "name": "ops", "mode": "enforce", "gates": ["prompt"], "digest": "ff", "describes_itself_as": "ops", "version": "1.0.0",
                "cost": { "snapshot": false, "configure_us": 7, "no_snapshot_because": "tables change" } }] },
            "candidate": null, "quarantine": [{ "digest": "bad", "reason": "r\u{1b}[2J", "by": "op" }],
            "last_error": { "message": "m", "time": "t" },
        });
        let told = status(&answer);
        for expected in [
            "ready: generation 3, set 0123456789ab",
            "degraded: the policy folder",
            "pinned: generation 3",
            "quarantine: bad (r[2J, by op)",
            "last error, t: m",
            "configured in each evaluation (7 us): tables change",
            "no policy judges at output",
        ] {
            assert!(told.contains(expected), "{told}");
        }
    }
}
