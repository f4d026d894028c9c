#!/usr/bin/env bash
# Installs what the tests and the demo need and what is missing, once. Run by `make test`, `make demo` and `.ci/run`.
#   scripts/setup.sh          everything
#   scripts/setup.sh build    only what a build needs
#   scripts/setup.sh clients  only the Python client and the agents that the tests run; prints their folder
#   scripts/setup.sh outside  only the MCP clients of others that tests/clients runs; prints their folder
#   scripts/setup.sh sdks     only the clients of model APIs that tests/e2e/sdk.sh runs; prints their folder
#   scripts/setup.sh litellm  only the other gateway that scripts/bench.sh measures beside ours; prints its folder
# CODA_TEST_CACHE: where clients and agents of the test suite live [~/.cache/coda-tests]
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${CODA_TEST_CACHE:-$HOME/.cache/coda-tests}
# Versions of the Python clients; those of the others are in tests/clients/package.json and its lock.
python_client=mcp-2.3.0
fastmcp=fastmcp-4.1.2
# The makers' own clients of their model APIs, in one environment.
model_clients=(openai==3.54.0 anthropic==2.12.0 google-genai==3.4.0)
litellm=litellm-1.103.7
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

# A Python program of others, in an environment of its own: NAME-VERSION.
python_program() { python_packages "$1" "${1%-*}==${1##*-}"; }

# An environment of its own for these packages.
python_packages() {
    local name=$1 found
    shift
    if [ -f "$cache/$name/.complete" ]; then return; fi
    found=$(python) || { apt python3-venv && found=$(python); } || fail "Python 3.11 to 3.13 with venv is missing"
    say "installing $name into $cache/$name"
    rm -rf "${cache:?}/$name"
    mkdir -p "$cache"
    "$found" -m venv "$cache/$name"
    "$cache/$name/bin/pip" install --quiet --disable-pip-version-check "$@"
    touch "$cache/$name/.complete"
}

# A folder named by what is in it, so that another version is another folder.
sdks() {
    local name
    name=sdks-$(printf '%s\n' "${model_clients[@]}" | sha256sum | cut -c 1-12)
    python_packages "$name" "${model_clients[@]}" >&2
    echo "$cache/$name"
}

# The clients that npm has, and the Node that they need, in a folder named by what the lock says.
node_clients() {
    local digest folder
    digest=$(cat tests/clients/package.json tests/clients/package-lock.json | sha256sum | cut -c 1-12)
    folder=$cache/node-clients-$digest
    if [ -f "$folder/.complete" ]; then return; fi
    have npm || apt nodejs npm || fail "npm is missing, and there is no right to install it: install the packages nodejs and npm"
    say "installing the MCP clients of npm into $folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp tests/clients/package.json tests/clients/package-lock.json "$folder/"
    # They bring their own Node: npm's complaint that this machine's is older says nothing.
    (cd "$folder" && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund >/dev/null 2>"$folder.log") ||
        { tail -n 20 "$folder.log" >&2; fail "npm ci failed for tests/clients"; }
    touch "$folder/.complete"
}

# Side by side: each of them mostly waits for its registry.
outside_clients() {
    local pids=() pid failed=0
    python_program "$python_client" & pids+=($!)
    python_program "$fastmcp" & pids+=($!)
    node_clients & pids+=($!)
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
    [ "$failed" = 0 ] || fail "an outside client could not be installed"
}

hermes() {
    # The end-to-end tests bring their own installer; it prints where Hermes is.
    if [ -x tests/e2e/setup.sh ]; then tests/e2e/setup.sh >/dev/null; fi
}

other_agents() {
    have npm || apt nodejs npm || fail "npm is missing, and there is no right to install it: install the packages nodejs and npm"
    have ss || apt iproute2 || say "ss is missing, which breaks connections in tests/e2e: install iproute2"
    tests/e2e/setup.sh agents >/dev/null
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

if [ "${1:-all}" = outside ]; then
    outside_clients >&2
    echo "$cache"
    exit 0
fi
if [ "${1:-all}" = sdks ]; then
    sdks
    exit 0
fi
if [ "${1:-all}" = litellm ]; then
    python_packages "$litellm" "litellm[proxy]==${litellm##*-}" >&2
    echo "$cache/$litellm"
    exit 0
fi
if [ "${1:-all}" = clients ]; then
    python_program "$python_client"
    hermes
    echo "$cache"
    exit 0
fi
build_tools
if [ "${1:-all}" = all ]; then
    outside_clients
    sdks >/dev/null
    # libFuzzer is C++.
    have c++ || apt build-essential || fail "a C++ compiler is missing: install build-essential"
    hermes
    other_agents
    browser
    browser_side
    ordinary_user
fi
