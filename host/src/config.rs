//! Configuration: one `coda.toml` in CODA_HOME, below the environment (`CODA_SECTION_KEY`) and flags.
//!
//! ```text
//! coda.toml ─► raw (unknown keys refused) ─┐
//! CODA_* ──────────────────────────────────┼─► layers ─► Config (checked) + where each value came from
//! flags ───────────────────────────────────┘
//! ```
//! What is set is listed in `settings` (plain values) and `named` (agents, models, workspaces, labels). This module reads;
//! each part of coda is handed its own settings by `app`.

mod check;
mod egress;
mod hosted;
mod layer;
mod named;
mod settings;
mod suggest;
mod template;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::gateway::{Egress, HostedTools};

pub use layer::{Flags, Origin, Problem, Shown};
pub use named::{Agent, AgentKind, Credential, LabelRule, Model, Workspace, WorkspaceSource};
pub use settings::{
    Approval, Audit, Budget, Executor, Gateway, Identity, Log, Mcp, Policy, Sections, Server, Setting, Tasks, reference,
};
pub use template::{FirstAgent, FirstProxy, commented};

/// Name of the file in CODA_HOME.
pub const FILE: &str = "coda.toml";
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The process's environment, read in one place. Values that are not UTF-8 are left out.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// CODA_HOME: the flag, the variable, or `~/.coda`.
pub fn home(flag: Option<PathBuf>, environment: &BTreeMap<String, String>) -> Result<PathBuf, ConfigError> {
    let set = flag.or_else(|| environment.get("CODA_HOME").filter(|h| !h.is_empty()).map(PathBuf::from));
    let home = match set {
        Some(home) => home,
        None => PathBuf::from(environment.get("HOME").filter(|h| !h.is_empty()).ok_or(ConfigError::NoHome)?).join(".coda"),
    };
    std::path::absolute(&home).map_err(|e| ConfigError::Unreadable { path: home, why: e.to_string() })
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither CODA_HOME nor HOME is set.
    #[error("neither CODA_HOME nor HOME is set: set CODA_HOME to a directory of coda's own")]
    NoHome,
    /// The file is there and can't be read.
    #[error("cannot read {path}: {why}; CODA_HOME must be a directory of this user, and coda.toml a file in it")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It says something wrong.
    #[error("{}", lines(path, problems))]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// All that is wrong, not only the first.
        problems: Vec<Problem>,
    },
}

fn lines(path: &Path, problems: &[Problem]) -> String {
    let line = |p: &Problem| {
        let place = p.line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()));
        if p.key.is_empty() { format!("{place}: {}", p.message) } else { format!("{place}: {}: {}", p.key, p.message) }
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Everything that can be configured, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// CODA_HOME.
    pub home: PathBuf,
    /// Plain settings by section.
    pub settings: Sections,
    /// `[agents.NAME]`. The built-in `runbook` and an unconfigured `hermes` are not in here.
    pub agents: BTreeMap<String, Agent>,
    /// What agents may reach besides their models, where that is anything; the built-in ones too.
    pub egress: BTreeMap<String, Egress>,
    /// Tools of their models' providers that agents may ask for, where that is anything.
    pub hosted_tools: BTreeMap<String, HostedTools>,
    /// `[models.NAME]`.
    pub models: BTreeMap<String, Model>,
    /// `[workspaces.NAME]`.
    pub workspaces: BTreeMap<String, Workspace>,
    /// `[[labels]]`, in order; a later rule wins.
    pub labels: Vec<LabelRule>,
    /// Every plain value with its origin, in the order of the reference.
    pub shown: Vec<Shown>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    server: settings::RawServer,
    #[serde(default)]
    identity: settings::RawIdentity,
    #[serde(default)]
    tasks: settings::RawTasks,
    #[serde(default)]
    approval: settings::RawApproval,
    #[serde(default)]
    budget: settings::RawBudget,
    #[serde(default)]
    executor: settings::RawExecutor,
    #[serde(default)]
    policy: settings::RawPolicy,
    #[serde(default)]
    gateway: settings::RawGateway,
    #[serde(default)]
    mcp: settings::RawMcp,
    #[serde(default)]
    audit: settings::RawAudit,
    #[serde(default)]
    log: settings::RawLog,
    #[serde(default)]
    agents: BTreeMap<String, named::RawAgent>,
    #[serde(default)]
    models: BTreeMap<String, named::RawModel>,
    #[serde(default)]
    workspaces: BTreeMap<String, named::RawWorkspace>,
    #[serde(default)]
    labels: Vec<named::RawLabelRule>,
}

