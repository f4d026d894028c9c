#!/usr/bin/env bash
# How well the bundled policies judge labelled rows: the real components in the real engine. CORPORA is a folder with
# files of rows (docs/policies.md says of what form); a clone has none, and this says so rather than passing silently.
set -euo pipefail
cd "$(dirname "$0")/.."
corpora=${CORPORA:-}
if [ -z "$corpora" ] || [ ! -d "$corpora" ]; then
    echo "score: CORPORA must name a folder with *.jsonl or *.jsonl.gz files: make score CORPORA=DIR" >&2
    exit 2
fi
shopt -s nullglob
files=("$corpora"/*.jsonl "$corpora"/*.jsonl.gz)
if [ ${#files[@]} = 0 ]; then
    echo "score: there are no *.jsonl or *.jsonl.gz files in $corpora" >&2
    exit 2
fi
scripts/setup.sh build
cargo build --locked --quiet -p coda
exec "${CARGO_TARGET_DIR:-target}/debug/coda" policy score "${files[@]}"
