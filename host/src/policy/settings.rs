//! What an operator may set about the engine itself. What is set per policy stands in policies.toml (`manifest`).

use std::ffi::OsString;
use std::path::PathBuf;

use super::contract::Requirement;
use super::manifest::Activation;
use crate::identity::Role;

/// Settings of the policy engine; coda.toml's `[policy]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// The folder with policies.toml; relative to CODA_HOME, or absolute.
    pub folder: PathBuf,
    /// What happens with a set that loads, where policies.toml says nothing.
    pub activation: Activation,
    /// Chains that are evaluated at the same time.
    pub workers: u32,
    /// How long a chain waits for a free worker before the gate denies.
    pub queue_timeout_ms: u64,
    /// Workers that may be lost to a host call that never returns before the engine counts as not ready.
    pub max_lost_workers: u32,
    /// Distance of two epoch ticks: how fine time limits are.
    pub epoch_tick_ms: u64,
    /// Fuel of one evaluation, where policies.toml says nothing. Set to run out before the time does.
    pub default_fuel: u64,
    /// Wall time of one evaluation, where policies.toml says nothing.
    pub default_timeout_ms: u64,
    /// Memory of one instance, where policies.toml says nothing.
    pub default_memory_bytes: u64,
    /// Most memory that policies.toml may ask for; the pool reserves addresses for it.
    pub max_memory_bytes: u64,
    /// Elements of one table of an instance.
    pub max_table_elements: u32,
    /// Stack of a guest.
    pub max_stack_bytes: u64,
    /// Fuel of `configure`, which may build automata and parse catalogues.
    pub configure_fuel: u64,
    /// Wall time of `configure`.
    pub configure_timeout_ms: u64,
    /// Wall time of compiling one policy in a process of its own, `configure` and snapshot included.
    pub build_timeout_s: u64,
    /// Size of a component.
    pub max_component_bytes: u64,
    /// Size of all granted files of one policy together.
    pub max_granted_bytes: u64,
    /// Number of granted files of one policy.
    pub max_granted_files: u32,
    /// Size of the texts of an event; more is denied.
    pub max_event_bytes: u64,
    /// Size of all that a guest hands over in one call.
    pub max_answer_bytes: u64,
    /// Evaluations that wait for the shadow policies; more are dropped and counted.
    pub shadow_queue: u32,
    /// How long the folder must be quiet before a change is loaded.
    pub watch_debounce_ms: u64,
    /// Sets that are kept for rollback.
    pub keep_sets: u32,
    /// Who must agree where a demand names nobody.
    pub default_approvals: Vec<Requirement>,
    /// When a demand expires that says nothing of it.
    pub approval_expires_s: u32,
    /// A folder that replaces the bundled policies, `DIR/NAME.wasm` (`CODA_GUESTS`).
    pub guests: Option<PathBuf>,
    /// Folder of compiled policies, relative to CODA_HOME.
    pub cache: PathBuf,
    /// How coda's own hidden commands are called, for the one that compiles; empty: this process compiles. Not from the file.
    pub builder: Vec<OsString>,
}

const MIB: u64 = 1 << 20;

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            folder: "policies".into(),
            activation: Activation::Auto,
            workers: u32::try_from(cores.clamp(2, 16)).unwrap_or(2),
            queue_timeout_ms: 5_000,
            max_lost_workers: 4,
            epoch_tick_ms: 5,
            default_fuel: 400_000_000,
            default_timeout_ms: 2_000,
            default_memory_bytes: 64 * MIB,
            max_memory_bytes: 256 * MIB,
            max_table_elements: 100_000,
            max_stack_bytes: 512 << 10,
            configure_fuel: 20_000_000_000,
            configure_timeout_ms: 30_000,
            build_timeout_s: 300,
            max_component_bytes: 64 * MIB,
            max_granted_bytes: 16 * MIB,
            max_granted_files: 1_024,
            max_event_bytes: 8 * MIB,
            max_answer_bytes: 16 * MIB,
            shadow_queue: 256,
            watch_debounce_ms: 300,
            keep_sets: 20,
            default_approvals: vec![Requirement { role: Role::APPROVER.into(), count: 1 }],
            approval_expires_s: 86_400,
            guests: None,
            cache: PathBuf::from("cache"),
            builder: Vec::new(),
        }
    }
}
