//! What an operator left open, said aloud at every start.

use crate::config::Config;
use crate::executor::sandbox;
use crate::policy::lets_requester_decide;

/// Warns of each.
pub(super) fn say(config: &Config) {
    match (config.settings.executor.sandbox.as_str(), sandbox::landlock_abi()) {
        ("none", _) => tracing::warn!(
            "agents run without a sandbox, as executor.sandbox = \"none\" asks: they can read what this server's user can, its keys included"
        ),
        (_, None) => tracing::error!("{}", sandbox::MISSING),
        (_, Some(_)) => {}
    }
    let policies = config.in_home(&config.settings.policy.folder).join("policies.toml");
    let text = std::fs::read_to_string(policies).unwrap_or_default();
    let names = lets_requester_decide(&text);
    if config.settings.identity.mode == "proxy" && !names.is_empty() {
        tracing::warn!(
            policies = names.join(", "),
            "whoever hands a task over may approve it too: set allow_requester = false in policies.toml, unless that is meant"
        );
    }
}
