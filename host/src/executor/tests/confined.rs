//! What an agent can reach. The same tests run as root and as an ordinary user, in both tiers, with CODA_HOME in several
//! places.

use std::path::Path;

use super::harness::{Stage, as_ordinary_user};
use crate::executor::{How, sandbox::Mode};

/// Tries everything that must fail and everything that must work; prints one word for each that went wrong.
const PROBE: &str = r#"
HIDDEN=$(cd "$CODA_TASK_DIR/../../.." 2>/dev/null; printf %s "$CODA_TASK_DIR" | sed 's:/tasks/.*::')
must() { "$@" >/dev/null 2>&1 || echo "WRONG cannot: $*"; }
never() { "$@" >/dev/null 2>&1 && echo "WRONG can: $*"; }
write() { echo x > "$1"; }
read_it() { cat "$1"; }
never read_it "$HIDDEN/coda.db"; never read_it "$HIDDEN/keys/audit.key"
never read_it "$CODA_TASK_DIR/../meta.json"; never write "$CODA_TASK_DIR/../meta.json"; never write "$HIDDEN/new"
never write "$HIDDEN/../neighbour"; never write "/etc/coda-probe"; never read_it "$HIDDEN/link/coda.db"
never mv "$CODA_TASK_DIR/prompt.txt" "$HIDDEN/"; never ln "$HIDDEN/coda.db" "$HOME/db"; never mknod "$HOME/disk" b 254 0
never kill -0 "$SERVER_PID"; never kill -0 "$PPID"; never cat "/proc/$SERVER_PID/environ"
must write "$CODA_TASK_DIR/file"; must write "$HOME/file"; must write "$TMPDIR/file"; must write ./file; must mktemp
must write /dev/null; must write /dev/tty; must cat /etc/passwd; must ls /usr/bin; must git --version; must python3 -c 'import os, pty; pty.openpty()'
others=$(ls "$HIDDEN" "$HIDDEN/tasks" 2>/dev/null | grep -v -e : -e '^tasks$' -e '^workspace$' -e "^$CODA_TASK_ID\$"); [ -z "${others//$'\n'/}" ] || echo "WRONG sees $others"
case $TIER in A) must write /tmp/x; must write /dev/shm/x; never test -e "$HOST_TMP"; must test $$ -lt 100 ;; *) never write "/tmp/coda-probe-$$"; must test -e "$HOST_TMP" ;; esac
must test "$(tty)" = "$(readlink -f "$(tty)")" -a -c "$(tty)"; must bash -ic 'fg; jobs'; must python3 -c 'import os; os.tcgetpgrp(0) == os.getpgrp() or exit(1)'
must ls . "$HOME" "$CODA_TASK_DIR"; must cat "$HIDDEN/../neighbour"; must mv "$HOME/file" ./moved; must bash -c 'echo <(echo x)'
echo finished
"#;

async fn check_below(parent: &Path, mode: Mode, tier: &str) {
    let mut stage = Stage::below(parent, PROBE);
    stage.settings.sandbox.mode = mode;
    let home = stage.home();
    for (path, text) in [("coda.db", "db"), ("keys/audit.key", "key"), ("../neighbour", "neighbour")] {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        std::fs::write(path, text).expect("writes");
    }
    std::fs::create_dir_all(stage.task_dir()).expect("makes");
    std::fs::write(stage.task_dir().join("meta.json"), "{}").expect("writes");
    std::os::unix::fs::symlink(&home, stage.dir.path().join("link")).expect("links");
    let of_the_host = tempfile::NamedTempFile::new().expect("a file");
    let profile = stage.settings.agents.get_mut("script").expect("is there");
    profile.environment.insert("SERVER_PID".into(), std::process::id().to_string());
    profile.environment.insert("TIER".into(), tier.into());
    profile.environment.insert("HOST_TMP".into(), of_the_host.path().display().to_string());
    let (_executor, run, _lines) = stage.start().await.expect("starts");
    assert!(run.sandbox.starts_with(&format!("tier {tier}: ")), "{}", run.sandbox);
    let ended = super::harness::soon("the end", run.wait()).await;
    let shown = stage.shown();
    assert_eq!(ended.how, How::Exited { code: 0 }, "{shown}");
    assert!(shown.contains("finished") && !shown.contains("WRONG"), "tier {tier} below {}:\n{shown}", parent.display());
    assert_eq!(std::fs::read_to_string(home.join("coda.db")).expect("reads"), "db");
}

#[tokio::test]
async fn an_agent_sees_its_own_corner_only() {
    let home = std::env::var("HOME").expect("a home");
    for (mode, tier) in [(Mode::Require, "A"), (Mode::Floor, "B")] {
        check_below(&std::env::temp_dir(), mode, tier).await;
        check_below(Path::new(&home), mode, tier).await;
    }
}

#[tokio::test]
async fn an_ordinary_user_has_the_same_borders() {
    as_ordinary_user("executor::tests::confined::an_agent_sees_its_own_corner_only").await;
}

#[tokio::test]
async fn off_is_off_and_says_so() {
    let mut stage = Stage::with("cat \"$CODA_TASK_DIR/../meta.json\"");
    stage.settings.sandbox.mode = Mode::Off;
    std::fs::create_dir_all(stage.task_dir()).expect("makes");
    std::fs::write(stage.task_dir().join("meta.json"), "visible").expect("writes");
    let (_executor, run, _lines) = stage.start().await.expect("starts");
    assert!(run.sandbox.starts_with("tier C: none"), "{}", run.sandbox);
    super::harness::soon("the end", run.wait()).await;
    assert!(stage.shown().contains("visible"));
}
