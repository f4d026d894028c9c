#!/usr/bin/env bash
# Every real agent that coda knows through every case, each in its sandbox, against a scripted model. Needs no key and, once
# the agents are installed, no network. Minutes. Without arguments: all cases and one kill for each agent; how long each bears
# a held call, for a short time; and as root the first cases once more as an ordinary user, because root hides what
# permissions forbid.
#   CODA_AGENTS=latest        the newest releases instead of the tested ones: says what drifted
#   CODA_AGENTS_TABLE=FILE    write the table of results into this page, for which all kills are played
#   --measure-holds           instead: how long each agent bears a held call, a quarter of an hour (make holds)
# Other arguments go to agents.py, such as --only goose,pi --case approved --kills all --seed 7.
set -uo pipefail
cd "$(dirname "$0")/../.."
test_user=${CODA_TEST_USER:-coda-test}

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
chmod 755 "$work"
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

if [ "$(id -u)" != 0 ] || [ "${CODA_AGENTS:-}" = latest ]; then exit "$status"; fi
if ! id "$test_user" >/dev/null 2>&1; then
    if [ -n "${CODA_REQUIRE_CLIENTS:-}" ]; then
        printf 'no user %s: scripts/setup.sh adds it\n' "$test_user" >&2
        exit 1
    fi
    printf 'skipped: no user %s; scripts/setup.sh adds it\n' "$test_user"
    exit "$status"
fi
printf 'as %s\n' "$test_user"
# The agents are there already: they get second names where this user finds them, and stay root's.
theirs=$(getent passwd "$test_user" | cut -d: -f6)/.cache/coda-tests/agents
su "$test_user" -s /bin/sh -c "mkdir -p '$theirs'" || exit 1
for place in "$cache"/agents/*/; do
    second=$theirs/$(basename "$place")
    if [ -e "$place/.complete" ] && ! [ -e "$second/.complete" ]; then
        rm -rf "$second"
        cp -al "$place" "$second" 2>/dev/null || { rm -rf "$second" && cp -a "$place" "$second"; } || exit 1
        chmod -R a+rX "$second"
    fi
done
# What the tests need, where any user can read it: the repository may lie where others may not look.
mkdir -p "$work/kit/tests" "$work/kit/host/src/executor/agent"
cp -r tests/e2e tests/model "$work/kit/tests/"
cp -r scripts "$work/kit/"
cp host/src/executor/agent/tested.toml "$work/kit/host/src/executor/agent/"
cp "$coda" "$work/kit/coda"
chmod -R a+rX "$work/kit"
su "$test_user" -s /bin/bash -c "cd / && unset CODA_TEST_CACHE CODA_POLICY_CACHE CARGO_TARGET_DIR &&
    CODA_BIN='$work/kit/coda' '$work/kit/tests/e2e/agents.sh' --case harmless,refused,approved --kills none" || status=1
exit "$status"
