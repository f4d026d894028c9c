//! Bytes of a terminal through the executor (masked, stripped, modelled, recorded), beside a bare reader of the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use coda::executor::agent::{Kind, Profile};
use coda::executor::{Executor, How, Launch, Settings};
use coda::id::TaskId;
use coda::policy::{Cleared, Policies};
use coda::task::conversation::Conversation;
use pty_process::Size;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use crate::engine::{Engine, entry, shell_event};
use crate::figure::{Figure, Goal, Section, Target, median_ratio};
use crate::place::Place;

const STREAM_BYTES: usize = 16 << 20;
const PAIRS: usize = 5;
const SHARE: f64 = 0.5;
const COLUMNS: u16 = 120;
const ROWS: u16 = 40;
/// Of a run that writes everything it gets.
const TIMEOUT_S: u64 = 300;

/// Runs it.
pub(crate) async fn run(place: &Place) -> anyhow::Result<Section> {
    // Something has to clear the launch; nothing but a policy can.
    let clearing = Engine::start(place, &entry("empty", "coda_empty", ""), &["coda_empty"], place.policy_cache()).await?;
    let mut section = Section {
        title: "Terminal",
        how: format!(
            "`cat` of {} MB in a terminal of {COLUMNS}×{ROWS}, from the start of the process to its end: through the executor, \
             transcript included, and through a loop that only reads, in turn.",
            STREAM_BYTES >> 20
        ),
        figures: Vec::new(),
        targets: Vec::new(),
    };
    for (name, pattern) in [("lines of a build", build_output()), ("a full-screen program", full_screen())] {
        let folder = place.folder()?;
        let stream = folder.path().join("stream");
        let bytes: Vec<u8> = pattern.iter().copied().cycle().take(STREAM_BYTES).collect();
        std::fs::write(&stream, bytes)?;
        let (mut through, mut bare) = (Vec::new(), Vec::new());
        for pair in 0..=PAIRS {
            let one = through_executor(place, &clearing.policies, folder.path(), &stream).await?;
            let other = bare_reader(&stream).await?;
            // The first pair fills the page cache.
            if pair > 0 {
                through.push(one);
                bare.push(other);
            }
        }
        let ratio = median_ratio(&through, &bare);
        section.figures.push(Figure::of_rates(format!("{name}, executor"), "MB/s", &through));
        section.figures.push(Figure::of_rates(format!("{name}, bare reader"), "MB/s", &bare));
        section.targets.push(Target::new(format!("terminal, {name}, to a bare reader"), ratio, "×", Goal::AtLeast(SHARE)));
    }
    Ok(section)
}

/// What a compiler and its tests print.
fn build_output() -> Vec<u8> {
    let mut text = String::new();
    for n in 0..200 {
        text += &format!("\x1b[1m\x1b[32m   Compiling\x1b[0m crate-{n} v0.{n}.1 (/src/crates/crate-{n})\n");
        text += &format!("test accounts::tests::case_{n}_is_refused_where_the_token_has_no_role ... \x1b[32mok\x1b[m\n");
        text += &format!("[{n:>4}/200] running `cc -O2 -fPIC -c src/part_{n}.c -o build/part_{n}.o` with 4 warnings\n");
    }
    text.into_bytes()
}

/// What a program prints that draws its screen anew, with colours, in place.
fn full_screen() -> Vec<u8> {
    let mut text = String::from("\x1b[?25l");
    for frame in 0..40 {
        for row in 1..ROWS {
            let colour = 16 + (row * 7 + frame) % 200;
            text += &format!("\x1b[{row};1H\x1b[38;5;{colour}m│ {frame:>4} {row:>3} \x1b[1mworking\x1b[22m on step ");
            text += &format!("{} of the plan\x1b[0m\x1b[K", row * frame);
        }
    }
    text.into_bytes()
}

async fn bare_reader(stream: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let (mut pty, pts) = pty_process::open()?;
    pty.resize(Size::new(ROWS, COLUMNS))?;
    let mut child = pty_process::Command::new("cat").arg(stream).spawn(pts)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    // Its end reads as an error: nobody holds the terminal any more.
    while let Ok(read @ 1..) = pty.read(&mut buffer).await {
        bytes += read;
    }
    child.wait().await?;
    ensure!(bytes >= STREAM_BYTES, "the bare reader got {bytes} bytes");
    Ok(rate(bytes as u64, begun))
}

async fn through_executor(place: &Place, policies: &Policies, folder: &Path, stream: &Path) -> anyhow::Result<f64> {
    let home = folder.join("home");
    let workspace = home.join("workspace");
    std::fs::create_dir_all(&workspace)?;
    let cat = Profile {
        kind: Kind::Custom,
        command: "/bin/cat".into(),
        arguments: vec![stream.display().to_string()],
        ..Profile::default()
    };
    let settings = Settings {
        columns: COLUMNS,
        rows: ROWS,
        agents: BTreeMap::from([("cat".to_owned(), cat)]),
        own_program: vec![place.coda.clone().into()],
        ..Settings::default()
    };
    let task = TaskId::new();
    let launch = Launch {
        task: task.clone(),
        attempt: 1,
        agent: "cat".into(),
        envelope: cleared(policies).await?,
        conversation: Conversation::New,
        task_dir: home.join("tasks").join(task.as_str()),
        workspace,
        coda_home: home.clone(),
        gateway_url: "http://127.0.0.1:9".into(),
        gateway_token: "a-token-that-nobody-prints".into(),
        yolo: false,
        timeout_s: TIMEOUT_S,
        secrets: vec!["another-secret-that-nobody-prints".into()],
        environment: BTreeMap::new(),
    };
    let (progress, _last) = watch::channel(None);
    let begun = Instant::now();
    let run = Executor::new(settings).start(launch, progress).await?;
    let ended = run.wait().await;
    ensure!(ended.how == How::Exited { code: 0 }, "the program ended so: {:?}", ended.how);
    ensure!(ended.output_bytes >= STREAM_BYTES as u64, "{} bytes went through", ended.output_bytes);
    ensure!(ended.transcript.fault.is_none(), "the transcript: {:?}", ended.transcript.fault);
    Ok(rate(ended.output_bytes, begun))
}

async fn cleared(policies: &Policies) -> anyhow::Result<Cleared<String>> {
    policies.judge(shell_event("cat")).await.cleared().ok().context("the empty guard allows everything")
}

fn rate(bytes: u64, begun: Instant) -> f64 {
    bytes as f64 / 1e6 / begun.elapsed().as_secs_f64()
}
