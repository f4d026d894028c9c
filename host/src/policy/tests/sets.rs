//! How sets come and go: reload under way, keep-last-good, rollback that sticks, cold starts, grants, snapshots, cache.

use std::time::Duration;

use super::*;
use crate::policy::{LoadState, Trigger, validate};

const ALLOW: &str = "[[policy]]\nname = \"p\"\ncomponent = \"faulty.wasm\"\n";

fn deny() -> String {
    entry("p", "do = \"deny\"", "")
}

async fn verdict(engine: &Policies) -> String {
    engine.judge(event_at(Gate::Prompt, "x")).await.verdict.as_str().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_folder_judges_otherwise_and_the_same_one_changes_nothing() {
    let (home, engine) = started(ALLOW).await;
    assert_eq!(verdict(&engine).await, "allow");
    let first = engine.live().unwrap();
    assert_eq!(engine.load("test", Trigger::Operator).await.unwrap().state, LoadState::Unchanged);
    home.write(&deny());
    let report = engine.load("test", Trigger::Operator).await.unwrap();
    assert_eq!((report.state, verdict(&engine).await.as_str()), (LoadState::Live, "deny"));
    assert!(report.generation > first.0 && report.digest != first.1);
    let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
    assert_eq!((judgment.generation, judgment.set_digest), (report.generation, report.digest));
    assert_eq!(home.change_kinds(), ["policy.load", "policy.promote", "policy.load", "policy.promote"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_load_leaves_the_live_set_and_says_so() {
    let (home, engine) = started(&deny()).await;
    let live = engine.live();
    home.write("[[policy]]\nname = \"p\"\ncomponent = \"gone.wasm\"\n");
    assert!(engine.load("test", Trigger::Operator).await.is_err());
    assert_eq!((engine.live(), verdict(&engine).await.as_str()), (live, "deny"));
    let status = engine.status().await.unwrap();
    assert!(status.ready && status.degraded.is_some() && status.last_error.unwrap().message.contains("gone.wasm"));
    home.write(&deny());
    engine.load("test", Trigger::Operator).await.unwrap();
    let status = engine.status().await.unwrap();
    assert!(status.degraded.is_none() && status.last_error.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_falls_back_to_the_last_good_set() {
    let home = Home::new(&deny());
    let generation = home.start().await.live().unwrap().0;
    std::fs::remove_file(home.folder().join("faulty.wasm")).unwrap();
    let engine = home.start().await;
    assert_eq!((engine.live().unwrap().0, verdict(&engine).await.as_str()), (generation, "deny"));
    assert!(engine.ready().is_ok() && engine.status().await.unwrap().degraded.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_sticks_until_it_is_unpinned() {
    let home = Home::new(&deny());
    let engine = home.start().await;
    let good = engine.live().unwrap();
    assert!(engine.rollback("op", None, "no reason").await.is_err(), "there is nothing before");
    home.write(ALLOW);
    engine.load("test", Trigger::Watch).await.unwrap();
    let bad = engine.live().unwrap();
    assert_eq!(engine.rollback("op", None, "it allows too much").await.unwrap(), good.0);
    assert_eq!((engine.live().unwrap(), verdict(&engine).await.as_str()), (good.clone(), "deny"));
    let refused = engine.load("test", Trigger::Watch).await.unwrap_err().to_string();
    assert!(
        refused.contains(&bad.1) && refused.contains("it allows too much") && refused.contains("coda policy unpin"),
        "{refused}"
    );

    // Over a restart, and for another set too: it waits as a candidate.
    drop(engine);
    let engine = home.start().await;
    assert_eq!((engine.live().unwrap(), verdict(&engine).await.as_str()), (good.clone(), "deny"));
    home.write(&entry("p", "do = \"ask\", word = \"approver\"", ""));
    assert_eq!(engine.load("test", Trigger::Operator).await.unwrap().state, LoadState::Candidate);
    assert!(engine.promote("op").await.unwrap_err().to_string().contains("pinned"));
    let status = engine.status().await.unwrap();
    assert_eq!((status.pinned, status.quarantine[0].digest.as_str()), (Some(good.0), bad.1.as_str()));

    engine.unpin("op").await.unwrap();
    engine.promote("op").await.unwrap();
    assert_eq!(verdict(&engine).await, "needs-approval");
    home.write(ALLOW);
    assert_eq!(engine.load("test", Trigger::Operator).await.unwrap().state, LoadState::Live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_set_waits_for_promotion() {
    let home = Home::new(&deny());
    let engine = home.start().await;
    home.write(&format!("activation = \"staged\"\n{ALLOW}"));
    assert_eq!(engine.load("test", Trigger::Operator).await.unwrap().state, LoadState::Candidate);
    assert_eq!(verdict(&engine).await, "deny");
    engine.promote("op").await.unwrap();
    assert_eq!(verdict(&engine).await, "allow");
    assert!(engine.promote("op").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_watched() {
    let home = Home::new(&deny());
    let engine = home.open_with(Settings { watch_debounce_ms: 20, ..Settings::default() });
    engine.start().await.unwrap();
    let _watch = engine.watch().unwrap();
    home.write(ALLOW);
    let promoted = async {
        while verdict(&engine).await != "allow" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), promoted).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_drops_nothing_and_mixes_nothing() {
    let home = Home::new(&deny());
    let engine = home.start().await;
    let asker = engine.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let asking = tokio::spawn(async move {
        let mut judged = Vec::new();
        while stopped.try_recv().is_err() {
            let judgment = asker.judge(event_at(Gate::Prompt, "x")).await;
            judged.push((judgment.generation, judgment.verdict.as_str()));
        }
        judged
    });
    let mut expected = vec![(engine.live().unwrap().0, "deny")];
    for round in 0..6 {
        home.write(if round % 2 == 0 { ALLOW.to_owned() } else { deny() }.as_str());
        let report = engine.load("test", Trigger::Operator).await.unwrap();
        expected.push((report.generation, if round % 2 == 0 { "allow" } else { "deny" }));
    }
    stop.send(()).unwrap();
    let judged = asking.await.unwrap();
    assert!(!judged.is_empty() && judged.iter().all(|one| expected.contains(one)), "{judged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_that_are_not_live_any_more_are_freed() {
    let home = Home::new(&deny());
    let engine = home.start().await;
    let mut sets = Vec::new();
    for round in 0..20 {
        sets.push(Arc::downgrade(&engine.0.live.load_full().unwrap()));
        assert!(!verdict(&engine).await.is_empty());
        home.write(if round % 2 == 0 { ALLOW.to_owned() } else { deny() }.as_str());
        engine.load("test", Trigger::Operator).await.unwrap();
    }
    let kept = sets.iter().filter(|set| set.strong_count() > 0).count();
    assert_eq!(kept, 0, "of 20 sets that were replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_files_are_read_once_and_count() {
    let home = Home::new(&entry("p", "do = \"report\"", "grants = { directory = \"data\" }"));
    std::fs::create_dir_all(home.folder().join("data/below")).unwrap();
    std::fs::write(home.folder().join("data/below/a.txt"), "12345").unwrap();
    let engine = home.start().await;
    let first = engine.live().unwrap().1;
    let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
    assert!(judgment.findings[0].message.ends_with(r#"files [("below/a.txt", 5)]"#), "{}", judgment.findings[0].message);
    std::fs::write(home.folder().join("data/below/a.txt"), "123456").unwrap();
    engine.load("test", Trigger::Operator).await.unwrap();
    assert_ne!(engine.live().unwrap().1, first);
    std::os::unix::fs::symlink("/etc/hostname", home.folder().join("data/out")).unwrap();
    assert!(engine.load("test", Trigger::Operator).await.unwrap_err().to_string().contains("granted file out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_own_tests_decide_whether_it_loads() {
    let home = Home::new(&deny());
    let case = |verdict: &str| {
        format!(
            "- name: one\n  gate: tool-call\n  tool: shell\n  shell: rm x\n  expect: {{ verdict: {verdict}, codes: [test.deny] }}\n"
        )
    };
    std::fs::write(home.folder().join("tests/p.yaml"), case("deny")).unwrap();
    let engine = home.start().await;
    assert_eq!(engine.load("test", Trigger::Operator).await.unwrap().tests, 1);
    std::fs::write(home.folder().join("tests/p.yaml"), case("allow")).unwrap();
    let error = engine.load("test", Trigger::Operator).await.unwrap_err().to_string();
    assert!(error.contains("1 of 1 policy tests fail: p: case 'one': expected allow, got deny with [\"test.deny\"]"), "{error}");
    assert_eq!(validate(&home.folder(), &Settings::default()).unwrap_err().to_string(), error);
    std::fs::remove_file(home.folder().join("tests/p.yaml")).unwrap();
    let toml = "[[case]]\nname = \"one\"\ngate = \"prompt\"\ntext = \"x\"\nexpect = { verdict = \"deny\" }\n";
    std::fs::write(home.folder().join("tests/p.toml"), toml).unwrap();
    assert_eq!(validate(&home.folder(), &Settings::default()).unwrap().tests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn configure_is_paid_once_where_a_snapshot_is_possible() {
    let (_home, engine) = started(&entry("p", "do = \"work\", in = \"configure\"", "")).await;
    let cost = engine.status().await.unwrap().live.unwrap().policies.remove(0).cost;
    assert!(cost.snapshot, "{cost:?}");
    let judgment = engine.judge(event_at(Gate::Prompt, "x")).await;
    assert!(judgment.steps.iter().all(|step| step.fuel < 1_000_000), "{:?}", judgment.steps);

    // Streams that the guest keeps open are handles, which no snapshot can carry.
    let (_home, engine) = started(&entry("p", "do = \"print\", in = \"configure\"", "")).await;
    let cost = engine.status().await.unwrap().live.unwrap().policies.remove(0).cost;
    if let Some(why) = &cost.no_snapshot_because {
        assert!(!cost.snapshot && why.contains("handles") && cost.configure_us > 0, "{cost:?}");
    }
    assert_eq!(verdict(&engine).await, "allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cache_is_compiled_anew() {
    let home = Home::new(ALLOW);
    // A cache of its own, so that it can be damaged.
    std::fs::remove_file(home.dir.path().join("cache")).unwrap();
    let cached = async |engine: &Policies| engine.status().await.unwrap().live.unwrap().policies[0].cost.cached;
    assert!(!cached(&home.start().await).await);
    assert!(cached(&home.start().await).await);
    for file in std::fs::read_dir(home.dir.path().join("cache")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let engine = home.start().await;
    assert!(!cached(&engine).await);
    assert_eq!(verdict(&engine).await, "allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_policies_load_from_snapshots_and_pass_their_own_tests() {
    let home = Home::new(crate::policy::guests::DEFAULT_POLICIES);
    let engine = home.start().await;
    assert!(engine.load("test", Trigger::Operator).await.unwrap().tests > 0);
    for policy in engine.status().await.unwrap().live.unwrap().policies {
        assert!(policy.cost.snapshot, "{}: {:?}", policy.name, policy.cost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_set_that_becomes_live_says_which_policies_let_the_requester_decide() {
    let home = Home::new(&deny());
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let live = Arc::new(move |policies: &[String]| hears.lock().unwrap().push(policies.join(" ")));
    let store = Store::open(&home.dir.path().join("coda.db")).unwrap();
    let hooks = Hooks { live, ..Hooks::default() };
    let engine = Policies::open(Settings::default(), store, home.dir.path(), hooks).unwrap();
    engine.start().await.unwrap();
    home.write(&entry("lenient", "do = \"ask\", word = \"approver\", allow_requester = true", ""));
    engine.load("test", Trigger::Operator).await.unwrap();
    engine.rollback("op", None, "four eyes").await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["", "lenient", ""]);
}
