#!/bin/sh
# Cargo's RUSTC_WORKSPACE_WRAPPER for scripts/fuzz.sh: compiles coda's library with `--cfg fuzzing` and libFuzzer's counters,
# and everything else as always. RUSTFLAGS would do so for every crate, and build the WASM engine once more.
rustc=$1
shift
case " $* " in
*" --crate-name coda "*)
    set -- "$@" --cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
        -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
        -C llvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"
