//! The transcript: what the terminal showed, as asciicast v2 in `transcript.cast`, for the host alone.
//!
//! Attempts are appended with times that only grow. It has a cap, and says in itself where it was cut. A disk that is
//! full costs the transcript its rest, never the task: the file is cut back to its last whole line and the loss counted.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Chunks on their way to the disk; when they are this many, the agent's terminal waits for the disk.
const QUEUE: usize = 64;
/// How much of an older transcript's end is read to find its last time.
const TAIL_BYTES: u64 = 256 * 1024;

/// What became of the transcript.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TranscriptReport {
    /// Size of the file.
    pub bytes: u64,
    /// Terminal bytes that are not in it.
    pub lost_bytes: u64,
    /// Why some are not, as a sentence fragment.
    pub fault: Option<String>,
}

/// Takes chunks; a task of its own writes them.
#[derive(Debug)]
pub(super) struct Recorder {
    chunks: mpsc::Sender<Entry>,
    writer: JoinHandle<TranscriptReport>,
    began: Instant,
}

#[derive(Debug)]
struct Entry {
    at_s: f64,
    kind: char,
    bytes: Vec<u8>,
}

impl Recorder {
    /// Opens or continues a transcript.
    pub(super) fn start(path: &Path, columns: u16, rows: u16, attempt: u32, limit_bytes: u64) -> Self {
        let (chunks, mut queue) = mpsc::channel::<Entry>(QUEUE);
        let path = path.to_owned();
        let writer = tokio::task::spawn_blocking(move || {
            let mut cast = Cast::open(&path, columns, rows, attempt, limit_bytes);
            while let Some(entry) = queue.blocking_recv() {
                cast.write(entry);
            }
            cast.close()
        });
        Self { chunks, writer, began: Instant::now() }
    }

    /// Takes terminal bytes in.
    pub(super) async fn output(&self, bytes: Vec<u8>) {
        self.entry('o', bytes).await;
    }

    async fn entry(&self, kind: char, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let entry = Entry { at_s: self.began.elapsed().as_secs_f64(), kind, bytes };
            // The writer ends only with us, or by a bug of its own that the report shows.
            let _ = self.chunks.send(entry).await;
        }
    }

    /// Writes what is left and closes.
    pub(super) async fn finish(self) -> TranscriptReport {
        drop(self.chunks);
        let lost = |e| TranscriptReport { fault: Some(format!("the writer ended early: {e}")), ..TranscriptReport::default() };
        self.writer.await.unwrap_or_else(lost)
    }
}

struct Cast {
    file: Option<File>,
    /// Bytes of whole lines.
    bytes: u64,
    limit: u64,
    /// Where this attempt's time 0 is.
    base_s: f64,
    /// The begin of a character that is not complete yet.
    partial: Vec<u8>,
    report: TranscriptReport,
}

impl Cast {
    fn open(path: &Path, columns: u16, rows: u16, attempt: u32, limit: u64) -> Self {
        let report = TranscriptReport::default();
        let mut cast = Self { file: None, bytes: 0, limit, base_s: 0.0, partial: Vec::new(), report };
        let opened = File::options().read(true).append(true).create(true).mode(0o600).open(path);
        match opened.and_then(|mut file| Ok((tail(&mut file)?, file))) {
            Ok((tail, file)) => {
                cast.file = Some(file);
                cast.bytes = tail.whole_bytes;
                cast.base_s = tail.last_s;
                cast.cut_back();
                if cast.bytes == 0 {
                    let header = json!({"version": 2, "width": columns, "height": rows, "timestamp": crate::env::now_ms() / 1000,
                        "env": {"TERM": "xterm-256color"}});
                    cast.line(&header);
                }
                cast.line(&json!([cast.base_s, "m", format!("attempt {attempt}")]));
            }
            Err(e) => cast.fault(&format!("cannot be opened: {e}")),
        }
        cast
    }

    fn write(&mut self, entry: Entry) {
        let count = entry.bytes.len() as u64;
        if self.file.is_none() {
            self.report.lost_bytes += count;
            return;
        }
        let at = json!(((self.base_s + entry.at_s) * 1e6).round() / 1e6);
        let text = self.text(entry.bytes);
        if text.is_empty() {
            return;
        }
        let line = json!([at, entry.kind, text]);
        if self.bytes + count > self.limit {
            self.report.lost_bytes += count;
            let note = format!("transcript cut here: it reached its limit of {} bytes", self.limit);
            self.line(&json!([at, "m", note]));
            self.line(&json!([at, "o", format!("\r\n\u{1b}[0m[{note}]\r\n")]));
            self.fault(&format!("reached its limit of {} bytes", self.limit));
            return;
        }
        if !self.line(&line) {
            self.report.lost_bytes += count;
        }
    }

