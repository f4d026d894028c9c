#!/usr/bin/env bash
# The real Hermes behind a real coda server, tasks through the official Python MCP client, a scripted model; and the few
# typed lines from `coda init` to a finished Hermes task. As root both run once more as an ordinary user, because root
# hides what permissions forbid. Needs no key and, once clients are installed, no network.
set -uo pipefail
cd "$(dirname "$0")/../.."
test_user=${CODA_TEST_USER:-coda-test}

# CODA_BIN: the program to test [built here]
coda=${CODA_BIN:-}
if [ -z "$coda" ]; then
    cargo build --locked --quiet -p coda || exit 1
    coda=$(realpath "${CARGO_TARGET_DIR:-target}/debug/coda")
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/coda-e2e.XXXXXX")
trap 'rm -rf "$work"' EXIT
status=0

# What the tests need, where any user can read it: the repository may lie where others may not look.
mkdir "$work/kit" "$work/kit/tests"
cp -r tests/e2e tests/model "$work/kit/tests/"
cp -r scripts README.md "$work/kit/"
cp "$coda" "$work/kit/coda"
cat >"$work/kit/play" <<'PLAY'
#!/usr/bin/env bash
# As whoever runs it: both tests, in a new folder.
set -uo pipefail
kit=$(cd "$(dirname "$0")" && pwd)
cache=$("$kit/scripts/setup.sh" clients) || exit 1
export CODA_POLICY_CACHE=${CODA_POLICY_CACHE:-$cache/policies}
work=$1
mkdir -p "$work/tasks" "$work/lines"
status=0
for test in tasks:hermes.py lines:five_lines.py; do
    "$cache/mcp-2.3.0/bin/python" "$kit/tests/e2e/${test#*:}" --coda "$kit/coda" --hermes "$cache/hermes-0.19.0" \
        --work "$work/${test%:*}" || status=1
done
exit "$status"
PLAY
chmod -R a+rX "$work/kit"
chmod +x "$work/kit/play"
chmod 755 "$work"

printf 'as %s\n' "$(id -un)"
mkdir -m 700 "$work/own"
"$work/kit/play" "$work/own" || status=1

if [ "$(id -u)" = 0 ]; then
    if id "$test_user" >/dev/null 2>&1; then
        printf 'as %s\n' "$test_user"
        mkdir -m 700 "$work/theirs" && chown "$test_user" "$work/theirs"
        su "$test_user" -s /bin/bash -c "cd '$work/theirs' && unset CODA_TEST_CACHE CODA_POLICY_CACHE && '$work/kit/play' '$work/theirs'" || status=1
    elif [ -n "${CODA_REQUIRE_CLIENTS:-}" ]; then
        printf 'no user %s: scripts/setup.sh adds it\n' "$test_user" >&2
        status=1
    else
        printf 'skipped: no user %s; scripts/setup.sh adds it\n' "$test_user"
    fi
fi
exit "$status"
