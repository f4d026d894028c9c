//! What must hold between and within values: checked once, when the configuration is read.

use std::net::SocketAddr;

use super::layer::Problem;
use super::settings::Sections;
use super::{AgentKind, Config, Credential, suggest};
use crate::usage::Usd;

const MAX_HOLD_S: u64 = 600;
/// Half of what the least patient agent bears before its answer has begun (docs/agents.md).
const MAX_KEEPALIVE_S: u64 = 30;
/// Later, it finds nothing that `gateway.idle_timeout_s` has not found.
const MAX_PING_S: u64 = 3_600;

/// Whether a text is an address that a browser or client can call.
pub(super) fn is_http(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
}

/// Single values of the plain sections.
pub(super) fn sections(all: &Sections, problem: &mut dyn FnMut(Problem)) {
    listener(all, problem);
    let words: [(&str, &str, &[&str]); 8] = [
        ("identity.mode", &all.identity.mode, &["local", "proxy"]),
        ("policy.activation", &all.policy.activation, &["auto", "staged"]),
        ("executor.sandbox", &all.executor.sandbox, &["best-effort", "require", "floor", "off"]),
        ("executor.network", &all.executor.network, &["gateway-only", "open"]),
        ("gateway.http_version", &all.gateway.http_version, &["auto", "1.1"]),
        ("mcp.tool_list", &all.mcp.tool_list, &["auto", "full", "plain"]),
        ("log.format", &all.log.format, &["human", "json"]),
        ("identity.preset", all.identity.preset.as_deref().unwrap_or("databricks-apps"), &["databricks-apps"]),
    ];
    for (key, value, known) in words {
        if !known.contains(&value) {
            let hint = suggest::closest(value, known.iter().copied());
            problem(Problem::at(key, format!("'{value}' is not one of {}{hint}", known.join(", "))));
        }
    }
    let at_least_one = [
        ("tasks.max_concurrent", all.tasks.max_concurrent),
        ("tasks.timeout_s", all.tasks.timeout_s),
        ("tasks.max_prompt_bytes", all.tasks.max_prompt_bytes),
        ("approval.expires_s", all.approval.expires_s),
        ("policy.build_timeout_s", all.policy.build_timeout_s),
        ("executor.columns", all.executor.columns),
        ("executor.rows", all.executor.rows),
        ("executor.max_tmp_bytes", all.executor.max_tmp_bytes),
        ("server.body_limit_bytes", all.server.body_limit_bytes),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            problem(Problem::at(key, "must be at least 1"));
        }
    }
    if all.approval.hold_s > MAX_HOLD_S {
        problem(Problem::at("approval.hold_s", format!("must be at most {MAX_HOLD_S}: a longer wait parks the task")));
    }
    if all.gateway.keepalive_s > MAX_KEEPALIVE_S {
        let message = format!("must be at most {MAX_KEEPALIVE_S}: agents give up on a stream that is quiet for long");
        problem(Problem::at("gateway.keepalive_s", message));
    }
    if all.gateway.ping_s > MAX_PING_S {
        problem(Problem::at("gateway.ping_s", format!("must be at most {MAX_PING_S}; 0 never asks")));
    }
    if all.tasks.timeout_s > all.tasks.timeout_max_s {
        problem(Problem::at("tasks.timeout_s", "must not be above tasks.timeout_max_s"));
    }
    for entry in &all.approval.default_requirements {
        let count = entry.split_once(':').map_or(Ok(1), |(_, count)| count.parse::<u32>());
        if entry.starts_with(':') || entry.is_empty() || !matches!(count, Ok(1..)) {
            problem(Problem::at("approval.default_requirements", format!("'{entry}' is not \"role\" or \"role:count\"")));
        }
    }
}

