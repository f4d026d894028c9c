#!/bin/sh
# The real Hermes behind the gateway, with scripted verdicts and a scripted model: needs no server, no key and, once
# Hermes is installed, no network. About a minute.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
CODA_E2E_HERMES=$("$here/setup.sh")
export CODA_E2E_HERMES
cd "$here/../.."
exec cargo test -p coda --lib --features e2e gateway::tests::hermes
