//! What tasks use of their models, and budgets, through a real server.

use serde_json::{Value, json};

use crate::person::{Person, prepared_behind_a_proxy};
use crate::server::{Server, field};
use crate::upstream::{DONE, Upstream, agent, words};

const ROLES: &str = "[[role]]\nname = \"submitter\"\nprincipals = [\"sue@example.com\", \"tim@example.com\"]\n\
                     [[role]]\nname = \"operator\"\nprincipals = [\"olga@example.com\"]\n";
const PRICES: &str = "input_usd_per_million_tokens = 3\noutput_usd_per_million_tokens = 15";

/// A server whose agent `own` is this script; its model says a few words, whatever it is asked.
fn with_budget(budget: &str, script: &str, model: &str) -> (Server, Upstream) {
    let upstream = Upstream::start(|_| (200, words("well")));
    let config = format!("[budget]\n{budget}\n{}", agent(script, &format!("{}/v1", upstream.url), model));
    let mut server = prepared_behind_a_proxy(&config, ROLES);
    server.run();
    (server, upstream)
}

fn run_to_the_end(who: &Person) -> Value {
    let (status, task) = who.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!(status, 201, "{task:#}");
    who.wait_for(&field(&task, "task_id"), &["completed", "failed", "denied", "timed_out"])
}

#[test]
fn a_task_that_uses_up_its_budget_ends_and_says_which_by_how_much_and_what_to_do() {
    // It asks until it is ended: nothing but the budget stops it.
    let (server, upstream) = with_budget("task_tokens = 300", "while true; do ask more >> asked; done", PRICES);
    let sue = Person::new(&server, "sue@example.com");
    let ended = run_to_the_end(&sue);
    assert_eq!(
        (field(&ended, "status"), field(&ended["reason"], "by"), field(&ended["reason"], "code")),
        ("failed".into(), "limit".into(), "budget".into()),
        "{ended:#}"
    );
    let why = field(&ended["reason"], "text");
    assert!(why.contains("budget.task_tokens is used up: 360 of 300 tokens") && why.contains("coda.toml"), "{why}");
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3, "the answer that used it up was the last");
    assert!(seen.iter().all(|one| one.path == "/v1/chat/completions" && one.token.is_empty()), "{seen:?}");
    assert_eq!(ended["usage"], json!({"input_tokens": 300, "output_tokens": 60, "estimated_tokens": 0, "cost_usd": 0.0018}));
    let asked = std::fs::read_to_string(server.in_workspace(&ended, "asked")).unwrap_or_default();
    assert_eq!(asked.matches("well").count(), 2, "the third answer did not reach the agent: {asked}");
}

#[test]
fn a_principal_over_budget_hands_nothing_over_also_after_a_restart_and_others_go_on() {
    let (mut server, _upstream) = with_budget("principal_day_tokens = 240", &format!("ask once; {DONE}"), "");
    let tools = |who: &Person| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "coda_run", "arguments": {"prompt": "go", "agent": "own"}}});
        who.post("/mcp", &call).1["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    };
    {
        let (sue, tim, olga) = (
            Person::new(&server, "sue@example.com"),
            Person::new(&server, "tim@example.com"),
            Person::new(&server, "olga@example.com"),
        );
        let first = run_to_the_end(&sue);
        assert_eq!(field(&first, "status"), "completed", "{first:#}");
        assert_eq!(first["usage"]["cost_usd"], Value::Null, "no price: nobody knows what it cost");
        let second = run_to_the_end(&sue);
        assert_eq!(field(&second["reason"], "code"), "budget", "{second:#}");
        assert!(field(&second["reason"], "text").contains("budget.principal_day_tokens of sue@example.com"), "{second:#}");
        assert_eq!(field(&run_to_the_end(&tim), "status"), "completed");
        let (status, own) = sue.get("/v1/usage");
        assert_eq!(
            (status, &own["days"][0]["usage"]["input_tokens"], own["days"].as_array().map(Vec::len)),
            (200, &json!(200), Some(1)),
            "{own:#}"
        );
        assert_eq!(sue.get("/v1/usage?all=true").0, 403);
        assert_eq!(sue.get("/v1/usage?principal=tim%40example.com").0, 403);
        assert_eq!(sue.get("/v1/usage?since=yesterday").0, 400);
        let (status, all) = olga.get("/v1/usage?all=true");
        assert_eq!((status, all["days"].as_array().map(Vec::len)), (200, Some(2)), "{all:#}");
    }
    server.stop();
    server.run();
    let (sue, tim) = (Person::new(&server, "sue@example.com"), Person::new(&server, "tim@example.com"));
    let (status, refused) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!((status, field(&refused["error"], "code")), (402, "budget".into()), "{refused:#}");
    let why = field(&refused["error"], "message");
    assert!(why.contains("240 of 240 tokens this day; it begins anew at"), "{why}");
    let told: Value = serde_json::from_str(&tools(&sue)).expect("JSON");
    assert_eq!(field(&told["error"], "code"), "budget", "{told:#}");
    assert_eq!(tim.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" })).0, 201);
}
