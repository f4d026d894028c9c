#!/usr/bin/env bash
# Every real agent that coda knows through every case, each in its sandbox, against a scripted model. Needs no key and, once
# the agents are installed, no network. Minutes. Without arguments: all cases and one kill for each agent; and how
# long each bears a held call, for a short time.
#   CODA_AGENTS=latest        the newest releases instead of the tested ones: says what drifted
#   CODA_AGENTS_TABLE=FILE    write the table of results into this page, for which all kills are played
#   --measure-holds           instead: how long each agent bears a held call, a quarter of an hour (make holds)
# Other arguments go to agents.py, such as --only goose,pi --case approved --kills all --seed 7.
set -uo pipefail
cd "$(dirname "$0")/../.."

# CODA_BIN: the program to test [built here]
coda=${CODA_BIN:-}
if [ -z "$coda" ]; then
    cargo build --locked --quiet -p coda || exit 1
    coda=$(realpath "${CARGO_TARGET_DIR:-target}/debug/coda")
fi
cache=$(scripts/setup.sh clients) && tests/e2e/setup.sh agents >/dev/null || exit 1
export CODA_POLICY_CACHE=${CODA_POLICY_CACHE:-$cache/policies}

work=$(mktemp -d "${TMPDIR:-/tmp}/coda-agents.XXXXXX")
trap 'rm -rf "$work"' EXIT
status=0
# play NAME PROGRAM [ARGUMENT...]: in a folder of its own.
play() {
    local place=$work/$1 program=$2
    shift 2
    mkdir -m 700 "$place"
    "$cache/mcp-2.3.0/bin/python" "tests/e2e/$program" --coda "$coda" --agents "$cache/agents" --hermes "$cache/hermes-0.19.0" \
        --work "$place" "$@" || status=1
}

if [ "${1:-}" = --measure-holds ]; then
    shift
    if [ -n "${CODA_AGENTS_TABLE:-}" ]; then set -- --table "$CODA_AGENTS_TABLE" "$@"; fi
    play holds holds.py "$@"
    exit "$status"
fi
if [ -n "${CODA_AGENTS_TABLE:-}" ]; then
    play cases agents.py --table "$CODA_AGENTS_TABLE" --kills all "$@"
else
    play cases agents.py "$@"
fi
if [ $# != 0 ]; then exit "$status"; fi
play holds holds.py --way coda --for-s 20 --every-s 4

exit "$status"
