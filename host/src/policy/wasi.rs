//! The inert WASI of an ordinary wasm32-wasip2 guest, and which imports a policy may have at all.
//!
//! Only what a component imports is linked, and of that nothing reads a file, the network or the environment, and
//! nothing waits: clocks stand at the event's time, random numbers come from its seed, a pollable is always ready, what
//! is written is gone, what is read is at its end. Everything else in these packages traps. An import outside of them
//! fails the load by its name.

use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceDynamic, ResourceType, Val};

use super::engine::GuestState;
use super::fault::Blocked;

/// Interfaces of WASI 0.2 that are answered here.
const INERT: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];
const INERT_VERSION: &str = "0.2.";
/// The types of the contract: an import without functions.
const TYPES: &str = "coda:policy/types";
const RESOURCES: [&str; 8] = [
    "error",
    "pollable",
    "input-stream",
    "output-stream",
    "terminal-input",
    "terminal-output",
    "descriptor",
    "directory-entry-stream",
];
const MAX_HANDLES: u32 = 1_024;
const MAX_RANDOM_BYTES: u64 = 64 << 10;
const WRITE_PERMIT_BYTES: u64 = 64 << 10;

/// An import that policies may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it imports '{0}', which no policy may have; build it for wasm32-wasip2 without network, and read data through granted directories"
)]
pub struct RefusedImport(pub String);

/// What an inert function answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    EmptyList,
    NoValue,
    Nothing,
    True,
    AllReady,
    OwnStream(&'static str),
    OwnPollable,
    MonotonicNow,
    WallNow,
    OneNanosecond,
    WallResolution,
    RandomBytes,
    RandomWord,
    RandomPair,
    StreamEnd,
    WritePermit,
    Written,
    Debug,
    Trap,
}

/// Links what `component` imports.
pub(super) fn link(linker: &mut Linker<GuestState>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        if interface == TYPES {
            continue;
        }
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            return Err(RefusedImport(name.to_owned()).into());
        };
        if !INERT.contains(&interface) || !version.starts_with(INERT_VERSION) {
            return Err(RefusedImport(name.to_owned()).into());
        }
        let mut linked = linker.instance(name)?;
        for (item, export) in instance.exports(&engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => link_function(&mut linked, interface, item)?,
                ComponentItem::Resource(_) => link_resource(&mut linked, item)?,
                ComponentItem::Type(_) => {}
                ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_)
                | ComponentItem::ComponentInstance(_) => return Err(RefusedImport(format!("{name}#{item}")).into()),
            }
        }
    }
    Ok(())
}

fn link_resource(linked: &mut LinkerInstance<'_, GuestState>, name: &str) -> wasmtime::Result<()> {
    let kind = resource(name).ok_or_else(|| RefusedImport(name.to_owned()))?;
    linked.resource(name, ResourceType::host_dynamic(kind), |mut store, _| {
        let handles = &mut store.data_mut().handles;
        *handles = handles.saturating_sub(1);
        Ok(())
    })
}

fn link_function(linked: &mut LinkerInstance<'_, GuestState>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let answer = answer_of(interface, name);
    let called = format!("{interface}#{name}");
    linked.func_new(name, move |mut store, _, params, results| {
        let value = reply(answer, &called, &mut store, params)?;
        if let (Some(slot), Some(value)) = (results.first_mut(), value) {
            *slot = value;
        }
        Ok(())
    })
}

fn resource(name: &str) -> Option<u32> {
    RESOURCES.iter().position(|known| *known == name).and_then(|at| u32::try_from(at).ok())
}

