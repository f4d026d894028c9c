//! What an operator left open, said aloud at every start.

use crate::config::Config;
use crate::executor::{probe, sandbox};

/// Warns of each.
pub(super) async fn say(config: &Config) {
    let mode = super::settings::sandbox(config).mode;
    if mode == sandbox::Mode::Off {
        tracing::warn!(
            "agents run without a sandbox, as executor.sandbox = \"off\" asks: they can read what this server's user can, its keys included"
        );
        return;
    }
    match (sandbox::landlock_abi(), probe::sandbox(mode, &config.home).await) {
        (None, _) => tracing::error!("{}", sandbox::MISSING),
        (Some(_), Ok(said)) if said.starts_with("tier A") || mode == sandbox::Mode::Floor => {
            tracing::info!(sandbox = %said, "agents are confined")
        }
        (Some(_), Ok(said)) => tracing::warn!(sandbox = %said, "agents are confined, but not in namespaces of their own"),
        (Some(_), Err(why)) => tracing::error!(%why, "no agent can be started"),
    }
    if config.settings.executor.network == "open" {
        tracing::warn!("agents may connect to anywhere, as executor.network = \"open\" asks");
    }
}