    /// Whole characters as text; the begin of one that is cut waits for its rest.
    fn text(&mut self, bytes: Vec<u8>) -> String {
        let mut all = std::mem::take(&mut self.partial);
        all.extend(bytes);
        let cut = match std::str::from_utf8(&all) {
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            // An invalid byte in the middle: only the last few bytes can be an incomplete character.
            Err(_) => all.len() - incomplete_end(&all),
            Ok(_) => all.len(),
        };
        self.partial = all.split_off(cut);
        String::from_utf8_lossy(&all).into_owned()
    }

    fn line(&mut self, value: &Value) -> bool {
        let Some(file) = &mut self.file else { return false };
        let line = format!("{value}\n");
        match file.write_all(line.as_bytes()) {
            Ok(()) => {
                self.bytes += line.len() as u64;
                true
            }
            Err(e) => {
                self.cut_back();
                self.fault(&format!("cannot be written: {e}"));
                false
            }
        }
    }

    /// A half line would make the whole file unreadable.
    fn cut_back(&mut self) {
        if let Some(file) = &self.file
            && let Err(e) = file.set_len(self.bytes)
        {
            self.fault(&format!("cannot be cut back: {e}"));
        }
    }

    fn fault(&mut self, why: &str) {
        tracing::warn!(why, "the transcript lost its rest");
        self.report.fault = Some(why.to_owned());
        self.file = None;
    }

    fn close(mut self) -> TranscriptReport {
        self.report.lost_bytes += self.partial.len() as u64;
        self.report.bytes = self.bytes;
        self.report
    }
}

/// How many bytes at the end may be the begin of a character.
fn incomplete_end(bytes: &[u8]) -> usize {
    (1..=3.min(bytes.len()))
        .find(|n| std::str::from_utf8(&bytes[bytes.len() - n..]).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none()))
        .unwrap_or(0)
}

struct Tail {
    whole_bytes: u64,
    last_s: f64,
}

/// Where the last whole line ends, and its time.
fn tail(file: &mut File) -> std::io::Result<Tail> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL_BYTES);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let time = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?.get(0)?.as_f64();
    let last_s = bytes[..whole].split(|b| *b == b'\n').rev().find_map(time).unwrap_or(0.0);
    Ok(Tail { whole_bytes: if whole == 0 { 0 } else { start + whole as u64 }, last_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn record(path: &Path, attempt: u32, limit: u64, pieces: &[&[u8]]) -> TranscriptReport {
        let recorder = Recorder::start(path, 80, 24, attempt, limit);
        for piece in pieces {
            recorder.output(piece.to_vec()).await;
        }
        recorder.finish().await
    }

    fn events(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).expect("reads");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    #[tokio::test]
    async fn attempts_follow_each_other_with_growing_times() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("transcript.cast");
        record(&path, 1, 1 << 20, &[b"one \xe2\x9c", b"\x93 \xff\r\n"]).await;
        // As a crash leaves it: half a line.
        File::options().append(true).open(&path).and_then(|mut f| f.write_all(b"[9.0, \"o\", \"ha")).expect("writes");
        let report = record(&path, 2, 1 << 20, &[b"two"]).await;
        let events = events(&path);
        assert_eq!(events[0]["version"], 2);
        let shown: String = events[1..].iter().filter(|e| e[1] == "o").filter_map(|e| e[2].as_str()).collect();
        assert_eq!(shown, "one ✓ \u{fffd}\r\ntwo");
        let times: Vec<f64> = events[1..].iter().filter_map(|e| e[0].as_f64()).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(report.lost_bytes, 0);
        let meta = std::fs::metadata(&path).expect("is there");
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (report.bytes, 0o600));
    }

    #[tokio::test]
    async fn the_cap_is_kept_and_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("transcript.cast");
        let piece = [b'x'; 1000];
        let report = record(&path, 1, 5000, &[piece.as_slice(); 20]).await;
        assert!(report.bytes < 5500 && report.lost_bytes >= 15_000, "{report:?}");
        assert!(report.fault.is_some_and(|why| why.contains("5000 bytes")));
        assert!(events(&path).iter().any(|e| e[2].as_str().is_some_and(|t| t.contains("transcript cut here"))));
    }

    #[tokio::test]
    async fn a_full_disk_costs_the_transcript_only() {
        let report = record(Path::new("/dev/full"), 1, 1 << 20, &[b"text"]).await;
        assert_eq!(report.lost_bytes, 4);
        assert!(report.fault.is_some(), "{report:?}");
    }
}
