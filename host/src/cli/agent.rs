//! `coda agent list`: which agents tasks may choose, and whether their programs are there.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::context::{CliError, Context, Format};
use super::{print, serve};
use crate::config::{AgentKind, Config, Flags};

/// Verbs about agents.
#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// The agents that tasks may choose on this machine, and whether their programs are there
    #[command(after_help = "Examples:\n  coda agent list")]
    List,
}

/// An agent as this machine has it.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) kind: AgentKind,
    /// Where its program is; `None` where it is missing.
    pub(super) program: Option<PathBuf>,
    /// The name by which its model is asked for, or what is wrong with it; `None` where it needs none.
    pub(super) model: Option<Result<String, String>>,
    /// How to get it.
    pub(super) hint: String,
}

pub(super) fn run(command: AgentCommand, context: &Context, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    match command {
        AgentCommand::List => list(context, environment),
    }
}

fn list(context: &Context, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    let config = Config::load(&context.home, environment, &Flags::default()).map_err(serve::wrong)?;
    let default = &config.settings.tasks.default_agent;
    let agents = find(&config, environment);
    if context.format == Format::Json {
        let one = |a: &Found| {
            let (model, trouble) = match &a.model {
                Some(Ok(model)) => (Some(model), None),
                Some(Err(trouble)) => (None, Some(trouble)),
                None => (None, None),
            };
            json!({ "name": a.name, "program": a.program, "model": model, "default": a.name == *default,
                    "hint": a.program.is_none().then_some(&a.hint).or(trouble) })
        };
        return print::json(&json!({ "agents": agents.iter().map(one).collect::<Vec<Value>>() }));
    }
    let row = |a: &Found| {
        let name = if a.name == *default { format!("{} (default)", a.name) } else { a.name.clone() };
        let program = match &a.program {
            Some(path) => path.display().to_string(),
            None => print::paint(print::Colour::Bad, &format!("missing: {}", a.hint)),
        };
        let model = match &a.model {
            Some(Ok(model)) => model.clone(),
            Some(Err(trouble)) => print::paint(print::Colour::Bad, trouble),
            None => "none".into(),
        };
        vec![name, model, program]
    };
    print::raw(&print::table(&["AGENT", "MODEL", "PROGRAM"], &agents.iter().map(row).collect::<Vec<_>>()))
}

/// The built-in and the configured agents, by name.
pub(super) fn find(config: &Config, environment: &BTreeMap<String, String>) -> Vec<Found> {
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    let mut agents = vec![Found {
        name: "runbook".into(),
        kind: AgentKind::Runbook,
        program: std::env::current_exe().ok(),
        model: None,
        hint: String::new(),
    }];
    let hermes = crate::config::Agent { kind: AgentKind::Hermes, ..Default::default() };
    let unset = (!config.agents.contains_key("hermes")).then_some(("hermes", &hermes));
    for (name, agent) in config.agents.iter().map(|(n, a)| (n.as_str(), a)).chain(unset) {
        let command = agent.command.as_deref().unwrap_or(if agent.kind == AgentKind::Hermes { "hermes" } else { name });
        let hint = match agent.kind {
            AgentKind::Hermes => "pip install hermes-agent==0.19.0, or set command in [agents.hermes]".to_owned(),
            AgentKind::Custom | AgentKind::Runbook => format!("set command in [agents.{name}]"),
        };
        let program = look_up(command, path);
        agents.push(Found { name: name.to_owned(), kind: agent.kind, program, model: model(config, name, agent), hint });
    }
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    agents
}

/// Which model the gateway sends an agent to. Hermes does nothing without one; another agent may not need one.
fn model(config: &Config, name: &str, agent: &crate::config::Agent) -> Option<Result<String, String>> {
    match (&agent.model, agent.kind) {
        (Some(key), _) => Some(match config.models.get(key) {
            Some(model) if model.model.is_empty() => Ok(key.clone()),
            Some(model) => Ok(model.model.clone()),
            None => Err(format!("missing: [models.{key}] is not in coda.toml")),
        }),
        (None, AgentKind::Hermes) => Some(Err(format!("missing: set model in [agents.{name}] to one of the [models.NAME]"))),
        (None, AgentKind::Runbook | AgentKind::Custom) => None,
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
