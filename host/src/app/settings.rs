//! From the checked configuration to each part's own settings. Nothing is decided here that is not said in coda.toml;
//! what coda.toml does not name keeps the part's default.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::{Config, Credential, WorkspaceSource};
use crate::executor::{self, Agents};
use crate::gates::keeper;
use crate::gateway::{self, HostedTools, Upstream};
use crate::policy::contract::Requirement;
use crate::service::settings::LabelRule;
use crate::usage::{Budgets, Limit};
use crate::web::accounts::{self, Mode, proxy};
use crate::{audit, mcp, pipeline, policy, service, web};

pub(super) fn listen(config: &Config) -> anyhow::Result<SocketAddr> {
    let text = &config.settings.server.listen;
    text.parse().with_context(|| format!("server.listen is '{text}': it must be an address and a port, such as 127.0.0.1:8484"))
}

pub(super) fn audit(config: &Config) -> audit::Settings {
    let from = &config.settings.audit;
    audit::Settings {
        segment_records: from.segment_records,
        segment_s: from.segment_s,
        retention_s: from.keep_s,
        ..audit::Settings::default()
    }
}

pub(super) fn policy(config: &Config) -> policy::Settings {
    let from = &config.settings.policy;
    let default = policy::Settings::default();
    policy::Settings {
        folder: from.folder.clone().into(),
        // `config` lets these two words pass and no other.
        activation: if from.activation == "staged" { policy::Activation::Staged } else { policy::Activation::Auto },
        workers: if from.workers == 0 { default.workers } else { small(from.workers) },
        queue_timeout_ms: from.queue_timeout_ms,
        default_fuel: from.default_fuel,
        default_timeout_ms: from.default_timeout_ms,
        default_memory_bytes: from.default_memory_bytes,
        max_memory_bytes: from.max_memory_bytes,
        configure_timeout_ms: from.configure_timeout_ms,
        build_timeout_s: from.build_timeout_s,
        max_component_bytes: from.max_component_bytes,
        max_event_bytes: from.max_event_bytes,
        watch_debounce_ms: from.watch_debounce_ms,
        keep_sets: small(from.keep_sets),
        default_approvals: requirements(config),
        approval_expires_s: small(config.settings.approval.expires_s),
        cache: config.in_home(&from.cache),
        guests: from.guests.as_deref().map(|folder| config.in_home(folder)),
        builder: executor::own_program(),
        ..default
    }
}

pub(super) fn gates(config: &Config) -> keeper::Settings {
    let from = &config.settings.approval;
    keeper::Settings {
        hold_s: from.hold_s,
        expires_s: from.expires_s,
        default_requirements: requirements(config),
        max_held: size(config.settings.tasks.max_held),
        parked_grace_s: config.settings.tasks.parked_grace_s,
        budgets: budgets(config),
    }
}

fn budgets(config: &Config) -> Budgets {
    let from = &config.settings.budget;
    let own = |(name, agent): (&String, &crate::config::Agent)| {
        (agent.task_tokens.is_some() || agent.task_cost_usd.is_some()).then(|| {
            let tokens = agent.task_tokens.unwrap_or(from.task_tokens);
            (name.clone(), Limit { tokens, cost: agent.task_cost_usd.unwrap_or(from.task_cost_usd) })
        })
    };
    Budgets {
        task: Limit { tokens: from.task_tokens, cost: from.task_cost_usd },
        agents: config.agents.iter().filter_map(own).collect(),
        day: Limit { tokens: from.principal_day_tokens, cost: from.principal_day_cost_usd },
        month: Limit { tokens: from.principal_month_tokens, cost: from.principal_month_cost_usd },
    }
}

/// `role` or `role:count`, as checked by `config`.
fn requirements(config: &Config) -> Vec<Requirement> {
    let one = |text: &String| match text.rsplit_once(':') {
        Some((role, count)) => Requirement { role: role.to_owned(), count: count.parse().unwrap_or(1) },
        None => Requirement { role: text.clone(), count: 1 },
    };
    config.settings.approval.default_requirements.iter().map(one).collect()
}

