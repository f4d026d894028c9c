//! `coda agent list`: which agents tasks may choose, whether their programs are there, in which release, and what stands
//! between their calls and effects.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use std::time::Duration;

use clap::Subcommand;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::context::{CliError, Context, Format};
use super::{print, serve};
use crate::config::{AgentKind, Config, Flags};
use crate::executor::agent::tested;

/// How long a program may take to name its release: some load all of theirs for it.
const VERSION_TIMEOUT: Duration = Duration::from_secs(15);
/// Programs that are asked at the same time: together they would take each other's time.
const ASKED_AT_ONCE: usize = 2;

/// Verbs about agents.
#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// The agents of this machine: model, program and release of each, and the layers that gate its calls
    #[command(after_help = "Examples:\n  coda agent list")]
    List,
}

/// An agent as this machine has it.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) kind: AgentKind,
    /// Whether tasks may choose it: it is built in, or in coda.toml.
    pub(super) usable: bool,
    /// Where its program is; `None` where it is missing.
    pub(super) program: Option<PathBuf>,
    /// The name by which its model is asked for, or what is wrong with it; `None` where it needs none.
    pub(super) model: Option<Result<String, String>>,
    /// How to get it.
    pub(super) hint: String,
}

pub(super) async fn run(
    command: AgentCommand,
    context: &Context,
    environment: &BTreeMap<String, String>,
) -> Result<(), CliError> {
    match command {
        AgentCommand::List => list(context, environment).await,
    }
}

async fn list(context: &Context, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    let config = Config::load(&context.home, environment, &Flags::default()).map_err(serve::wrong)?;
    let default = &config.settings.tasks.default_agent;
    let agents = find(&config, environment);
    let releases = releases(&agents).await;
    let agents = agents.iter().zip(releases);
    if context.format == Format::Json {
        let one = |(a, release): (&Found, Release)| {
            let (model, trouble) = match &a.model {
                Some(Ok(model)) => (Some(model), None),
                Some(Err(trouble)) => (None, Some(trouble)),
                None => (None, None),
            };
            json!({ "name": a.name, "kind": a.kind.name(), "program": a.program, "version": release.version,
                    "tested": release.tested, "layers": a.kind.layers(), "model": model, "default": a.name == *default,
                    "usable": a.usable, "hint": a.program.is_none().then_some(&a.hint).or(trouble) })
        };
        return print::json(&json!({ "agents": agents.map(one).collect::<Vec<Value>>() }));
    }
    let row = |(a, release): (&Found, Release)| {
        let name = if a.name == *default { format!("{} (default)", a.name) } else { a.name.clone() };
        let program = match &a.program {
            Some(path) => path.display().to_string(),
            None if a.usable => print::paint(print::Colour::Bad, &format!("missing: {}", a.hint)),
            None => print::paint(print::Colour::Dim, "not installed"),
        };
        let model = match &a.model {
            Some(Ok(model)) => model.clone(),
            Some(Err(trouble)) if a.usable => print::paint(print::Colour::Bad, trouble),
            Some(Err(_)) => print::paint(print::Colour::Dim, &format!("not set up: no [agents.{}]", a.name)),
            None => "none".into(),
        };
        vec![name, release.shown(), a.kind.layers().join(", "), model, program]
    };
    let rows: Vec<_> = agents.map(row).collect();
    print::raw(&print::table(&["AGENT", "VERSION", "LAYERS", "MODEL", "PROGRAM"], &rows))
}

/// What a program says of its release.
pub(super) struct Release {
    /// The number; `None` where it was not told.
    pub(super) version: Option<String>,
    /// Whether coda is tested with it; `None` where coda is tested with no release of this agent.
    pub(super) tested: Option<bool>,
}

impl Release {
    fn shown(&self) -> String {
        match (&self.version, self.tested) {
            (None, _) => "-".into(),
            (Some(version), Some(false)) => print::paint(print::Colour::Attention, &format!("{version} (not tested)")),
            (Some(version), Some(true) | None) => version.clone(),
        }
    }
}

/// Of all of them, in their order.
pub(super) async fn releases(agents: &[Found]) -> Vec<Release> {
    stream::iter(agents.iter().map(release)).buffered(ASKED_AT_ONCE).collect().await
}

/// Asks an agent's program, within `VERSION_TIMEOUT`.
pub(super) async fn release(found: &Found) -> Release {
    let none = Release { version: None, tested: None };
    let Some(program) = &found.program else { return none };
    // Of a custom program nobody says that it knows --version: it might begin to work.
    let Some(range) = found.kind.tested() else { return none };
    let said = said_of(program).await;
    let version = said.as_deref().and_then(tested::version_in).map(str::to_owned);
    Release { tested: version.as_deref().map(|v| range.covers(v)), version }
}

/// Asks a program, in a home of its own: some write files into it even for this.
async fn said_of(program: &Path) -> Option<String> {
    use std::os::unix::fs::DirBuilderExt as _;
    let home = std::env::temp_dir().join(format!("coda-version.{}", crate::env::hex(&crate::env::random_bytes::<8>())));
    std::fs::DirBuilder::new().mode(0o700).create(&home).ok()?;
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").env("HOME", &home).env("HERMES_HOME", &home);
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let asked = tokio::time::timeout(VERSION_TIMEOUT, command.output()).await;
    let _ = std::fs::remove_dir_all(&home);
    let output = asked.ok()?.ok().filter(|output| output.status.success())?;
    // Some say it on standard error.
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The built-in and the configured agents, and those that coda knows besides, by name.
pub(super) fn find(config: &Config, environment: &BTreeMap<String, String>) -> Vec<Found> {
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    let mut agents = vec![Found {
        name: AgentKind::Runbook.name().into(),
        kind: AgentKind::Runbook,
        usable: true,
        program: std::env::current_exe().ok(),
        model: None,
        hint: String::new(),
    }];
    let plain = |kind| crate::config::Agent { kind, ..Default::default() };
    let known: Vec<_> = AgentKind::known().map(|kind| (kind.name(), plain(kind))).collect();
    let unset = known.iter().filter(|(name, _)| !config.agents.contains_key(*name)).map(|(name, agent)| (*name, agent));
    for (name, agent) in config.agents.iter().map(|(n, a)| (n.as_str(), a)).chain(unset) {
        let own = if agent.kind == AgentKind::Custom { name } else { agent.kind.name() };
        agents.push(Found {
            name: name.to_owned(),
            kind: agent.kind,
            usable: config.agents.contains_key(name),
            program: look_up(agent.command.as_deref().unwrap_or(own), path),
            model: model(config, name, agent),
            hint: agent.kind.hint(name),
        });
    }
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    agents
}

/// Which model the gateway sends an agent to. A custom one may need none.
fn model(config: &Config, name: &str, agent: &crate::config::Agent) -> Option<Result<String, String>> {
    match &agent.model {
        Some(key) => Some(match config.models.get(key) {
            Some(model) if model.model.is_empty() => Ok(key.clone()),
            Some(model) => Ok(model.model.clone()),
            None => Err(format!("missing: [models.{key}] is not in coda.toml")),
        }),
        None if agent.kind == AgentKind::Custom => None,
        None => Some(Err(format!("missing: set model in [agents.{name}] to one of the [models.NAME]"))),
    }
}

/// Where a command is, by its path or in `path`.
pub(super) fn look_up(command: &str, path: &str) -> Option<PathBuf> {
    let runs = |p: &Path| std::fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if command.contains('/') {
        return Some(PathBuf::from(command)).filter(|p| runs(p));
    }
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(command)).find(|p| runs(p))
}
