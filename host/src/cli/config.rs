//! `coda config`: what is set, where it comes from, and whether it holds together.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::context::{CliError, Context, Format};
use super::{print, serve};
use crate::config::{self, Config, Flags, Origin};

/// Verbs about the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every setting as the server would take it
    #[command(after_help = "Examples:\n  coda config show\n  coda config show --origin\n  coda config show --json")]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Read the configuration as the server would; exits 2 where it is wrong
    #[command(after_help = "Examples:\n  coda config check && coda serve")]
    Check,
}

pub(super) fn run(command: ConfigCommand, context: &Context, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    let config = Config::load(&context.home, environment, &Flags::default()).map_err(serve::wrong)?;
    match command {
        ConfigCommand::Show { origin } => show(&config, origin.then_some(WithOrigin), context.format),
        ConfigCommand::Check => check(&config, context.format, environment),
    }
}

struct WithOrigin;

fn show(config: &Config, origin: Option<WithOrigin>, format: Format) -> Result<(), CliError> {
    if format == Format::Json {
        let mut all = Map::new();
        for shown in &config.shown {
            let value = if shown.value.is_empty() { Value::Null } else { toml_to_json(&shown.value) };
            all.insert(shown.key.clone(), json!({ "value": value, "origin": shown.origin.to_string() }));
        }
        return print::json(&json!({ "home": config.home, "settings": all, "named": named(config) }));
    }
    print::line(&print::paint(print::Colour::Dim, &format!("# {}", config.home.join(config::FILE).display())))?;
    let mut section = "";
    for shown in &config.shown {
        let (table, key) = shown.key.split_once('.').unwrap_or(("", &shown.key));
        if table != section {
            section = table;
            print::line(&format!("\n[{section}]"))?;
        }
        let set = if shown.value.is_empty() { format!("# {key} is unset") } else { format!("{key} = {}", shown.value) };
        match (&origin, &shown.origin) {
            (Some(WithOrigin), from) => print::line(&format!("{set:<60}  # {from}"))?,
            (None, Origin::Default) => print::line(&set)?,
            (None, _) => print::line(&print::paint(print::Colour::Good, &set))?,
        }
    }
    for (kind, names) in named(config).as_object().into_iter().flatten() {
        let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !names.is_empty() {
            print::line(&format!("\n# [{kind}.NAME]: {}", print::clean(&names.join(", "))))?;
        }
    }
    Ok(())
}

fn named(config: &Config) -> Value {
    json!({
        "agents": config.agents.keys().collect::<Vec<_>>(),
        "models": config.models.keys().collect::<Vec<_>>(),
        "workspaces": config.workspaces.keys().collect::<Vec<_>>(),
    })
}

fn toml_to_json(text: &str) -> Value {
    let table: Option<toml::Table> = format!("value = {text}").parse().ok();
    table.and_then(|mut t| t.remove("value")).and_then(|v| serde_json::to_value(v).ok()).unwrap_or_default()
}

fn check(config: &Config, format: Format, environment: &BTreeMap<String, String>) -> Result<(), CliError> {
    let path = config.home.join(config::FILE);
    let warnings: Vec<String> =
        config::stray_variables(environment).iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
    if format == Format::Json {
        return print::json(&json!({ "ok": true, "file": path, "exists": path.exists(), "warnings": warnings }));
    }
    for warning in &warnings {
        print::progress(&format!("warning: {}", print::clean(warning)));
    }
    let what =
        if path.exists() { path.display().to_string() } else { format!("{} is not there, which means defaults", path.display()) };
    print::line(&format!("{}  {what}", print::paint(print::Colour::Good, "ok")))
}
