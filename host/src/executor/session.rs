//! The live terminals, for viewers: a snapshot, then everything after it, in order.
//!
//! ```text
//! agent's bytes ─ strip ─ mask ─► model ─► snapshot (who comes late)
//!                           │       └─ a secret on its rows: they are masked, and drawn anew instead of what wrote it
//!                           └───► pending ─ every few ms ─► deltas (who is there)     record ─► transcript
//! ```
//! A snapshot and the deltas after it show what all bytes would have shown, wherever they are cut.
//! Nothing here waits for a viewer: one that falls behind loses its place and takes a fresh snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::broadcast;

use super::mask::{Mask, Masked, Rules};
use super::screen::{Display, Screen, Snapshot};
use super::strip::Strip;
use crate::id::TaskId;

/// Deltas kept for a viewer that reads slowly.
const BACKLOG: usize = 256;
/// Size from which a delta leaves at once.
pub(super) const DELTA_BYTES: usize = 16 * 1024;
/// Makes a viewer's terminal a fresh one.
const RESET: &[u8] = b"\x1bc";

/// Terminal bytes that follow a snapshot or another delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// One more than that of what it follows.
    pub seq: u64,
    /// Masked and stripped terminal bytes.
    pub bytes: Vec<u8>,
}

/// What a viewer gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Draw this on a fresh terminal: the first frame, and again after falling behind.
    Snapshot(Snapshot),
    /// Write this.
    Output(Arc<Delta>),
    /// What the program says about itself changed.
    Display(Display),
    /// The terminal is gone; the transcript has it all.
    End,
}

#[derive(Debug, Clone)]
enum News {
    Output(Arc<Delta>),
    Display(Display),
}

/// The live terminals by task.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    live: Arc<Mutex<HashMap<TaskId, Arc<Session>>>>,
}

impl Sessions {
    /// Begins to watch a task's terminal; `None` where it has none now.
    #[must_use]
    pub fn subscribe(&self, task: &TaskId) -> Option<Live> {
        let session = lock(&self.live).get(task).cloned()?;
        let (snapshot, news) = session.join()?;
        Some(Live { session: Arc::downgrade(&session), first: Some(snapshot), news })
    }

    /// The screen as it is now; `None` where the task has no terminal.
    #[must_use]
    pub fn snapshot(&self, task: &TaskId) -> Option<Snapshot> {
        let session = lock(&self.live).get(task).cloned()?;
        Some(lock(&session.inner).snapshot())
    }

    /// How many terminals are live.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.live).len()
    }

    pub(super) fn open(&self, task: &TaskId, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        lock(&self.live).insert(task.clone(), Arc::clone(&session));
        session
    }

    /// Takes the terminal away, if it is still this one: an older attempt does not close a newer one's.
    pub(super) fn close(&self, task: &TaskId, session: &Arc<Session>) {
        lock(&session.inner).news = None;
        let mut live = lock(&self.live);
        if live.get(task).is_some_and(|s| Arc::ptr_eq(s, session)) {
            live.remove(task);
        }
    }
}

/// One viewer's place in a terminal's stream.
#[derive(Debug)]
pub struct Live {
    session: Weak<Session>,
    first: Option<Snapshot>,
    news: broadcast::Receiver<News>,
}

impl Live {
    /// The next frame: first a snapshot. After `End` it is `End` again. Safe to drop while it waits.
    pub async fn next(&mut self) -> Frame {
        if let Some(snapshot) = self.first.take() {
            return Frame::Snapshot(snapshot);
        }
        match self.news.recv().await {
            Ok(News::Output(delta)) => Frame::Output(delta),
            Ok(News::Display(display)) => Frame::Display(display),
            Err(broadcast::error::RecvError::Closed) => Frame::End,
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let Some((snapshot, news)) = self.session.upgrade().and_then(|s| s.join()) else { return Frame::End };
                self.news = news;
                Frame::Snapshot(snapshot)
            }
        }
    }
}

/// One terminal: filters, model and who watches.
#[derive(Debug)]
pub(super) struct Session {
    // A std mutex: held for the work on one chunk, never across an await.
    inner: Mutex<Inner>,
}

