#!/usr/bin/env bash
# The figures of docs/benchmarks.md, measured on this machine. Prints them; writes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh build
exec cargo bench --locked -p coda "$@"
