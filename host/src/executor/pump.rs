//! Moves the terminal's bytes: from the agent to the session and the transcript, answers back to the agent.
//!
//! Reads are small (the kernel hands out some 4 KiB), so they are gathered for a few milliseconds before anybody is
//! told. Viewers are never waited for; the transcript's disk is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::pty::{Reader, Terminal, Writer};
use super::run::{self, Activity};
use super::session::{DELTA_BYTES, Session};
use super::transcript::{Recorder, TranscriptReport};

/// How long bytes are gathered.
const GATHER: Duration = Duration::from_millis(8);
/// A stream that is quiet for so long rests: what the mask holds back is let out.
const REST: Duration = Duration::from_millis(24);
/// Answers on their way to a program that does not read; more are dropped.
const ANSWERS: usize = 64;
/// Read buffer: the kernel rarely fills it.
const READ_BYTES: usize = 64 * 1024;

/// What went through.
#[derive(Debug)]
pub(super) struct PumpReport {
    pub(super) output_bytes: u64,
    pub(super) transcript: TranscriptReport,
}

/// The moving part of one run.
pub(super) struct Pump {
    mover: JoinHandle<TranscriptReport>,
    answerer: JoinHandle<()>,
    /// When to stop reading at the latest.
    until: watch::Sender<Option<Instant>>,
    activity: Activity,
    output_bytes: Arc<AtomicU64>,
}

impl Pump {
    pub(super) fn start(terminal: Terminal, session: Arc<Session>, recorder: Recorder) -> Self {
        let (until, stop) = watch::channel(None);
        let activity = run::activity();
        let output_bytes = Arc::new(AtomicU64::new(0));
        let (answers, queue) = mpsc::channel(ANSWERS);
        let answerer = tokio::spawn(answer(terminal.writer, queue));
        let mover = Mover {
            session,
            recorder,
            answers,
            activity: activity.clone(),
            output_bytes: Arc::clone(&output_bytes),
            last_read: Instant::now(),
            due: None,
        };
        Self { mover: tokio::spawn(mover.run(terminal.reader, stop)), answerer, until, activity, output_bytes }
    }

    pub(super) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Reads what is left, at most for `drain`, then closes. A process that still holds the terminal is not waited for.
    pub(super) async fn finish(&mut self, drain: Duration) -> PumpReport {
        self.until.send_replace(Some(Instant::now() + drain));
        let lost = |e| TranscriptReport { fault: Some(format!("the terminal's reader ended early: {e}")), ..Default::default() };
        let transcript = (&mut self.mover).await.unwrap_or_else(lost);
        // It may wait for a program that never reads.
        self.answerer.abort();
        PumpReport { output_bytes: self.output_bytes.load(Ordering::Relaxed), transcript }
    }
}

/// Writes answers.
async fn answer(mut writer: Writer, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        if writer.write(&bytes).await.is_err() {
            return;
        }
    }
}

struct Mover {
    session: Arc<Session>,
    recorder: Recorder,
    answers: mpsc::Sender<Vec<u8>>,
    activity: Activity,
    output_bytes: Arc<AtomicU64>,
    last_read: Instant,
    due: Option<Instant>,
}

impl Mover {
    async fn run(mut self, mut reader: Reader, mut stop: watch::Receiver<Option<Instant>>) -> TranscriptReport {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let until = *stop.borrow_and_update();
            tokio::select! {
                biased;
                () = at(until) => break,
                // A dropped pump is one that nobody will finish.
                changed = stop.changed() => if changed.is_err() { break },
                () = at(self.due) => self.send().await,
                read = reader.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(n) => self.take_in(&buffer[..n]).await,
                },
            }
        }
        self.session.finish();
        self.recorder.output(self.session.send()).await;
        self.recorder.finish().await
    }

    async fn take_in(&mut self, bytes: &[u8]) {
        self.output_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.last_read = Instant::now();
        self.activity.touch();
        self.reply(self.session.feed(bytes));
        self.due.get_or_insert(self.last_read + GATHER);
        if self.session.waiting().0 >= DELTA_BYTES {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        if self.last_read.elapsed() >= REST {
            self.reply(self.session.rest());
        }
        self.recorder.output(self.session.send()).await;
        let (_, held) = self.session.waiting();
        self.due = held.then(|| self.last_read + REST);
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
        }
    }

    fn reply(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let _ = self.answers.try_send(bytes);
        }
    }
}

/// Completes at that time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
