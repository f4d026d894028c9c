//! The executor's terminals as viewers see them.

use futures_util::future::BoxFuture;

use super::{Frame, LiveTerminals, Snapshot, Terminal};
use crate::executor::{self, Live, Sessions};
use crate::id::TaskId;

impl LiveTerminals for Sessions {
    fn subscribe(&self, task: &TaskId) -> Option<Box<dyn Terminal>> {
        Sessions::subscribe(self, task).map(|live| Box::new(live) as Box<dyn Terminal>)
    }
}

impl Terminal for Live {
    fn next(&mut self) -> BoxFuture<'_, Frame> {
        Box::pin(async move {
            loop {
                return match Live::next(self).await {
                    executor::Frame::Snapshot(s) => {
                        Frame::Snapshot(Snapshot { cols: s.columns, rows: s.rows, seq: s.seq, bytes: s.bytes })
                    }
                    executor::Frame::Output(delta) => Frame::Output { seq: delta.seq, bytes: delta.bytes.clone() },
                    executor::Frame::Display(_) => continue,
                    executor::Frame::End => Frame::Ended,
                };
            }
        })
    }
}
