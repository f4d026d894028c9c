//! One viewer's WebSocket.
//!
//! Server to viewer: binary `1 cols:u16 rows:u16 seq:u64 bytes…` (snapshot), binary `2 seq:u64 bytes…` (delta), numbers
//! big-endian; text `{"type":"waiting"|"ended","status":"…"}`. Viewer to server: text, the number of payload bytes that it
//! has drawn since it connected. INVARIANT: at most `WINDOW_BYTES` (and one message) are under way to a viewer; the right
//! to watch is asked again before each snapshot and every `RECHECK`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::{Delta, LiveTerminals, Snapshot};
use crate::id::TaskId;
use crate::task::Status;

/// Terminals draw badly with more than this waiting.
const WINDOW_BYTES: u64 = 384 * 1024;
/// Deltas that are there already go out together, up to this size.
const BATCH_BYTES: usize = 64 * 1024;
/// Longest message that a viewer may send.
pub const MAX_MESSAGE_BYTES: usize = 256;
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
const RECHECK: Duration = Duration::from_secs(15);
/// A viewer that did not answer a ping for this many rechecks is gone.
const MAX_SILENT: u32 = 3;
const POLL: Duration = Duration::from_millis(500);

/// Asks whether the viewer may still watch: the task's status if so.
pub type MayWatch = Arc<dyn Fn() -> BoxFuture<'static, Option<Status>> + Send + Sync>;

/// Why one subscription ended.
enum Over {
    /// The viewer left, or may not stay.
    Viewer,
    /// The viewer was too slow, or its right is to be asked again.
    Behind,
    /// The terminal ended.
    Terminal,
}

/// Shows a task's terminal to one viewer until the task ends or the viewer leaves.
pub async fn run(
    socket: WebSocket,
    task: TaskId,
    terminals: Arc<dyn LiveTerminals>,
    may_watch: MayWatch,
    shutdown: CancellationToken,
) {
    let mut viewer = Viewer { socket, sent: 0, drawn: 0, silent: 0, may_watch, shutdown };
    let mut said = None;
    loop {
        let Some(status) = (viewer.may_watch)().await else { return };
        let over = match terminals.subscribe(&task) {
            Some((snapshot, deltas)) => {
                said = None;
                viewer.show(snapshot, deltas).await
            }
            None if status.is_final() => {
                viewer.say("ended", status).await;
                let _ = timeout(SEND_TIMEOUT, viewer.socket.send(Message::Close(None))).await;
                return;
            }
            None if said != Some(status) => {
                said = Some(status);
                viewer.say("waiting", status).await
            }
            None => viewer.wait().await,
        };
        let over = match over {
            // The task's next state may take a moment to be stored.
            Over::Terminal => viewer.wait().await,
            Over::Viewer | Over::Behind => over,
        };
        if matches!(over, Over::Viewer) {
            return;
        }
    }
}

struct Viewer {
    socket: WebSocket,
    sent: u64,
    drawn: u64,
    silent: u32,
    may_watch: MayWatch,
    shutdown: CancellationToken,
}