impl Config {
    /// Reads `coda.toml` in `home` (a missing one counts as empty) below `environment` and `flags`.
    pub fn load(home: &Path, environment: &BTreeMap<String, String>, flags: &Flags) -> Result<Self, ConfigError> {
        let path = home.join(FILE);
        let unreadable = |why: String| ConfigError::Unreadable { path: path.clone(), why };
        let text = match std::fs::metadata(&path) {
            Ok(found) if found.len() > MAX_FILE_BYTES => return Err(unreadable(format!("larger than {MAX_FILE_BYTES} bytes"))),
            Ok(_) => std::fs::read_to_string(&path).map_err(|e| unreadable(e.to_string()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(unreadable(e.to_string())),
        };
        Self::parse(home, &text, environment, flags).map_err(|problems| ConfigError::Wrong { path: path.clone(), problems })
    }

    /// Reads the text of a `coda.toml`.
    pub fn parse(home: &Path, text: &str, environment: &BTreeMap<String, String>, flags: &Flags) -> Result<Self, Vec<Problem>> {
        let raw: RawFile = toml::from_str(text).map_err(|e| vec![unreadable(&e, text)])?;
        let mut layers = layer::Layers { flags, environment, shown: Vec::new(), problems: Vec::new() };
        let sections = settings::RawSections {
            server: raw.server,
            identity: raw.identity,
            tasks: raw.tasks,
            approval: raw.approval,
            budget: raw.budget,
            executor: raw.executor,
            policy: raw.policy,
            gateway: raw.gateway,
            mcp: raw.mcp,
            audit: raw.audit,
            log: raw.log,
        };
        let settings = sections.resolve(&mut layers);
        let layer::Layers { shown, mut problems, .. } = layers;
        let mut add = |problem: Problem| problems.push(problem);
        settings::check(&settings, &mut add);
        let config = Self {
            home: home.to_owned(),
            egress: egress::lists(&raw.agents, &mut add),
            hosted_tools: hosted::lists(&raw.agents, &mut add),
            agents: named::agents(raw.agents, &mut add),
            models: named::models(raw.models, &mut add),
            workspaces: named::workspaces(raw.workspaces, &mut add),
            labels: named::labels(raw.labels),
            settings,
            shown,
        };
        check::references(&config, &mut add);
        for problem in &mut problems {
            problem.line = line_of_key(text, &problem.key);
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// `relative` below CODA_HOME; an absolute path stays.
    #[must_use]
    pub fn in_home(&self, relative: &str) -> PathBuf {
        self.home.join(relative)
    }
}

/// Environment variables that look like settings and set nothing: worth a warning.
#[must_use]
pub fn stray_variables(environment: &BTreeMap<String, String>) -> Vec<Problem> {
    layer::stray_variables(environment)
}

fn unreadable(e: &toml::de::Error, text: &str) -> Problem {
    let line = e.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    Problem { key: String::new(), line, message: suggest::reword(e.message()) }
}

/// The line that sets `table.key`, where the file does.
fn line_of_key(text: &str, name: &str) -> Option<usize> {
    let (table, key) = name.rsplit_once('.')?;
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            current = header.trim_start_matches('[').split(']').next().unwrap_or_default().trim().to_owned();
            if current == name {
                return Some(index + 1);
            }
        } else if current == table && line.split('=').next().is_some_and(|k| k.trim() == key) {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests;
