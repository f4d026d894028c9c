//! One loaded component: a fresh store and a fresh instance for every question, dropped with the answer.
//!
//! Synchronous on purpose: an evaluation is microseconds of computation, and dropping a guest call in its middle is a
//! class of bugs that need not exist here.

use std::time::Instant;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::bindings::{self, Filtered, about, filter, guard, shape, wit};
use super::contract::{Event, Finding, Gate, Verdict};
use super::engine::{GuestState, Limits, Origin, Runtime};
use super::fault::{Fault, FaultKind};
use super::wasi;
use crate::identity::ClientInfo;

/// A file of a granted directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedFile {
    /// Path below the granted directory, with `/`.
    pub path: String,
    /// The whole content.
    pub content: Vec<u8>,
}

/// What `configure` is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) settings: String,
    pub(super) files: Vec<GrantedFile>,
}

/// What a policy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Every rule code that a finding may carry.
    pub codes: Vec<String>,
    /// Gates at which it has something to say.
    pub gates: Vec<Gate>,
    /// JSON Schema of its settings.
    pub settings_schema: String,
}

/// An answer and what it cost.
#[derive(Debug)]
pub(super) struct Evaluated<T> {
    pub(super) result: Result<T, Fault>,
    pub(super) fuel: u64,
    pub(super) micros: u64,
}

impl<T> Evaluated<T> {
    pub(super) fn and_then<U>(self, next: impl FnOnce(T) -> Result<U, Fault>) -> Evaluated<U> {
        Evaluated { result: self.result.and_then(next), fuel: self.fuel, micros: self.micros }
    }
}

/// Why a component is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// It lacks what every policy exports.
    #[error(
        "it does not export 'coda:policy/about@{}'; is it a policy, built against this version of the contract?",
        bindings::VERSION
    )]
    NoAbout,
    /// It judges nothing.
    #[error("it exports neither guard, filter nor shape of coda:policy@{}", bindings::VERSION)]
    NothingToDo,
    /// It was built against another version.
    #[error("it exports '{export}', and this coda speaks coda:policy@{}; build it against that version", bindings::VERSION)]
    OtherVersion {
        /// What it exports.
        export: String,
    },
}

/// A component, linked and ready.
pub(super) struct Guest {
    pre: InstancePre<GuestState>,
    about: about::GuestIndices,
    guard: Option<guard::GuestIndices>,
    filter: Option<filter::GuestIndices>,
    shape: Option<shape::GuestIndices>,
    /// Handed to `configure` in each instance, where there is no snapshot.
    per_instance: Option<(Configuration, Limits)>,
    limits: Limits,
}

impl Guest {
    /// Checks imports and exports and links. `per_instance` = what each instance must be configured with, if it must.
    pub(super) fn link(
        component: &Component,
        limits: Limits,
        per_instance: Option<(Configuration, Limits)>,
    ) -> wasmtime::Result<Self> {
        check_world(component)?;
        let mut linker = Linker::new(component.engine());
        wasi::link(&mut linker, component)?;
        let pre = linker.instantiate_pre(component)?;
        let exports =
            |name: &str| component.get_export_index(None, &format!("coda:policy/{name}@{}", bindings::VERSION)).is_some();
        Ok(Self {
            about: about::GuestIndices::new(&pre)?,
            guard: if exports("guard") { Some(guard::GuestIndices::new(&pre)?) } else { None },
            filter: if exports("filter") { Some(filter::GuestIndices::new(&pre)?) } else { None },
            shape: if exports("shape") { Some(shape::GuestIndices::new(&pre)?) } else { None },
            pre,
            per_instance,
            limits,
        })
    }

    pub(super) fn is_guard(&self) -> bool {
        self.guard.is_some()
    }

    pub(super) fn is_filter(&self) -> bool {
        self.filter.is_some()
    }

    pub(super) fn is_shape(&self) -> bool {
        self.shape.is_some()
    }

    /// What it says of itself.
    pub(super) fn describe(&self, runtime: &Runtime) -> Evaluated<Description> {
        self.evaluate(runtime, Origin::LOAD, None, |store, instance| {
            let described = self.about.load(&mut *store, instance)?.call_describe(store)?;
            Ok(Ok(Description {
                name: described.name,
                version: described.version,
                codes: described.rules.into_iter().map(|rule| rule.code).collect(),
                gates: described.gates.into_iter().map(bindings::gate).collect(),
                settings_schema: described.settings_schema,
            }))
        })
    }

    /// Calls `configure` and throws the instance away: the settings are good, or the fault says why not.
    pub(super) fn try_configure(&self, runtime: &Runtime) -> Evaluated<()> {
        self.evaluate(runtime, Origin::LOAD, self.per_instance.as_ref(), |_, _| Ok(Ok(())))
    }

