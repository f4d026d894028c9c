//! What the kernel and the system offer for the sandbox.

use std::collections::BTreeMap;

use super::{Check, Level};
use crate::cli::agent::look_up;
use crate::config::Config;
use crate::executor::{probe, sandbox};

/// How to get from tier B to tier A.
const TIER_B: &str = "tier A needs user namespaces: \"The sandbox, the network, and containers\" in \
    docs/operations.md says how to allow them; docs/security.md what tier B leaves open";

/// What confines agents, as far as it is wanted.
pub(super) fn landlock(config: &Config) -> Check {
    let name = "Landlock";
    match (config.settings.executor.sandbox.as_str(), sandbox::landlock_abi()) {
        ("off", _) => Check::new(
            name,
            Level::Warn,
            "not used: executor.sandbox = \"off\"",
            "agents see what the server's user sees, its keys included; take that line out of coda.toml",
        ),
        (_, Some(number @ 3..)) => Check::ok(name, format!("ABI {number}")),
        (_, Some(number)) => {
            Check::new(name, Level::Warn, format!("ABI {number}"), "a kernel of 6.2 or newer also confines truncation")
        }
        (_, None) => Check::new(name, Level::Fail, "not offered by this kernel", sandbox::MISSING),
    }
}

/// Which tier agents run in here: tried as for an agent.
pub(super) async fn tier(config: &Config) -> Check {
    let name = "sandbox";
    let mode = match config.settings.executor.sandbox.as_str() {
        "off" => {
            return Check::new(
                name,
                Level::Warn,
                "tier C: none, as executor.sandbox = \"off\" says",
                "take that line out of coda.toml",
            );
        }
        "require" => sandbox::Mode::Require,
        "floor" => sandbox::Mode::Floor,
        _ => sandbox::Mode::BestEffort,
    };
    match probe::sandbox(mode, &config.home).await {
        Ok(said) if said.starts_with("tier A") || mode == sandbox::Mode::Floor => Check::ok(name, said),
        Ok(said) => Check::new(name, Level::Warn, said, TIER_B),
        Err(why) if mode == sandbox::Mode::Require => Check::new(name, Level::Fail, why, TIER_B),
        Err(why) => Check::new(name, Level::Fail, why, sandbox::MISSING),
    }
}

pub(super) fn bash(environment: &BTreeMap<String, String>) -> Check {
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    match look_up("bash", path) {
        Some(found) => Check::ok("bash", found.display().to_string()),
        None => Check::new("bash", Level::Fail, "not found in PATH", "install bash: the runbook agent runs each step with it"),
    }
}
