//! How runs end, and that nothing is left of them.

use std::time::Duration;

use super::harness::{Stage, soon, until};
use crate::executor::sandbox::Mode;
use crate::executor::{Hold, How, ResultFile, StartError, StopReason, end_leftovers, process};

/// Processes of a task that are still there, whatever their ancestry.
fn left_of(stage: &Stage) -> usize {
    process::all().iter().filter(|p| !p.zombie && process::carries(p, &stage.task)).count()
}

const RESULT: &str = r#"printf '{"status":"completed"}' > "$CODA_TASK_DIR/result.new"; mv "$CODA_TASK_DIR/result.new" "$CODA_TASK_DIR/result.json""#;

#[tokio::test]
async fn an_agent_that_does_its_work_ends_by_itself() {
    let stage = Stage::with(&format!(
        r#"cat "$CODA_TASK_DIR/prompt.txt"; pwd; echo "HOME=$HOME TERM=$TERM $PROBE_SECRET"; tty; stty size
        echo '{{"step":"plan","message":"thinking"}}' >> "$CODA_TASK_DIR/status.jsonl"; {RESULT}"#
    ));
    let (executor, run, lines) = stage.start().await.expect("starts");
    assert!(run.pid > 1 && run.pid_start > 0);
    assert!(run.sandbox.starts_with("tier A:"), "{}", run.sandbox);
    let ended = soon("the end", run.wait()).await;
    assert_eq!(ended.how, How::Exited { code: 0 });
    let ResultFile::Valid(result) = &ended.result else { panic!("{:?}", ended.result) };
    assert_eq!(result["status"], "completed");
    assert_eq!((ended.tree.found, ended.tree.survivors, ended.transcript.lost_bytes), (0, 0, 0));
    assert_eq!(lines.borrow().as_ref().map(|l| l.message.as_str()), Some("thinking"));
    let shown = stage.shown();
    for expected in ["---CODA-TASK---", "/workspace\r\n", "/home TERM=xterm-256color \r\n", "/dev/pts/", "40 120"] {
        assert!(shown.contains(expected), "{expected:?} in {shown}");
    }
    assert_eq!((executor.sessions().count(), left_of(&stage)), (0, 0));
}

