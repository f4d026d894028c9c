//! The viewer: people watch a task's terminal, read-only. This side sends what the screen shows and then what changes;
//! nothing that a viewer sends reaches the terminal.
//!
//! ```text
//! terminal ─► snapshot ─► output … ─► ended          a terminal never waits for its viewers
//!                ▲            │
//!                └── behind ──┘  a viewer that is too slow gets a fresh snapshot instead of what it missed
//! ```
//! Bytes that arrive here were masked by the executor and stripped of what a terminal should not be told by strangers.

mod live;
pub mod stream;

use futures_util::future::BoxFuture;

use crate::id::TaskId;

/// What a terminal shows at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Width in cells.
    pub cols: u16,
    /// Height in cells.
    pub rows: u16,
    /// The last output that it contains.
    pub seq: u64,
    /// Escape sequences that draw it on an empty terminal.
    pub bytes: Vec<u8>,
}

/// What a viewer gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Draw this on an empty terminal: the first frame, and again after falling behind.
    Snapshot(Snapshot),
    /// Write these terminal bytes.
    Output {
        /// One more than what it follows.
        seq: u64,
        /// Terminal bytes.
        bytes: Vec<u8>,
    },
    /// The terminal is gone.
    Ended,
}

/// One viewer's place in a terminal's stream.
pub trait Terminal: Send {
    /// The next frame; first a snapshot. The future may be dropped while it waits, and nothing is lost by it.
    fn next(&mut self) -> BoxFuture<'_, Frame>;
}

/// The terminals that run now. The seam to the executor.
pub trait LiveTerminals: Send + Sync {
    /// Begins to watch a task's terminal; `None` where none runs.
    fn subscribe(&self, task: &TaskId) -> Option<Box<dyn Terminal>>;
}
