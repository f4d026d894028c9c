//! Guests of bare instructions, for what a compiler would not let out: tables that grow, answers that are no answers.

/// The contract around a core module.
const POLICY: &str = include_str!("../../../../../tests/guests/raw.wat");

/// A raw guest does its wrong when the event has this number.
pub(super) const WRONG: u64 = 1;

pub(super) const OTHER_VERSION: &str = r#"(component (instance $i) (export "coda:policy/about@0.1.0" (instance $i)) (export "coda:policy/guard@9.9.9" (instance $i)))"#;
pub(super) const SOCKETS: &str = r#"(component (import "wasi:sockets/tcp@0.2.0" (instance (export "x" (func)))))"#;

/// Grows until the host says no, and does not take that for an answer.
pub(super) const GROWS_TABLES: &str =
    "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)))) unreachable";
pub(super) const GROWS_MEMORY: &str = "(br_if 0 (i32.ne (memory.grow (i32.const 65000)) (i32.const -1))) unreachable";
/// The answer lies at 1024: `ok` at 0, which verdict at 4, its list at 8.
pub(super) const NO_SUCH_VERDICT: &str = "(i32.store8 (i32.const 1028) (i32.const 77))";
pub(super) const OUTSIDE_LIST: &str =
    "(i32.store (i32.const 1032) (i32.const 0x7fffff00)) (i32.store (i32.const 1036) (i32.const 3))";
pub(super) const ENDLESS_LIST: &str = "(i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const -1))";
pub(super) const OUTSIDE_ANSWER: &str = "(return (i32.const 0x7ffffff0))";

/// A policy whose `review` does this before it allows, where the event says so.
pub(super) fn component(review: &str) -> Vec<u8> {
    encode(&core(review, ""))
}

/// A policy that does this when an instance of it is made.
pub(super) fn component_that_starts(start: &str) -> Vec<u8> {
    encode(&core("", &format!("(func $start {start}) (start $start)")))
}

/// The description lies at 64, `ok` of configure at 1280; memory for the event is handed out from 64 KiB on.
fn core(review: &str, more: &str) -> String {
    format!(
        r#"(core module $main
        (memory (export "memory") 40)
        (table $t 1 funcref)
        (global $free (mut i32) (i32.const 65536))
        (data (i32.const 0) "raw")
        (data (i32.const 64) "\00\00\00\00\03\00\00\00\00\00\00\00\03\00\00\00\00\00\00\00\00\00\00\00\20\00\00\00\04\00\00\00\00\00\00\00\00\00\00\00")
        (data (i32.const 32) "\00\01\02\03")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
          (local $at i32)
          (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
          (global.set $free (i32.add (local.get $at) (local.get 3)))
          (local.get $at))
        (func (export "coda:policy/about@0.1.0#describe") (result i32) (i32.const 64))
        (func (export "coda:policy/about@0.1.0#configure") (param i32 i32 i32 i32) (result i32) (i32.const 1280))
        (func (export "coda:policy/guard@0.1.0#review") (param $event i32) (result i32)
          (if (i64.eq (i64.load offset=24 (local.get $event)) (i64.const {WRONG})) (then {review}))
          (i32.const 1024))
        {more})"#
    )
}

fn encode(core: &str) -> Vec<u8> {
    wat::parse_str(POLICY.replace("  CORE\n", core)).unwrap()
}

/// Machine code of this very engine.
pub(super) fn precompiled() -> Vec<u8> {
    let runtime = crate::policy::engine::Runtime::new(&crate::policy::Settings::default()).unwrap();
    runtime.engine().precompile_component(&wat::parse_str("(component)").unwrap()).unwrap()
}
