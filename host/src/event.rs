//! What happened to tasks, in one append-only, versioned stream. Inbox cursors, replay markers, server-sent events and
//! notifications all read it. Readers skip kinds that they do not know.

use serde::{Deserialize, Serialize};

use crate::env::Millis;
use crate::id::TaskId;

/// Version of the stored form.
pub const VERSION: u32 = 1;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEvent {
    /// Position in the whole stream, from 1.
    pub seq: u64,
    /// When.
    pub time_ms: Millis,
    /// Tenant.
    pub tenant: String,
    /// To which task.
    pub task: TaskId,
    /// During which attempt; 0 before the first.
    pub attempt: u32,
    /// Such as `accepted`, `started`, `held`, `decided`, `progress`, `tool-call`, `tool-result`, `ended`.
    pub kind: String,
    /// More, by kind. Screened.
    pub body: serde_json::Value,
}