pub(super) fn gateway(config: &Config) -> gateway::Settings {
    let from = &config.settings.gateway;
    gateway::Settings {
        port: from.port,
        max_body_bytes: size(from.max_body_bytes),
        max_response_bytes: size(from.max_response_bytes),
        max_requests: size(from.max_requests),
        max_continuations: small(from.max_continuations),
        hook_match_s: from.hook_match_s,
        keepalive_s: from.keepalive_s,
        http_version: match from.http_version.as_str() {
            "1.1" => gateway::HttpVersion::Http1,
            _ => gateway::HttpVersion::Negotiated,
        },
        ca_file: from.ca_file.as_deref().map(|file| config.in_home(file)),
        connect_timeout_s: from.connect_timeout_s,
        first_byte_timeout_s: from.first_byte_timeout_s,
        idle_timeout_s: from.idle_timeout_s,
        ping_s: from.ping_s,
        retries: small(from.retries),
        credential_cache_s: from.credential_cache_s,
        credential_timeout_s: from.credential_timeout_s,
        repairs: gateway::Repairs {
            drop_blank_text: from.drop_blank_text,
            drop_orphaned_results: from.drop_orphaned_results,
            complete_missing_results: from.complete_missing_results,
            unwrap_databricks_calls: from.unwrap_databricks_calls,
            fix_finish_reason: from.fix_finish_reason,
        },
        record_bytes: from.record_bytes,
        egress: gateway::egress::Bounds {
            max_tunnels: size(from.max_tunnels).min(tokio::sync::Semaphore::MAX_PERMITS),
            max_tunnels_per_attempt: from.max_tunnels_per_attempt,
            max_tunnel_bytes: from.max_tunnel_bytes,
            tunnel_idle_s: from.tunnel_idle_s,
            tunnel_connect_timeout_s: from.tunnel_connect_timeout_s,
        },
        ..gateway::Settings::default()
    }
}

/// The model of each agent that names one.
pub(super) fn models(config: &Config) -> BTreeMap<String, Upstream> {
    let upstream = |name: &String| {
        let model = config.models.get(name)?;
        let credential = match &model.credential {
            Credential::None => None,
            Credential::Environment(variable) => Some(gateway::Credential::Env(variable.clone())),
            Credential::File(path) => Some(gateway::Credential::File(path.clone())),
            Credential::Command(words) => Some(gateway::Credential::Command(words.clone())),
            Credential::Forwarded => Some(gateway::Credential::Forwarded),
        };
        let named = (!model.model.is_empty()).then(|| model.model.clone());
        let (dialect, auth) = (model.dialect, model.auth);
        let (name, prices) = (name.clone(), model.prices);
        Some(Upstream { name, dialect, auth, base_url: model.base_url.clone(), model: named, credential, prices })
    };
    config.agents.iter().filter_map(|(agent, profile)| Some((agent.clone(), upstream(profile.model.as_ref()?)?))).collect()
}

pub(super) fn executor(config: &Config) -> executor::Settings {
    let (from, tasks) = (&config.settings.executor, &config.settings.tasks);
    let agents = config.agents.iter().map(|(name, agent)| (name.clone(), profile(config, name, agent))).collect();
    executor::Settings {
        columns: u16::try_from(from.columns).unwrap_or(120),
        rows: u16::try_from(from.rows).unwrap_or(40),
        idle_s: tasks.idle_s,
        grace_s: from.grace_s,
        hook_limit_s: from.hook_limit_s,
        transcript_bytes: from.max_transcript_bytes,
        result_bytes: tasks.max_result_bytes,
        sandbox: sandbox(config),
        pass_environment: from.pass_environment.clone(),
        agents,
        ..executor::Settings::default()
    }
}

/// What confines agents.
pub(crate) fn sandbox(config: &Config) -> executor::sandbox::Settings {
    use executor::sandbox::{Limits, Mode, Network};
    let from = &config.settings.executor;
    executor::sandbox::Settings {
        mode: match from.sandbox.as_str() {
            "require" => Mode::Require,
            "floor" => Mode::Floor,
            "off" => Mode::Off,
            _ => Mode::BestEffort,
        },
        network: if from.network == "open" { Network::Open } else { Network::GatewayOnly },
        limits: Limits {
            processes: from.max_processes,
            open_files: from.max_open_files,
            file_bytes: from.max_file_bytes,
            address_space_bytes: from.max_address_space_bytes,
        },
        tmp_bytes: from.max_tmp_bytes,
        readable: from.readable.iter().map(|path| config.in_home(path)).collect(),
        ..executor::sandbox::Settings::default()
    }
}

