//! The commented `coda.toml` that `coda init` writes: every setting with its meaning and default, nothing set that need
//! not be.

use std::fmt::Write as _;

use super::AgentKind;
use super::settings::reference;
use super::value::quoted;

/// An agent that is set up with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAgent {
    /// Such as `hermes`.
    pub name: String,
    /// Its model's address.
    pub model_url: String,
    /// Its model's name at that address.
    pub model: String,
    /// The server's environment variable that holds the key.
    pub key_variable: Option<String>,
}

impl FirstAgent {
    /// The tables of coda.toml that set it up.
    #[must_use]
    pub fn tables(&self) -> String {
        let Self { name, model_url, model, key_variable } = self;
        let mut text = format!(
            "[agents.{name}]\nmodel = \"{name}\"\n\n[models.{name}]\nbase_url = {}\nmodel = {}\n",
            quoted(model_url),
            quoted(model)
        );
        if let Some(dialect) = AgentKind::named(name).and_then(AgentKind::dialect).filter(|dialect| *dialect != "chat") {
            let _ = writeln!(text, "dialect = {}", quoted(dialect));
        }
        if let Some(variable) = key_variable {
            let _ = writeln!(text, "credential = {{ env = {} }}   # read by the server; agents never see it", quoted(variable));
        }
        text
    }
}

const HEAD: &str = "\
# coda's configuration. A line that begins with '#' shows a default.
# What a flag or an environment variable (CODA_SECTION_KEY, such as CODA_SERVER_LISTEN) says goes before this file.
# `coda config check` reads it as the server will; `coda config show --origin` says where each value comes from.
";

const NAMED: &str = r#"
# Agents that tasks may choose, besides the built-in "runbook". `coda init --agent hermes …` writes such a pair.
#[agents.hermes]             # or opencode, goose, pi, qwen, claude, codex, gemini; another name needs a kind
#kind = "hermes"             # "custom" is a program of your own (docs/agents.md)
#command = "hermes"          # or an absolute path
#model = "main"              # which [models.NAME] the gateway sends it to
#env = { }                   # more environment; never secrets, agents can read it
#allow_hosts = ["pypi.org"]  # what it may reach besides, over TLS through the gateway (docs/agents.md)
#hosted_tools = ["web_search*"]   # tools of its model's provider that policies may allow it (docs/agents.md)

#[models.main]
#base_url = "https://models.example.com/v1"
#model = "name-at-that-address"
#credential = { env = "MODEL_KEY" }   # or { file = "/path" } or { command = ["program", "argument"] }
#input_usd_per_million_tokens = 3     # unset, its cost is unknown
#output_usd_per_million_tokens = 15

# Places to work in that tasks may choose by name. Without one, each chain of tasks has a workspace of its own.
#[workspaces.site]
#path = "/srv/site"          # or git = "https://git.example.com/site.git"
#principals = ["ann@example.com"]   # who may choose it; empty = every submitter

# Labels that policies and roles can look at; a later rule wins.
#[[labels]]
#workspace = "site"
#set = { environment = "production" }
"#;

/// The proxy that a new installation stands behind.
#[derive(Debug)]
pub struct FirstProxy {
    /// Name of ready-made settings.
    pub preset: String,
    /// Addresses or networks that it connects from.
    pub trusted_peers: Vec<String>,
}

/// The text of a new `coda.toml`, with an agent, and behind a proxy.
#[must_use]
pub fn commented(agent: Option<&FirstAgent>, proxy: Option<&FirstProxy>) -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for setting in reference() {
        if setting.section != section {
            section = setting.section;
            let _ = write!(text, "\n[{section}]\n");
        }
        let _ = writeln!(text, "# {}", setting.meaning);
        let set = match (section, setting.key) {
            ("tasks", "default_agent") => agent.map(|a| quoted(&a.name)),
            ("identity", "mode") => proxy.map(|_| quoted("proxy")),
            ("identity", "preset") => proxy.map(|p| quoted(&p.preset)),
            ("identity", "trusted_peers") => proxy.map(|p| {
                let peers: Vec<String> = p.trusted_peers.iter().map(|peer| quoted(peer)).collect();
                format!("[{}]", peers.join(", "))
            }),
            _ => None,
        };
        match set {
            Some(value) => {
                let _ = writeln!(text, "{} = {value}", setting.key);
            }
            None if setting.default.is_empty() => {
                let _ = writeln!(text, "#{} =", setting.key);
            }
            None => {
                let _ = writeln!(text, "#{} = {}", setting.key, setting.default);
            }
        }
    }
    if let Some(agent) = agent {
        text.push('\n');
        text.push_str(&agent.tables());
    }
    text.push_str(NAMED);
    text
}
