//! What a chain does with good answers: order, masks, marks, modes, demands.

use super::*;
use crate::policy::contract::Requirement;
use crate::policy::{Mode, Verdict};

const SECRET: &str = "SECRET";

fn mask(name: &str, word: &str, rest: &str) -> String {
    entry(name, &format!("do = \"mask\", in = \"filter\", word = \"{word}\""), rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_see_what_filters_left_and_what_was_found() {
    let toml = mask("mask", SECRET, "") + &entry("report", "do = \"report\"", "");
    let (_home, engine) = started(&toml).await;
    let judgment = engine.judge(event_at(Gate::ToolResult, "a SECRET b")).await;
    let message = &judgment.findings.last().unwrap().message;
    assert!(message.starts_with("content a **** b;") && message.contains("earlier test.mask;"), "{message}");
    assert_eq!(judgment.screened(), "a **** b");
    assert_eq!(judgment.input_sha256, crate::env::sha256_hex(b"a SECRET b"));
    let outcomes: Vec<_> = judgment.steps.iter().map(|s| (s.policy.as_str(), s.role.as_str(), s.outcome.as_str())).collect();
    let all = [
        ("mask", "filter", "replaced"),
        ("report", "filter", "unchanged"),
        ("mask", "guard", "allow"),
        ("report", "guard", "allow"),
    ];
    assert_eq!(outcomes, all);
    assert_eq!(judgment.cleared().unwrap().into_inner(), "a **** b");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_tool_call_what_runs_stays_and_what_is_shown_is_masked() {
    let toml = mask("one", SECRET, "") + &mask("two", "TOKEN", "") + &entry("report", "do = \"report\"", "");
    let (_home, engine) = started(&toml).await;
    let judgment = engine.judge(event_at(Gate::ToolCall, r#"{"a":"SECRET TOKEN"}"#)).await;
    assert!(judgment.findings.last().unwrap().message.contains("SECRET TOKEN"));
    assert_eq!(judgment.screened(), r#"{"a":"**** ****"}"#);
    assert_eq!(judgment.cleared().unwrap().into_inner(), r#"{"a":"SECRET TOKEN"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn rewriting_needs_leave_and_a_parser() {
    let toml = mask("one", SECRET, "may_rewrite = true");
    let home = Home::new(&toml);
    let engine = home.start().await;
    let judgment = engine.judge(event_at(Gate::ToolCall, r#"{"a":"SECRET"}"#)).await;
    assert_eq!(judgment.verdict.as_str(), "deny");
    drop(engine);

    let store = Store::open(&home.dir.path().join("coda.db")).unwrap();
    let reparse = |call: &mut ToolCallSubject| call.shell = Some(format!("parsed {}", call.arguments));
    let hooks = Hooks { reparse: Some(Arc::new(reparse)), ..Hooks::default() };
    let engine = Policies::open(Settings::default(), store, home.dir.path(), hooks).unwrap();
    engine.start().await.unwrap();
    let judgment = engine.judge(event_at(Gate::ToolCall, r#"{"a":"SECRET"}"#)).await;
    assert_eq!(judgment.cleared().unwrap().into_inner(), r#"{"a":"****"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strictest_wins_and_demands_add_up() {
    let ask = |name: &str, role: &str| entry(name, &format!("do = \"ask\", word = \"{role}\""), "");
    let (_home, engine) = started(&(ask("a", "prod-data") + &ask("b", "security"))).await;
    let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
    let Verdict::NeedsApproval(demand) = &judgment.verdict else { panic!("{:?}", judgment.verdict) };
    let both = ["prod-data", "security"].map(|role| Requirement { role: role.into(), count: 2 });
    assert_eq!((demand.approvals.as_slice(), demand.expires_after_s), (&both[..], 60));
    assert!(judgment.cleared().is_err());

    let (_home, engine) = started(&(ask("a", "prod-data") + &entry("no", "do = \"deny\"", "") + &ask("b", "security"))).await;
    let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
    assert_eq!(judgment.verdict.as_str(), "deny");
    assert_eq!(codes(&judgment), ["test.ask", "test.deny", "test.ask"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_policy_changes_nothing() {
    for settings in [
        "do = \"deny\"",
        "do = \"trap\"",
        "do = \"withhold\", in = \"filter\"",
        "do = \"mask\", in = \"filter\", word = \"SECRET\"",
        "do = \"mark\"",
    ] {
        let toml = entry("warns", settings, "mode = \"warn\"") + &entry("report", "do = \"report\"", "");
        let (_home, engine) = started(&toml).await;
        let judgment = engine.judge(event_at(Gate::ToolResult, "a SECRET")).await;
        assert_eq!(judgment.findings.len(), 2, "{settings}: {:?}", judgment.findings);
        assert!(
            judgment.findings[1].message.contains("content a SECRET;") && judgment.findings[1].message.contains("earlier ;"),
            "{settings}"
        );
        assert!(judgment.marks.is_empty(), "{settings}");
        assert!(judgment.steps.iter().filter(|s| s.policy == "warns").all(|s| s.mode == Mode::Warn));
        assert_eq!(judgment.cleared().unwrap().into_inner(), "a SECRET", "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_policy_is_not_waited_for() {
    let toml = entry("shadow", "do = \"deny\"", "mode = \"shadow\"") + &entry("report", "do = \"report\"", "");
    let (_home, engine) = started(&toml).await;
    let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
    assert_eq!(judgment.verdict.as_str(), "allow");
    assert!(judgment.steps.iter().all(|step| step.policy == "report"));
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_handed_on_and_bounded() {
    let (_home, engine) = started(&entry("mark", "do = \"mark\"", "")).await;
    let judgment = engine.judge(event_at(Gate::ToolResult, "x")).await;
    assert_eq!(judgment.marks.get("tainted").map(String::as_str), Some("yes"));

    let (_home, engine) = started(&entry("mark", "do = \"many-marks\"", "")).await;
    let mut event = event_at(Gate::ToolResult, "x");
    assert_eq!(engine.judge(event.clone()).await.marks.len(), 40);
    event.task.marks = (0..30).map(|n| (format!("other-{n}"), "yes".to_owned())).collect();
    assert_eq!(codes(&engine.judge(event).await), ["policy-fault.marks"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_judges_only_where_it_is_listed() {
    let (_home, engine) = started(&entry("no", "do = \"deny\"", "gates = [\"tool-call\"]")).await;
    assert_eq!(engine.judge(event_at(Gate::ToolCall, "{}")).await.verdict.as_str(), "deny");
    assert_eq!(engine.judge(event_at(Gate::Prompt, "{}")).await.verdict.as_str(), "allow");
    let live = engine.status().await.unwrap().live.unwrap();
    assert_eq!(live.open_gates, ["prompt", "tool-result", "output"]);
}