fn answer_of(interface: &str, name: &str) -> Answer {
    match (interface, name) {
        ("wasi:cli/environment", "get-environment" | "get-arguments") | ("wasi:filesystem/preopens", "get-directories") => {
            Answer::EmptyList
        }
        ("wasi:cli/environment", "initial-cwd")
        | ("wasi:cli/terminal-stdin" | "wasi:cli/terminal-stdout" | "wasi:cli/terminal-stderr", _)
        | ("wasi:filesystem/types", "filesystem-error-code") => Answer::NoValue,
        ("wasi:cli/stdin", "get-stdin") => Answer::OwnStream("input-stream"),
        ("wasi:cli/stdout", "get-stdout") | ("wasi:cli/stderr", "get-stderr") => Answer::OwnStream("output-stream"),
        ("wasi:clocks/monotonic-clock", "now") => Answer::MonotonicNow,
        ("wasi:clocks/monotonic-clock", "resolution") => Answer::OneNanosecond,
        ("wasi:clocks/monotonic-clock", "subscribe-instant" | "subscribe-duration") => Answer::OwnPollable,
        ("wasi:clocks/wall-clock", "now") => Answer::WallNow,
        ("wasi:clocks/wall-clock", "resolution") => Answer::WallResolution,
        ("wasi:random/random", "get-random-bytes") | ("wasi:random/insecure", "get-insecure-random-bytes") => Answer::RandomBytes,
        ("wasi:random/random", "get-random-u64") | ("wasi:random/insecure", "get-insecure-random-u64") => Answer::RandomWord,
        ("wasi:random/insecure-seed", _) => Answer::RandomPair,
        ("wasi:io/error", "[method]error.to-debug-string") => Answer::Debug,
        ("wasi:io/poll", "[method]pollable.ready") => Answer::True,
        ("wasi:io/poll", "[method]pollable.block") => Answer::Nothing,
        ("wasi:io/poll", "poll") => Answer::AllReady,
        ("wasi:io/streams", method) => match method {
            "[method]input-stream.read"
            | "[method]input-stream.blocking-read"
            | "[method]input-stream.skip"
            | "[method]input-stream.blocking-skip" => Answer::StreamEnd,
            "[method]input-stream.subscribe" | "[method]output-stream.subscribe" => Answer::OwnPollable,
            "[method]output-stream.check-write" => Answer::WritePermit,
            "[method]output-stream.write"
            | "[method]output-stream.blocking-write-and-flush"
            | "[method]output-stream.flush"
            | "[method]output-stream.blocking-flush"
            | "[method]output-stream.write-zeroes"
            | "[method]output-stream.blocking-write-zeroes-and-flush" => Answer::Written,
            _ => Answer::Trap,
        },
        _ => Answer::Trap,
    }
}

fn reply(
    answer: Answer,
    called: &str,
    store: &mut StoreContextMut<'_, GuestState>,
    params: &[Val],
) -> wasmtime::Result<Option<Val>> {
    let time_ms = store.data().time_ms;
    let value = match answer {
        Answer::EmptyList => Val::List(Vec::new()),
        Answer::NoValue => Val::Option(None),
        Answer::Nothing => return Ok(None),
        Answer::True => Val::Bool(true),
        Answer::AllReady => match params.first() {
            Some(Val::List(pollables)) if !pollables.is_empty() => {
                Val::List((0..u32::try_from(pollables.len()).unwrap_or(u32::MAX)).map(Val::U32).collect())
            }
            _ => return Err(Blocked(format!("{called} of nothing")).into()),
        },
        Answer::OwnStream(name) => own(store, name, called)?,
        Answer::OwnPollable => own(store, "pollable", called)?,
        Answer::MonotonicNow => Val::U64(time_ms.saturating_mul(1_000_000)),
        Answer::WallNow => instant(time_ms / 1_000, u32::try_from(time_ms % 1_000).unwrap_or_default() * 1_000_000),
        Answer::OneNanosecond => Val::U64(1),
        Answer::WallResolution => instant(0, 1),
        Answer::RandomBytes => random_bytes(store, params, called)?,
        Answer::RandomWord => Val::U64(store.data_mut().random.next()),
        Answer::RandomPair => {
            let random = &mut store.data_mut().random;
            Val::Tuple(vec![Val::U64(random.next()), Val::U64(random.next())])
        }
        Answer::StreamEnd => Val::Result(Err(Some(Box::new(Val::Variant("closed".into(), None))))),
        Answer::WritePermit => Val::Result(Ok(Some(Box::new(Val::U64(WRITE_PERMIT_BYTES))))),
        Answer::Written => Val::Result(Ok(None)),
        Answer::Debug => Val::String("inert".into()),
        Answer::Trap => return Err(Blocked(called.to_owned()).into()),
    };
    Ok(Some(value))
}

fn instant(seconds: u64, nanoseconds: u32) -> Val {
    Val::Record(vec![("seconds".into(), Val::U64(seconds)), ("nanoseconds".into(), Val::U32(nanoseconds))])
}

fn own(store: &mut StoreContextMut<'_, GuestState>, name: &str, called: &str) -> wasmtime::Result<Val> {
    let kind = resource(name).expect("only listed resources are handed out");
    let handles = &mut store.data_mut().handles;
    if *handles >= MAX_HANDLES {
        return Err(Blocked(format!("{called} more than {MAX_HANDLES} times at once")).into());
    }
    *handles += 1;
    Ok(Val::Resource(ResourceDynamic::new_own(0, kind).try_into_resource_any(store)?))
}

fn random_bytes(store: &mut StoreContextMut<'_, GuestState>, params: &[Val], called: &str) -> wasmtime::Result<Val> {
    let wanted = match params.first() {
        Some(Val::U64(wanted)) if *wanted <= MAX_RANDOM_BYTES => *wanted,
        _ => return Err(Blocked(format!("{called} of more than {MAX_RANDOM_BYTES} bytes")).into()),
    };
    let random = &mut store.data_mut().random;
    Ok(Val::List((0..wanted).map(|_| Val::U8(random.next().to_le_bytes()[0])).collect()))
}
