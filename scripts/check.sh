#!/usr/bin/env bash
# Before a commit: format, lint, tests with the built-in agent. Needs nothing but Rust.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh build
cargo fmt --all -- --check
cargo clippy --locked --workspace --all-targets -- -D warnings
cargo test --locked --workspace