impl Viewer {
    async fn show(&mut self, snapshot: Snapshot, mut deltas: Receiver<Delta>) -> Over {
        let mut last = snapshot.seq;
        if let Err(over) = self.send(frame_snapshot(&snapshot), snapshot.bytes.len()).await {
            return over;
        }
        let mut recheck = interval_at(Instant::now() + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = self.sent.saturating_sub(self.drawn) < WINDOW_BYTES;
            let shutdown = self.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => return Over::Viewer,
                heard = self.socket.recv() => if let Err(over) = self.heard(heard) { return over },
                delta = deltas.recv(), if room => match delta {
                    Ok(delta) if delta.seq <= last => {}
                    Ok(delta) => {
                        let Some((seq, bytes)) = batch(delta, &mut deltas) else { return Over::Behind };
                        last = seq;
                        if let Err(over) = self.send(frame_delta(seq, &bytes), bytes.len()).await {
                            return over;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return Over::Behind,
                    Err(RecvError::Closed) => return Over::Terminal,
                },
                _ = recheck.tick() => {
                    if (self.may_watch)().await.is_none() {
                        return Over::Viewer;
                    }
                    if let Err(over) = self.ping().await {
                        return over;
                    }
                }
            }
        }
    }

    /// Waits a little for a terminal to begin or a task to end, without missing that the viewer left.
    async fn wait(&mut self) -> Over {
        let shutdown = self.shutdown.clone();
        let pause = tokio::time::sleep(POLL);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Over::Viewer,
                heard = self.socket.recv() => if let Err(over) = self.heard(heard) { return over },
                () = &mut pause => return Over::Behind,
            }
        }
    }

    /// What a viewer says counts as a sign of life, and a number as how much it has drawn.
    fn heard(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Over> {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.silent = 0;
                let drawn = text.as_str().parse::<u64>().map_err(|_| Over::Viewer)?;
                self.drawn = self.drawn.max(drawn.min(self.sent));
                Ok(())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                self.silent = 0;
                Ok(())
            }
            Some(Ok(Message::Binary(_) | Message::Close(_)) | Err(_)) | None => Err(Over::Viewer),
        }
    }

    async fn ping(&mut self) -> Result<(), Over> {
        self.silent += 1;
        if self.silent > MAX_SILENT {
            return Err(Over::Viewer);
        }
        self.send_message(Message::Ping(Vec::new().into())).await
    }

    async fn say(&mut self, kind: &str, status: Status) -> Over {
        let text = json!({ "type": kind, "status": status.as_str() }).to_string();
        self.send_message(Message::Text(text.into())).await.err().unwrap_or(Over::Behind)
    }

    async fn send(&mut self, frame: Vec<u8>, payload: usize) -> Result<(), Over> {
        self.sent = self.sent.saturating_add(payload as u64);
        self.send_message(Message::Binary(frame.into())).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over::Viewer),
        }
    }
}

/// Puts together what is there already; nothing, if something of it was missed.
fn batch(first: Delta, deltas: &mut Receiver<Delta>) -> Option<(u64, Vec<u8>)> {
    let mut seq = first.seq;
    let mut bytes = first.bytes.to_vec();
    while bytes.len() < BATCH_BYTES {
        match deltas.try_recv() {
            Ok(next) => {
                seq = next.seq;
                bytes.extend_from_slice(&next.bytes);
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            Err(TryRecvError::Lagged(_)) => return None,
        }
    }
    Some((seq, bytes))
}

fn frame_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let mut frame = Vec::with_capacity(13 + snapshot.bytes.len());
    frame.push(1);
    frame.extend_from_slice(&snapshot.cols.to_be_bytes());
    frame.extend_from_slice(&snapshot.rows.to_be_bytes());
    frame.extend_from_slice(&snapshot.seq.to_be_bytes());
    frame.extend_from_slice(&snapshot.bytes);
    frame
}

fn frame_delta(seq: u64, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(9 + bytes.len());
    frame.push(2);
    frame.extend_from_slice(&seq.to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(seq: u64, text: &str) -> Delta {
        Delta { seq, bytes: text.as_bytes().into() }
    }

    #[test]
    fn what_is_there_goes_out_together_up_to_a_bound() {
        let (sender, mut receiver) = tokio::sync::broadcast::channel(8);
        for seq in 2..=3 {
            sender.send(delta(seq, "ab")).unwrap();
        }
        assert_eq!(batch(delta(1, "x"), &mut receiver), Some((3, b"xabab".to_vec())));
        let big = "y".repeat(BATCH_BYTES);
        sender.send(delta(5, "later")).unwrap();
        assert_eq!(batch(delta(4, &big), &mut receiver).map(|b| b.0), Some(4));
        for seq in 6..=16 {
            sender.send(delta(seq, "z")).unwrap();
        }
        assert_eq!(batch(delta(5, "x"), &mut receiver), None, "what was missed is not passed over");
    }

    #[test]
    fn frames_have_their_form() {
        let snapshot = Snapshot { cols: 80, rows: 24, seq: 7, bytes: b"hi".to_vec() };
        assert_eq!(frame_snapshot(&snapshot), [1, 0, 80, 0, 24, 0, 0, 0, 0, 0, 0, 0, 7, b'h', b'i']);
        assert_eq!(frame_delta(8, b"!"), [2, 0, 0, 0, 0, 0, 0, 0, 8, b'!']);
    }
}
