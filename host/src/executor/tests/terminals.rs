//! What the terminal answers, masks, shows and keeps.

use super::harness::{Stage, screen_with, soon};
use crate::executor::{Frame, How};

#[tokio::test]
async fn the_terminal_answers_in_order() {
    // Raw mode, ask four things at once, print what comes back.
    let stage = Stage::with(
        r#"stty raw -echo; printf 'ab\033[6n\033[c\033]11;?\033\\\033[5n'; answer=; 
        while IFS= read -r -n1 -d '' -t 20 c; do answer+=$c; case $answer in *0n) break;; esac; done
        stty sane; printf '\n'; printf '%s' "$answer" | cat -v; echo ' end'"#,
    );
    assert_eq!(stage.run().await.how, How::Exited { code: 0 });
    let shown = stage.shown();
    assert!(shown.contains(r"R^[[?62;22c^[]11;rgb:1010/1010/1010^[\^[[0n end"), "{shown}");
}

#[tokio::test]
async fn an_agent_that_never_reads_its_answers_is_not_in_the_way() {
    let stage = Stage::with(r"for i in {1..30000}; do printf '\033[6n'; done; echo; echo done; stty -echo");
    let ended = stage.run().await;
    assert_eq!(ended.how, How::Exited { code: 0 });
    assert!(stage.shown().contains("done"));
}

#[tokio::test]
async fn secrets_reach_neither_viewers_nor_the_transcript() {
    let mut stage = Stage::with(
        r#"printf 'pw=correct-horse'; printf -- '-battery '; printf 'token=%s ' "$CODA_GATEWAY_TOKEN"; for c in c o r r e c t - h o r s e - b a t t e r y; do printf $c; done
        printf ' \033]52;c;aGk=\007ghp_%s\n' 0123456789012345678901234567890123456; echo visible; read -r"#,
    );
    stage.secrets = vec!["correct-horse-battery".into()];
    stage.timeout_s = 60;
    let (executor, run, _lines) = stage.start().await.expect("starts");
    let screen = screen_with(&executor, &stage.task, "visible").await;
    let snapshot = executor.sessions().snapshot(&stage.task).expect("it is live");
    run.control().stop(crate::executor::StopReason::Cancelled);
    let ended = soon("the end", run.wait()).await;
    assert!(ended.masked >= 3, "{ended:?}");
    for (place, text) in
        [("screen", screen), ("snapshot", String::from_utf8_lossy(&snapshot.bytes).into()), ("transcript", stage.shown())]
    {
        for secret in ["battery", "horse-", "the-task-token", "ghp_0", "aGk="] {
            assert!(!text.contains(secret), "{secret} in {place}: {text}");
        }
        assert!(text.contains("ghp_****") && text.contains("visible"), "{place}: {text}");
    }
}

#[tokio::test]
async fn a_flood_is_cut_in_the_transcript_and_costs_no_memory() {
    let mut stage =
        Stage::with("yes 'all work and no play makes a dull terminal, and so on' | head -c 20000000; echo; echo 'the end'");
    stage.settings.transcript_bytes = 100_000;
    let (executor, run, _lines) = stage.start().await.expect("starts");
    // A viewer that never reads does not slow it down.
    let mut slow = executor.sessions().subscribe(&stage.task).expect("it is live");
    let ended = soon("the end", run.wait()).await;
    assert_eq!(ended.how, How::Exited { code: 0 });
    assert!(ended.output_bytes > 20_000_000, "{ended:?}");
    assert!(ended.transcript.bytes < 110_000 && ended.transcript.lost_bytes > 19_000_000, "{:?}", ended.transcript);
    assert!(stage.shown().contains("transcript cut here"));
    let mut frames = 0;
    while soon("a frame", slow.next()).await != Frame::End {
        frames += 1;
    }
    assert!(frames < 1000, "{frames} frames were kept for a viewer that did not read");
}

#[tokio::test]
async fn a_child_that_keeps_the_terminal_does_not_block_the_end() {
    let stage = Stage::with("sleep 1000 & disown; echo bye");
    let began = std::time::Instant::now();
    let ended = stage.run().await;
    assert_eq!((ended.how, ended.tree.found), (How::Exited { code: 0 }, 1));
    assert!(began.elapsed().as_secs() < 20 && stage.shown().contains("bye"));
}
