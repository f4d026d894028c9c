#!/usr/bin/env bash
# The main job, played with the built server and the commands a user types. Each command is printed before it runs.
# Exits non-zero if anything is not as it says. With CI=1 it ends by itself; else the server stays up until Enter.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
deadline=${CODA_DEMO_DEADLINE_S:-90}

scripts/setup.sh build
cargo build --locked -p coda
target=${CARGO_TARGET_DIR:-$root/target}
PATH="$target/debug:$PATH"

work=$(mktemp -d)
export CODA_HOME=$work/home
unset CODA_SERVER CODA_TOKEN CODA_MCP_URL
server=
cleanup() {
    local status=$?
    # Only the server that this script started, by its id.
    if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
        kill -TERM "$server"
        wait "$server" || true
    fi
    if [ "$status" != 0 ]; then
        printf '\ndemo: failed; the end of the server log:\n' >&2
        tail -n 30 "$work/server.log" >&2 || true
        printf 'demo: everything is kept in %s\n' "$work" >&2
    else
        rm -rf "$work"
    fi
    exit "$status"
}
trap cleanup EXIT

# ── telling and checking ──────────────────────────────────────────────────────────────────────────────────────────────
chapter() { printf '\n━━ %s\n' "$*"; }
ok() { printf '   ✓ %s\n' "$*"; }
fail() { printf '   ✗ %s\n' "$*" >&2; exit 1; }
show() { printf '\n$ %s\n' "$(printf '%q ' "$@" | sed "s/ \$//; s/\\\\ / /g")"; }

# Prints a command and runs it; it must end with the exit code that is expected.
expect() {
    local wanted=$1 code=0
    shift
    show "$@"
    timeout "$deadline" "$@" || code=$?
    [ "$code" = "$wanted" ] || fail "exit code $code, expected $wanted"
}

# The same, its output kept in $out as well.
out=
keep() {
    local wanted=$1 code=0
    shift
    show "$@"
    out=$(timeout "$deadline" "$@") || code=$?
    printf '%s\n' "$out"
    [ "$code" = "$wanted" ] || fail "exit code $code, expected $wanted"
}

# The first value of a key in JSON text as coda prints it.
value() { sed -n "s/^ *\"$1\": \"\\{0,1\\}\\([^\",]*\\)\"\\{0,1\\},\\{0,1\\}\$/\\1/p" | head -n 1; }

# Hands a task over; its id is in $task. What it says goes to a file first, so that the text is seen.
task=
submit() {
    printf '\n$ cat task.md\n%s\n' "$1"
    printf '%s\n' "$1" >"$work/task.md"
    show coda run --agent runbook --file task.md
    local code=0 answer
    answer=$(cd "$work" && timeout "$deadline" coda run --json --agent runbook --file task.md) || code=$?
    task=$(printf '%s\n' "$answer" | value task_id)
    [ -n "$task" ] || fail "no task id in: $answer"
    printf '%s  %s\n' "$task" "$(printf '%s\n' "$answer" | value status)"
    submitted=$code
}
submitted=0

status() { coda task show --json "$task" | value status; }
approval() { coda task show --json "$task" | value approval_id; }
gate_of() { coda approval show --json "$1" | value gate; }

# Follows $task until it has ended. What waits for people is shown and decided: $1 at the prompt gate, $2 elsewhere.
decide_until_end() {
    local at_prompt=$1 elsewhere=$2 decision id last=
    for _ in 1 2 3 4 5 6 7 8; do
        timeout "$deadline" coda task watch --until needs_approval "$task" >/dev/null || true
        [ "$(status)" = needs_approval ] || return 0
        id=$(approval)
        [ -n "$id" ] && [ "$id" != "$last" ] || fail "still waits for the approval that was decided: $last"
        last=$id
        expect 0 coda approval show "$id"
        if [ "$(gate_of "$id")" = prompt ]; then decision=$at_prompt; else decision=$elsewhere; fi
        if [ "$decision" = approve ]; then
            expect 0 coda approval approve "$id"
        else
            expect 0 coda approval deny --reason 'not today' "$id"
        fi
    done
    fail "the task asks again and again"
}

generation() { coda policy status --json | sed -n '/"live"/,$p' | value generation; }

# Waits until another generation judges than $1.
new_generation() {
    local end=$((SECONDS + deadline))
    until [ "$(generation)" != "$1" ]; do
        [ $SECONDS -lt $end ] || fail "still generation $1 after $deadline s"
        sleep 0.2
    done
    ok "generation $(generation) judges now"
}

# ── a server of one's own ─────────────────────────────────────────────────────────────────────────────────────────────
chapter "A server of one's own"
expect 0 coda init
show coda serve --listen 127.0.0.1:0
coda serve --listen 127.0.0.1:0 2>"$work/server.log" &
server=$!
end=$((SECONDS + deadline))
until coda inbox >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || fail "the server ended"
    [ $SECONDS -lt $end ] || fail "the server does not answer after $deadline s"
    sleep 0.2
done
ok "it answers"
expect 0 coda doctor
expect 0 coda policy list

# ── a harmless task ───────────────────────────────────────────────────────────────────────────────────────────────────
chapter "A harmless task completes"
harmless='Say hello and count to three.
```sh
echo hello from $(basename "$PWD" | cut -c1-4)
seq 3
```'
submit "$harmless"
expect 0 coda task watch "$task"
expect 0 coda result "$task"

# ── a destructive one, asked about first ──────────────────────────────────────────────────────────────────────────────
chapter "A destructive task is stopped before its first command, approved, and completes"
submit "Tidy up.
\`\`\`sh plan
mkdir -p data && echo x > data/file
echo ran >> proof
rm -rf data
cat proof; ls
\`\`\`"
timeout "$deadline" coda task watch --until needs_approval "$task" >/dev/null || true
[ "$(status)" = needs_approval ] || fail "it was not stopped: $(status)"
if coda task show --json "$task" | grep -q '"files_changed": \[$'; then fail "files changed before anybody approved"; fi
ok "it waits, and nothing has run"
decide_until_end approve approve
keep 0 coda result "$task"
[ "$(grep -c '^ran$' <<<"$out")" = 1 ] || fail "the steps did not run exactly once"
ok "each step ran once"

# ── one met halfway, and refused ──────────────────────────────────────────────────────────────────────────────────────
chapter "A destructive command met halfway is held, denied, and the task ends with that said"
submit "Start well, then go too far.
\`\`\`sh
echo first step > kept
rm -rf /var/tmp/coda-demo-$$
echo never reached > beyond
\`\`\`"
mkdir -p "/var/tmp/coda-demo-$$"
decide_until_end approve deny
keep 6 coda result "$task"
rmdir "/var/tmp/coda-demo-$$" || fail "the directory is gone although its removal was denied"
ok "the directory is still there"
grep -q 'not today' <<<"$(coda result --json "$task" 2>&1 || true)" || fail "the result does not say why"
ok "the result says why: not today"

# ── a secret ──────────────────────────────────────────────────────────────────────────────────────────────────────────
chapter "A secret in a tool's result is masked in result, log and transcript"
secret=ghp_$(printf '%s%s' 16C7e42F292c6912E77 10c838347Ae178B4a)
submit 'Print the credentials.
```sh
printf "token=%s%s%s\n" ghp_ 16C7e42F292c6912E77 10c838347Ae178B4a
```'
decide_until_end approve approve
keep 0 coda result "$task"
grep -q 'token=' <<<"$out" || fail "the step's output is not in the result"
for place in "result:$(coda result --json "$task")" "log:$(cat "$work/server.log")" \
    "transcript:$(tr -d '\n' <"$CODA_HOME/tasks/$task/transcript.cast")"; do
    if grep -qF "$secret" <<<"${place#*:}"; then fail "the secret is in the ${place%%:*}"; fi
    ok "not in the ${place%%:*}"
done

# ── a policy edited, rebuilt, swapped ─────────────────────────────────────────────────────────────────────────────────
chapter "A policy is written, edited and swapped while another task runs on"
mkdir -p "$work/house-rules/src"
cat >"$work/house-rules/Cargo.toml" <<TOML
[package]
name = "house-rules"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]

[dependencies]
coda-policy = { path = "$root/guest-policy/sdk" }
serde = { version = "1", features = ["derive"] }

[workspace]
TOML
cp Cargo.lock "$work/house-rules/"
cat >"$work/house-rules/src/lib.rs" <<'RUST'
//! A house rule: some things are not talked about.
use coda_policy::prelude::*;

const WORD: &str = "hello";

#[derive(Deserialize)]
pub struct Settings {}
pub struct HouseRules;

impl Policy for HouseRules {
    type Settings = Settings;
    fn describe() -> Description {
        Description::new("house-rules", "0.1.0")
            .rule("house.word", Severity::High, Effect::Other, "a word that is not used here")
            .gate(Gate::Prompt)
    }
    fn configure(_: Settings, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}

impl Guard for HouseRules {
    fn review(&self, event: &Event, _: &[Finding]) -> Result<Verdict, PolicyError> {
        Ok(match &event.subject {
            Subject::Prompt(prompt) if prompt.text.contains(WORD) => {
                deny(Finding::new("house.word", Effect::Other, format!("'{WORD}' is not said in this house.")))
            }
            _ => allow(),
        })
    }
}

coda_policy::policy!(HouseRules: guard);
RUST
build_policy() {
    show cargo build --release --target wasm32-wasip2
    (cd "$work/house-rules" && CARGO_TARGET_DIR="$target/demo" RUSTFLAGS='' cargo build --quiet --release --target wasm32-wasip2) ||
        fail "the policy does not build"
    # Put in place whole: the server watches the folder.
    cp "$target/demo/wasm32-wasip2/release/house_rules.wasm" "$CODA_HOME/policies/house-rules.new"
    printf '\n$ mv house_rules.wasm $CODA_HOME/policies/house-rules.wasm\n'
    mv "$CODA_HOME/policies/house-rules.new" "$CODA_HOME/policies/house-rules.wasm"
}
build_policy
submit 'Take some time.
```sh
for i in $(seq 30); do echo tick $i; sleep 1; done
echo the long task was not disturbed
```'
long=$task

before=$(generation)
printf '\n$ cat >> $CODA_HOME/policies/policies.toml\n'
tee -a "$CODA_HOME/policies/policies.toml" <<'TOML'

[[policy]]
name = "house-rules"
component = "house-rules.wasm"
gates = ["prompt"]
TOML
new_generation "$before"
submit "$harmless"
[ "$submitted" = 6 ] && [ "$(status)" = denied ] || fail "the same prompt is $(status), expected denied"
ok "the prompt that completed before is denied now"
[ "$(coda task show --json "$long" | value status)" = running ] || fail "the long task does not run any more"
ok "the long task runs on"

before=$(generation)
printf '\n$ sed -i s/hello/goodbye/ src/lib.rs\n'
sed -i 's/"hello"/"goodbye"/' "$work/house-rules/src/lib.rs"
build_policy
new_generation "$before"
submit "$harmless"
expect 0 coda task watch "$task"
ok "edited and rebuilt: the prompt passes again"

chapter "Rollback"
before=$(generation)
expect 0 coda policy rollback --reason 'the house rule was better before'
new_generation "$before"
submit "$harmless"
[ "$(status)" = denied ] || fail "after the rollback the prompt is $(status), expected denied"
ok "the set before judges again"
expect 0 coda policy unpin
expect 0 coda policy status

task=$long
[ "$(status)" = running ] || [ "$(status)" = completed ] || fail "the long task is $(status)"
expect 0 coda task watch "$long"
keep 0 coda result "$long"
grep -q 'was not disturbed' <<<"$out" || fail "the long task did not finish its step"
ok "the long task ran through all of it"

# ── the record ────────────────────────────────────────────────────────────────────────────────────────────────────────
chapter "The record"
expect 0 coda inbox
expect 0 coda audit verify

chapter "The viewer"
printf 'the long task, played back:  %s\n' "$(coda task show --json "$long" | value viewer_url)"
expect 0 coda login
if [ -n "${CI:-}" ]; then
    printf '\ndemo: all as it should be\n'
else
    printf '\ndemo: all as it should be. Open the link above; press Enter to end the server. '
    read -r _ || true
fi