fn profile(config: &Config, name: &str, agent: &crate::config::Agent) -> executor::agent::Profile {
    let model = agent.model.as_ref().and_then(|name| config.models.get(name)).map(|m| m.model.clone());
    executor::agent::Profile {
        kind: agent.kind,
        command: agent.command.as_deref().map(PathBuf::from).unwrap_or_default(),
        arguments: agent.arguments.clone(),
        resume: agent.resume.clone(),
        environment: agent.environment.clone(),
        model: model.unwrap_or_default(),
        idle_s: agent.idle_s,
        max_hold_s: agent.max_hold_s,
        at_provider: match config.hosted_tools.get(name).is_some_and(HostedTools::has_search) {
            true => executor::agent::AtProvider::Search,
            false => executor::agent::AtProvider::Nothing,
        },
    }
}

pub(super) fn workspaces(config: &Config) -> executor::workspace::Settings {
    let profile = |w: &crate::config::Workspace| match &w.source {
        WorkspaceSource::Path(path) => executor::workspace::Profile { path: Some(path.clone()), git: None },
        WorkspaceSource::Git(url) => executor::workspace::Profile { path: None, git: Some(url.clone()) },
    };
    executor::workspace::Settings { named: config.workspaces.iter().map(|(name, w)| (name.clone(), profile(w))).collect() }
}

pub(super) fn pipeline(config: &Config) -> pipeline::Settings {
    let tasks = &config.settings.tasks;
    pipeline::Settings {
        max_concurrent: size(tasks.max_concurrent),
        retention: pipeline::Retention {
            transcripts_s: tasks.keep_transcripts_s,
            contents_s: tasks.keep_contents_s,
            decisions_s: tasks.keep_decisions_s,
            workspaces_s: tasks.keep_workspaces_s,
        },
    }
}

pub(super) fn service(config: &Config, url: &str, agents: &Agents) -> service::Settings {
    let tasks = &config.settings.tasks;
    let names: BTreeSet<String> = agents.list().into_iter().map(|a| a.name).collect();
    let rule = |r: &crate::config::LabelRule| LabelRule {
        workspaces: r.workspace.iter().cloned().collect(),
        principals: r.principal.iter().cloned().collect(),
        agents: r.agent.iter().cloned().collect(),
        labels: r.set.clone(),
    };
    service::Settings {
        max_prompt_bytes: size(tasks.max_prompt_bytes),
        max_context_bytes: size(tasks.max_context_bytes),
        timeout_s: tasks.timeout_s,
        max_timeout_s: tasks.timeout_max_s,
        inbox_window_s: tasks.inbox_window_s,
        max_queued: tasks.max_queued,
        max_open_per_principal: tasks.max_per_principal,
        default_agent: tasks.default_agent.clone(),
        agents: names,
        workspaces: config.workspaces.iter().map(|(name, w)| (name.clone(), w.principals.clone())).collect(),
        labels: config.labels.iter().map(rule).collect(),
        public_url: url.trim_end_matches('/').to_owned(),
        services: services(config),
    }
}

/// Whom tasks act as whose model has a credential of the server's.
fn services(config: &Config) -> BTreeMap<String, String> {
    let service = |agent: &crate::config::Agent| {
        let name = agent.model.as_ref()?;
        let model = config.models.get(name)?;
        match model.credential {
            Credential::None | Credential::Forwarded => None,
            Credential::Environment(_) | Credential::File(_) | Credential::Command(_) => {
                Some(model.acting_as.clone().unwrap_or_else(|| format!("service:{name}")))
            }
        }
    };
    config.agents.iter().filter_map(|(name, agent)| Some((name.clone(), service(agent)?))).collect()
}

pub(super) fn accounts(config: &Config) -> accounts::Settings {
    let from = &config.settings.identity;
    let preset = match from.preset.as_deref() {
        Some("databricks-apps") => proxy::Settings::databricks_apps(),
        _ => proxy::Settings::default(),
    };
    let headers = if from.headers.is_empty() { preset.identity_headers.clone() } else { from.headers.clone() };
    accounts::Settings {
        mode: if from.mode == "proxy" { Mode::Proxy } else { Mode::Local },
        local_name: from.local_name.clone(),
        roles_file: config.in_home(&from.roles_file),
        default_roles: from.default_roles.clone(),
        proxy: proxy::Settings {
            trusted_peers: from.trusted_peers.clone(),
            identity_headers: headers,
            access_token_header: from.access_token_header.clone().or_else(|| preset.access_token_header.clone()),
            secret_header: from.secret_header.clone(),
            secret_file: from.secret_file.as_deref().map(|file| config.in_home(file)),
        },
        login_ttl_s: from.login_ttl_s,
        login_link_ttl_s: from.login_link_ttl_s,
        token_ttl_s: from.token_ttl_s,
        token_ttl_max_s: from.token_ttl_max_s,
        max_tokens: small(from.max_tokens),
        failed_logins_per_minute: small(from.failed_logins_per_minute),
    }
}