struct Inner {
    strip: Strip,
    rules: Arc<Rules>,
    mask: Mask,
    /// Lines to go until nothing is left on the screen that moves of the cursor may have put together.
    watched_lines: usize,
    concealed: u64,
    screen: Screen,
    /// Number of the last delta that left.
    seq: u64,
    /// For viewers, not sent yet.
    pending: Vec<u8>,
    /// For the transcript, not taken yet.
    record: Vec<u8>,
    shown: Display,
    /// `None` once the terminal is closed.
    news: Option<broadcast::Sender<News>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the screen.
        f.debug_struct("Inner").field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(columns: u16, rows: u16, secrets: &[String]) -> Self {
        let rules = Arc::new(Rules::new(secrets.iter().map(String::as_str)));
        Self {
            inner: Mutex::new(Inner {
                strip: Strip::new(),
                mask: Mask::new(Arc::clone(&rules)),
                rules,
                watched_lines: 0,
                concealed: 0,
                screen: Screen::new(columns, rows),
                seq: 0,
                pending: Vec::new(),
                record: Vec::new(),
                shown: Display::default(),
                news: Some(broadcast::Sender::new(BACKLOG)),
            }),
        }
    }

    fn join(&self) -> Option<(Snapshot, broadcast::Receiver<News>)> {
        let mut inner = lock(&self.inner);
        // What is pending is on the screen already: it must leave before the newcomer listens.
        inner.send();
        let news = inner.news.as_ref()?.subscribe();
        Some((inner.snapshot(), news))
    }

    /// Takes in what the agent wrote; returns what its terminal answers.
    pub(super) fn feed(&self, bytes: &[u8]) -> Vec<u8> {
        let mut inner = lock(&self.inner);
        let mut masked = Masked::default();
        let Inner { strip, mask, .. } = &mut *inner;
        strip.feed(bytes, &mut |piece| mask.feed(piece, &mut masked));
        inner.take_in(&masked)
    }

    /// The stream rests: lets out what the mask held back.
    pub(super) fn rest(&self) -> Vec<u8> {
        let mut inner = lock(&self.inner);
        let mut masked = Masked::default();
        inner.mask.flush(&mut masked);
        inner.take_in(&masked)
    }

    /// The stream ended.
    pub(super) fn finish(&self) {
        let mut inner = lock(&self.inner);
        let mut masked = Masked::default();
        inner.mask.finish(&mut masked);
        inner.take_in(&masked);
    }

    /// Sends what is pending to the viewers; returns what the transcript is to keep.
    pub(super) fn send(&self) -> Vec<u8> {
        let mut inner = lock(&self.inner);
        inner.send();
        std::mem::take(&mut inner.record)
    }

    /// Whether something waits: for the transcript (by size), and in the mask.
    pub(super) fn waiting(&self) -> (usize, bool) {
        let inner = lock(&self.inner);
        (inner.record.len(), inner.mask.holds())
    }

    /// How many secrets were masked.
    pub(super) fn masked(&self) -> u64 {
        let inner = lock(&self.inner);
        inner.mask.masked() + inner.concealed
    }
}

impl Inner {
    fn take_in(&mut self, masked: &Masked) -> Vec<u8> {
        let concealed = self.model(masked);
        self.concealed += concealed;
        let watched = self.news.as_ref().is_some_and(|news| news.receiver_count() > 0);
        if concealed > 0 {
            // What wrote a secret does not leave, not even in parts: the masked screen does.
            let drawn = [RESET, &self.screen.snapshot(0).bytes].concat();
            self.record.clone_from(&drawn);
            self.pending = if watched { drawn } else { Vec::new() };
        } else {
            self.record.extend_from_slice(&masked.view);
            if watched {
                self.pending.extend_from_slice(&masked.view);
            }
        }
        if self.pending.len() >= DELTA_BYTES {
            self.send();
        }
        self.screen.take_replies()
    }

    /// Brings the model up to date; returns how many secrets were found on its rows, and hidden.
    fn model(&mut self, masked: &Masked) -> u64 {
        if masked.moves {
            self.watched_lines = usize::from(self.screen.rows());
        }
        if self.watched_lines == 0 {
            self.screen.feed(&masked.model);
            return 0;
        }
        let (mut from, mut concealed) = (0, 0);
        for &stop in masked.stops.iter().chain([&masked.model.len()]) {
            self.screen.feed(&masked.model[from..stop]);
            concealed += self.screen.conceal(&self.rules);
            from = stop;
        }
        self.watched_lines = self.watched_lines.saturating_sub(masked.lines);
        concealed
    }

