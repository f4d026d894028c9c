use std::collections::BTreeMap;
use std::path::Path;

use super::*;

fn read(text: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, Vec<Problem>> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
    Config::parse(Path::new("/home"), text, &environment, flags)
}

fn only_problem(text: &str) -> Problem {
    let mut problems = read(text, &[], &Flags::default()).expect_err("wrong");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

fn origin(config: &Config, key: &str) -> Origin {
    config.shown.iter().find(|s| s.key == key).map(|s| s.origin.clone()).expect("a known key")
}

#[test]
fn the_highest_layer_wins_and_says_so() {
    let file = "[tasks]\nmax_concurrent = 2\nmax_queued = 7\n[server]\nlisten = \"127.0.0.1:1\"\n";
    let flags = Flags::default().set("server.listen", "--listen", Some("127.0.0.1:3".into()));
    let environment = [("CODA_SERVER_LISTEN", "127.0.0.1:2"), ("CODA_TASKS_MAX_CONCURRENT", "9")];
    let config = read(file, &environment, &flags).expect("right");
    assert_eq!(config.settings.server.listen, "127.0.0.1:3");
    assert_eq!(origin(&config, "server.listen"), Origin::Flag("--listen".into()));
    assert_eq!(config.settings.tasks.max_concurrent, 9);
    assert_eq!(origin(&config, "tasks.max_concurrent"), Origin::Environment("CODA_TASKS_MAX_CONCURRENT".into()));
    assert_eq!(config.settings.tasks.max_queued, 7);
    assert_eq!(origin(&config, "tasks.max_queued"), Origin::File);
    assert_eq!(origin(&config, "tasks.timeout_s"), Origin::Default);
}

#[test]
fn names_of_the_original_still_work() {
    let environment = [("CODA_MAX_CONCURRENT", "3"), ("CODA_APP_URL", "https://coda.example.com"), ("CODA_TASK_TTL", "48")];
    let config = read("", &environment, &Flags::default()).expect("right");
    assert_eq!(config.settings.tasks.max_concurrent, 3);
    assert_eq!(config.settings.server.public_url.as_deref(), Some("https://coda.example.com"));
    assert_eq!(config.settings.tasks.inbox_window_s, 48 * 3_600);
}

#[test]
fn a_typo_is_named_with_its_line_and_what_was_meant() {
    let problem = only_problem("[tasks]\nmax_concurent = 2\n");
    assert_eq!(
        (problem.line, problem.message.as_str()),
        (Some(2), "unknown key 'max_concurent': did you mean 'max_concurrent'?")
    );
    let problem = only_problem("\n\n[taks]\n");
    assert_eq!((problem.line, problem.message.as_str()), (Some(3), "unknown key 'taks': did you mean 'tasks'?"));
}

#[test]
fn wrong_values_are_all_reported_with_their_lines() {
    let text = "[identity]\nmode = \"locl\"\n[log]\nformat = \"xml\"\n[models.m]\nbase_url = \"ftp://x\"\nmodel = \"m\"\n";
    let problems = read(text, &[("CODA_TASKS_MAX_QUEUED", "many")], &Flags::default()).expect_err("wrong");
    let found: Vec<(&str, Option<usize>)> = problems.iter().map(|p| (p.key.as_str(), p.line)).collect();
    let expected =
        [("tasks.max_queued", None), ("identity.mode", Some(2)), ("log.format", Some(4)), ("models.m.base_url", Some(6))];
    assert_eq!(found, expected);
}

#[test]
fn local_mode_does_not_listen_for_others() {
    let problem = only_problem("[server]\nlisten = \"0.0.0.0:8484\"\n");
    assert!(problem.message.contains("identity.mode = \"proxy\""), "{}", problem.message);
}

#[test]
fn holds_have_bounds() {
    for (text, key) in [
        ("[approval]\nhold_s = 601\n", "approval.hold_s"),
        ("[gateway]\nkeepalive_s = 31\n", "gateway.keepalive_s"),
        ("[gateway]\nping_s = 3601\n", "gateway.ping_s"),
        ("[agents.goose]\nmax_hold_s = 0\n", "agents.goose.max_hold_s"),
    ] {
        assert_eq!(only_problem(text).key, key);
    }
    let config = read("[agents.goose]\nmax_hold_s = 90\n", &[], &Flags::default()).expect("right");
    assert_eq!(config.agents["goose"].max_hold_s, Some(90));
}

#[test]
fn http_versions_are_auto_and_1_1() {
    let problem = only_problem("[gateway]\nhttp_version = \"2\"\n");
    assert_eq!((problem.key.as_str(), problem.message.as_str()), ("gateway.http_version", "'2' is not one of auto, 1.1"));
    let config = read("[gateway]\nhttp_version = \"1.1\"\nca_file = \"ca.pem\"\n", &[], &Flags::default()).expect("right");
    assert_eq!(config.settings.gateway.ca_file.as_deref(), Some("ca.pem"));
}

#[test]
fn only_an_agent_of_ones_own_says_how_it_goes_on() {
    let own = "[agents.own]\ncommand = \"/bin/own\"\n";
    for (text, said) in [
        ("[agents.goose]\nresume = [\"--resume\"]\n".to_owned(), "coda knows"),
        (format!("{own}resume = []\n"), "holds no argument"),
        (format!("{own}resume = [\"--resume={{session}}\"]\n"), "{session_id}"),
    ] {
        let problem = only_problem(&text);
        assert!(problem.key.ends_with(".resume") && problem.message.contains(said), "{problem:?}");
    }
    let config = read(&format!("{own}resume = [\"--resume\", \"{{session_id}}\"]\n"), &[], &Flags::default()).expect("right");
    assert_eq!(config.agents["own"].resume.as_deref(), Some(&["--resume".to_owned(), "{session_id}".to_owned()][..]));
}

#[test]
fn named_tables_refer_to_each_other() {
    let problem = only_problem("[agents.hermes]\nmodel = \"mian\"\n[models.main]\nbase_url = \"http://x/v1\"\nmodel = \"m\"\n");
    assert_eq!(problem.message, "there is no [models.mian]: did you mean 'main'?");
    let problem =
        only_problem("[models.m]\nbase_url = \"http://x\"\nmodel = \"m\"\ncredential = { env = \"A\", file = \"/b\" }\n");
    assert_eq!(problem.key, "models.m.credential");
    let problem = only_problem("[models.m]\nbase_url = \"http://x\"\nmodel = \"m\"\ndialect = \"mesages\"\n");
    assert!(problem.key == "models.m.dialect" && problem.message.contains("\"messages\""), "{}", problem.message);
    let problem = only_problem("[agents.claude]\nmodel = \"m\"\n[models.m]\nbase_url = \"http://x\"\nmodel = \"m\"\n");
    assert!(problem.message.contains("dialect = \"messages\""), "{}", problem.message);
    assert_eq!(only_problem("[agents.runbook]\n").key, "agents.runbook");
    assert_eq!(only_problem("[agents.runbook]\nallow_hosts = [\"pypi.org\"]\ncommand = \"x\"\n").key, "agents.runbook");
    assert_eq!(only_problem("[workspaces.w]\npath = \"relative\"\n").key, "workspaces.w.path");
}

#[test]
fn budgets_are_sums_and_one_in_money_needs_prices() {
    let model = "[agents.hermes]\nmodel = \"main\"\ntask_tokens = 7\n[models.main]\nbase_url = \"http://x/v1\"\nmodel = \"m\"\n";
    let prices = "input_usd_per_million_tokens = 3\noutput_usd_per_million_tokens = 0.6\n";
    let budget = "[budget]\ntask_cost_usd = 2.5\nprincipal_day_tokens = 1000\n";
    let environment = [("CODA_BUDGET_PRINCIPAL_MONTH_COST_USD", "40")];
    let config = read(&format!("{budget}{model}{prices}"), &environment, &Flags::default()).expect("right");
    let sums = [config.settings.budget.task_cost_usd, config.settings.budget.principal_month_cost_usd].map(|sum| sum.to_string());
    assert_eq!(sums, ["2.5", "40"]);
    assert_eq!(config.agents["hermes"].task_tokens, Some(7));
    assert_eq!(config.models["main"].prices.map(|prices| prices.output.to_string()).as_deref(), Some("0.6"));
    let problem = only_problem(&format!("{budget}{model}"));
    assert!(problem.key == "models.main" && problem.message.contains("input_usd_per_million_tokens"), "{}", problem.message);
    assert_eq!(only_problem(&format!("{model}input_usd_per_million_tokens = 3\n")).key, "models.main");
    read(&format!("[budget]\ntask_tokens = 5\n{model}"), &[], &Flags::default()).expect("tokens need no price");
    assert!(only_problem("[budget]\ntask_cost_usd = -1\n").message.contains("US dollars"));
}

#[test]
fn a_list_of_hosts_is_read_when_the_server_starts() {
    let config = read(
        "[agents.runbook]\nallow_hosts = [\"pypi.org\"]\n[agents.hermes]\nmodel = \"m\"\n[models.m]\nbase_url = \"http://x/v1\"\nmodel = \"m\"\n",
        &[],
        &Flags::default(),
    );
    let config = config.expect("right");
    assert!(config.egress.contains_key("runbook") && !config.egress.contains_key("hermes"));
    assert!(!config.agents.contains_key("runbook"));
    let problem = only_problem("[agents.hermes]\nallow_hosts = [\"pypi.org\", \"https://x.org\"]\n");
    assert_eq!((problem.key.as_str(), problem.line), ("agents.hermes.allow_hosts", Some(2)));
    assert!(problem.message.starts_with("'https://x.org': only a host and a port"), "{}", problem.message);
    let problem = only_problem("[agents.hermes]\nallow_private = true\n");
    assert!(problem.key == "agents.hermes.allow_private" && problem.message.contains("allow_hosts"), "{}", problem.message);
}

#[test]
fn a_list_of_hosted_tools_is_read_when_the_server_starts() {
    let agent = "[agents.claude]\nmodel = \"m\"\n[models.m]\ndialect = \"messages\"\nbase_url = \"http://x/v1\"\nmodel = \"m\"\n";
    let config =
        read(&agent.replace("model = \"m\"\n[", "model = \"m\"\nhosted_tools = [\"web_search*\"]\n["), &[], &Flags::default());
    assert!(config.expect("right").hosted_tools.contains_key("claude"));
    assert!(read(agent, &[], &Flags::default()).expect("right").hosted_tools.is_empty());
    let problem = only_problem("[agents.hermes]\nhosted_tools = [\"*\"]\n");
    assert_eq!((problem.key.as_str(), problem.line), ("agents.hermes.hosted_tools", Some(2)));
    assert_eq!(
        only_problem("[agents.runbook]\nallow_hosts = [\"pypi.org\"]\nhosted_tools = [\"web_search*\"]\n").key,
        "agents.runbook"
    );
}

#[test]
fn what_init_writes_reads_back_as_the_defaults() {
    let defaults = read("", &[], &Flags::default()).expect("right");
    let plain = read(&commented(None, None), &[], &Flags::default()).expect("right");
    assert_eq!(plain.settings, defaults.settings);
    assert!(plain.shown.iter().all(|s| s.origin == Origin::Default));

    // Every shown default is a value that the file takes.
    let lines = commented(None, None);
    let mut all_set = String::new();
    for line in lines.split("# Agents that tasks").next().unwrap_or_default().lines() {
        match line.strip_prefix('#') {
            Some(set) if !set.starts_with(' ') && !set.ends_with('=') => all_set.push_str(set),
            Some(_) => {}
            None => all_set.push_str(line),
        }
        all_set.push('\n');
    }
    assert_eq!(read(&all_set, &[], &Flags::default()).expect("right").settings, defaults.settings);
}

#[test]
fn init_sets_up_an_agent_with_its_model() {
    let agent = FirstAgent {
        name: "hermes".into(),
        model_url: "http://127.0.0.1:9/v1".into(),
        model: "a \"quoted\" name".into(),
        key_variable: Some("MODEL_KEY".into()),
    };
    let config = read(&commented(Some(&agent), None), &[], &Flags::default()).expect("right");
    assert_eq!(config.settings.tasks.default_agent, "hermes");
    assert_eq!(config.agents["hermes"].kind, AgentKind::Hermes);
    let model = &config.models["hermes"];
    assert_eq!((model.base_url.as_str(), model.model.as_str()), ("http://127.0.0.1:9/v1", "a \"quoted\" name"));
    assert_eq!(model.credential, Credential::Environment("MODEL_KEY".into()));
}

#[test]
fn a_mistyped_variable_is_noticed() {
    let environment =
        BTreeMap::from([("CODA_TASKS_MAX_CONCURENT".to_owned(), "1".to_owned()), ("CODA_HOME".to_owned(), "/x".to_owned())]);
    let stray = stray_variables(&environment);
    assert_eq!(stray.len(), 1);
    assert!(stray[0].message.contains("CODA_TASKS_MAX_CONCURRENT"), "{}", stray[0].message);
}

#[test]
fn settings_have_units_and_meanings() {
    for setting in reference() {
        assert!(setting.meaning.ends_with('.'), "{}.{}", setting.section, setting.key);
        for word in ["timeout", "ttl", "_ttl", "expires"] {
            if setting.key.ends_with(word) {
                panic!("{}.{} lacks a unit", setting.section, setting.key);
            }
        }
    }
}

#[test]
fn the_operations_handbook_lists_every_setting() {
    let handbook =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")).expect("readable");
    let rows = reference_rows();
    assert!(handbook.contains(&rows), "docs/operations.md: the table of settings must read\n{rows}");
}

/// The table of settings as docs/operations.md has it.
fn reference_rows() -> String {
    let row = |s: Setting| {
        let default = if s.default.is_empty() { "unset".to_owned() } else { format!("`{}`", s.default) };
        format!("| `{}.{}` | {default} | {} |", s.section, s.key, s.meaning)
    };
    reference().into_iter().map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_for_several_people_names_the_proxy() {
    let mut proxy = FirstProxy { preset: "databricks-apps".into(), trusted_peers: vec!["10.0.0.0/8".into()] };
    let config = read(&commented(None, Some(&proxy)), &[], &Flags::default()).expect("right");
    let identity = &config.settings.identity;
    assert_eq!(identity.trusted_peers, ["10.0.0.0/8"]);
    assert_eq!((identity.mode.as_str(), identity.preset.as_deref()), ("proxy", Some("databricks-apps")));
    // Without a peer nobody could ever log in.
    proxy.trusted_peers.clear();
    let refused = read(&commented(None, Some(&proxy)), &[], &Flags::default()).expect_err("nobody is trusted");
    assert!(format!("{refused:?}").contains("identity.trusted_peers"), "{refused:?}");
}
