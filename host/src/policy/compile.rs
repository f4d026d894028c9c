//! From bytes to a policy that can be asked: check, compile, configure, snapshot. Slow, so never on the serving path.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::Serialize;
use wasmtime::component::Component;

use super::build::{self, Built, Order};
use super::cache::{Cache, Cached};
use super::contract::Gate;
use super::engine::{Limits, Runtime};
use super::fault::Fault;
use super::guest::{Configuration, Description, GrantedFile, Guest};
use super::manifest::Place;
use super::settings::Settings;
use super::snapshot::{self, Snapshot};
use super::source::{PolicySpec, SetSource};
use crate::env;

/// A policy that can be asked.
pub(super) struct Loaded {
    pub(super) spec: PolicySpec,
    pub(super) guest: Guest,
    pub(super) description: Description,
    pub(super) codes: BTreeSet<String>,
    pub(super) places: BTreeSet<Place>,
    pub(super) cost: Cost,
}

impl Loaded {
    /// Whether it takes part at a gate.
    pub(super) fn is_at(&self, gate: Gate) -> bool {
        self.places.contains(&Place::from(gate))
    }
}

/// What loading cost and what each evaluation pays for it; for the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Size of the component.
    pub component_bytes: u64,
    /// Compiling, configuring and snapshotting together.
    pub load_ms: u64,
    /// Whether the compiled form came from the cache.
    pub cached: bool,
    /// Whether evaluations start from a snapshot taken after `configure`.
    pub snapshot: bool,
    /// Why they do not.
    pub no_snapshot_because: Option<String>,
    /// What `configure` costs: once with a snapshot (0 where the cache had it), in each evaluation without.
    pub configure_us: u64,
    /// Time of an instance that is made, asked to describe itself and dropped.
    pub fresh_us: u64,
}

/// Why a set does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy '{policy}': {problem}")]
pub struct CompileError {
    /// Which policy.
    pub policy: String,
    /// What.
    pub problem: String,
}

/// Compiles every policy of a set.
pub(super) fn compile(
    runtime: &Runtime,
    cache: &Cache,
    source: &SetSource,
    settings: &Settings,
) -> Result<Vec<Loaded>, CompileError> {
    let loaded: Vec<Loaded> = (source.spec.policies.iter())
        .map(|spec| {
            one(runtime, cache, source, spec, settings).map_err(|problem| CompileError { policy: spec.name.clone(), problem })
        })
        .collect::<Result<_, _>>()?;
    let mut shapers = loaded.iter().filter(|policy| policy.places.contains(&Place::Shape));
    if let (Some(first), Some(second)) = (shapers.next(), shapers.next()) {
        let problem = format!("'{}' words answers already, and there can be one", first.spec.name);
        return Err(CompileError { policy: second.spec.name.clone(), problem });
    }
    Ok(loaded)
}

fn one(runtime: &Runtime, cache: &Cache, source: &SetSource, spec: &PolicySpec, settings: &Settings) -> Result<Loaded, String> {
    let started = Instant::now();
    let bytes = &source.blobs[&spec.component];
    let configuration = configuration(source, spec);
    // The form of this file's own work is part of the key: a newer coda may snapshot what an older could not.
    let files = serde_json::to_string(&spec.files).unwrap_or_default();
    let key = env::sha256_hex(
        format!("{}\n{}\n{}\n{files}", env!("CARGO_PKG_VERSION"), spec.component, configuration.settings).as_bytes(),
    );
    let limits = Limits {
        fuel: settings.configure_fuel,
        timeout_ms: settings.configure_timeout_ms,
        memory_bytes: spec.limits.memory_bytes,
    };
    let (cached, was_cached, mut configure_us) = match cache.load(runtime.engine(), &key) {
        Some(cached) => (cached, true, 0),
        None => {
            let order = Order { component: bytes, configuration: &configuration, limits, key: &key };
            let (built, configure_us) = make(runtime, cache, settings, &order)?;
            (built, false, configure_us)
        }
    };
    let per_instance = cached.per_instance.as_ref().map(|_| (configuration, limits));
    let guest = Guest::link(&cached.component, spec.limits, per_instance).map_err(|error| root(&error))?;
    if cached.per_instance.is_some() {
        let tried = guest.try_configure(runtime);
        tried.result.map_err(|fault| format!("its configure fails: {}", fault.detail))?;
        configure_us = tried.micros;
    }
    let described = guest.describe(runtime);
    let description = described.result.map_err(|fault: Fault| format!("it does not describe itself: {fault}"))?;
    let places = places(spec, &guest, &description)?;
    let cost = Cost {
        component_bytes: bytes.len() as u64,
        load_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        cached: was_cached,
        snapshot: cached.per_instance.is_none(),
        no_snapshot_because: cached.per_instance,
        configure_us,
        fresh_us: described.micros,
    };
    let codes = description.codes.iter().cloned().collect();
    Ok(Loaded { spec: spec.clone(), guest, description, codes, places, cost })
}

