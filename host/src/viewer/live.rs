//! The executor's terminals as viewers see them: each viewer gets a feed of its own, so that a slow one loses its place
//! and nothing else.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Delta, LiveTerminals, Snapshot};
use crate::executor::{Frame, Sessions};
use crate::id::TaskId;

/// Deltas that wait for one viewer.
const FEED: usize = 256;

impl LiveTerminals for Sessions {
    fn subscribe(&self, task: &TaskId) -> Option<(Snapshot, broadcast::Receiver<Delta>)> {
        let mut live = Sessions::subscribe(self, task)?;
        let first = live.take_first()?;
        let snapshot = Snapshot { cols: first.columns, rows: first.rows, seq: first.seq, bytes: first.bytes };
        let (feed, deltas) = broadcast::channel(FEED);
        tokio::spawn(async move {
            loop {
                let frame = live.next().await;
                let delta = match frame {
                    Frame::Output(delta) => Delta { seq: delta.seq, bytes: Arc::from(delta.bytes.as_slice()) },
                    Frame::Display(_) => continue,
                    // Fallen behind, or over: the viewer subscribes again and takes a fresh snapshot if there is one.
                    Frame::Snapshot(_) | Frame::End => return,
                };
                if feed.send(delta).is_err() {
                    return;
                }
            }
        });
        Some((snapshot, deltas))
    }
}
