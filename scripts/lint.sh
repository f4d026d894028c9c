#!/usr/bin/env bash
# Format, clippy, licences, bans and sources, documentation. Warnings are errors.
# Advisories are checked where their database can be reached; the output says which happened.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'lint: %s\n' "$*"; }

scripts/setup.sh build
say "format"
cargo fmt --all -- --check
say "clippy"
cargo clippy --locked --workspace --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

if ! cargo deny --version >/dev/null 2>&1; then
    say "installing cargo-deny"
    # A target folder of its own: built once, and not thrown away with this project's.
    CARGO_TARGET_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/coda-ci/tools" cargo install --quiet --locked cargo-deny
fi
say "licences, bans, sources"
cargo deny --locked check licenses bans sources
say "advisories"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if timeout 120 cargo deny fetch db >"$log" 2>&1; then
    cargo deny --locked check --disable-fetch advisories
    say "advisories were checked"
else
    say "advisories were NOT checked: their database cannot be reached from here"
fi
say "clean"
