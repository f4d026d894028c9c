#!/usr/bin/env bash
# Every test: unit, integration, real clients and agents, browser. Installs what is missing.
# Ends with a line 'N passed, N failed' over all of them.
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh || exit 1

# What setup has installed must be there: a test that would skip itself for lack of it fails instead.
export CODA_REQUIRE_CLIENTS=1
# Policies are compiled once for all servers that the tests start.
export CODA_POLICY_CACHE=${CODA_TEST_CACHE:-$HOME/.cache/coda-tests}/policies
export RUST_BACKTRACE=${RUST_BACKTRACE:-1}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
ended_badly=()
run() {
    local before
    before=$(wc -l <"$log")
    printf '\n── %s\n' "$*"
    "$@" 2>&1 | tee -a "$log"
    if [ "${PIPESTATUS[0]}" != 0 ]; then
        status=1
        ended_badly+=("$*"$'\n'"$(tail -n "+$((before + 1))" "$log" | tail -n 12 | cut -c 1-400)")
    fi
}

run cargo test --locked --workspace --no-fail-fast
# Each reader of bytes from outside, half a minute.
run env CODA_FUZZ_S="${CODA_FUZZ_S:-30}" scripts/fuzz.sh
# The browser side that is committed is what its sources make.
run npm --prefix host/web run --silent check
# The longer ones, each a script of its own that ends with a non-zero status where something is wrong.
for script in tests/clients/*.sh tests/e2e/*.sh tests/browser/*.sh; do
    if [ -x "$script" ] && [ "$(basename "$script")" != setup.sh ]; then run "$script"; fi
done

passed=$(grep -oE '^test result: .* ([0-9]+) passed' "$log" | grep -oE '[0-9]+ passed' | awk '{ n += $1 } END { print n + 0 }')
failed=$(grep -oE '[0-9]+ failed;' "$log" | awk '{ n += $1 } END { print n + 0 }')
if [ "$status" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
# At the end, where it is found however long the output is: why, and which with its last lines.
if [ "$status" != 0 ]; then
    grep -aE -A 6 '^test .* FAILED|^---- .* stdout ----|^thread .* panicked at |^not ok |^✖ |^error(\[|:)' "$log" | cut -c 1-400 | head -n 60
    printf '\nended with an error: %s\n' "${ended_badly[@]}"
fi
printf '\n%s passed, %s failed\n' "$passed" "$failed"
exit "$status"