    /// Asks the guard.
    pub(super) fn review(&self, runtime: &Runtime, event: &Event, earlier: &[Finding]) -> Evaluated<Verdict> {
        let indices = self.guard.as_ref().expect("only guards are asked to review");
        let (given, earlier) = (bindings::event(event), earlier.iter().map(bindings::finding_in).collect::<Vec<_>>());
        self.evaluate(runtime, origin(event), self.per_instance.as_ref(), |store, instance| {
            let answer = indices.load(&mut *store, instance)?.call_review(store, &given, &earlier)?;
            Ok(answer.map(bindings::verdict))
        })
    }

    /// Asks the filter.
    pub(super) fn apply(&self, runtime: &Runtime, event: &Event) -> Evaluated<Filtered> {
        let indices = self.filter.as_ref().expect("only filters are asked to apply");
        let given = bindings::event(event);
        self.evaluate(runtime, origin(event), self.per_instance.as_ref(), |store, instance| {
            let answer = indices.load(&mut *store, instance)?.call_apply(store, &given)?;
            Ok(answer.map(bindings::filtered))
        })
    }

    /// Asks the shaper for an answer's text and structured content.
    pub(super) fn shape_output(
        &self,
        runtime: &Runtime,
        client: &ClientInfo,
        tool: &str,
        output: &str,
    ) -> Evaluated<(String, Option<String>)> {
        let indices = self.shape.as_ref().expect("only shapers are asked to shape");
        self.evaluate(runtime, Origin::LOAD, self.per_instance.as_ref(), |store, instance| {
            let answer = indices.load(&mut *store, instance)?.call_shape_output(store, &client_in(client), tool, output)?;
            Ok(answer.map(|shaped| (shaped.text, shaped.structured)))
        })
    }

    /// Asks the shaper for the list of tools.
    pub(super) fn shape_tools(&self, runtime: &Runtime, client: &ClientInfo, tools: &str) -> Evaluated<String> {
        let indices = self.shape.as_ref().expect("only shapers are asked to shape");
        self.evaluate(runtime, Origin::LOAD, self.per_instance.as_ref(), |store, instance| {
            indices.load(&mut *store, instance)?.call_shape_tools(store, &client_in(client), tools)
        })
    }

    /// The one place where guest code is entered.
    fn evaluate<T>(
        &self,
        runtime: &Runtime,
        origin: Origin,
        configure: Option<&(Configuration, Limits)>,
        ask: impl FnOnce(&mut Store<GuestState>, &Instance) -> wasmtime::Result<Result<T, wit::PolicyError>>,
    ) -> Evaluated<T> {
        let started = Instant::now();
        let mut store = runtime.store(self.limits, origin);
        let answer = self.pre.instantiate(&mut store).and_then(|instance| {
            if let Some((configuration, limits)) = configure {
                runtime.refill(&mut store, *limits);
                if let Err(error) = call_configure(&self.about, &mut store, &instance, configuration)? {
                    return Ok(Err(error));
                }
                runtime.refill(&mut store, self.limits);
            }
            ask(&mut store, &instance)
        });
        let result = match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Fault::new(FaultKind::Undecided, bindings::policy_error(&error))),
            Err(error) => Err(Runtime::fault(&store, &error)),
        };
        let fuel = self.limits.fuel.saturating_sub(store.get_fuel().unwrap_or_default());
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Evaluated { result, fuel, micros }
    }
}

/// Hands settings and files to an instance.
pub(super) fn call_configure(
    about: &about::GuestIndices,
    store: &mut Store<GuestState>,
    instance: &Instance,
    configuration: &Configuration,
) -> wasmtime::Result<Result<(), wit::PolicyError>> {
    let files: Vec<about::GrantedFile> = (configuration.files.iter())
        .map(|file| about::GrantedFile { path: file.path.clone(), content: file.content.clone() })
        .collect();
    about.load(&mut *store, instance)?.call_configure(store, &configuration.settings, &files)
}

fn origin(event: &Event) -> Origin {
    Origin { time_ms: event.time_ms, seed: event.seed }
}

fn client_in(client: &ClientInfo) -> shape::Client {
    shape::Client { shape: client.shape.clone(), name: client.name.clone(), version: client.version.clone() }
}

fn check_world(component: &Component) -> Result<(), WorldError> {
    let engine: &Engine = component.engine();
    let (mut about, mut useful, mut other) = (false, false, None);
    for (name, export) in component.component_type().exports(engine) {
        let Some((interface, version)) = name.strip_prefix("coda:policy/").and_then(|rest| rest.split_once('@')) else {
            continue;
        };
        if !matches!(export.ty, ComponentItem::ComponentInstance(_)) {
            continue;
        }
        if version != bindings::VERSION {
            other = Some(name.to_owned());
            continue;
        }
        about |= interface == "about";
        useful |= matches!(interface, "guard" | "filter" | "shape");
    }
    match (about, useful, other) {
        (_, _, Some(export)) => Err(WorldError::OtherVersion { export }),
        (false, _, None) => Err(WorldError::NoAbout),
        (true, false, None) => Err(WorldError::NothingToDo),
        (true, true, None) => Ok(()),
    }
}
