//! `coda doctor`: whether this machine and CODA_HOME are fit to run coda, and what to do where they are not.

mod machine;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::agent;
use super::context::{CliError, Context, Format};
use super::print;
use crate::config::{self, AgentKind, Config, Flags};
use crate::gateway;
use crate::home;
use crate::policy::lets_requester_decide;

const LOW_DISK_BYTES: u64 = 1 << 30;
const NO_DISK_BYTES: u64 = 100 << 20;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// One check: what was looked at, how it went, and the way out.
#[derive(Debug)]
struct Check {
    name: String,
    level: Level,
    found: String,
    way_out: String,
}

impl Check {
    fn new(name: impl Into<String>, level: Level, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { name: name.into(), level, found: found.into(), way_out: way_out.into() }
    }
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Level::Ok, found, "")
    }
}

pub(super) async fn run(context: &Context, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    let mut checks = vec![home_check(&context.home)];
    let config = match Config::load(&context.home, environment, &Flags::default()) {
        Ok(config) => {
            checks.push(Check::ok("configuration", config.home.join(config::FILE).display().to_string()));
            Some(config)
        }
        Err(e) => {
            checks.push(Check::new("configuration", Level::Fail, e.to_string(), "mend it; `coda config check` reads it again"));
            None
        }
    };
    for stray in config::stray_variables(environment) {
        checks.push(Check::new("environment", Level::Warn, stray.key, stray.message));
    }
    checks.push(disk(&context.home));
    let config = config.unwrap_or_default();
    checks.push(server(&config, context));
    checks.extend(authorities(&config));
    checks.push(policies(&config, context).await);
    checks.extend(four_eyes(&config));
    checks.push(machine::landlock(&config));
    checks.push(machine::tier(&config).await);
    checks.push(machine::bash(environment));
    checks.extend(agents(&config, environment).await);
    report(&checks, context)
}

fn home_check(path: &Path) -> Check {
    use std::os::unix::fs::PermissionsExt as _;
    let name = "CODA_HOME";
    let shown = path.display().to_string();
    let Ok(found) = std::fs::metadata(path) else {
        return Check::new(name, Level::Warn, format!("{shown} is not there yet"), "`coda init` makes it");
    };
    if found.permissions().mode() & 0o077 != 0 {
        return Check::new(name, Level::Fail, format!("{shown} is open to others"), format!("chmod 700 '{shown}'"));
    }
    let probe = path.join(format!("doctor.{}", crate::env::hex(&crate::env::random_bytes::<4>())));
    match home::write_private(&probe, b"") {
        Ok(()) => {
            let _ = std::fs::remove_file(&probe);
            Check::ok(name, shown)
        }
        Err(e) => Check::new(name, Level::Fail, e.to_string(), "make it writable, or set another CODA_HOME"),
    }
}

