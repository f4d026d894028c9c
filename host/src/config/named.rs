//! The tables that an operator names: agents, models, workspaces, and the rules that put labels on tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::layer::Problem;
use super::suggest;
pub use crate::executor::agent::Kind as AgentKind;
use crate::gateway::{Auth, Dialect};
use crate::usage::{Prices, Usd};

/// Arguments by which a custom agent goes on.
const MAX_ARGUMENTS: usize = 64;

/// `[agents.NAME]`: a program that tasks may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// How it is called.
    pub kind: AgentKind,
    /// Program; `None` = as the kind calls it.
    pub command: Option<String>,
    /// Arguments before those of the kind.
    pub arguments: Vec<String>,
    /// Arguments in their place where a custom agent goes on in its conversation.
    pub resume: Option<Vec<String>>,
    /// Which `[models.NAME]` it talks to.
    pub model: Option<String>,
    /// More environment for it. Never secrets: agents can read it.
    pub environment: BTreeMap<String, String>,
    /// As `tasks.idle_s`, for this agent.
    pub idle_s: Option<u64>,
    /// How long its calls may be held; `None` = as it was measured.
    pub max_hold_s: Option<u64>,
    /// As `budget.task_tokens`, for this agent.
    pub task_tokens: Option<u64>,
    /// As `budget.task_cost_usd`, for this agent.
    pub task_cost_usd: Option<Usd>,
}

/// `[models.NAME]`: a model behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Which API it is.
    pub dialect: Dialect,
    /// How the credential is presented.
    pub auth: Auth,
    /// Such as `https://models.example.com/v1`.
    pub base_url: String,
    /// What the server calls it.
    pub model: String,
    /// What the gateway presents; the agent never sees it.
    pub credential: Credential,
    /// Whose identity tasks act with that use a credential of the server's; `None` = named after the model.
    pub acting_as: Option<String>,
    /// What it costs; `None` where that is not said.
    pub prices: Option<Prices>,
}

/// Where a credential comes from. Read anew for each request, so that a rotated one is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// None is presented.
    #[default]
    None,
    /// This environment variable of the server.
    Environment(String),
    /// This file's content.
    File(PathBuf),
    /// What this program prints.
    Command(Vec<String>),
    /// The submitter's own access token, as the proxy forwarded it.
    Forwarded,
}

/// `[workspaces.NAME]`: a place to work that tasks may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Where its files come from.
    pub source: WorkspaceSource,
    /// Who may choose it; empty = every submitter.
    pub principals: Vec<String>,
}

/// Where a workspace's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceSource {
    /// This directory itself.
    Path(PathBuf),
    /// A clone of this repository.
    Git(String),
}

/// `[[labels]]`: tasks that match all that is said here get these labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelRule {
    /// Only tasks of this principal.
    pub principal: Option<String>,
    /// Only tasks in this named workspace.
    pub workspace: Option<String>,
    /// Only tasks of this agent.
    pub agent: Option<String>,
    /// What they get.
    pub set: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    kind: Option<String>,
    command: Option<String>,
    #[serde(default)]
    arguments: Vec<String>,
    resume: Option<Vec<String>>,
    model: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    idle_s: Option<u64>,
    max_hold_s: Option<u64>,
    task_tokens: Option<u64>,
    task_cost_usd: Option<Usd>,
    /// These two are read by `egress`.
    #[serde(default)]
    pub(super) allow_hosts: Vec<String>,
    pub(super) allow_private: Option<bool>,
    /// Read by `hosted`.
    #[serde(default)]
    pub(super) hosted_tools: Vec<String>,
}

