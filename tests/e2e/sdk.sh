#!/usr/bin/env bash
# The official Python clients of OpenAI, Anthropic and Google as agents of a real coda server, each in its sandbox, against a
# scripted model behind the gateway. Needs no key and, once the clients are installed, no network. About a minute.
# Arguments go to sdk.py, such as --only gemini.
set -uo pipefail
cd "$(dirname "$0")/../.."

# CODA_BIN: the program to test [built here]
coda=${CODA_BIN:-}
if [ -z "$coda" ]; then
    cargo build --locked --quiet -p coda || exit 1
    coda=$(realpath "${CARGO_TARGET_DIR:-target}/debug/coda")
fi
clients=$(scripts/setup.sh sdks) || exit 1
export CODA_POLICY_CACHE=${CODA_POLICY_CACHE:-$(dirname "$clients")/policies}

work=$(mktemp -d "${TMPDIR:-/tmp}/coda-sdk.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$clients/bin/python" tests/e2e/sdk.py --coda "$coda" --work "$work" "$@"