fn listener(all: &Sections, problem: &mut dyn FnMut(Problem)) {
    match all.server.listen.parse::<SocketAddr>() {
        Err(_) => {
            let message = format!("'{}' is not an address and port such as 127.0.0.1:8484", all.server.listen);
            problem(Problem::at("server.listen", message));
        }
        Ok(address) if all.identity.mode == "local" && !address.ip().is_loopback() => {
            let message = format!(
                "{address} can be reached from outside, which identity.mode = \"local\" is not made for: listen on 127.0.0.1, or set identity.mode = \"proxy\""
            );
            problem(Problem::at("server.listen", message));
        }
        Ok(_) => {}
    }
    if let Some(url) = &all.server.public_url
        && !is_http(url)
    {
        problem(Problem::at("server.public_url", format!("'{url}' does not begin with http:// or https://")));
    }
    let identity = &all.identity;
    if identity.mode == "proxy" && identity.trusted_peers.is_empty() {
        problem(Problem::at(
            "identity.trusted_peers",
            "mode \"proxy\" needs to know which connections are the proxy's: name its addresses or networks, such as [\"10.0.0.0/8\"]",
        ));
    }
    if identity.secret_header.is_some() != identity.secret_file.is_some() {
        problem(Problem::at("identity.secret_header", "secret_header and secret_file go together: set both or neither"));
    }
}

/// A budget in money needs to know what things cost: one that cannot hold is no budget.
fn prices(config: &Config, problem: &mut dyn FnMut(Problem)) {
    let budget = &config.settings.budget;
    let of_principals = [budget.principal_day_cost_usd, budget.principal_month_cost_usd].iter().any(|limit| *limit > Usd::ZERO);
    for (agent, profile) in &config.agents {
        let limited = of_principals || profile.task_cost_usd.unwrap_or(budget.task_cost_usd) > Usd::ZERO;
        let Some((name, model)) = profile.model.as_ref().and_then(|name| Some((name, config.models.get(name)?))) else {
            continue;
        };
        if limited && model.prices.is_none() {
            let way = format!(
                "the cost of tasks of {agent} is limited, and this model has no price: set input_usd_per_million_tokens and \
                 output_usd_per_million_tokens, 0 where it costs nothing"
            );
            problem(Problem::at(format!("models.{name}"), way));
        }
    }
}

/// Names that refer to other tables.
pub(super) fn references(config: &Config, problem: &mut dyn FnMut(Problem)) {
    prices(config, problem);
    let identity = &config.settings.identity;
    let forwards = identity.mode == "proxy" && (identity.access_token_header.is_some() || identity.preset.is_some());
    for (name, _) in config.models.iter().filter(|(_, model)| model.credential == Credential::Forwarded && !forwards) {
        let way = "nobody forwards a token: set identity.mode = \"proxy\" and identity.access_token_header, or preset = \"databricks-apps\"";
        problem(Problem::at(format!("models.{name}.credential"), way));
    }
    for (name, agent) in &config.agents {
        if let Some(model) = &agent.model
            && !config.models.contains_key(model)
        {
            let hint = suggest::closest(model, config.models.keys().map(String::as_str));
            problem(Problem::at(format!("agents.{name}.model"), format!("there is no [models.{model}]{hint}")));
        }
        if let Some(model) = agent.model.as_ref().and_then(|model| config.models.get(model))
            && let Some(spoken) = agent.kind.dialect().filter(|spoken| *spoken != model.dialect.name())
        {
            let (kind, dialect) = (agent.kind.name(), model.dialect.name());
            let way = format!("{kind} speaks \"{spoken}\", its model \"{dialect}\": give it a model with dialect = \"{spoken}\"");
            problem(Problem::at(format!("agents.{name}.model"), way));
        }
    }
    let agent = &config.settings.tasks.default_agent;
    let built_in = ["runbook", "hermes"];
    if !built_in.contains(&agent.as_str()) && !config.agents.contains_key(agent) {
        let hint = suggest::closest(agent, config.agents.keys().map(String::as_str).chain(built_in));
        let table = match AgentKind::named(agent) {
            Some(_) => format!(": set it up in a table [agents.{agent}]"),
            None => hint,
        };
        problem(Problem::at("tasks.default_agent", format!("there is no agent '{agent}'{table}")));
    }
    for rule in &config.labels {
        if let Some(workspace) = &rule.workspace
            && !config.workspaces.contains_key(workspace)
        {
            let hint = suggest::closest(workspace, config.workspaces.keys().map(String::as_str));
            problem(Problem::at("labels.workspace", format!("there is no [workspaces.{workspace}]{hint}")));
        }
    }
}
