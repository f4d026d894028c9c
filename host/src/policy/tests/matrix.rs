//! The fault matrix: every fault of `faults` at every gate. A cell is closed when the answer is not allow and says so,
//! the engine lives, and the next call there is served.
//!
//! Faults that need a whole server (disk, clock, queue, reload over HTTP) have the same matrix in `tests/it/faults.rs`.

mod faults;
mod raw;
mod states;

use futures_util::future::join_all;

use super::*;
use crate::policy::Trigger;
use faults::{FAULTS, Fault, Made};

/// Nothing in a cell may take longer; a guest that is not stopped would.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(120);
pub(super) const LIMITS: &str = "limits = { fuel = 20_000_000, timeout_ms = 20_000, memory_bytes = 167_772_160 }";
/// What a policy of the matrix is told when nothing is wrong.
pub(super) const GOOD: &str = "{}";

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_fault_at_every_gate_is_closed() {
    let home = Home::new(&entry("told", "do = \"as-told\"", LIMITS));
    // A place for each gate's cell, and time: what is looked at is the fault, not the queue.
    let settings = Settings { epoch_tick_ms: 1, workers: 4, queue_timeout_ms: 60_000, ..Settings::default() };
    let told = home.open_with(settings);
    told.start().await.unwrap();
    let mut open = Vec::new();
    for fault in FAULTS {
        let stand = Arc::new(Stand::of(fault, &told).await);
        let cells = Gate::ALL.map(|gate| {
            let stand = Arc::clone(&stand);
            let cell = tokio::spawn(async move { stand.cell(fault, gate).await });
            async move {
                match tokio::time::timeout(DEADLINE, cell).await {
                    Ok(Ok(())) => None,
                    Ok(Err(panic)) => Some(format!("{} at {gate}: {panic}", fault.name)),
                    Err(_) => Some(format!("{} at {gate}: no answer within {DEADLINE:?}", fault.name)),
                }
            }
        });
        open.extend(join_all(cells).await.into_iter().flatten());
        if let Some(mended) = stand.mended().await {
            for gate in Gate::ALL {
                served(mended, gate).await;
            }
        }
    }
    let cells = FAULTS.len() * Gate::ALL.len();
    println!("fault matrix: {} faults × {} gates = {cells} cells, {} closed", FAULTS.len(), Gate::ALL.len(), cells - open.len());
    assert!(open.is_empty(), "{open:#?}");
}

/// What a fault's cells share.
enum Stand {
    /// An engine that judges, and goes on judging.
    Live { engine: Policies, _home: Option<Home> },
    /// A cold start that found no set: every gate denies until the folder is mended.
    NoSet(Policies, Home),
    /// Each cell has its own.
    Apart,
}

impl Stand {
    async fn of(fault: &Fault, told: &Policies) -> Self {
        match &fault.made {
            Made::Told(..) => Self::Live { engine: told.clone(), _home: None },
            Made::Raw(review) => {
                let home = Home::new(&entry("p", "", LIMITS).replace("faulty.wasm", "raw.wasm"));
                std::fs::write(home.folder().join("raw.wasm"), raw::component(review)).unwrap();
                Self::Live { engine: home.start().await, _home: Some(home) }
            }
            Made::Component(component) => {
                let home = Home::new(&entry("p", "", LIMITS));
                match component() {
                    Some(bytes) => std::fs::write(home.folder().join("faulty.wasm"), bytes).unwrap(),
                    None => std::fs::remove_file(home.folder().join("faulty.wasm")).unwrap(),
                }
                Self::not_loaded(home, fault.expect).await
            }
            Made::Configured(settings) => Self::not_loaded(Home::new(&entry("p", settings, LIMITS)), fault.expect).await,
            Made::State(_) => Self::Apart,
        }
    }

    async fn not_loaded(home: Home, says: &str) -> Self {
        let engine = home.open_with(Settings { epoch_tick_ms: 1, configure_fuel: 50_000_000, ..Settings::default() });
        let error = engine.start().await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        Self::NoSet(engine, home)
    }

    async fn cell(&self, fault: &Fault, gate: Gate) {
        match (self, &fault.made) {
            (Self::Live { engine, .. }, Made::Told(what, roles)) => {
                for role in roles.words() {
                    closed(engine, event_at(gate, &format!(r#"{{"do":"{what}","in":"{role}"}}"#)), fault.expect).await;
                    served(engine, gate).await;
                }
            }
            (Self::Live { engine, .. }, _) => {
                closed(engine, Event { seq: raw::WRONG, ..event_at(gate, GOOD) }, fault.expect).await;
                served(engine, gate).await;
            }
            (Self::NoSet(engine, _), _) => drop(closed(engine, event_at(gate, GOOD), "policy-fault.no-set").await),
            (Self::Apart, Made::State(state)) => states::cell(*state, gate, fault.expect).await,
            (Self::Apart, _) => unreachable!("only states stand apart"),
        }
    }

    /// The engine after its folder was mended, where that is what it needs to serve again.
    async fn mended(&self) -> Option<&Policies> {
        let Self::NoSet(engine, home) = self else { return None };
        std::fs::write(home.folder().join("faulty.wasm"), faulty()).unwrap();
        home.write(&entry("p", "", LIMITS));
        engine.load("test", Trigger::Operator).await.unwrap();
        Some(engine)
    }
}

/// The answer says no, names why, and hands nothing out.
pub(super) async fn closed(engine: &Policies, event: Event, code: &str) -> Judgment {
    let judgment = engine.judge(event).await;
    assert_eq!(judgment.verdict.as_str(), "deny", "{:?}", judgment.steps);
    assert_eq!(codes(&judgment), [code], "{:?}", judgment.steps);
    assert!(judgment.clone().cleared().is_err());
    judgment
}

/// The next call is judged by a policy that answers, and passes.
pub(super) async fn served(engine: &Policies, gate: Gate) {
    engine.ready().unwrap();
    let judgment = engine.judge(event_at(gate, GOOD)).await;
    assert_eq!(judgment.verdict.as_str(), "allow", "the next call: {:?} {:?}", judgment.findings, judgment.steps);
    assert!(!judgment.steps.is_empty() && judgment.steps.iter().all(|step| step.fault.is_none()), "{:?}", judgment.steps);
    assert_eq!(judgment.cleared().unwrap().into_inner(), GOOD);
}