/// In a process of its own where there is a program for that and a cache to hand it over; else in this one.
fn make(runtime: &Runtime, cache: &Cache, settings: &Settings, order: &Order<'_>) -> Result<(Cached, u64), String> {
    if let Some(dir) = cache.dir().filter(|_| !settings.builder.is_empty()) {
        match build::apart(&settings.builder, settings, dir, order)? {
            Built::Done { configure_us } => match cache.load(runtime.engine(), order.key) {
                Some(built) => return Ok((built, configure_us)),
                None => tracing::warn!("a policy was compiled and could not be cached; it is compiled again in the server"),
            },
            Built::NotStarted(error) => {
                tracing::warn!(%error, "no process could be started to compile a policy; it is compiled in the server");
            }
        }
    }
    let (built, configure_us) = build(runtime, order.component, order.configuration, order.limits)?;
    cache.save(runtime.engine(), order.key, &built);
    Ok((built, configure_us))
}

/// Snapshots where it can be done and the result starts; else compiles the component as it is.
pub(super) fn build(
    runtime: &Runtime,
    bytes: &[u8],
    configuration: &Configuration,
    limits: Limits,
) -> Result<(Cached, u64), String> {
    let started = Instant::now();
    let taken = snapshot::take(runtime, bytes, configuration, limits).map_err(|error| root(&error))?;
    let configure_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let why = match taken {
        Snapshot::Taken(component) => match start(runtime, &component, limits) {
            Ok(component) => return Ok((Cached { component, per_instance: None }, configure_us)),
            Err(why) => format!("its snapshot does not start: {why}"),
        },
        Snapshot::Impossible(why) => why,
    };
    let component = Component::from_binary(runtime.engine(), bytes).map_err(|error| root(&error))?;
    Ok((Cached { component, per_instance: Some(why) }, configure_us))
}

fn start(runtime: &Runtime, component: &[u8], limits: Limits) -> Result<Component, String> {
    let component = Component::from_binary(runtime.engine(), component).map_err(|error| root(&error))?;
    let guest = Guest::link(&component, limits, None).map_err(|error| root(&error))?;
    guest.describe(runtime).result.map_err(|fault| fault.to_string())?;
    Ok(component)
}

fn configuration(source: &SetSource, spec: &PolicySpec) -> Configuration {
    let file =
        |file: &super::source::FileRef| GrantedFile { path: file.path.clone(), content: source.blobs[&file.sha256].to_vec() };
    Configuration { settings: spec.settings.to_string(), files: spec.files.iter().map(file).collect() }
}

/// Where it takes part: as policies.toml says, which may not ask for what it cannot do; else as it says itself.
fn places(spec: &PolicySpec, guest: &Guest, description: &Description) -> Result<BTreeSet<Place>, String> {
    let judges = guest.is_guard() || guest.is_filter();
    let places: BTreeSet<Place> = match &spec.places {
        Some(places) => places.iter().copied().collect(),
        None => {
            let own = description.gates.iter().filter(|_| judges).map(|gate| Place::from(*gate));
            own.chain(guest.is_shape().then_some(Place::Shape)).collect()
        }
    };
    for place in &places {
        let able = if *place == Place::Shape { guest.is_shape() } else { judges };
        if !able {
            return Err(format!("gates: it exports nothing for {place:?}").to_lowercase());
        }
    }
    Ok(places)
}

fn root(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}
