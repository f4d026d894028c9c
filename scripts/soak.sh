#!/usr/bin/env bash
# Half an hour of mixed work on one server, to see that memory, file handles and threads stay flat. Prints a table for
# docs/reliability.md; exits non-zero where something grows. See scripts/soak.py for what is done and what is allowed.
#   scripts/soak.sh [SECONDS]      two minutes at least: a request that nobody decides takes one to expire
# CODA_SOAK_S: seconds [1800]      CODA_BIN: the server [a release build]      CODA_SOAK_KINDS: some kinds of work [all]
set -euo pipefail
cd "$(dirname "$0")/.."
export CODA_SOAK_S=${1:-${CODA_SOAK_S:-1800}}
if [ -z "${CODA_BIN:-}" ]; then
    scripts/setup.sh build
    cargo build --locked --release -p coda
    CODA_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/coda
fi
CODA_BIN=$(realpath "$CODA_BIN")
export CODA_BIN
exec python3 scripts/soak.py
