#!/usr/bin/env bash
# Fuzzes every target with libFuzzer, or those that are named. Inputs that reach further are kept in the build folder for the
# next run; what fails lies in tests/fuzz/artifacts. Needs a C++ compiler, which builds libFuzzer, and neither a nightly
# compiler nor cargo-fuzz: without a sanitizer, which safe Rust does without, counters are an option of the stable one.
#   scripts/fuzz.sh [TARGET...]
# CODA_FUZZ_S: seconds for each target [600]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${CODA_FUZZ_S:-600}
built=${CARGO_TARGET_DIR:-$PWD/target}
folder=$built/fuzz
say() { printf 'fuzz: %s\n' "$*"; }

if [ $# = 0 ]; then set -- envelope result manifest verdict terminal mcp model; fi
for target in "$@"; do
    [ -d "tests/fuzz/corpus/$target" ] || { say "there is no target '$target' in tests/fuzz/corpus"; exit 2; }
done
scripts/setup.sh build
command -v c++ >/dev/null || { say "a C++ compiler is missing: install g++"; exit 1; }

say "building"
RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/rustc.sh cargo build --locked --quiet -p coda-fuzz --features libfuzzer
mkdir -p tests/fuzz/artifacts
passed=0 failed=0
for target in "$@"; do
    mkdir -p "$folder/$target"
    # The seeds are read too, and what is new goes to the first folder.
    if CODA_FUZZ_TARGET=$target "$built/debug/coda-fuzz" "$folder/$target" "tests/fuzz/corpus/$target" \
        -artifact_prefix="tests/fuzz/artifacts/$target-" -max_total_time="$seconds" -max_len=8192 -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 >"$folder/$target.log" 2>&1 &&
        grep -q 'inline 8-bit counters' "$folder/$target.log"
    then
        passed=$((passed + 1))
        say "$target holds: $(grep -oE 'Done [0-9]+ runs in [0-9]+ second' "$folder/$target.log")s," \
            "$(grep -oE 'cov: [0-9]+' "$folder/$target.log" | tail -n 1), $(find "$folder/$target" -type f | wc -l) inputs kept"
    else
        failed=$((failed + 1))
        say "$target does not hold; the end of $folder/$target.log:"
        tail -n 60 "$folder/$target.log"
    fi
done
printf 'test result: fuzz targets. %s passed; %s failed; each %s s\n' "$passed" "$failed" "$seconds"
[ "$failed" = 0 ]
