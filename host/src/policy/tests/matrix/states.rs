//! Faults around the policies, each with how it is mended: sets, pools, queues, clocks, caches.

use wasmtime::Store;
use wasmtime::component::{Component, Instance, Linker};

use super::*;
use crate::policy::LoadState;

/// What is wrong.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy::tests) enum State {
    /// Configure leaves no byte of its memory.
    FullSnapshot,
    /// Configured in each instance; the fuel ends in what comes after.
    FuelAfterConfigure,
    /// Only time ends it.
    TimeOut,
    /// The folder breaks under a set that judges.
    BrokenManifest,
    /// A new set comes while a chain runs.
    ReloadInCall,
    /// No place for an instance.
    PoolFull,
    /// No worker in time.
    QueueFull,
    /// The wall clock goes to its ends.
    ClockJump,
    /// The compiled form on disk is not what was written.
    DamagedCache,
}

const LOOP: &str = r#"{"do":"loop","in":"guard"}"#;
/// Far more fuel than time: a loop lasts for as long as the test needs a call under way.
const SLOW: &str = "limits = { fuel = 1_000_000_000_000, timeout_ms = 4_000 }";
const WORD: &str = r#"{"do":"FAULT"}"#;

/// A set that denies what says FAULT: a good judge, to see whether it is still the one that judges.
fn strict() -> String {
    entry("strict", "do = \"deny-if\", word = \"FAULT\"", LIMITS)
}

pub(super) async fn cell(state: State, gate: Gate, expect: &str) {
    match state {
        State::FullSnapshot => {
            let limits = LIMITS.replace("167_772_160", "16_777_216");
            let (home, engine) = started(&entry("p", "do = \"fill-memory\", in = \"configure\"", &limits)).await;
            // A text that does not fit into what is left.
            let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
            closed(&engine, event_at(gate, &text), expect).await;
            home.write(&entry("p", "", LIMITS));
            engine.load("test", Trigger::Operator).await.unwrap();
            served(&engine, gate).await;
        }
        State::FuelAfterConfigure => {
            let (_home, engine) = started(&entry("p", "do = \"as-told\", hold = \"yes\"", LIMITS)).await;
            assert!(!engine.status().await.unwrap().live.unwrap().policies[0].cost.snapshot);
            closed(&engine, event_at(gate, LOOP), expect).await;
            served(&engine, gate).await;
        }
        State::TimeOut => {
            let (_home, engine) = started(&entry("p", "do = \"as-told\"", &SLOW.replace("4_000", "50"))).await;
            closed(&engine, event_at(gate, LOOP), expect).await;
            served(&engine, gate).await;
        }
        State::BrokenManifest => broken_manifest(gate, expect).await,
        State::ReloadInCall => reload_in_call(gate, expect).await,
        State::PoolFull => pool_full(gate, expect).await,
        State::QueueFull => queue_full(gate, expect).await,
        State::ClockJump => {
            let (_home, engine) = started(&(strict() + &entry("clock", "do = \"clock\"", LIMITS))).await;
            for time_ms in [0, 1, u64::MAX, 1_000_000_000_000] {
                let jumped = Event { time_ms, ..event_at(gate, WORD) };
                let judgment = engine.judge(jumped).await;
                assert_eq!((judgment.verdict.as_str(), judgment.findings[0].code.as_str()), ("deny", expect), "at {time_ms}");
            }
            served(&engine, gate).await;
        }
        State::DamagedCache => damaged_cache(gate, expect).await,
    }
}

async fn broken_manifest(gate: Gate, expect: &str) {
    let (home, engine) = started(&strict()).await;
    let before = engine.live();
    for broken in ["", "[[policy", "[[policy]]\nname = \"p\"\ncomponent = \"gone.wasm\"\n", "\u{0}\u{1}", "activation = 7"] {
        home.write(broken);
        engine.load("test", Trigger::Watch).await.unwrap_err();
        assert_eq!(engine.live(), before);
        closed(&engine, event_at(gate, WORD), expect).await;
    }
    std::fs::remove_file(home.folder().join("policies.toml")).unwrap();
    engine.load("test", Trigger::Watch).await.unwrap_err();
    closed(&engine, event_at(gate, WORD), expect).await;
    home.write(&strict());
    engine.load("test", Trigger::Watch).await.unwrap();
    served(&engine, gate).await;
}

