//! The viewer: people watch a task's terminal, read-only. This side sends what the screen shows and then what changes;
//! nothing that a viewer sends reaches the terminal.
//!
//! ```text
//! terminal ─► snapshot ─► deltas … ─► ended          one broadcast per terminal, never blocked by a viewer
//!                ▲            │
//!                └── behind ──┘  a viewer that is too slow gets a fresh snapshot instead of what it missed
//! ```
//! Bytes that arrive here were masked by the executor and stripped of what a terminal should not be told by strangers.

mod live;
pub mod stream;

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::id::TaskId;

/// What a terminal shows at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Width in cells.
    pub cols: u16,
    /// Height in cells.
    pub rows: u16,
    /// The last delta that it contains.
    pub seq: u64,
    /// Escape sequences that draw it on an empty terminal.
    pub bytes: Vec<u8>,
}

/// What the program wrote since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Position; one more than the one before.
    pub seq: u64,
    /// Terminal bytes.
    pub bytes: Arc<[u8]>,
}

/// The terminals that run now. The seam to the executor.
pub trait LiveTerminals: Send + Sync {
    /// The screen of a task's terminal and everything after it, without a gap; `None` where none runs.
    fn subscribe(&self, task: &TaskId) -> Option<(Snapshot, broadcast::Receiver<Delta>)>;
}