    /// What the program says about itself, masked: its message comes encoded.
    fn display(&self) -> Display {
        let mut display = self.screen.display().clone();
        for text in [&mut display.title, &mut display.message] {
            *text = String::from_utf8_lossy(&self.rules.masked(text.as_bytes())).into_owned();
        }
        display
    }

    fn snapshot(&mut self) -> Snapshot {
        Snapshot { display: self.display(), ..self.screen.snapshot(self.seq) }
    }

    fn send(&mut self) {
        let display = self.display();
        let Some(news) = &self.news else { return };
        if !self.pending.is_empty() {
            self.seq += 1;
            let delta = Delta { seq: self.seq, bytes: std::mem::take(&mut self.pending) };
            // No receiver is no fault: nobody watches.
            let _ = news.send(News::Output(Arc::new(delta)));
        }
        if display != self.shown {
            self.shown = display;
            let _ = news.send(News::Display(self.shown.clone()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(screen: &mut Screen, frame: Frame) {
        match frame {
            Frame::Snapshot(snapshot) => {
                *screen = Screen::new(snapshot.columns, snapshot.rows);
                screen.feed(&snapshot.bytes);
            }
            Frame::Output(delta) => screen.feed(&delta.bytes),
            Frame::Display(_) | Frame::End => {}
        }
    }

    #[tokio::test]
    async fn who_comes_late_sees_the_same_screen() {
        let (sessions, task) = (Sessions::default(), TaskId::new());
        let session = sessions.open(&task, Session::new(40, 5, &["topsecret".into()]));
        session.feed(b"before \x1b[31mred");
        session.rest();
        let mut live = sessions.subscribe(&task).expect("it is live");
        session.feed(b" after topsecret.");
        session.send();
        let mut screen = Screen::new(1, 1);
        for _ in 0..2 {
            draw(&mut screen, live.next().await);
        }
        assert_eq!(screen.text(), "before red after *********.");
        sessions.close(&task, &session);
        assert_eq!(live.next().await, Frame::End);
        assert!(sessions.subscribe(&task).is_none());
    }

    #[tokio::test]
    async fn a_slow_viewer_gets_a_fresh_snapshot_and_numbers_go_on() {
        let (sessions, task) = (Sessions::default(), TaskId::new());
        let session = sessions.open(&task, Session::new(40, 5, &[]));
        let mut live = sessions.subscribe(&task).expect("it is live");
        assert!(matches!(live.next().await, Frame::Snapshot(Snapshot { seq: 0, .. })));
        for n in 0..BACKLOG + 10 {
            session.feed(format!("\r\nline {n}").as_bytes());
            session.rest();
            session.send();
        }
        let Frame::Snapshot(snapshot) = live.next().await else { panic!("expected a fresh snapshot") };
        assert_eq!(snapshot.seq, u64::try_from(BACKLOG + 10).expect("fits"));
        session.feed(b"!");
        session.send();
        let Frame::Output(delta) = live.next().await else { panic!("expected output") };
        assert_eq!((delta.seq, delta.bytes.as_slice()), (snapshot.seq + 1, b"!".as_slice()));
    }

    #[test]
    fn a_hidden_secret_is_drawn_anew_once() {
        let session = Session::new(60, 8, &["topsecret-topsecret".into()]);
        session.feed(b"\x1b[3;4Hsecret-topsecret\x1b[3;1Htop\x1b[1;1H-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADAN\r\n");
        session.feed(b"\x1b[4;10Hsecret-topsecret\x1b[4;7Htop");
        session.rest();
        let drawn = String::from_utf8(session.send()).expect("text");
        assert!(drawn.starts_with("\x1bc") && !drawn.contains("secret") && !drawn.contains("MIIE"), "{drawn:?}");
        for _ in 0..3 {
            session.feed(b"\x1b[7;1Hx");
            session.rest();
            assert_eq!(session.send(), b"\x1b[7;1Hx", "what was hidden is not found again");
        }
    }

    #[test]
    fn without_a_viewer_nothing_piles_up() {
        let session = Session::new(40, 5, &[]);
        for _ in 0..1000 {
            session.feed(&[b'x'; 1000]);
            assert!(session.send().len() <= 1000);
        }
        assert!(lock(&session.inner).pending.is_empty());
    }
}
