#!/usr/bin/env bash
# MCP clients of others against a real server with the embedded policies and the built-in agent: the Python and the
# TypeScript client in both eras of the protocol, FastMCP, the Inspector's command line, and the conformance suite held to
# its baseline. Needs no key and, once the clients are installed, no network. Nothing is skipped.
#   tests/clients/clients.sh [NAME…]     only clients whose name begins so, such as `python` or `conformance`
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/clients
deadline=${CODA_CLIENTS_DEADLINE_S:-120}
fail() { printf 'clients: %s\n' "$*" >&2; exit 1; }

if grep -nE '"resolved"|registry' "$here/package-lock.json"; then
    fail "package-lock.json names a registry: it must say what, never from where"
fi
cache=$(scripts/setup.sh outside)
# CODA_BIN: the program to test [built here]
coda=${CODA_BIN:-}
if [ -z "$coda" ]; then
    cargo build --locked --quiet -p coda
    coda=$(realpath "${CARGO_TARGET_DIR:-target}/debug/coda")
fi
digest=$(cat "$here/package.json" "$here/package-lock.json" | sha256sum | cut -c 1-12)
npm=$cache/node-clients-$digest
node=$(compgen -G "$npm/node_modules/node-linux-*/bin/node" | head -n 1) || fail "no Node in $npm"
python=$cache/mcp-2.3.0/bin/python
fastmcp=$cache/fastmcp-4.1.2/bin/python

# ── the server ────────────────────────────────────────────────────────────────────────────────────────────────────────
work=$(mktemp -d "${TMPDIR:-/tmp}/coda-clients.XXXXXX")
started=()
cleanup() {
    local status=$? pid
    # Only what this script started, by its id, the last one first.
    for pid in $(printf '%s\n' "${started[@]}" | tac); do kill -TERM "$pid" 2>/dev/null && wait "$pid" || true; done
    if [ "$status" = 0 ]; then
        rm -rf "$work"
    else
        printf 'clients: everything is kept in %s\n' "$work" >&2
    fi
    exit "$status"
}
trap cleanup EXIT
unset CODA_SERVER CODA_TOKEN CODA_MCP_URL

until_there() { # what it is, then a command that succeeds once it is there
    local what=$1 end=$((SECONDS + deadline))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "no $what after $deadline s"
        sleep 0.1
    done
}

export CODA_HOME=$work/home
export CODA_POLICY_CACHE=${CODA_POLICY_CACHE:-$cache/policies}
"$coda" init >/dev/null
"$coda" serve --listen 127.0.0.1:0 >"$work/server.out" 2>"$work/server.log" &
started+=($!)
until_there "server" eval "grep -q '^coda listens on' '$work/server.out' || ! kill -0 $!"
address=$(sed -n 's/^coda listens on //p' "$work/server.out")
[ -n "$address" ] || { tail -n 20 "$work/server.log" >&2; fail "the server ended"; }

token() { "$coda" token create --role submitter --secret-only --name clients "$@"; }
is_refused() { [ "$(curl -s -o /dev/null -w '%{http_code}' -H "authorization: Bearer $1" "$address/v1/whoami")" = 401 ]; }
CODA_TEST_URL=$address/mcp
CODA_TEST_TOKEN=$(token --expires 1h)
CODA_TEST_EXPIRED=$(token --expires 1s)
revoked=$("$coda" token create --role submitter --json)
CODA_TEST_REVOKED=$(sed -n 's/^ *"secret": "\([^"]*\)".*/\1/p' <<<"$revoked")
"$coda" token revoke "$(sed -n 's/^ *"token_id": "\([^"]*\)".*/\1/p' <<<"$revoked")" >/dev/null
export CODA_TEST_URL CODA_TEST_TOKEN CODA_TEST_EXPIRED CODA_TEST_REVOKED
until_there "end of the token" is_refused "$CODA_TEST_EXPIRED"
is_refused "$CODA_TEST_REVOKED" || fail "the revoked token is taken"

# The TypeScript client looks for its modules beside the program.
mkdir "$work/node"
cp "$here"/*.mjs "$work/node/"
ln -s "$npm/node_modules" "$work/node/node_modules"

# ── the clients ───────────────────────────────────────────────────────────────────────────────────────────────────────
wanted=("$@")
log=$work/checks
: >"$log"
client() { # name, then its command; a client that ends badly without having said why counts as one failed check
    local name=$1 status=0 before
    shift
    if [ ${#wanted[@]} -gt 0 ]; then
        local word found=
        for word in "${wanted[@]}"; do [[ $name == "$word"* ]] && found=1; done
        [ -n "$found" ] || return 0
    fi
    before=$(grep -c '^not ok ' "$log" || true)
    timeout "$deadline" "$@" 2>"$work/${name//[ ,]/-}.err" | tee -a "$log" | grep -v "^ok conformance" || status=${PIPESTATUS[0]}
    if [ "$status" != 0 ] && [ "$before" = "$(grep -c '^not ok ' "$log" || true)" ]; then
        tail -n 15 "$work/${name//[ ,]/-}.err" >&2
        echo "not ok $name: ended with $status" | tee -a "$log"
    fi
}

client "python legacy" "$python" "$here/python_mcp.py" legacy
client "python auto" "$python" "$here/python_mcp.py" auto
client "python 2026-07-28" "$python" "$here/python_mcp.py" 2026-07-28
client "typescript legacy" "$node" "$work/node/typescript.mjs" legacy
client "typescript auto" "$node" "$work/node/typescript.mjs" auto
client "typescript 2026-07-28" "$node" "$work/node/typescript.mjs" 2026-07-28
client "fastmcp legacy" "$fastmcp" "$here/fastmcp_client.py" legacy
client "fastmcp auto" "$fastmcp" "$here/fastmcp_client.py" auto
client "fastmcp cli" "$fastmcp" "$here/fastmcp_client.py" cli
client "inspector legacy" "$python" "$here/inspector.py" "$node" "$npm" legacy
client "inspector modern" "$python" "$here/inspector.py" "$node" "$npm" modern

"$node" "$work/node/bearer.mjs" >"$work/bearer" &
started+=($!)
until_there "proxy that adds the token" test -s "$work/bearer"
for suite in "0.1.16" "0.2 at 2025-11-25" "0.2 at 2026-07-28"; do
    client "conformance $suite" "$fastmcp" "$here/conformance.py" "$node" "$npm" "$(cat "$work/bearer")" "$suite" "$work/conformance ${suite}"
done

passed=$(grep -c '^ok ' "$log" || true)
failed=$(grep -c '^not ok ' "$log" || true)
word=ok
if [ "$failed" != 0 ] || [ "$passed" = 0 ]; then word=FAILED; fi
printf 'test result: %s. %s passed; %s failed; 0 skipped\n' "$word" "$passed" "$failed"
[ "$word" = ok ]
