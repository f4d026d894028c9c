//! The fault matrix: whatever a policy does wrong, at whichever gate, the answer is the closed verdict and never allow.

use serde_json::json;

use super::*;
use crate::identity::ClientInfo;
use crate::policy::{Activation, Verdict};

const LIMITS: &str = "limits = { fuel = 20_000_000, timeout_ms = 20_000, memory_bytes = 16_777_216 }";

/// What a guard may do wrong, and the fault that it is.
const GUARD_FAULTS: [(&str, &str); 16] = [
    ("loop", "fuel"),
    ("trap", "trap"),
    ("exit", "import"),
    ("alloc", "memory"),
    ("recurse", "stack"),
    ("undecided", "undecided"),
    ("empty-deny", "invalid-answer"),
    ("undeclared", "invalid-answer"),
    ("undeclared-deny", "invalid-answer"),
    ("span", "invalid-answer"),
    ("span-backwards", "invalid-answer"),
    ("long-message", "invalid-answer"),
    ("big", "memory"),
    ("many", "invalid-answer"),
    ("bad-mark", "invalid-answer"),
    ("ask-nobody", "invalid-answer"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_guards_fault_is_the_closed_verdict_at_every_gate() {
    for (what, fault) in GUARD_FAULTS {
        let home = Home::new(&entry("bad", &format!("do = \"{what}\""), LIMITS));
        let engine = home.start().await;
        for gate in Gate::ALL {
            let judgment = engine.judge(event_at(gate, "{}")).await;
            assert_eq!(judgment.verdict.as_str(), "deny", "{what} at {gate}");
            assert_eq!(codes(&judgment), [format!("policy-fault.{fault}")], "{what} at {gate}: {:?}", judgment.steps);
            assert_eq!(judgment.steps.last().unwrap().outcome, "fault");
            assert!(judgment.cleared().is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guards_fault_may_ask_people_but_a_broken_refusal_stays_one() {
    for (what, verdict) in
        [("trap", "needs-approval"), ("undeclared", "needs-approval"), ("undeclared-deny", "deny"), ("empty-deny", "deny")]
    {
        let closed = format!("{LIMITS}\nclosed = \"needs-approval\"");
        let (_home, engine) = started(&entry("bad", &format!("do = \"{what}\""), &closed)).await;
        let judgment = engine.judge(event_at(Gate::ToolCall, "{}")).await;
        assert_eq!(judgment.verdict.as_str(), verdict, "{what}");
        if let Verdict::NeedsApproval(demand) = &judgment.verdict {
            assert_eq!(demand.approvals, Settings::default().default_approvals);
            assert!(!demand.allow_requester && demand.expires_after_s > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filters_fault_withholds() {
    for (what, fault) in [
        ("loop", "fuel"),
        ("trap", "trap"),
        ("alloc", "memory"),
        ("undecided", "undecided"),
        ("withhold-empty", "invalid-answer"),
    ] {
        let closed = format!("{LIMITS}\nclosed = \"needs-approval\"");
        let (_home, engine) = started(&entry("bad", &format!("do = \"{what}\", in = \"filter\""), &closed)).await;
        for gate in Gate::ALL {
            let judgment = engine.judge(event_at(gate, "{}")).await;
            assert_eq!((judgment.verdict.as_str(), judgment.screened()), ("deny", ""), "{what} at {gate}");
            assert_eq!(codes(&judgment), [format!("policy-fault.{fault}")], "{what} at {gate}: {:?}", judgment.steps);
        }
    }
    let (_home, engine) = started(&entry("bad", "do = \"not-json\", in = \"filter\"", LIMITS)).await;
    for (gate, verdict) in
        [(Gate::Prompt, "allow"), (Gate::ToolCall, "deny"), (Gate::ToolResult, "allow"), (Gate::Output, "deny")]
    {
        assert_eq!(engine.judge(event_at(gate, "{}")).await.verdict.as_str(), verdict, "{gate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_what_fuel_would_not() {
    let limits = "limits = { fuel = 1_000_000_000_000, timeout_ms = 50 }";
    let (_home, engine) = started(&entry("bad", "do = \"loop\"", limits)).await;
    let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
    assert_eq!(codes(&judgment), ["policy-fault.timeout"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_wait_or_reach_out_does_neither() {
    let cases = [
        ("sleep", "slept"),
        ("stdin", "stdin Some(0) 0"),
        ("print", "printed"),
        ("file", "file false"),
        ("environment", "environment 0 0"),
        ("clock", "clock 1767225600123"),
    ];
    for (what, message) in cases {
        let (_home, engine) = started(&entry("inert", &format!("do = \"{what}\""), LIMITS)).await;
        let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
        assert_eq!(judgment.verdict.as_str(), "allow", "{what}: {:?}", judgment.steps);
        assert_eq!(judgment.findings[0].message, message, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_costs_and_says_the_same() {
    let (_home, engine) = started(&entry("same", "do = \"random\"", LIMITS)).await;
    let first = engine.judge(event_at(Gate::Prompt, "x")).await;
    let second = engine.judge(event_at(Gate::Prompt, "x")).await;
    assert_eq!(first.findings, second.findings);
    assert_eq!(first.steps[1].fuel, second.steps[1].fuel);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_memory_survives_a_call() {
    let (_home, engine) = started(&entry("fresh", "do = \"report\"", LIMITS)).await;
    for _ in 0..3 {
        let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
        assert!(judgment.findings[0].message.contains("call 1; configured 1;"), "{}", judgment.findings[0].message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_set_every_gate_denies() {
    let home = Home::new("");
    let engine = home.open();
    for gate in Gate::ALL {
        let judgment = engine.judge(event_at(gate, "{}")).await;
        assert_eq!((judgment.verdict.as_str(), codes(&judgment)), ("deny", vec!["policy-fault.no-set"]));
    }
    assert!(engine.ready().is_err());
    let shaped = engine.shape(&ClientInfo::default(), "t", &json!({ "task_id": "task_1", "summary": "SECRET" })).await;
    assert!(shaped.text.contains("task_1") && !shaped.structured.unwrap().to_string().contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_over_the_limit_is_denied_unseen() {
    let home = Home::new(&entry("fine", "", ""));
    let engine = home.open_with(Settings { max_event_bytes: 1_000, ..Settings::default() });
    engine.start().await.unwrap();
    assert_eq!(engine.judge(event_at(Gate::Prompt, "short")).await.verdict.as_str(), "allow");
    let judgment = engine.judge(event_at(Gate::Prompt, &"x".repeat(1_001))).await;
    assert_eq!(codes(&judgment), ["policy-fault.event-too-large"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shaper_that_fails_leaves_a_bare_answer() {
    let output = json!({ "task_id": "task_1", "status": "completed", "summary": "SECRET" });
    for what in ["loop", "trap", "drop"] {
        let toml = entry("shapes", &format!("do = \"{what}\", in = \"shape\""), &format!("gates = [\"shape\"]\n{LIMITS}"));
        let (_home, engine) = started(&toml).await;
        let shaped = engine.shape(&ClientInfo::default(), "coda_get_result", &output).await;
        let structured = shaped.structured.unwrap();
        assert_eq!((&structured["task_id"], &structured["status"]), (&json!("task_1"), &json!("completed")), "{what}");
        assert!(!structured.to_string().contains("SECRET") && !shaped.text.contains("SECRET"), "{what}");
        let tools = json!([{ "name": "coda_run" }]);
        assert_eq!(engine.shape_tools(&ClientInfo::default(), &tools).await, tools, "{what}");
    }
    let (_home, engine) = started(&entry("shapes", "", "gates = [\"shape\"]")).await;
    let shaped = engine.shape(&ClientInfo::default(), "coda_get_result", &output).await;
    assert_eq!((shaped.structured, shaped.text.starts_with("shaped ")), (Some(output), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_no_set_says_why() {
    let check = async |policies: &str, expected: &str| {
        let home = Home::new(policies);
        std::fs::write(home.folder().join("module.wasm"), wat::parse_str("(module)").unwrap()).unwrap();
        std::fs::write(home.folder().join("empty.wasm"), wat::parse_str("(component)").unwrap()).unwrap();
        let sockets = r#"(component (import "wasi:sockets/tcp@0.2.0" (instance (export "x" (func)))))"#;
        std::fs::write(home.folder().join("sockets.wasm"), wat::parse_str(sockets).unwrap()).unwrap();
        std::fs::write(home.folder().join("text.wasm"), "hello").unwrap();
        let error = refused_start(&home).await.to_string();
        assert!(error.contains(expected), "{error}");
    };
    let component = |file: &str| format!("[[policy]]\nname = \"p\"\ncomponent = \"{file}\"\n");
    check(&component("none.wasm"), "policy 'p': component none.wasm: ").await;
    check(&component("../policies/faulty.wasm"), "policy 'p': component ../policies/faulty.wasm: ").await;
    check(&component("text.wasm"), "not a WebAssembly component").await;
    check(&component("module.wasm"), "not a WebAssembly component").await;
    check(&component("empty.wasm"), "does not export 'coda:policy/about@0.1.0'").await;
    check(&component("sockets.wasm"), "imports 'wasi:sockets/tcp@0.2.0'").await;
    check(&component("bundled:nothing"), "no bundled policy 'nothing'").await;
    check(&entry("p", "", "sha256 = \"00\""), "and policies.toml pins 00").await;
    check(&entry("p", "do = \"refuse\", in = \"configure\"", ""), "invalid settings: the word is not one I know").await;
    check(&entry("p", "do = \"trap\", in = \"configure\"", ""), "policy 'p': its configure says").await;
    check(&entry("p", "", "limits = { memory_bytes = 1_000_000_000_000 }"), "max_memory_bytes").await;
    check("[[policy]]\nnam = \"p\"", "did you mean 'name'?").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_is_never_taken() {
    let home = Home::new(&entry("p", "", ""));
    let engine = home.start().await;
    let code = engine.0.runtime.engine().precompile_component(&wat::parse_str("(component)").unwrap()).unwrap();
    std::fs::write(home.folder().join("faulty.wasm"), code).unwrap();
    let error = engine.load("test", crate::policy::Trigger::Operator).await.unwrap_err().to_string();
    assert!(error.contains("precompiled machine code"), "{error}");
    assert_eq!(engine.status().await.unwrap().activation, Activation::Auto);
}