fn disk(home: &Path) -> Check {
    let there = home.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let Ok(found) = rustix::fs::statvfs(there) else {
        return Check::new("disk space", Level::Warn, "cannot be told", "");
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let text = format!("{} MiB free", free >> 20);
    let way = "free some space below CODA_HOME, or shorten tasks.keep_transcripts_s";
    match free {
        _ if free < NO_DISK_BYTES => Check::new("disk space", Level::Fail, text, way),
        _ if free < LOW_DISK_BYTES => Check::new("disk space", Level::Warn, text, way),
        _ => Check::ok("disk space", text),
    }
}

fn server(config: &Config, context: &Context) -> Check {
    if let Some(server) = home::running(&context.home) {
        return Check::ok("server", format!("runs at {} (process {})", server.address, server.pid));
    }
    let Ok(address) = config.settings.server.listen.parse() else {
        return Check::new("server", Level::Fail, "its address is wrong", "mend listen in [server] of coda.toml");
    };
    match home::listen(address) {
        Ok(_) => Check::ok("server", format!("not running; {address} is free")),
        Err(e) => Check::new("server", Level::Fail, "not running", e.to_string()),
    }
}

/// Whether the file with CAs of models' servers can be used.
fn authorities(config: &Config) -> Option<Check> {
    let name = "CAs of models";
    let file = config.in_home(config.settings.gateway.ca_file.as_deref()?);
    Some(match gateway::authorities(&file) {
        Ok(count) => Check::ok(name, format!("{count} in {}, besides those of the system", file.display())),
        Err(why) => {
            Check::new(name, Level::Fail, why, "mend the file, or unset gateway.ca_file; the server does not start with it")
        }
    })
}

/// Through the server, which has them loaded; without one, whether the list can be read at all.
async fn policies(config: &Config, context: &Context) -> Check {
    let name = "policies";
    if home::running(&context.home).is_some() || context.server.is_some() {
        return match context.get("/v1/policies").await {
            Ok(status) => {
                let trouble = ["not_ready_because", "degraded", "last_error"].iter().find_map(|key| match &status[*key] {
                    Value::Null => None,
                    Value::String(why) => Some(why.clone()),
                    other => Some(other["message"].as_str().map_or_else(|| other.to_string(), str::to_owned)),
                });
                match trouble {
                    Some(why) if status["ready"] == false => {
                        Check::new(name, Level::Fail, why, "every gate denies; `coda policy status` says more")
                    }
                    Some(why) => {
                        Check::new(name, Level::Warn, why, "the last good set judges on; `coda policy status` says more")
                    }
                    None => Check::ok(name, format!("generation {}", status["live"]["generation"])),
                }
            }
            Err(e) => Check::new(name, Level::Fail, e.to_string(), "`coda policy status` says more"),
        };
    }
    let path = config.in_home(&config.settings.policy.folder).join("policies.toml");
    match std::fs::read_to_string(&path).map(|text| text.parse::<toml::Table>()) {
        Err(e) => Check::new(name, Level::Warn, format!("{}: {e}", path.display()), "`coda init` writes the default ones"),
        Ok(Err(e)) => Check::new(
            name,
            Level::Fail,
            format!("{}: {}", path.display(), e.message()),
            "mend it; without policies every gate denies",
        ),
        Ok(Ok(table)) => {
            let count = table.get("policy").and_then(toml::Value::as_array).map_or(0, Vec::len);
            let level = if count == 0 { Level::Warn } else { Level::Ok };
            Check::new(name, level, format!("{count} listed; the server loads them"), "without policies every gate denies")
        }
    }
}

/// Whether whoever asks may also decide, where there are several people.
fn four_eyes(config: &Config) -> Option<Check> {
    let path = config.in_home(&config.settings.policy.folder).join("policies.toml");
    let names = lets_requester_decide(&std::fs::read_to_string(path).unwrap_or_default());
    (config.settings.identity.mode == "proxy" && !names.is_empty()).then(|| {
        let found = format!("whoever hands a task over may approve it too ({})", names.join(", "));
        Check::new("four eyes", Level::Warn, found, "set allow_requester = false in policies.toml, unless that is meant")
    })
}

/// Those that tasks may choose, and Hermes, which they may choose without a table of its own.
async fn agents(config: &Config, environment: &BTreeMap<String, String>) -> Vec<Check> {
    let found = agent::find(config, environment);
    let mut checks = Vec::new();
    for found in found.iter().filter(|found| found.usable || found.kind == AgentKind::Hermes) {
        checks.push(agent_check(config, found).await);
    }
    checks
}

async fn agent_check(config: &Config, found: &agent::Found) -> Check {
    let name = format!("agent {}", found.name);
    if found.kind == AgentKind::Runbook {
        return Check::ok(name, "built in");
    }
    let wanted = config.settings.tasks.default_agent == found.name || config.agents.contains_key(&found.name);
    let trouble = if wanted { Level::Fail } else { Level::Warn };
    match &found.program {
        Some(program) => installed(name, trouble, found, program).await,
        None => Check::new(name, trouble, "its program is missing", &found.hint),
    }
}

/// An agent whose program is there: whether it starts, in a release that is known to work, and has a model.
async fn installed(name: String, trouble: Level, found: &agent::Found, program: &Path) -> Check {
    let release = agent::release(found).await;
    let range = found.kind.tested();
    let version = release.version.as_deref().unwrap_or("version not told");
    let shown = format!("{} ({version})", program.display());
    match (&found.model, range, release.tested) {
        (_, Some(_), None) => Check::new(name, trouble, shown, format!("`{} --version` fails: see why", program.display())),
        (Some(Err(missing)), _, _) => {
            Check::new(name, trouble, format!("{shown}; model {missing}"), "`coda init --help` shows a pair that works")
        }
        (_, Some(range), Some(false)) => {
            let way = format!(
                "coda is tested with {}, and takes releases from {} to below {} for like it",
                range.version, range.from, range.below
            );
            Check::new(name, Level::Warn, shown, way)
        }
        (Some(Ok(model)), _, _) => Check::ok(name, format!("{shown}, model {model}")),
        (None, _, _) => Check::ok(name, shown),
    }
}

fn report(checks: &[Check], context: &Context) -> Result<(), CliError> {
    let failed = checks.iter().filter(|c| c.level == Level::Fail).count();
    if context.format == Format::Json {
        let one = |c: &Check| json!({ "check": c.name, "level": c.level.as_str(), "found": c.found, "way_out": c.way_out });
        print::json(&json!({ "ok": failed == 0, "checks": checks.iter().map(one).collect::<Vec<Value>>() }))?;
    } else {
        for check in checks {
            let colour = match check.level {
                Level::Ok => print::Colour::Good,
                Level::Warn => print::Colour::Attention,
                Level::Fail => print::Colour::Bad,
            };
            let word = print::paint(colour, &format!("{:<4}", check.level.as_str()));
            print::line(&format!("{word}  {:<16}  {}", check.name, print::clean(&check.found)))?;
            if check.level != Level::Ok && !check.way_out.is_empty() {
                print::line(&format!("      {:<16}  → {}", "", print::clean(&check.way_out)))?;
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(CliError::Failed(format!("{failed} of {} checks failed", checks.len()))) }
}
