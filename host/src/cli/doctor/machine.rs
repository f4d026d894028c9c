//! What the kernel and the system offer for the sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Check, Level};
use crate::cli::agent::look_up;
use crate::config::Config;
use crate::executor::sandbox;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What confines agents, as far as it is wanted.
pub(super) fn landlock(config: &Config) -> Check {
    let name = "Landlock";
    match (config.settings.executor.sandbox.as_str(), sandbox::landlock_abi()) {
        ("none", _) => Check::new(
            name,
            Level::Warn,
            "not used: executor.sandbox = \"none\"",
            "agents see what the server's user sees, its keys included; take that line out of coda.toml",
        ),
        (_, Some(number @ 3..)) => Check::ok(name, format!("ABI {number}")),
        (_, Some(number)) => {
            Check::new(name, Level::Warn, format!("ABI {number}"), "a kernel of 6.2 or newer also confines truncation")
        }
        (_, None) => Check::new(name, Level::Fail, "not offered by this kernel", sandbox::MISSING),
    }
}

/// Whether an ordinary user may make namespaces. Root always may, so for root only the settings are told.
pub(super) async fn user_namespaces(environment: &BTreeMap<String, String>) -> Check {
    let name = "user namespaces";
    let denied = |found: &str| Check::new(name, Level::Warn, found, "agents run without namespaces, confined by Landlock alone");
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if read("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return denied("switched off (user.max_user_namespaces)");
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return denied("switched off (kernel.unprivileged_userns_clone)");
    }
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    let Some(unshare) = look_up("unshare", path) else { return Check::ok(name, "not switched off; not tried") };
    let mut probe = tokio::process::Command::new(unshare);
    probe.args(["--user", "--map-root-user", "--pid", "--fork", "--mount", "true"]);
    probe
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(PROBE_TIMEOUT, probe.status()).await {
        Ok(Ok(status)) if status.success() => Check::ok(name, "can be made"),
        Ok(_) | Err(_) => denied("this user may not make them"),
    }
}

pub(super) fn bash(environment: &BTreeMap<String, String>) -> Check {
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    match look_up("bash", path) {
        Some(found) => Check::ok("bash", found.display().to_string()),
        None => Check::new("bash", Level::Fail, "not found in PATH", "install bash: the runbook agent runs each step with it"),
    }
}
