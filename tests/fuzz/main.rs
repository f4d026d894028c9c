//! libFuzzer's entry point for the target that `CODA_FUZZ_TARGET` names, see `coda::fuzzing`. One program for all of them:
//! each would link the whole server.

#![no_main]

use std::sync::LazyLock;

use coda::fuzzing::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("CODA_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("CODA_FUZZ_TARGET: there is no target '{wanted}' in coda::fuzzing::TARGETS")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
