//! Progress lines: what an agent appends to `io/status.jsonl`, one JSON object a line. Input from outside: opened
//! without following links, read in bounded pieces; a line that is too long or no object is dropped and counted.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde_json::Value;

/// Longest line that is read.
const LINE_BYTES: usize = 16 * 1024;
/// Most that is read at one look.
const LOOK_BYTES: u64 = 64 * 1024;
/// Longest step label that is kept, in characters.
const STEP_CHARS: usize = 64;
/// Longest message that is kept, in characters.
const MESSAGE_CHARS: usize = 2000;

/// One progress line. Not screened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Label, such as `execute_1`.
    pub step: String,
    /// What the agent says.
    pub message: String,
}

/// Reads what is appended.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
    skipping: bool,
}

impl Tail {
    /// From the present end of the file on: older lines belong to older attempts.
    pub(super) fn at_end(path: &Path) -> Self {
        let offset = open(path).and_then(|f| f.metadata().ok()).map_or(0, |meta| meta.len());
        Self { path: path.to_owned(), offset, partial: Vec::new(), skipping: false }
    }

    /// Whether there may be something to read. Costs one look at the directory entry.
    pub(super) fn is_news(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.is_file() && meta.len() != self.offset)
    }

    /// The lines since the last look.
    pub(super) fn look(&mut self) -> Vec<Progress> {
        let Some(mut file) = open(&self.path) else { return Vec::new() };
        let Ok(meta) = file.metadata() else { return Vec::new() };
        if meta.len() < self.offset {
            // Written anew: begin at its begin.
            self.offset = 0;
            self.partial.clear();
        }
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.offset)).is_err() || file.take(LOOK_BYTES).read_to_end(&mut bytes).is_err() {
            return Vec::new();
        }
        self.offset += bytes.len() as u64;
        bytes.split_inclusive(|b| *b == b'\n').filter_map(|piece| self.piece(piece)).collect()
    }

    fn piece(&mut self, piece: &[u8]) -> Option<Progress> {
        let complete = piece.ends_with(b"\n");
        if !self.skipping {
            self.partial.extend_from_slice(piece);
            self.skipping = self.partial.len() > LINE_BYTES;
        }
        if !complete {
            return None;
        }
        let line = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.skipping) { None } else { parse(&line) }
    }
}

fn open(path: &Path) -> Option<std::fs::File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).expect("open flags fit the C type");
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

fn parse(line: &[u8]) -> Option<Progress> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let text = |name: &str, most: usize| -> Option<String> {
        let text: String = value.get(name)?.as_str()?.chars().filter(|c| !c.is_control() || *c == '\n').take(most).collect();
        (!text.is_empty()).then_some(text)
    };
    let step = text("step", STEP_CHARS);
    let message = text("message", MESSAGE_CHARS);
    (step.is_some() || message.is_some())
        .then(|| Progress { step: step.unwrap_or_default(), message: message.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_come_once_whole_and_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("status.jsonl");
        let mut file = std::fs::File::options().create(true).append(true).open(&path).expect("opens");
        writeln!(file, r#"{{"step":"old","message":"of an older attempt"}}"#).expect("writes");
        let mut tail = Tail::at_end(&path);
        assert_eq!(tail.look(), []);
        write!(file, r#"{{"step":"plan","mess"#).expect("writes");
        assert_eq!(tail.look(), []);
        writeln!(file, "age\":\"a\x1b[1m\"}}\nnonsense\n{}", "x".repeat(LINE_BYTES + 1)).expect("writes");
        writeln!(file, r#"{{"step":"plan","message":"done"}}"#).expect("writes");
        let seen = tail.look();
        assert_eq!(seen.len(), 1, "a raw escape byte is no JSON, nonsense and the long line are dropped: {seen:?}");
        assert_eq!(seen[0], Progress { step: "plan".into(), message: "done".into() });
        assert_eq!(tail.look(), []);
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("status.jsonl");
        std::fs::write(dir.path().join("secret"), "{\"step\":\"x\",\"message\":\"y\"}\n").expect("writes");
        let mut tail = Tail::at_end(&path);
        std::os::unix::fs::symlink(dir.path().join("secret"), &path).expect("links");
        assert_eq!(tail.look(), []);
    }
}
