//! What an operator left open, said aloud at every start.

use crate::config::Config;
use crate::executor::sandbox;

/// Warns of each.
pub(super) fn say(config: &Config) {
    match (config.settings.executor.sandbox.as_str(), sandbox::landlock_abi()) {
        ("none", _) => tracing::warn!(
            "agents run without a sandbox, as executor.sandbox = \"none\" asks: they can read what this server's user can, its keys included"
        ),
        (_, None) => tracing::error!("{}", sandbox::MISSING),
        (_, Some(_)) => {}
    }
}
