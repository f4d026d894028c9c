#!/usr/bin/env bash
# Every real agent that coda knows through every case, each in its sandbox, against a scripted model. Needs no key and, once
# the agents are installed, no network. Minutes.
#   CODA_AGENTS=latest        the newest releases instead of the tested ones: says what drifted
#   CODA_AGENTS_TABLE=FILE    write the table of results into this page
# Arguments go to agents.py, such as --only goose,pi --case approved.
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
table=()
if [ -n "${CODA_AGENTS_TABLE:-}" ]; then table=(--table "$CODA_AGENTS_TABLE"); fi
"$cache/mcp-2.3.0/bin/python" tests/e2e/agents.py --coda "$coda" --agents "$cache/agents" --hermes "$cache/hermes-0.19.0" \
    --work "$work" "${table[@]}" "$@"
