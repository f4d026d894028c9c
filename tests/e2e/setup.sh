#!/bin/sh
# Installs the agents that the end-to-end tests run, each in its own folder of the test cache, once.
#   setup.sh           Hermes; prints its folder
#   setup.sh agents    those of npm too; prints the folder of the test cache
# CODA_TEST_CACHE overrides ~/.cache/coda-tests.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

HERMES_VERSION=0.19.0
cache=${CODA_TEST_CACHE:-$HOME/.cache/coda-tests}
hermes=$cache/hermes-$HERMES_VERSION
log=$cache/hermes-$HERMES_VERSION.log

fail() {
    echo "setup: $1" >&2
    exit 1
}

if [ "${1:-}" = agents ]; then
    hermes=$("$0")
    command -v npm >/dev/null 2>&1 || fail "npm is missing: install the packages nodejs and npm"
    # The Python of Hermes: the one that is known to be new enough.
    "$hermes/bin/python" "$here/install.py" "$cache/agents" >&2
    echo "$cache"
    exit 0
fi
if [ -x "$hermes/bin/hermes" ] && [ -f "$hermes/.complete" ]; then
    echo "$hermes"
    exit 0
fi

# Hermes needs Python 3.11 to 3.13; the first that is there is taken.
for candidate in python3.12 python3.13 python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "${python:-}" ] || fail "no Python 3.11 to 3.13 with venv found; install one (Debian: apt install python3-venv)"

mkdir -p "$cache" || fail "cannot make $cache; set CODA_TEST_CACHE to a folder that can be written"
rm -rf "$hermes"
"$python" -m venv "$hermes" >"$log" 2>&1 || fail "cannot make a venv in $hermes; see $log"
"$hermes/bin/pip" install --disable-pip-version-check "hermes-agent==$HERMES_VERSION" >>"$log" 2>&1 ||
    fail "pip install hermes-agent==$HERMES_VERSION failed (is the package index reachable?); see $log"
"$hermes/bin/hermes" --version >>"$log" 2>&1 || fail "the installed hermes does not start; see $log"
touch "$hermes/.complete"
echo "$hermes"