impl RawAgent {
    /// Whether it says what the agent may reach and nothing else, as a table of a built-in agent may.
    fn is_only_egress(&self) -> bool {
        let says = self.kind.is_some() || self.command.is_some() || self.model.is_some() || self.idle_s.is_some();
        let says = says || self.resume.is_some();
        let bounds = self.max_hold_s.is_some() || self.task_tokens.is_some() || self.task_cost_usd.is_some();
        let says = says || !self.hosted_tools.is_empty();
        !says && !bounds && self.arguments.is_empty() && self.env.is_empty() && !self.allow_hosts.is_empty()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    dialect: Option<String>,
    auth: Option<String>,
    base_url: String,
    model: String,
    credential: Option<RawCredential>,
    acting_as: Option<String>,
    input_usd_per_million_tokens: Option<Usd>,
    output_usd_per_million_tokens: Option<Usd>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCredential {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    forwarded: Option<bool>,
}

impl RawCredential {
    /// `None` where it is not exactly one of them.
    fn checked(self) -> Option<Credential> {
        match self {
            Self { env: Some(variable), file: None, command: None, forwarded: None } => Some(Credential::Environment(variable)),
            Self { env: None, file: Some(file), command: None, forwarded: None } => Some(Credential::File(file)),
            Self { env: None, file: None, command: Some(words), forwarded: None } => {
                (!words.is_empty()).then_some(Credential::Command(words))
            }
            Self { env: None, file: None, command: None, forwarded: Some(true) } => Some(Credential::Forwarded),
            Self { .. } => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkspace {
    path: Option<PathBuf>,
    git: Option<String>,
    #[serde(default)]
    principals: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLabelRule {
    principal: Option<String>,
    workspace: Option<String>,
    agent: Option<String>,
    set: BTreeMap<String, String>,
}

/// Checked forms; what is wrong goes to `problem` and is left out.
pub(super) fn agents(raw: BTreeMap<String, RawAgent>, problem: &mut dyn FnMut(Problem)) -> BTreeMap<String, Agent> {
    let mut agents = BTreeMap::new();
    for (name, raw) in raw {
        let key = format!("agents.{name}");
        if name == AgentKind::Runbook.name() {
            if !raw.is_only_egress() {
                let way = "'runbook' is built in and takes allow_hosts and allow_private only: give your agent another name";
                problem(Problem::at(&key, way));
            }
            continue;
        }
        let Some(kind) = kind_of(raw.kind.as_deref(), &name) else {
            let given = raw.kind.unwrap_or_default();
            let known = || format!(": use one of {}", kinds().collect::<Vec<_>>().join(", "));
            let way = Some(suggest::closest(&given, kinds())).filter(|hint| !hint.is_empty()).unwrap_or_else(known);
            problem(Problem::at(format!("{key}.kind"), format!("'{given}' is no kind of agent{way}")));
            continue;
        };
        if kind == AgentKind::Custom && raw.command.is_none() {
            problem(Problem::at(&key, "a custom agent needs a command: command = \"/path/to/program\""));
        }
        if let Some(wrong) = raw.resume.as_deref().and_then(|words| wrong_resume(kind, words)) {
            problem(Problem::at(format!("{key}.resume"), wrong));
        }
        if raw.max_hold_s == Some(0) {
            problem(Problem::at(format!("{key}.max_hold_s"), "must be at least 1; approval.hold_s = 0 holds nothing at all"));
        }
        let RawAgent { command, arguments, resume, model, env, idle_s, max_hold_s, task_tokens, task_cost_usd, .. } = raw;
        let environment = env;
        let agent =
            Agent { kind, command, arguments, resume, model, environment, idle_s, max_hold_s, task_tokens, task_cost_usd };
        agents.insert(name, agent);
    }
    agents
}

/// What is wrong with the arguments by which an agent goes on.
fn wrong_resume(kind: AgentKind, words: &[String]) -> Option<String> {
    // Where a word is taken for another, such as {session} for {session_id}, the agent would get it as it stands.
    let is_unknown = |word: &&String| word.replace("{session_id}", "").contains("{session");
    match (kind, words.iter().find(is_unknown)) {
        (AgentKind::Custom, _) if words.is_empty() => Some("holds no argument: leave it out where the agent begins anew".into()),
        (AgentKind::Custom, _) if words.len() > MAX_ARGUMENTS => Some(format!("holds more than {MAX_ARGUMENTS} arguments")),
        (AgentKind::Custom, Some(word)) => Some(format!("'{word}' names nothing that coda fills in but {{session_id}}")),
        (AgentKind::Custom, None) => None,
        (kind, _) => Some(format!("is for kind = \"custom\": coda knows whether and how '{}' goes on", kind.name())),
    }
}

/// What may be written as a kind.
fn kinds() -> impl Iterator<Item = &'static str> {
    AgentKind::known().chain([AgentKind::Custom]).map(AgentKind::name)
}

/// The kind that is written, else the one that the name says, else a custom one.
fn kind_of(written: Option<&str>, name: &str) -> Option<AgentKind> {
    let known = |word: &str| AgentKind::named(word).filter(|kind| *kind != AgentKind::Runbook);
    match written {
        Some(word) => known(word),
        None => Some(known(name).unwrap_or(AgentKind::Custom)),
    }
}

pub(super) fn models(raw: BTreeMap<String, RawModel>, problem: &mut dyn FnMut(Problem)) -> BTreeMap<String, Model> {
    let mut models = BTreeMap::new();
    for (name, raw) in raw {
        if !super::check::is_http(&raw.base_url) {
            problem(Problem::at(format!("models.{name}.base_url"), "expected an address that begins with http:// or https://"));
        }
        let credential = raw.credential.map_or(Some(Credential::None), RawCredential::checked).unwrap_or_else(|| {
            let way = "expected exactly one of { env = \"VARIABLE\" }, { file = \"/path\" }, { command = [\"program\", \"argument\"] }, { forwarded = true }";
            problem(Problem::at(format!("models.{name}.credential"), way));
            Credential::None
        });
        let dialect = chosen(&name, "dialect", raw.dialect, &Dialect::ALL.map(|d| (d.name(), d)), problem).unwrap_or_default();
        let auth = chosen(&name, "auth", raw.auth, &Auth::ALL.map(|a| (a.name(), a)), problem).unwrap_or(dialect.auth());
        let prices = match (raw.input_usd_per_million_tokens, raw.output_usd_per_million_tokens) {
            (Some(input), Some(output)) => Some(Prices { input, output }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                let way = "input_usd_per_million_tokens and output_usd_per_million_tokens go together: set both or neither";
                problem(Problem::at(format!("models.{name}"), way));
                None
            }
        };
        let (base_url, model, acting_as) = (raw.base_url, raw.model, raw.acting_as);
        if acting_as.is_some() && matches!(credential, Credential::None | Credential::Forwarded) {
            let way = "it names whom a credential of the server's belongs to, and this model has none: leave it out";
            problem(Problem::at(format!("models.{name}.acting_as"), way));
        }
        models.insert(name, Model { dialect, auth, base_url, model, credential, acting_as, prices });
    }
    models
}

/// One of several words.
fn chosen<T: Copy>(
    model: &str,
    key: &str,
    given: Option<String>,
    of: &[(&str, T)],
    problem: &mut dyn FnMut(Problem),
) -> Option<T> {
    let given = given?;
    let found = of.iter().find(|(name, _)| *name == given).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<String> = of.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        problem(Problem::at(format!("models.{model}.{key}"), format!("'{given}' is none of {}", names.join(", "))));
    }
    found
}

pub(super) fn workspaces(raw: BTreeMap<String, RawWorkspace>, problem: &mut dyn FnMut(Problem)) -> BTreeMap<String, Workspace> {
    let mut workspaces = BTreeMap::new();
    for (name, raw) in raw {
        let key = format!("workspaces.{name}");
        let source = match (raw.path, raw.git) {
            (Some(path), None) if path.is_absolute() => WorkspaceSource::Path(path),
            (Some(_), None) => {
                problem(Problem::at(format!("{key}.path"), "expected an absolute path"));
                continue;
            }
            (None, Some(git)) => WorkspaceSource::Git(git),
            (Some(_), Some(_)) | (None, None) => {
                problem(Problem::at(&key, "expected exactly one of path and git"));
                continue;
            }
        };
        workspaces.insert(name, Workspace { source, principals: raw.principals });
    }
    workspaces
}

pub(super) fn labels(raw: Vec<RawLabelRule>) -> Vec<LabelRule> {
    let rule =
        |raw: RawLabelRule| LabelRule { principal: raw.principal, workspace: raw.workspace, agent: raw.agent, set: raw.set };
    raw.into_iter().map(rule).collect()
}
