//! Ways past the sandbox, each tried in both tiers, and outside of it as a control: a way that is shut everywhere would
//! show nothing. Root hides failures of permissions, so an ordinary user tries them too.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::harness::{Stage, as_ordinary_user, soon};
use crate::executor::How;
use crate::executor::sandbox::{Limits, Mode};

/// Each way, and in which tiers it must be shut. Tier B shares processes and the file system's sockets with the host.
const WAYS: &[(&str, &str)] = &[
    ("direct TCP", "AB"),
    ("TCP with data in its first packet", "AB"),
    ("multipath TCP", "AB"),
    ("UDP", "AB"),
    ("a DNS query", "AB"),
    ("an abstract socket", "AB"),
    ("a socket in a temporary folder", "A"),
    ("writing outside", "AB"),
    ("reading CODA_HOME", "AB"),
    ("reading another task's files", "AB"),
    ("forging a file of the approvals", "AB"),
    ("editing the policies", "AB"),
    ("seeing that CODA_HOME holds a file", "A"),
    ("signalling a process of the host", "AB"),
    ("reading its environment", "AB"),
    ("reading its command line", "A"),
    ("reading its memory map", "AB"),
    ("a user namespace", "AB"),
    ("keys of the kernel", "AB"),
    ("io_uring", "AB"),
    ("tracing a process", "AB"),
];

const PROBE: &str = include_str!("bypass.py");

/// What an agent would like to reach.
struct Target {
    victim: Child,
    elsewhere: tempfile::TempDir,
    facts: String,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

impl Target {
    fn of(stage: &Stage) -> Self {
        let elsewhere = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(elsewhere.path(), std::fs::Permissions::from_mode(0o777)).expect("sets");
        let abstract_name = stage.task.to_string();
        let tcp = TcpListener::bind("127.0.0.1:0").expect("listens");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let (tcp_port, udp_port) = (tcp.local_addr().expect("has one").port(), udp.local_addr().expect("has one").port());
        let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        let local = [
            UnixListener::bind_addr(&address).expect("listens"),
            UnixListener::bind(elsewhere.path().join("socket")).expect("listens"),
        ];
        // Threads that end with the test's process.
        std::thread::spawn(move || tcp.incoming().flatten().for_each(|mut s| drop(s.write_all(b"hello"))));
        for listener in local {
            std::thread::spawn(move || listener.incoming().flatten().for_each(|mut s| drop(s.write_all(b"hello"))));
        }
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((bytes, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(&buffer[..bytes], from);
            }
        });
        let mut victim = Command::new("sleep");
        let victim = victim.arg("86399").env("VICTIM", "1").stdin(Stdio::null()).spawn().expect("sleeps");
        let facts = format!(
            "home={} tcp={tcp_port} udp={udp_port} abstract={abstract_name} elsewhere={} victim={}",
            stage.home().display(),
            elsewhere.path().display(),
            victim.id()
        );
        Self { victim, elsewhere, facts }
    }
}

fn prepare(home: &Path) {
    for path in ["coda.db", "approvals.json", "policies/policies.toml", "tasks/other/io/prompt.txt"] {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        std::fs::write(path, "content").expect("writes");
    }
}

/// What the probe found, as an agent in this mode.
async fn found(mode: Mode) -> BTreeMap<String, String> {
    let mut stage = Stage::with("exec python3 \"$(dirname \"$0\")/bypass.py\"");
    stage.settings.sandbox.mode = mode;
    std::fs::write(stage.dir.path().join("bypass.py"), PROBE).expect("writes");
    prepare(&stage.home());
    let target = Target::of(&stage);
    let profile = stage.settings.agents.get_mut("script").expect("is there");
    profile.environment.insert("PROBE".into(), target.facts.clone());
    let (_executor, run, _lines) = stage.start().await.expect("starts");
    let sandbox = run.sandbox.clone();
    let ended = soon("the end", run.wait()).await;
    let shown = stage.shown();
    assert_eq!(ended.how, How::Exited { code: 0 }, "{sandbox}\n{shown}");
    assert!(shown.contains("finished"), "{sandbox}\n{shown}");
    assert!(target.elsewhere.path().exists(), "it was there all the time");
    shown.lines().filter_map(|line| line.trim().split_once(": ")).map(|(n, s)| (n.to_owned(), s.to_owned())).collect()
}

