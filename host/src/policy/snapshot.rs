//! Configure once, keep the memory: every evaluation then starts with regexes built and catalogues parsed.
//!
//! The component is instrumented, instantiated and configured by our own typed call; then its globals and memories are
//! read back and written into a new component. What cannot be kept that way (tables that change, handles of streams that
//! the guest holds, nested components) is configured in each instance instead, and the reason goes into the status.
//! INVARIANT: an error from `configure` fails the load; it is never snapshotted.

use futures_util::FutureExt as _;
use wasmtime::component::{Component, Instance, Lift, Linker, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::bindings::{self, about};
use super::engine::{GuestState, Limits, Origin, Runtime};
use super::guest::{self, Configuration};
use super::wasi;

const HEADROOM_BYTES: usize = 8 * (64 << 10);

/// What came of it.
pub(super) enum Snapshot {
    /// A component that starts configured.
    Taken(Vec<u8>),
    /// Each instance must be configured, and why.
    Impossible(String),
}

/// Why the settings are no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its configure says {0}")]
pub struct ConfigureError(pub String);

/// Configures and snapshots, on a thread of its own: where the rewriting gives up, it panics.
pub(super) fn take(
    runtime: &Runtime,
    component: &[u8],
    configuration: &Configuration,
    limits: Limits,
) -> Result<Snapshot, wasmtime::Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("coda-snapshot".into());
        let worker = thread.spawn_scoped(scope, || configure_and_read(runtime, component, configuration, limits))?;
        worker.join().unwrap_or_else(|_| Ok(Snapshot::Impossible("its form cannot be rewritten".into())))
    })
}

fn configure_and_read(
    runtime: &Runtime,
    component: &[u8],
    configuration: &Configuration,
    limits: Limits,
) -> Result<Snapshot, wasmtime::Error> {
    let mut wizer = Wizer::new();
    wizer.keep_init_func(true);
    let (context, instrumented) = match wizer.instrument_component(component) {
        Ok(both) => both,
        Err(error) => return Ok(Snapshot::Impossible(error.root_cause().to_string())),
    };
    let engine: &Engine = runtime.engine();
    let instrumented = Component::from_binary(engine, &instrumented)?;
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker, &instrumented)?;
    let pre = linker.instantiate_pre(&instrumented)?;
    let mut store = runtime.store(limits, Origin::LOAD);
    let instance = pre.instantiate(&mut store)?;
    let about = about::GuestIndices::new(&pre)?;
    match guest::call_configure(&about, &mut store, &instance, configuration) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(ConfigureError(bindings::policy_error(&error)).into()),
        Err(error) => return Err(ConfigureError(format!("nothing: {}", Runtime::fault(&store, &error))).into()),
    }
    if store.data().handles > 0 {
        let held = store.data().handles;
        return Ok(Snapshot::Impossible(format!("after configure it holds {held} handles, which no snapshot can carry")));
    }
    runtime.refill(&mut store, limits);
    runtime.give_headroom(&mut store, HEADROOM_BYTES);
    let mut reader = Reader { store: &mut store, instance, memories: Vec::new(), failed: None };
    let snapshot = wizer.snapshot_component(&context, &mut reader).now_or_never();
    match (reader.failed, snapshot) {
        (None, Some(Ok(component))) => Ok(Snapshot::Taken(component)),
        (Some(why), _) => Ok(Snapshot::Impossible(why)),
        (None, Some(Err(error))) => Ok(Snapshot::Impossible(error.root_cause().to_string())),
        (None, None) => Ok(Snapshot::Impossible("reading its state waits".into())),
    }
}

/// Reads globals and memories through the accessors that the instrumentation added. It cannot return errors, so it keeps
/// the first and answers zeros; the snapshot is then thrown away.
struct Reader<'a> {
    store: &'a mut Store<GuestState>,
    instance: Instance,
    /// Each memory as it was first read: reading grows it, and the rewriting reads twice.
    memories: Vec<(String, Vec<u8>)>,
    failed: Option<String>,
}

impl Reader<'_> {
    fn call<R: Lift + 'static>(&mut self, instance: &str, func: &str) -> Option<R> {
        if self.failed.is_some() {
            return None;
        }
        let read = self.try_call(instance, func);
        read.map_err(|error| self.failed = Some(format!("reading its state failed: {}", error.root_cause()))).ok()
    }

    fn try_call<R: Lift + 'static>(&mut self, instance: &str, func: &str) -> wasmtime::Result<R> {
        let missing = || wasmtime::Error::msg(format!("there is no {instance}#{func}"));
        let (_, outer) = self.instance.get_export(&mut *self.store, None, instance).ok_or_else(missing)?;
        let (_, inner) = self.instance.get_export(&mut *self.store, Some(&outer), func).ok_or_else(missing)?;
        let accessor = self.instance.get_typed_func::<(), (R,)>(&mut *self.store, inner)?;
        Ok(accessor.call(&mut *self.store, ())?.0)
    }
}

impl ComponentInstanceState for Reader<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        if !self.memories.iter().any(|(name, _)| name == func) {
            let list: Option<WasmList<u8>> = self.call(instance, func);
            let bytes = list.map(|list| list.as_le_slice(&*self.store).to_vec()).unwrap_or_default();
            self.memories.push((func.to_owned(), bytes));
        }
        let read = self.memories.iter().find(|(name, _)| name == func);
        contents(read.map_or(&[], |(_, bytes)| bytes));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.call(instance, func).unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.call(instance, func).unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.call::<f32>(instance, func).unwrap_or_default().to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.call::<f64>(instance, func).unwrap_or_default().to_bits()
    }
}
