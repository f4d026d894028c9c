//! One viewer's WebSocket.
//!
//! Server to viewer: binary `1 cols:u16 rows:u16 seq:u64 bytes…` (snapshot), binary `2 seq:u64 bytes…` (output), numbers
//! big-endian; text
//! `{"type":"status"|"waiting"|"ended","status":"…"}`. Viewer to server: text, the number of payload bytes that it
//! has drawn since it connected. INVARIANT: at most `WINDOW_BYTES` and one frame are under way to a viewer; the right to
//! watch is asked again every `RECHECK`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::{Frame, LiveTerminals, Snapshot, Terminal};
use crate::id::TaskId;
use crate::task::Status;

/// Terminals draw badly with more than this waiting.
const WINDOW_BYTES: u64 = 384 * 1024;
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
    /// The terminal ended, or what was to be said is said.
    Scene,
}

/// Shows a task's terminal to one viewer until the task ends or the viewer leaves.
pub async fn run(
    socket: WebSocket,
    task: TaskId,
    terminals: Arc<dyn LiveTerminals>,
    may_watch: MayWatch,
    shutdown: CancellationToken,
) {
    let mut viewer = Viewer { socket, sent: 0, drawn: 0, silent: 0, told: None, may_watch, shutdown };
    let mut said = None;
    loop {
        let Some(status) = (viewer.may_watch)().await else { return };
        let over = match terminals.subscribe(&task) {
            Some(terminal) => {
                said = None;
                match viewer.tell(status).await {
                    Ok(()) => viewer.show(terminal).await,
                    Err(over) => over,
                }
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
            None => Over::Scene,
        };
        // The task's next state may take a moment to come.
        if matches!(over, Over::Viewer) || matches!(viewer.wait().await, Over::Viewer) {
            return;
        }
    }
}

struct Viewer {
    socket: WebSocket,
    sent: u64,
    drawn: u64,
    silent: u32,
    told: Option<Status>,
    may_watch: MayWatch,
    shutdown: CancellationToken,
}

impl Viewer {
    async fn show(&mut self, mut terminal: Box<dyn Terminal>) -> Over {
        let mut recheck = interval_at(Instant::now() + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = self.sent.saturating_sub(self.drawn) < WINDOW_BYTES;
            let shutdown = self.shutdown.clone();
            let done = tokio::select! {
                () = shutdown.cancelled() => Err(Over::Viewer),
                heard = self.socket.recv() => self.heard(heard),
                frame = terminal.next(), if room => match frame {
                    Frame::Snapshot(snapshot) => self.send(frame_snapshot(&snapshot), snapshot.bytes.len()).await,
                    Frame::Output { seq, bytes } => self.send(frame_output(seq, &bytes), bytes.len()).await,
                    Frame::Ended => Err(Over::Scene),
                },
                _ = recheck.tick() => self.recheck().await,
            };
            if let Err(over) = done {
                return over;
            }
        }
    }

    async fn recheck(&mut self) -> Result<(), Over> {
        let status = (self.may_watch)().await.ok_or(Over::Viewer)?;
        self.tell(status).await?;
        self.silent += 1;
        if self.silent > MAX_SILENT {
            return Err(Over::Viewer);
        }
        self.send_message(Message::Ping(Vec::new().into())).await
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
                () = &mut pause => return Over::Scene,
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

    /// Says where the task stands, once for each change.
    async fn tell(&mut self, status: Status) -> Result<(), Over> {
        if self.told.replace(status) == Some(status) {
            return Ok(());
        }
        match self.say("status", status).await {
            Over::Viewer => Err(Over::Viewer),
            Over::Scene => Ok(()),
        }
    }

    async fn say(&mut self, kind: &str, status: Status) -> Over {
        let text = json!({ "type": kind, "status": status.as_str() }).to_string();
        self.send_message(Message::Text(text.into())).await.err().unwrap_or(Over::Scene)
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

fn frame_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let mut frame = Vec::with_capacity(13 + snapshot.bytes.len());
    frame.push(1);
    frame.extend_from_slice(&snapshot.cols.to_be_bytes());
    frame.extend_from_slice(&snapshot.rows.to_be_bytes());
    frame.extend_from_slice(&snapshot.seq.to_be_bytes());
    frame.extend_from_slice(&snapshot.bytes);
    frame
}

fn frame_output(seq: u64, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(9 + bytes.len());
    frame.push(2);
    frame.extend_from_slice(&seq.to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_their_form() {
        let snapshot = Snapshot { cols: 80, rows: 24, seq: 7, bytes: b"hi".to_vec() };
        assert_eq!(frame_snapshot(&snapshot), [1, 0, 80, 0, 24, 0, 0, 0, 0, 0, 0, 0, 7, b'h', b'i']);
        assert_eq!(frame_output(8, b"!"), [2, 0, 0, 0, 0, 0, 0, 0, 8, b'!']);
    }
}
