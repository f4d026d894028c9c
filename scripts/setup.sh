#!/usr/bin/env bash
# Installs what the tests and the demo need and what is missing, once. Run by `make test`, `make demo` and `.ci/run`.
#   scripts/setup.sh          everything
#   scripts/setup.sh build    only what a build needs
#   scripts/setup.sh clients  only the outside clients and agents that the tests run; prints their folder
# CODA_TEST_CACHE: where clients and agents of the test suite live [~/.cache/coda-tests]
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${CODA_TEST_CACHE:-$HOME/.cache/coda-tests}
python_client=mcp-2.3.0
test_user=coda-test

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian packages, where we may install them.
apt() {
    local apt_get
    if [ "$(id -u)" = 0 ]; then
        apt_get=(apt-get)
    elif have sudo && sudo -n true 2>/dev/null; then
        apt_get=(sudo -n apt-get)
    else
        return 1
    fi
    have apt-get || return 1
    say "installing $*"
    "${apt_get[@]}" update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive "${apt_get[@]}" install -y -qq "$@" >/dev/null
}

# rust-toolchain.toml names compiler, components and the WASM target; rustup installs them on first use, or where that is
# switched off, here. A machine that has the same version under the name "stable" and cannot fetch gets a second name for it.
toolchain() {
    have cargo || fail "cargo is missing: install Rust with rustup"
    if rustc --version >/dev/null 2>&1; then return; fi
    have rustup || fail "rustc does not run: $(rustc --version 2>&1 | head -n 1)"
    local wanted stable
    wanted=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    say "installing the Rust toolchain $wanted"
    if rustup toolchain install >&2; then return; fi
    stable=$(rustup run stable rustc --version 2>/dev/null | cut -d' ' -f2) || stable=
    [ "$stable" = "$wanted" ] || fail "Rust $wanted is missing and cannot be installed: rustup toolchain install $wanted"
    say "Rust $wanted is here as stable"
    rustup toolchain link "$wanted" "$(rustup run stable rustc --print sysroot)"
}

build_tools() {
    toolchain
    if ! [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" ]; then
        have rustup || fail "the target wasm32-wasip2 is missing, and so is rustup to add it"
        say "adding the target wasm32-wasip2"
        rustup target add wasm32-wasip2
    fi
    have cc || apt build-essential || fail "a C compiler is missing: install build-essential"
}

python() {
    local candidate
    for candidate in python3.12 python3.13 python3.11 python3; do
        if have "$candidate" &&
            "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

python_clients() {
    if [ -f "$cache/$python_client/.complete" ]; then return; fi
    local found
    found=$(python) || { apt python3-venv && found=$(python); } || fail "Python 3.11 to 3.13 with venv is missing"
    say "installing the Python MCP client into $cache/$python_client"
    rm -rf "${cache:?}/$python_client"
    mkdir -p "$cache"
    "$found" -m venv "$cache/$python_client"
    "$cache/$python_client/bin/pip" install --quiet --disable-pip-version-check "${python_client/-/==}"
    touch "$cache/$python_client/.complete"
}

hermes() {
    # The end-to-end tests bring their own installer; it prints where Hermes is.
    if [ -x tests/e2e/setup.sh ]; then tests/e2e/setup.sh >/dev/null; fi
}

browser() {
    if have chromium || have chromium-browser || have google-chrome; then return; fi
    apt chromium || fail "Chromium is missing, and there is no right to install it: install the package chromium"
}

# The build tools of the browser side, and what drives the browser in its tests.
browser_side() {
    have npm || apt nodejs npm || fail "npm is missing, and there is no right to install it: install the packages nodejs and npm"
    local folder
    for folder in host/web tests/browser; do
        if [ "$folder/node_modules/.package-lock.json" -ot "$folder/package-lock.json" ]; then
            say "installing the npm modules of $folder"
            (cd "$folder" && npm ci --silent --no-audit --no-fund) || fail "npm ci failed in $folder"
        fi
    done
}

ordinary_user() {
    # Root hides failures of permissions and sandbox; as root, tests that need an ordinary user take this one.
    if [ "$(id -u)" != 0 ] || id "$test_user" >/dev/null 2>&1; then return; fi
    have useradd || apt passwd || fail "useradd is missing, and tests as an ordinary user need it: install the package passwd"
    say "adding the user $test_user"
    useradd --create-home --shell /bin/bash "$test_user"
}

if [ "${1:-all}" = clients ]; then
    python_clients
    hermes
    echo "$cache"
    exit 0
fi
build_tools
if [ "${1:-all}" = all ]; then
    python_clients
    hermes
    browser
    browser_side
    ordinary_user
fi
