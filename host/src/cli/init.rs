//! `coda init`: makes CODA_HOME. Never overwrites: what is there stays as it is.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::context::{CliError, Context, Format};
use super::print;
use crate::config::{AgentKind, Config, FILE, FirstAgent, FirstProxy, Flags, commented};
use crate::gateway::Dialect;
use crate::home;

/// The policies of a new server.
const POLICIES: &str = include_str!("../../../guest-policy/policies.toml");
/// Four eyes, as the bundled policies have it.
const OTHERS_ONLY: &str = "allow_requester = false";
/// A server with `[identity] mode = "local"` is one person's: nobody else could decide.
const ONE_PERSON: &str = "# One person on this machine submits and approves. Set it to false as soon as others can decide (docs/operations.md).\nallow_requester = true";

/// What is set up.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coda init\n  coda init --agent hermes --model-url https://models.example.com/v1 --model NAME --key-env MODEL_KEY\n  coda init --proxy databricks-apps --trusted-peer 10.0.0.0/8\n\nFrom nothing to a finished Hermes task:\n  pip install hermes-agent==0.19.0\n  coda init --agent hermes --model-url URL --model NAME --key-env MODEL_KEY\n  coda serve &\n  coda run --watch 'what is in this directory?'"
)]
pub(super) struct InitArgs {
    /// For several people, behind an identity-aware proxy: whoever hands a task over does not approve it
    #[arg(long, value_name = "PRESET", value_parser = ["databricks-apps"], requires = "trusted_peer")]
    proxy: Option<String>,
    /// An address or network that the proxy connects from; may be repeated
    #[arg(long, value_name = "NETWORK", requires = "proxy")]
    trusted_peer: Vec<String>,
    /// Set up an agent too, and make it the default
    #[arg(long, value_name = "NAME", value_parser = known_agents(), requires = "model_url", requires = "model")]
    agent: Option<String>,
    /// Address of its model, such as https://models.example.com/v1
    #[arg(long, value_name = "URL", requires = "agent")]
    model_url: Option<String>,
    /// Name of its model at that address
    #[arg(long, value_name = "NAME", requires = "agent")]
    model: Option<String>,
    /// The server's environment variable that holds the model's key; the agent never sees it
    #[arg(long, value_name = "VARIABLE", requires = "agent")]
    key_env: Option<String>,
}

pub(super) fn run(args: InitArgs, context: &Context, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    let proxy = args.proxy.clone().map(|preset| FirstProxy { preset, trusted_peers: args.trusted_peer.clone() });
    let agent = first_agent(args)?;
    home::prepare(&context.home).map_err(|e| CliError::Failed(e.to_string()))?;
    let file = context.home.join(FILE);
    let mut written = Vec::new();
    let new = write_new(&file, &commented(agent.as_ref(), proxy.as_ref()))?;
    if let (Written::Kept, Some(agent)) = (&new, &agent) {
        let message = format!(
            "{} is there already and stays as it is; to set up {}, add this to it, and default_agent = \"{}\" to its [tasks]:\n\n{}",
            file.display(),
            agent.name,
            agent.name,
            agent.tables()
        );
        return Err(CliError::Failed(message));
    }
    if let (Written::Kept, Some(proxy)) = (&new, &proxy) {
        let message = format!(
            "{} is there already and stays as it is; set mode = \"proxy\", preset = \"{}\" and trusted_peers in its [identity]",
            file.display(),
            proxy.preset
        );
        return Err(CliError::Failed(message));
    }
    written.push((file, new));
    let policies = context.home.join("policies/policies.toml");
    // A configuration that cannot be read may be anybody's: then four eyes, too.
    let config = Config::load(&context.home, environment, &Flags::default());
    let one_person = config.is_ok_and(|c| c.settings.identity.mode == "local");
    let new = write_new(&policies, &policies_for(one_person.then_some(ONE_PERSON)))?;
    written.push((policies, new));
    if context.format == Format::Json {
        let files: Vec<_> =
            written.iter().map(|(path, w)| json!({ "path": path, "written": matches!(w, Written::New) })).collect();
        return print::json(&json!({ "home": context.home, "files": files }));
    }
    for (path, written) in &written {
        let word = match written {
            Written::New => print::paint(print::Colour::Good, "wrote"),
            Written::Kept => print::paint(print::Colour::Dim, "kept "),
        };
        print::line(&format!("{word}  {}", path.display()))?;
    }
    let agent = agent.map_or("runbook".to_owned(), |agent| agent.name);
    print::line(&format!("\nnext: `coda serve`, then `coda run --watch 'what to do'` (goes to {agent})"))
}

/// Agents that need no more than a model to be set up, in a dialect that the gateway serves.
fn known_agents() -> Vec<&'static str> {
    let is_served = |kind: &AgentKind| kind.dialect().is_none_or(|word| Dialect::ALL.iter().any(|served| served.name() == word));
    AgentKind::known().filter(is_served).map(AgentKind::name).collect()
}

/// The bundled list, and what it says of requesters where that is not the default.
fn policies_for(requesters: Option<&str>) -> String {
    requesters.map_or_else(|| POLICIES.to_owned(), |says| POLICIES.replacen(OTHERS_ONLY, says, 1))
}

fn first_agent(args: InitArgs) -> Result<Option<FirstAgent>, CliError> {
    let (Some(name), Some(model_url), Some(model)) = (args.agent, args.model_url, args.model) else { return Ok(None) };
    if !(model_url.starts_with("http://") || model_url.starts_with("https://")) {
        return Err(CliError::Usage(format!("--model-url: '{model_url}' does not begin with http:// or https://")));
    }
    let is_name = |v: &str| !v.is_empty() && v.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if args.key_env.as_deref().is_some_and(|v| !is_name(v)) {
        return Err(CliError::Usage("--key-env takes the name of an environment variable, not the key itself".into()));
    }
    Ok(Some(FirstAgent { name, model_url, model, key_variable: args.key_env }))
}

enum Written {
    New,
    Kept,
}

fn write_new(path: &Path, text: &str) -> Result<Written, CliError> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let failed = |e: std::io::Error| CliError::Failed(format!("cannot write {}: {e}", path.display()));
    match opened {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| Written::New).map_err(failed),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(Written::Kept),
        Err(e) => Err(failed(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_person_may_approve_and_the_bundled_default_stays_strict() {
        assert_eq!(POLICIES.matches(OTHERS_ONLY).count(), 1);
        let written = policies_for(Some(ONE_PERSON));
        assert!(written.contains("\nallow_requester = true\n") && !written.contains(OTHERS_ONLY));
        assert_eq!(policies_for(None), POLICIES);
    }
}