#[tokio::test]
async fn every_way_that_is_open_outside_is_shut_inside() {
    let [outside, a, b] = [found(Mode::Off).await, found(Mode::Require).await, found(Mode::Floor).await];
    let mut wrong = Vec::new();
    for (way, shut) in WAYS {
        let seen = |tier: &BTreeMap<String, String>| tier.get(*way).map_or("untried", String::as_str).to_owned();
        let expected = |tier: char| if shut.contains(tier) { "shut" } else { "open" };
        let line = format!("{way}: outside {}, tier A {}, tier B {}", seen(&outside), seen(&a), seen(&b));
        println!("{line}");
        if seen(&outside) != "open" || seen(&a) != expected('A') || seen(&b) != expected('B') {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty() && a.len() == WAYS.len(), "{} ways tried:\n{}", a.len(), wrong.join("\n"));
}

#[tokio::test]
async fn an_ordinary_user_gets_no_further() {
    as_ordinary_user("executor::tests::bypass::every_way_that_is_open_outside_is_shut_inside").await;
}

/// From inside, against what stands over it: the agent goes on, and ends as it says.
#[tokio::test]
async fn nobody_inside_ends_what_stands_outside() {
    for mode in [Mode::Require, Mode::Floor] {
        let mut stage = Stage::with("kill -9 $PPID; kill -TERM $PPID; kill -STOP $PPID; kill -HUP $PPID; exit 7");
        stage.settings.sandbox.mode = mode;
        let ended = stage.run().await;
        assert_eq!((ended.how, ended.tree.survivors), (How::Exited { code: 7 }, 0), "{mode:?}");
    }
}

/// Says in the copy of this test that it is where namespaces are denied.
const DENIED: &str = "CODA_TEST_NAMESPACES_DENIED";

#[tokio::test]
async fn where_namespaces_are_denied_the_task_says_tier_b_or_does_not_start() {
    if std::env::var_os(DENIED).is_none() {
        // A user namespace may forbid those inside to make more of them.
        let line = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
        let test = "executor::tests::bypass::where_namespaces_are_denied_the_task_says_tier_b_or_does_not_start";
        let own = std::env::current_exe().expect("we have a path");
        let mut again = tokio::process::Command::new("unshare");
        again.args(["--user", "--map-root-user", "bash", "-c", line]).arg(own).args([test, "--exact", "--nocapture"]);
        let output = again.env(DENIED, "1").output().await.expect("unshare runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut stage = Stage::with("echo up; exit 3");
    let (_executor, run, _lines) = stage.start().await.expect("starts");
    let sandbox = run.sandbox.clone();
    assert!(sandbox.starts_with("tier B: ") && sandbox.contains("; not tier A: user namespaces are denied"), "{sandbox}");
    assert!(run.listener.is_none());
    assert_eq!(soon("the end", run.wait()).await.how, How::Exited { code: 3 });
    stage.settings.sandbox.mode = Mode::Require;
    let error = stage.start().await.map(|_| ()).expect_err("does not start").to_string();
    assert!(error.contains("user namespaces are denied") && error.contains("`coda doctor`"), "{error}");
}

#[tokio::test]
async fn limits_hold_and_cannot_be_raised() {
    for mode in [Mode::Require, Mode::Floor] {
        let mut stage = Stage::with(
            "ulimit -Hn; ulimit -Hc; ulimit -Hf; (ulimit -n 5000) 2>/dev/null && echo raised; head -c 3000 /dev/zero > big; echo \"$? $(stat -c %s big)\"",
        );
        stage.settings.sandbox.mode = mode;
        stage.settings.sandbox.limits = Limits { open_files: 321, file_bytes: 2048, ..Limits::default() };
        assert_eq!(stage.run().await.how, How::Exited { code: 0 });
        let shown = stage.shown().replace("\r\n", " ");
        assert!(shown.contains("321 0 2 ") && shown.contains(" 2048"), "{mode:?}: {shown}");
        assert!(!shown.contains("raised"), "{mode:?}: {shown}");
    }
}