async fn reload_in_call(gate: Gate, expect: &str) {
    let slow = entry("p", "do = \"as-told\"", SLOW);
    let home = Home::new(&slow);
    let engine = home.open_with(Settings { epoch_tick_ms: 1, workers: 1, ..Settings::default() });
    engine.start().await.unwrap();
    let first = engine.live().unwrap().0;
    let (asked, event) = (engine.clone(), event_at(gate, LOOP));
    let call = tokio::spawn(async move { asked.judge(event).await });
    busy(&engine).await;
    home.write(&entry("p", "do = \"as-told\"", LIMITS));
    let report = engine.load("test", Trigger::Operator).await.unwrap();
    assert_eq!(report.state, LoadState::Live);
    assert!(!call.is_finished(), "the call was over before the reload");
    let judgment = call.await.unwrap();
    assert_eq!((judgment.generation, judgment.verdict.as_str(), codes(&judgment)), (first, "deny", vec![expect]));
    served(&engine, gate).await;
    assert_eq!(engine.judge(event_at(gate, GOOD)).await.generation, report.generation);
}

/// Until every worker has something to do.
async fn busy(engine: &Policies) {
    while engine.0.workers.free() > 0 {
        tokio::task::yield_now().await;
    }
}

async fn queue_full(gate: Gate, expect: &str) {
    let home = Home::new(&entry("p", "do = \"as-told\"", SLOW));
    let engine = home.open_with(Settings { epoch_tick_ms: 1, workers: 1, queue_timeout_ms: 20, ..Settings::default() });
    engine.start().await.unwrap();
    let (asked, event) = (engine.clone(), event_at(gate, LOOP));
    let call = tokio::spawn(async move { asked.judge(event).await });
    busy(&engine).await;
    for _ in 0..3 {
        closed(&engine, event_at(gate, GOOD), expect).await;
    }
    assert!(!call.is_finished(), "the worker was free again");
    assert_eq!(codes(&call.await.unwrap()), ["policy-fault.timeout"]);
    served(&engine, gate).await;
}

async fn pool_full(gate: Gate, expect: &str) {
    let home = Home::new(&entry("p", "", LIMITS));
    let engine = home.open_with(Settings { epoch_tick_ms: 1, workers: 1, max_lost_workers: 1, ..Settings::default() });
    engine.start().await.unwrap();
    let wasmtime = engine.0.runtime.engine();
    let place = wat::parse_str("(component (core module $m (memory 1)) (core instance (instantiate $m)))").unwrap();
    let place = Component::new(wasmtime, place).unwrap();
    let taken: Vec<(Store<()>, Instance)> = std::iter::from_fn(|| {
        let mut store = Store::new(wasmtime, ());
        store.set_fuel(1_000).unwrap();
        store.set_epoch_deadline(1_000_000);
        let instance = Linker::new(wasmtime).instantiate(&mut store, &place).ok()?;
        Some((store, instance))
    })
    .take(10_000)
    .collect();
    assert!((1..10_000).contains(&taken.len()), "{} places", taken.len());
    closed(&engine, event_at(gate, GOOD), expect).await;
    drop(taken);
    served(&engine, gate).await;
}

async fn damaged_cache(gate: Gate, expect: &str) {
    let home = Home::new(&strict());
    std::fs::remove_file(home.dir.path().join("cache")).unwrap();
    drop(home.start().await);
    let files: Vec<_> = std::fs::read_dir(home.dir.path().join("cache")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let good = std::fs::read(&files[0]).unwrap();
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        bad
    };
    let damages = match gate {
        Gate::Prompt => vec![flipped(good.len() / 2), flipped(good.len() - 1)],
        Gate::ToolCall => vec![good[..good.len() / 2].to_vec(), Vec::new()],
        Gate::ToolResult => vec![vec![0; good.len()], b"\x7fELF".to_vec()],
        Gate::Output => vec![flipped(0), [good.as_slice(), b"more"].concat()],
    };
    for damage in damages {
        std::fs::write(&files[0], damage).unwrap();
        let engine = home.start().await;
        assert!(!engine.status().await.unwrap().live.unwrap().policies[0].cost.cached, "the damaged file was taken");
        closed(&engine, event_at(gate, WORD), expect).await;
        served(&engine, gate).await;
    }
    // A folder in its place, and one that cannot be written: compiled, not cached, judged all the same.
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::create_dir(&files[0]).unwrap();
    let engine = home.start().await;
    closed(&engine, event_at(gate, WORD), expect).await;
    served(&engine, gate).await;
}