#[tokio::test]
async fn faults_of_an_agent_have_names() {
    let ended = Stage::with("exit 3").run().await;
    assert_eq!((ended.how, ended.result), (How::Exited { code: 3 }, ResultFile::Missing));
    let ended = Stage::with("kill -SEGV $$").run().await;
    assert_eq!(ended.how, How::Signalled { signal: 11 });
    let ended = Stage::with(r#"ln -s /etc/passwd "$CODA_TASK_DIR/result.json""#).run().await;
    assert_eq!(ended.result, ResultFile::Invalid { why: "is a symbolic link: write a regular file".into() });
    let stage = Stage::with("exec 0<&- 1>&- 2>&-; exit 4");
    assert_eq!(stage.run().await.how, How::Exited { code: 4 });
}

#[tokio::test]
async fn an_agent_that_stays_after_its_result_is_ended() {
    let stage = Stage::with(&format!("trap '' TERM HUP; {RESULT}; exec 1>&- 2>&-; while :; do read -t 1 < <(:); done"));
    let ended = stage.run().await;
    assert_eq!(ended.how, How::ResultWritten);
    assert!(matches!(ended.result, ResultFile::Valid(_)));
    assert!(ended.tree.killed >= 1, "it ignores TERM: {:?}", ended.tree);
    assert_eq!(left_of(&stage), 0);
}

#[tokio::test]
async fn a_half_written_result_is_not_an_end() {
    let stage = Stage::with(
        r#"printf '{"status":' > "$CODA_TASK_DIR/result.json"; echo half; read -r; printf '"failed"}' >> "$CODA_TASK_DIR/result.json""#,
    );
    let mut stage = stage;
    stage.timeout_s = 3;
    let ended = stage.run().await;
    assert_eq!(ended.how, How::TimedOut);
    assert!(matches!(&ended.result, ResultFile::Invalid { why } if why.starts_with("is half-written")), "{:?}", ended.result);
}

#[tokio::test]
async fn orphans_in_sessions_of_their_own_are_found_and_ended() {
    for mode in [Mode::Require, Mode::Floor, Mode::Off] {
        // Three kinds: a detached one, one without the mark, and one that ignores TERM. The agent goes first.
        let mut stage = Stage::with(
            r#"setsid sleep 1000 & env -i /bin/bash -c 'setsid setsid sleep 1001 & exit' &
            setsid bash -c 'trap "" TERM; echo ready > "$CODA_TASK_DIR/ready"; while :; do sleep 1002; done' &
            until [ -e "$CODA_TASK_DIR/ready" ]; do read -t 0.05 < <(sleep 1); done; wait -n 2; exit 0"#,
        );
        stage.settings.sandbox.mode = mode;
        let ended = stage.run().await;
        assert_eq!(ended.how, How::Exited { code: 0 });
        assert!(ended.tree.found >= 3 && ended.tree.killed >= 1 && ended.tree.survivors == 0, "{mode:?}: {:?}", ended.tree);
        assert_eq!(left_of(&stage), 0);
        let others = process::all().into_iter().filter(|p| !p.zombie).filter(|p| {
            let line = std::fs::read(format!("/proc/{}/cmdline", p.pid)).unwrap_or_default();
            line == b"sleep\x001001\0"
        });
        assert_eq!(others.count(), 0, "the one without the mark");
    }
}

#[tokio::test]
async fn inside_everything_ends_with_the_supervisor() {
    let mut stage = Stage::with("setsid env -i sleep 1003 & echo up; sleep 1000");
    stage.settings.sandbox.mode = Mode::Require;
    let (executor, run, _lines) = stage.start().await.expect("starts");
    super::harness::screen_with(&executor, &stage.task, "up").await;
    let supervisor = process::find(run.pid).expect("it runs");
    process::signal(&supervisor, rustix::process::Signal::KILL);
    // Nobody asks the tree to end: the kernel does it.
    let marked = |p: &process::Process| {
        let line = std::fs::read(format!("/proc/{}/cmdline", p.pid)).unwrap_or_default();
        !p.zombie && line == b"sleep\x001003\0"
    };
    until("the whole namespace is gone", || left_of(&stage) == 0 && !process::all().iter().any(marked)).await;
    assert!(matches!(soon("the end", run.wait()).await.how, How::Lost { .. } | How::Signalled { .. }));
}

#[tokio::test]
async fn stop_ends_the_tree_and_the_first_reason_stays() {
    let stage = Stage::with("echo up; setsid sleep 1000 & sleep 1000");
    let (executor, run, _lines) = stage.start().await.expect("starts");
    super::harness::screen_with(&executor, &stage.task, "up").await;
    let control = run.control();
    control.stop(StopReason::Cancelled);
    control.stop(StopReason::Shutdown);
    let ended = soon("the end", run.wait()).await;
    assert_eq!(ended.how, How::Stopped(StopReason::Cancelled));
    assert_eq!(left_of(&stage), 0);
}

#[tokio::test]
async fn held_time_is_not_running_time() {
    let mut stage = Stage::with("echo up; read -r");
    stage.timeout_s = 1;
    let (executor, run, _lines) = stage.start().await.expect("starts");
    let control = run.control();
    control.set_held(Hold::Held);
    super::harness::screen_with(&executor, &stage.task, "up").await;
    let mut waiting = Box::pin(run.wait());
    let held = tokio::time::timeout(Duration::from_millis(1800), &mut waiting).await;
    assert!(held.is_err(), "it ended while it was held: {held:?}");
    control.set_held(Hold::Live);
    let ended = soon("the end", waiting).await;
    assert_eq!(ended.how, How::TimedOut);
    assert!((1000..1800).contains(&ended.running_ms), "{} ms", ended.running_ms);
}

#[tokio::test]
async fn idle_is_an_agent_that_shows_nothing_and_does_nothing() {
    let mut stage = Stage::with("exec 0<&- 1>&- 2>&-; sleep 1000");
    stage.settings.idle_s = 1;
    assert_eq!(stage.run().await.how, How::Idle);
    // An agent may have a rule of its own.
    let mut stage = Stage::with("exec 0<&- 1>&- 2>&-; sleep 1000");
    stage.settings.idle_s = 0;
    stage.settings.agents.get_mut("script").expect("is there").idle_s = Some(1);
    assert_eq!(stage.run().await.how, How::Idle);
    // Silent work is work.
    let mut stage = Stage::with("end=$((SECONDS + 3)); while [ $SECONDS -lt $end ]; do :; done; exit 7");
    stage.settings.idle_s = 1;
    assert_eq!(stage.run().await.how, How::Exited { code: 7 });
}

#[tokio::test]
async fn what_a_dead_server_left_is_found_by_pid_and_start() {
    let stage = Stage::with("setsid sleep 1000 & echo up; sleep 1000");
    let (executor, run, _lines) = stage.start().await.expect("starts");
    super::harness::screen_with(&executor, &stage.task, "up").await;
    // Another task, and the same pid with another start time: nobody is touched.
    let other = crate::id::TaskId::new();
    let none = end_leftovers(&other, run.pid, run.pid_start + 1, Duration::from_secs(1)).await;
    assert_eq!((none.found, left_of(&stage) > 0), (0, true));
    let ended = end_leftovers(&stage.task, run.pid, run.pid_start, Duration::from_secs(1)).await;
    assert!(ended.found >= 2 && ended.survivors == 0, "{ended:?}");
    until("everything is gone", || left_of(&stage) == 0).await;
}

#[tokio::test]
async fn a_missing_program_is_said_before_anything_starts() {
    let mut stage = Stage::with("");
    stage.agent = "hermes".into();
    stage
        .settings
        .agents
        .insert("hermes".into(), crate::executor::agent::Profile { command: "/nowhere/hermes".into(), ..Default::default() });
    let error = stage.start().await.map(|_| ()).expect_err("is missing");
    assert!(matches!(&error, StartError::NotInstalled { .. }), "{error}");
    assert!(error.to_string().contains("pip install hermes-agent"), "{error}");
    stage.agent = "nobody".into();
    let error = stage.start().await.map(|_| ()).expect_err("is unknown").to_string();
    assert_eq!(error, "agent 'nobody' is not known: choose one of hermes, runbook, script");
    let stage = Stage::with("");
    std::fs::write(stage.dir.path().join("agent.sh"), "#!/nowhere/interpreter\n").expect("writes");
    let error = stage.start().await.map(|(_, run, _)| run);
    match error {
        // The sandbox was on already, so the failure to execute is how the run ended.
        Ok(run) => {
            assert!(matches!(soon("the end", run.wait()).await.how, How::Lost { why } if why.contains("cannot be executed")))
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_second_attempt_does_not_see_the_first_ones_result() {
    let mut stage = Stage::with(&format!(
        r#"[ -e "$CODA_TASK_DIR/result.json" ] && exit 9; rm -rf "$CODA_TASK_DIR/prompt.txt"; ln -s "$PWD/victim" "$CODA_TASK_DIR/prompt.txt"; {RESULT}"#
    ));
    std::fs::write(stage.workspace().join("victim"), "untouched").expect("writes");
    assert_eq!(stage.run().await.how, How::Exited { code: 0 });
    stage.attempt = 2;
    assert_eq!(stage.run().await.how, How::Exited { code: 0 });
    assert_eq!(std::fs::read_to_string(stage.workspace().join("victim")).expect("reads"), "untouched");
}