pub(super) fn web(config: &Config) -> web::Settings {
    let from = &config.settings.server;
    web::Settings {
        public_url: from.public_url.clone(),
        allowed_hosts: from.allowed_hosts.clone(),
        allowed_origins: origins(config),
        body_limit_bytes: size(from.body_limit_bytes),
        header_timeout_s: from.header_timeout_s,
        request_timeout_s: from.request_timeout_s,
        max_connections: size(from.max_connections),
        max_viewers: size(from.max_viewers),
    }
}

pub(super) fn mcp(config: &Config, agents: Vec<String>) -> mcp::Settings {
    let from = &config.settings.mcp;
    mcp::Settings {
        // The site's perimeter has checked the host already.
        allowed_hosts: vec!["*".into()],
        allowed_origins: config.settings.server.allowed_origins.clone(),
        genie_origins: from.genie_origins.clone(),
        tool_list: match from.tool_list.as_str() {
            "plain" => mcp::ToolList::Plain,
            "full" => mcp::ToolList::Full,
            _ => mcp::ToolList::Auto,
        },
        max_request_bytes: size(from.max_request_bytes),
        agents,
        default_agent: config.settings.tasks.default_agent.clone(),
        default_timeout_s: config.settings.tasks.timeout_s,
    }
}

/// In the form that browsers send. One that is no origin stays as it is: the MCP face refuses to start with it.
fn origins(config: &Config) -> Vec<String> {
    let written = config.settings.server.allowed_origins.iter().chain(&config.settings.mcp.genie_origins);
    written.map(|text| mcp::normal_origin(text).unwrap_or_else(|_| text.clone())).collect()
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    /// Where settings are handed out.
    const READERS: [&str; 5] = [
        include_str!("settings.rs"),
        include_str!("open_doors.rs"),
        include_str!("../app.rs"),
        include_str!("../telemetry.rs"),
        include_str!("../policy/settings.rs"),
    ];

    #[test]
    fn every_setting_that_is_accepted_is_read() {
        let readers = READERS.map(|text| text.split("#[cfg(test)]").next().unwrap_or_default()).concat();
        let is_read = |key: &str| {
            readers.split(&format!(".{key}")).skip(1).any(|rest| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()))
        };
        let forgotten: Vec<String> =
            reference().into_iter().filter(|s| !is_read(s.key)).map(|s| format!("{}.{}", s.section, s.key)).collect();
        assert!(forgotten.is_empty(), "accepted and never used: {forgotten:?}");
    }

    #[test]
    fn what_an_operator_says_of_agents_reaches_the_executor() {
        let home = tempfile::tempdir().expect("a folder");
        let text = "[executor]\npass_environment = [\"PROXY\"]\nreadable = [\"/srv/shared\"]\n[tasks]\nidle_s = 60\n\
                    [agents.own]\nkind = \"custom\"\ncommand = \"/bin/sh\"\nresume = [\"-r\"]\nidle_s = 900\nmax_hold_s = 90\nhosted_tools = [\"web_search*\"]\n[identity]\nroles_file = \"people.toml\"\n";
        std::fs::write(home.path().join(crate::config::FILE), text).expect("written");
        let config = Config::load(home.path(), &BTreeMap::new(), &crate::config::Flags::default()).expect("right");
        let settings = executor(&config);
        assert_eq!(settings.pass_environment, ["PROXY"]);
        assert_eq!(settings.sandbox.readable, [PathBuf::from("/srv/shared")]);
        assert_eq!((settings.idle_s, settings.agents["own"].idle_s), (60, Some(900)));
        assert_eq!(settings.agents["own"].max_hold_s, Some(90));
        assert_eq!(settings.agents["own"].at_provider, executor::agent::AtProvider::Search);
        assert_eq!(settings.agents["own"].resume.as_deref(), Some(&["-r".to_owned()][..]));
        assert_eq!(accounts(&config).roles_file, home.path().join("people.toml"));
    }
}
