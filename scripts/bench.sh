#!/usr/bin/env bash
# The benchmarks: builds the release program as users get it and measures it beside what the machine can do.
#   scripts/bench.sh                     everything, for people
#   scripts/bench.sh --markdown          the same as docs/benchmarks.md has it
#   scripts/bench.sh --json FILE         the same for programs, too
#   scripts/bench.sh chain terminal      only these; chain, fresh, accept, inbox, secrecy, gateway, terminal, memory
# A goal that is missed is said and fails nothing: machines differ. An error fails.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'bench: %s\n' "$*" >&2; }

scripts/setup.sh build >&2
target=${CARGO_TARGET_DIR:-target}
guests=$target/guests

say "building (release; the first time takes minutes)"
cargo build --locked --release -p coda
cargo build --locked --release -p coda-bench
# Apart: the policies as native code, which the program never holds.
cargo build --locked --release -p bench-rules
cargo build --locked --profile guest --target wasm32-wasip2 --target-dir "$guests" \
    -p coda-empty -p coda-patterns -p no-force-push

# The other gateway that is measured beside ours: where it can't be installed, the report says that it is not there.
beside=()
subjects=$(printf '%s\n' "$@" | grep -xE 'chain|fresh|accept|inbox|secrecy|gateway|terminal|memory' || true)
if [ -z "$subjects" ] || grep -qx gateway <<<"$subjects"; then
    if litellm=$(scripts/setup.sh litellm); then
        beside=(--litellm "$litellm")
    else
        say "LiteLLM's proxy cannot be installed here; going on without it"
    fi
fi

say "measuring; nothing else should run on this machine"
exec "$target/release/coda-bench" --coda "$target/release/coda" --rules "$target/release/bench-rules" \
    --guests "$guests/wasm32-wasip2/guest" --work "$target/bench" "${beside[@]}" "$@"
