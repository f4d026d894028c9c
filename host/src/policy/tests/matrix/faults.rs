//! The list of faults: name, how it is made, what is expected. What each way of making one means stands with `Made`;
//! what the misbehaving guest does at a word, in `tests/guests/faulty`.

use super::super::faulty;
use super::raw;
use super::states::State;

/// One fault.
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) made: Made,
    /// The one finding of the judgment; for `Component` and `Configured` what the refused load says.
    pub(super) expect: &'static str,
}

/// How a fault is made.
pub(super) enum Made {
    /// The guest does this when the judged text tells it to.
    Told(&'static str, Roles),
    /// A guest of bare instructions does this in `review`: what no compiler lets out.
    Raw(&'static str),
    /// The component's file holds this; none = it is gone. Nothing loads.
    Component(fn() -> Option<Vec<u8>>),
    /// Settings with which nothing loads.
    Configured(&'static str),
    /// Around the policies, not in one.
    State(State),
}

/// In which functions the guest does it.
pub(super) enum Roles {
    Both,
    Guard,
    Filter,
}

impl Roles {
    pub(super) fn words(&self) -> &'static [&'static str] {
        match self {
            Roles::Both => &["guard", "filter"],
            Roles::Guard => &["guard"],
            Roles::Filter => &["filter"],
        }
    }
}

const fn fault(name: &'static str, made: Made, expect: &'static str) -> Fault {
    Fault { name, made, expect }
}

fn wat(text: &str) -> Option<Vec<u8>> {
    Some(wat::parse_str(text).unwrap())
}

#[rustfmt::skip]
pub(super) const FAULTS: &[Fault] = &[
    // The component.
    fault("component missing", Made::Component(|| None), "component faulty.wasm: "),
    fault("component empty", Made::Component(|| Some(Vec::new())), "not a WebAssembly component"),
    fault("component truncated", Made::Component(|| Some(faulty()[..faulty().len() / 2].to_vec())), "out of bounds"),
    fault("core module instead of a component", Made::Component(|| wat("(module)")), "not a WebAssembly component"),
    fault("precompiled component", Made::Component(|| Some(raw::precompiled())), "precompiled machine code"),
    fault("wrong world", Made::Component(|| wat("(component)")), "does not export 'coda:policy/about@0.1.0'"),
    fault("another version of the contract", Made::Component(|| wat(raw::OTHER_VERSION)), "exports 'coda:policy/guard@9.9.9'"),
    fault("ungranted import", Made::Component(|| wat(raw::SOCKETS)), "imports 'wasi:sockets/tcp@0.2.0'"),
    fault("traps when it is instantiated", Made::Component(|| Some(raw::component_that_starts("unreachable"))), "unreachable"),
    // What it does when it is configured.
    fault("trapping in configure", Made::Configured("do = \"trap\", in = \"configure\""), "its configure says nothing: trap"),
    fault("err from configure", Made::Configured("do = \"refuse\", in = \"configure\""), "invalid settings: the word is not one I know"),
    fault("looping in configure", Made::Configured("do = \"loop\", in = \"configure\""), "its configure says nothing: fuel"),
    fault("allocating 4 GB in configure", Made::Configured("do = \"alloc\", in = \"configure\""), "its configure says nothing: memory"),
    fault("sleeping in configure", Made::Configured("do = \"sleep-until\", in = \"configure\""), "its configure says nothing: fuel"),
    fault("at the memory limit during the snapshot", Made::State(State::FullSnapshot), "policy-fault.memory"),
    fault("out of fuel after configure", Made::State(State::FuelAfterConfigure), "policy-fault.fuel"),
    // What it does when it is asked.
    fault("looping", Made::Told("loop", Roles::Both), "policy-fault.fuel"),
    fault("looping with fuel for ever", Made::State(State::TimeOut), "policy-fault.timeout"),
    fault("sleeping", Made::Told("sleep-until", Roles::Both), "policy-fault.fuel"),
    fault("polling", Made::Told("poll", Roles::Both), "policy-fault.fuel"),
    fault("blocking on stdin", Made::Told("stdin-wait", Roles::Both), "policy-fault.fuel"),
    fault("allocating 4 GB", Made::Told("alloc", Roles::Both), "policy-fault.memory"),
    fault("recursing", Made::Told("recurse", Roles::Both), "policy-fault.stack"),
    fault("growing tables", Made::Raw(raw::GROWS_TABLES), "policy-fault.memory"),
    fault("growing memory by one instruction", Made::Raw(raw::GROWS_MEMORY), "policy-fault.memory"),
    fault("trapping in review", Made::Told("trap", Roles::Both), "policy-fault.trap"),
    fault("ending the process", Made::Told("exit", Roles::Both), "policy-fault.import"),
    // What it answers.
    fault("returning 100 MB", Made::Told("100-mb", Roles::Both), "policy-fault.answer-too-large"),
    fault("invalid UTF-8", Made::Told("not-utf-8", Roles::Both), "policy-fault.engine"),
    fault("malformed value: no such verdict", Made::Raw(raw::NO_SUCH_VERDICT), "policy-fault.engine"),
    fault("malformed value: a list outside of its memory", Made::Raw(raw::OUTSIDE_LIST), "policy-fault.engine"),
    fault("malformed value: an answer outside of its memory", Made::Raw(raw::OUTSIDE_ANSWER), "policy-fault.engine"),
    fault("malformed value: a list of four billion", Made::Raw(raw::ENDLESS_LIST), "policy-fault.engine"),
    fault("malformed value: a code that it does not declare", Made::Told("undeclared", Roles::Guard), "policy-fault.invalid-answer"),
    fault("malformed value: a span outside of the text", Made::Told("span", Roles::Guard), "policy-fault.invalid-answer"),
    fault("malformed value: a demand that nobody meets", Made::Told("ask-nobody", Roles::Guard), "policy-fault.invalid-answer"),
    fault("malformed value: withholding without a reason", Made::Told("withhold-empty", Roles::Filter), "policy-fault.invalid-answer"),
    fault("err from review", Made::Told("undecided", Roles::Both), "policy-fault.undecided"),
    // Around it.
    fault("policies.toml broken while running", Made::State(State::BrokenManifest), "test.deny"),
    fault("reload in mid-call", Made::State(State::ReloadInCall), "policy-fault.timeout"),
    fault("pool of instances full", Made::State(State::PoolFull), "policy-fault.engine"),
    fault("queue full", Made::State(State::QueueFull), "policy-fault.busy"),
    fault("clock jump", Made::State(State::ClockJump), "test.deny"),
    fault("corrupted cache file", Made::State(State::DamagedCache), "test.deny"),
];
