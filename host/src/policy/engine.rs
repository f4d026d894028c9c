//! The one wasmtime engine, its clock of epochs, and the store that each evaluation gets.
//!
//! Cranelift, pooled instances, no concurrency, fuel and epochs both on, NaN canonical, no relaxed SIMD, no threads. One
//! engine for everything: stores of two engines must never meet. `pagemap_scan` stays off: where pages are swapped out,
//! wasmtime 48 may hand the next instance what the last one left.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ResourceLimiter, Store, Strategy, Trap,
};

use super::fault::{Blocked, Fault, FaultKind};
use super::settings::Settings;

const CORE_INSTANCES_PER_COMPONENT: u32 = 16;
const MEMORIES_PER_COMPONENT: u32 = 4;
const TABLES_PER_COMPONENT: u32 = 8;
const INSTANCE_SIZE_BYTES: usize = 16 << 20;
/// Instances that a load may hold beside the workers': one that configures, one that runs the suite.
const LOAD_INSTANCES: u32 = 4;

/// What a guest may use in one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Fuel, about one unit per instruction.
    pub fuel: u64,
    /// Wall time.
    pub timeout_ms: u64,
    /// Linear memory.
    pub memory_bytes: u64,
}

/// Where the inert clocks and random numbers of an evaluation start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) time_ms: u64,
    pub(super) seed: u64,
}

impl Origin {
    /// Of `configure` and `describe`: no event, so no time and no seed.
    pub(super) const LOAD: Origin = Origin { time_ms: 0, seed: 0 };
}

/// What the host keeps beside an instance.
pub(super) struct GuestState {
    limits: GuestLimits,
    pub(super) time_ms: u64,
    pub(super) random: SplitMix64,
    /// Handles of inert streams that the guest holds.
    pub(super) handles: u32,
}

/// Memory and tables; remembers that it refused, because what the guest does next is an ordinary trap.
struct GuestLimits {
    memory_bytes: usize,
    table_elements: usize,
    refused: bool,
}

impl ResourceLimiter for GuestLimits {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory_bytes && maximum.is_none_or(|most| desired <= most);
        self.refused |= !fits;
        Ok(fits)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.table_elements && maximum.is_none_or(|most| desired <= most);
        self.refused |= !fits;
        Ok(fits)
    }
}

/// The generator behind the inert `wasi:random`: seeded by the event, so that an evaluation can be repeated.
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Engine and ticker. The ticker's thread ends when this is dropped.
pub(super) struct Runtime {
    engine: Engine,
    tick_ms: u64,
    table_elements: usize,
    answer_bytes: usize,
    /// Why instances are not pooled, where they are not.
    unpooled: Option<String>,
    _ticker: Sender<()>,
}

impl Runtime {
    /// Builds the engine; where the machine has no room for the pool's addresses, one without a pool.
    pub(super) fn new(settings: &Settings) -> wasmtime::Result<Self> {
        let (engine, unpooled) = match Engine::new(&config(settings, pool(settings))) {
            Ok(engine) => (engine, None),
            Err(error) => {
                let engine = Engine::new(&config(settings, InstanceAllocationStrategy::OnDemand))?;
                tracing::warn!(
                    error = format!("{error:#}"),
                    "policies run without a pool of instances; each evaluation costs more"
                );
                (engine, Some(format!("{error:#}")))
            }
        };
        let tick_ms = settings.epoch_tick_ms.max(1);
        let ticker = start_ticker(&engine, Duration::from_millis(tick_ms))?;
        Ok(Self {
            engine,
            tick_ms,
            table_elements: settings.max_table_elements as usize,
            answer_bytes: usize::try_from(settings.max_answer_bytes).unwrap_or(usize::MAX),
            unpooled,
            _ticker: ticker,
        })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Why instances are not pooled, where they are not.
    pub(super) fn unpooled(&self) -> Option<&str> {
        self.unpooled.as_deref()
    }

    /// A store for one evaluation.
    pub(super) fn store(&self, limits: Limits, origin: Origin) -> Store<GuestState> {
        let memory_bytes = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
        let state = GuestState {
            limits: GuestLimits { memory_bytes, table_elements: self.table_elements, refused: false },
            time_ms: origin.time_ms,
            random: SplitMix64(origin.seed),
            handles: 0,
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(self.answer_bytes);
        self.refill(&mut store, limits);
        store
    }

    /// Sets fuel and deadline anew.
    pub(super) fn refill(&self, store: &mut Store<GuestState>, limits: Limits) {
        store.set_fuel(limits.fuel).expect("fuel is on in the engine's configuration");
        // One tick more: the next may be due at once.
        store.set_epoch_deadline(limits.timeout_ms.div_ceil(self.tick_ms) + 1);
    }

    /// Lets the guest's memory grow a little further than its limit: the snapshot's reader needs a page for itself.
    pub(super) fn give_headroom(&self, store: &mut Store<GuestState>, bytes: usize) {
        let limit = &mut store.data_mut().limits.memory_bytes;
        *limit = limit.saturating_add(bytes);
        store.set_hostcall_fuel(usize::MAX);
    }

    /// What an error of this engine means for the one who asked the guest.
    pub(super) fn fault(store: &Store<GuestState>, error: &wasmtime::Error) -> Fault {
        if let Some(Blocked(what)) = error.downcast_ref() {
            return Fault::new(FaultKind::Import, what.clone());
        }
        let root = error.root_cause().to_string();
        if store.data().limits.refused {
            return Fault::new(FaultKind::Memory, root);
        }
        let kind = match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => FaultKind::Fuel,
            Some(Trap::Interrupt) => FaultKind::Timeout,
            Some(Trap::StackOverflow) => FaultKind::Stack,
            Some(_) => FaultKind::Trap,
            None if root.contains("fuel allocated for hostcalls") => FaultKind::AnswerTooLarge,
            None => FaultKind::Engine,
        };
        Fault::new(kind, root)
    }
}

fn config(settings: &Settings, allocation: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .wasm_component_model(true)
        .concurrency_support(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(usize::try_from(settings.max_stack_bytes).unwrap_or(512 << 10))
        .memory_init_cow(true)
        .allocation_strategy(allocation);
    config
}

fn pool(settings: &Settings) -> InstanceAllocationStrategy {
    let components = settings.workers + settings.max_lost_workers + LOAD_INSTANCES + SHADOW_INSTANCES;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(components)
        .total_core_instances(components * CORE_INSTANCES_PER_COMPONENT)
        .total_memories(components * MEMORIES_PER_COMPONENT)
        .total_tables(components * TABLES_PER_COMPONENT)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_component_instance_size(INSTANCE_SIZE_BYTES)
        .max_core_instance_size(INSTANCE_SIZE_BYTES)
        .max_memory_size(usize::try_from(settings.max_memory_bytes).unwrap_or(usize::MAX))
        .table_elements(settings.max_table_elements as usize)
        .pagemap_scan(Enabled::No);
    InstanceAllocationStrategy::Pooling(pool)
}

/// The one evaluation of a shadow policy that runs at a time.
const SHADOW_INSTANCES: u32 = 1;

/// Always on, whatever policies say of time. After a stall it ticks once, not once for each tick missed: a burst would
/// end evaluations that did nothing wrong.
fn start_ticker(engine: &Engine, tick: Duration) -> wasmtime::Result<Sender<()>> {
    let (ends, ended) = channel::<()>();
    let engine = engine.weak();
    std::thread::Builder::new().name("coda-epoch".into()).spawn(move || {
        while matches!(ended.recv_timeout(tick), Err(RecvTimeoutError::Timeout)) {
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(ends)
}
