//! `coda agent list`: which agents tasks may choose, whether their programs are there, in which release, and what stands
//! between their calls and effects.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::context::{CliError, Context, Format};
use super::{print, serve};
use crate::config::{AgentKind, Config, Flags};
use crate::executor::agent::patience;
use crate::executor::agent::release::{self, Release};

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
    /// How long its calls may be held, where coda.toml says so.
    pub(super) max_hold_s: Option<u64>,
    /// Whether its next attempt goes on in the conversation of the one before.
    pub(super) resumes: bool,
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
    let (default, people) = (&config.settings.tasks.default_agent, config.settings.approval.hold_s);
    let agents = find(&config, environment);
    let releases = releases(&agents).await;
    let agents = agents.iter().zip(releases);
    if context.format == Format::Json {
        let one = |(a, release): (&Found, Release)| {
            let bears = patience::max_hold_s(a.kind, a.max_hold_s, release.tested);
            let (model, trouble) = match &a.model {
                Some(Ok(model)) => (Some(model), None),
                Some(Err(trouble)) => (None, Some(trouble)),
                None => (None, None),
            };
            json!({ "name": a.name, "kind": a.kind.name(), "program": a.program, "version": release.version,
                    "tested": release.tested, "layers": a.kind.layers(), "model": model, "default": a.name == *default,
                    "max_hold_s": patience::hold_s(people, bears), "resumes": a.resumes,
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
        vec![name, shown(&release), a.kind.layers().join(", "), model, program]
    };
    let rows: Vec<_> = agents.map(row).collect();
    print::raw(&print::table(&["AGENT", "VERSION", "LAYERS", "MODEL", "PROGRAM"], &rows))
}

/// A release, for a table.
fn shown(Release { version, tested }: &Release) -> String {
    match (version, tested) {
        (None, _) => "-".into(),
        (Some(version), Some(false)) => print::paint(print::Colour::Attention, &format!("{version} (not tested)")),
        (Some(version), Some(true) | None) => version.clone(),
    }
}

/// Of all of them, in their order.
pub(super) async fn releases(agents: &[Found]) -> Vec<Release> {
    stream::iter(agents.iter().map(release)).buffered(ASKED_AT_ONCE).collect().await
}

/// Of one; nothing where its program is missing.
pub(super) async fn release(found: &Found) -> Release {
    match &found.program {
        Some(program) => release::ask(found.kind, program).await,
        None => Release::default(),
    }
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
        max_hold_s: None,
        resumes: false,
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
            max_hold_s: agent.max_hold_s,
            resumes: agent.kind.resumes() || agent.resume.is_some(),
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
