//! Reads the supervisor's reports: bounded lines of JSON from its standard error.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::supervisor::{REPORT_BYTES, Report};

/// The reports of one supervisor.
#[derive(Debug)]
pub(super) struct Reports<R> {
    lines: BufReader<R>,
    partial: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reports<R> {
    pub(super) fn new(from: R) -> Self {
        Self { lines: BufReader::new(from), partial: Vec::new() }
    }

    /// The next report; `None` once the supervisor is gone. Safe to drop while it waits: a half line is kept.
    pub(super) async fn next(&mut self) -> Option<Report> {
        loop {
            let room = REPORT_BYTES.saturating_sub(self.partial.len() as u64);
            let read = (&mut self.lines).take(room).read_until(b'\n', &mut self.partial).await;
            if !matches!(read, Ok(n) if n > 0) {
                return None;
            }
            if !self.partial.ends_with(b"\n") {
                continue;
            }
            let line = std::mem::take(&mut self.partial);
            // Other lines are the runtime's own, such as a panic: for the log.
            match serde_json::from_slice(&line) {
                Ok(report) => return Some(report),
                Err(_) => tracing::warn!(line = %String::from_utf8_lossy(&line).trim_end(), "an agent's supervisor says"),
            }
        }
    }
}
