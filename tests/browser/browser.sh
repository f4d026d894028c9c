#!/usr/bin/env bash
# The site in Debian's Chromium: a server behind a proxy that logs people in, with the shipped policies as they are, real
# tasks of the built-in agent, and one server for a single person. Pictures go to screenshots/.
# Nothing is skipped: without Chromium or npm it fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
deadline=${CODA_BROWSER_DEADLINE_S:-120}
fail() { printf 'browser: %s\n' "$*" >&2; exit 1; }

for CHROMIUM in chromium chromium-browser google-chrome ''; do
    if CHROMIUM=$(command -v "${CHROMIUM:-none}"); then break; fi
done
[ -n "$CHROMIUM" ] || fail "no Chromium: run scripts/setup.sh, or install the package chromium"
command -v npm >/dev/null || fail "no npm: run scripts/setup.sh, or install the package npm"
for folder in tests/browser host/web; do
    if grep -nE '"resolved"|registry' "$folder/package-lock.json"; then
        fail "$folder/package-lock.json names a registry: it must say what, never from where"
    fi
    if [ "$folder/node_modules/.package-lock.json" -ot "$folder/package-lock.json" ]; then
        (cd "$folder" && npm ci --silent --no-audit --no-fund)
    fi
done
cargo build --locked -p coda
PATH="${CARGO_TARGET_DIR:-$PWD/target}/debug:$PATH"

# ── the servers ───────────────────────────────────────────────────────────────────────────────────────────────────────
work=$(mktemp -d)
started=()
cleanup() {
    local status=$? pid
    # Only what this script started, by its id, the last one first.
    for pid in $(printf '%s\n' "${started[@]}" | tac); do kill -TERM "$pid" 2>/dev/null && wait "$pid" || true; done
    if [ "$status" = 0 ]; then
        rm -rf "$work"
    else
        tail -n 20 "$work"/*.log >&2 || true
        printf 'browser: everything is kept in %s\n' "$work" >&2
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
        sleep 0.2
    done
}
serve() { # name of the server; its address is in $address
    coda serve --listen 127.0.0.1:0 2>"$work/$1.log" &
    local pid=$!
    started+=("$pid")
    until_there "server of $1" eval "test -s '$CODA_HOME/server.json' || ! kill -0 $pid"
    kill -0 "$pid" 2>/dev/null || fail "the server of $1 ended"
    address=$(grep -oE 'http://[^"]+' "$CODA_HOME/server.json")
}

export CODA_HOME=$work/local
coda init >/dev/null
serve local
export LOCAL_URL=$address
LOGIN_LINK=$(coda login | grep -oE "http://[^ ]+")
export LOGIN_LINK

export CODA_HOME=$work/home
coda init >/dev/null
# Several people: whoever submits does not decide.
sed -i 's/^allow_requester = true/allow_requester = false/' "$CODA_HOME/policies/policies.toml"
# The compiled policies are the same.
cp -a "$work/local/cache/." "$CODA_HOME/cache/"
head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/secret"
sed -i "s|^\[identity\]\$|&\nmode = \"proxy\"\ntrusted_peers = [\"127.0.0.1\"]\nheaders = [\"x-forwarded-email\"]\n\
secret_header = \"x-proxy-secret\"\nsecret_file = \"$work/secret\"|" "$CODA_HOME/coda.toml"
cat >"$CODA_HOME/roles.toml" <<'TOML'
[[role]]
name = "submitter"
principals = ["ann@example.com", "eve@example.com"]

[[role]]
name = "approver"
principals = ["ben@example.com"]
TOML
serve home
node tests/browser/proxy.mjs "$address" "$work/secret" ann@example.com ben@example.com eve@example.com \
    >"$work/people" 2>"$work/proxy.log" &
started+=($!)
until_there "proxy" grep -q ^eve "$work/people"
url() { sed -n "s/^$1@example.com //p" "$work/people"; }
ANN=$(url ann) BEN=$(url ben) EVE=$(url eve)
export ANN BEN EVE

# ── the tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────
CODA_TOKEN=$(curl -sS --fail -X POST "$ANN/v1/tokens" -H "origin: $ANN" -H 'content-type: application/json' \
    -d '{"roles":["submitter"],"name":"command line"}' | grep -oE 'coda_tok_[A-Za-z0-9_-]+')
export CODA_TOKEN
value() { sed -n "s/^ *\"$1\": \"\\([^\"]*\\)\",\\{0,1\\}\$/\\1/p" | head -n 1; }
hand_over() { coda run --json --agent runbook - | value task_id; }
is() { [ "$(coda task show --json "$1" | value status)" = "$2" ]; }

ENDED_TEXT="that was all"
ENDED_TASK=$(hand_over <<EOT
Say hello and look around.
\`\`\`sh
echo hello from a task
seq 5
mkdir -p src && printf 'fn main() {}\\n' > src/main.rs
ls -la src
printf '\\033[1;33m%s\\033[0m\\n' '$ENDED_TEXT'
\`\`\`
EOT
)
LIVE_TASK=$(hand_over <<'EOT'
Build in three parts, and wait for word between them.
```sh
printf '\033[32mpart one\033[0m of three\n'; for i in $(seq 12); do printf 'unit %2d \033[36mok\033[0m\n' $i; done
until [ -e go ]; do sleep 0.1; done; mv go went-1
printf '\033[33mpart two\033[0m of three\n'
until [ -e go ]; do sleep 0.1; done; mv go went-2
printf '\033[35mpart three\033[0m of three\n'
```
EOT
)
HELD_COMMAND="rm -rf 2019"
held() {
    hand_over <<EOT
Clear out the reports of $1 years ago.
\`\`\`sh
mkdir -p reports/2019 && echo old > reports/2019/january.txt
cd reports
$HELD_COMMAND
echo after the removal; ls -la
\`\`\`
EOT
}
APPROVE_TASK=$(held seven)
DENY_TASK=$(held eight)
plan=$(hand_over <<'EOT'
Reset the scratch data. The tables are rebuilt every night, so nothing is lost.
```sh plan
mkdir -p scratch
psql -d warehouse -c "DROP TABLE prod.orders_2019; DELETE FROM staging.events"
git push --force origin main
rm -rf scratch ~/cache
```
EOT
)
until_there "end of the short task" is "$ENDED_TASK" completed
for task in "$APPROVE_TASK" "$DENY_TASK" "$plan"; do until_there "held task" is "$task" needs_approval; done
request() { coda task show --json "$1" | value approval_id; }
APPROVE=$(request "$APPROVE_TASK") DENY=$(request "$DENY_TASK") PLAN=$(request "$plan")
LIVE_DIR=$CODA_HOME/workspaces/$(coda task show --json "$LIVE_TASK" | value session_id)
export CHROMIUM HELD_COMMAND ENDED_TEXT ENDED_TASK LIVE_TASK LIVE_DIR APPROVE_TASK DENY_TASK APPROVE DENY PLAN

# ── the browser ───────────────────────────────────────────────────────────────────────────────────────────────────────
status=0
(cd tests/browser && node --test --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$work/tap" site.spec.mjs) || status=1
count() { sed -n "s/^# $1 //p" "$work/tap"; }
[ "$(count skipped)" = 0 ] || { printf 'browser: tests were skipped\n' >&2; status=1; }
word=ok
[ "$status" = 0 ] || word=FAILED
printf 'test result: %s. %s passed; %s failed; %s skipped\n' "$word" "$(count pass)" "$(count fail)" "$(count skipped)"
exit "$status"
