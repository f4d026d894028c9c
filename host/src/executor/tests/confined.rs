//! What an agent can reach. The same tests run as root and as an ordinary user, with CODA_HOME in several places.

use std::path::Path;

use super::harness::Stage;
use crate::executor::{How, sandbox::Mode};

/// Tries everything that must fail and everything that must work; prints one word for each that went wrong.
const PROBE: &str = r#"
HIDDEN=$(cd "$CODA_TASK_DIR/../../.." 2>/dev/null; printf %s "$CODA_TASK_DIR" | sed 's:/tasks/.*::')
must() { "$@" >/dev/null 2>&1 || echo "WRONG cannot: $*"; }
never() { "$@" >/dev/null 2>&1 && echo "WRONG can: $*"; }
write() { echo x > "$1"; }
read_it() { cat "$1"; }
never read_it "$HIDDEN/coda.db"; never ls "$HIDDEN"; never ls "$HIDDEN/tasks"; never read_it "$HIDDEN/keys/audit.key"
never read_it "$CODA_TASK_DIR/../meta.json"; never write "$CODA_TASK_DIR/../meta.json"; never write "$HIDDEN/new"
never write "$HIDDEN/../neighbour"; never write "/tmp/coda-probe-$$"; never write "/etc/coda-probe"; never read_it "$HIDDEN/link/coda.db"
never mv "$CODA_TASK_DIR/prompt.txt" "$HIDDEN/"; never ln "$HIDDEN/coda.db" "$HOME/db"; never mknod "$HOME/disk" b 254 0
never kill -0 "$SERVER_PID"; never kill -0 "$PPID"; never cat "/proc/$SERVER_PID/environ"
must write "$CODA_TASK_DIR/file"; must write "$HOME/file"; must write "$TMPDIR/file"; must write ./file; must mktemp
must write /dev/null; must write /dev/tty; must cat /etc/passwd; must ls /usr/bin; must git --version; must python3 -c 'import os, pty; pty.openpty()'
must ls . "$HOME" "$CODA_TASK_DIR"; must cat "$HIDDEN/../neighbour"; must mv "$HOME/file" ./moved; must bash -c 'echo <(echo x)'
echo finished
"#;

async fn check_below(parent: &Path) {
    let mut stage = Stage::below(parent, PROBE);
    stage.settings.sandbox.mode = Mode::Require;
    let home = stage.home();
    for (path, text) in [("coda.db", "db"), ("keys/audit.key", "key"), ("../neighbour", "neighbour")] {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        std::fs::write(path, text).expect("writes");
    }
    std::fs::create_dir_all(stage.task_dir()).expect("makes");
    std::fs::write(stage.task_dir().join("meta.json"), "{}").expect("writes");
    std::os::unix::fs::symlink(&home, stage.dir.path().join("link")).expect("links");
    let profile = stage.settings.agents.get_mut("script").expect("is there");
    profile.environment.insert("SERVER_PID".into(), std::process::id().to_string());
    let ended = stage.run().await;
    let shown = stage.shown();
    assert_eq!(ended.how, How::Exited { code: 0 }, "{shown}");
    assert!(shown.contains("finished") && !shown.contains("WRONG"), "below {}:\n{shown}", parent.display());
    assert_eq!(std::fs::read_to_string(home.join("coda.db")).expect("reads"), "db");
}

#[tokio::test]
async fn an_agent_sees_its_own_corner_only() {
    check_below(&std::env::temp_dir()).await;
    let home = std::env::var("HOME").expect("a home");
    check_below(Path::new(&home)).await;
}

#[tokio::test]
async fn an_ordinary_user_has_the_same_borders() {
    if !rustix::process::geteuid().is_root() {
        // Then the test above was this one.
        return;
    }
    // A copy, because an ordinary user may not get to the build's folder.
    let dir = tempfile::tempdir().expect("a directory");
    let copy = dir.path().join("coda-tests");
    std::fs::copy(std::env::current_exe().expect("we have a path"), &copy).expect("copies");
    use std::os::unix::fs::PermissionsExt as _;
    for path in [dir.path(), copy.as_path()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("sets");
    }
    let user = std::env::var("CODA_TEST_USER").unwrap_or_else(|_| "nobody".into());
    let test = "executor::tests::confined::an_agent_sees_its_own_corner_only";
    let home = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).expect("sets");
    let line = format!("HOME={} exec {} {test} --exact --nocapture", home.path().display(), copy.display());
    let output =
        tokio::process::Command::new("su").args(["-s", "/bin/bash", &user, "-c", &line]).output().await.expect("su runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "as {user}:\n{said}");
}

#[tokio::test]
async fn off_is_off_and_says_so() {
    let mut stage = Stage::with("cat \"$CODA_TASK_DIR/../meta.json\"");
    stage.settings.sandbox.mode = Mode::Off;
    std::fs::create_dir_all(stage.task_dir()).expect("makes");
    std::fs::write(stage.task_dir().join("meta.json"), "visible").expect("writes");
    let (_executor, run, _lines) = stage.start().await.expect("starts");
    assert!(run.sandbox.starts_with("none"), "{}", run.sandbox);
    super::harness::soon("the end", run.wait()).await;
    assert!(stage.shown().contains("visible"));
}
