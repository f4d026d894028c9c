//! The result file: what an agent leaves in `io/result.json`. It is input from outside: opened without following links
//! and without waiting, regular files only, bounded, and a JSON object; what it says is judged elsewhere.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::{Map, Value};
use tokio::time::Instant;

/// A file that changes all the time is read this often.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What lies in `io/result.json`.
#[derive(Debug, Clone, PartialEq)]
pub enum ResultFile {
    /// No such file.
    Missing,
    /// Something that is no result.
    Invalid {
        /// Lowercase fragment that fits "result.json {why}".
        why: String,
    },
    /// A JSON object. Its fields are not checked yet.
    Valid(Map<String, Value>),
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified_ns: i128,
}

/// Reads it once.
pub(super) fn read(path: &Path, limit_bytes: u64) -> ResultFile {
    match attempt(path, limit_bytes) {
        Ok(map) => ResultFile::Valid(map),
        Err(Fault::Missing) => ResultFile::Missing,
        Err(Fault::Invalid(why)) => ResultFile::Invalid { why },
    }
}

/// Looks at the file again and again, and reads it only where it changed, at most once in a while.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    limit_bytes: u64,
    seen: Option<Seen>,
}

/// One state of the file.
#[derive(Debug, Clone, Copy)]
struct Seen {
    stamp: Stamp,
    valid: bool,
    since: Instant,
}

impl Watch {
    pub(super) fn new(path: PathBuf, limit_bytes: u64) -> Self {
        Self { path, limit_bytes, seen: None }
    }

    /// Whether the file must be read to know more. Costs one look at its directory entry.
    pub(super) fn is_news(&self) -> bool {
        match (stamp(&self.path), &self.seen) {
            (None, seen) => seen.is_some(),
            (Some(_), None) => true,
            (Some(now), Some(seen)) => now != seen.stamp && seen.since.elapsed() >= READ_PAUSE,
        }
    }

    /// Reads it.
    pub(super) fn read(&mut self) {
        let Some(before) = stamp(&self.path) else {
            self.seen = None;
            return;
        };
        let valid = matches!(read(&self.path, self.limit_bytes), ResultFile::Valid(_));
        self.seen = Some(Seen { stamp: before, valid, since: Instant::now() });
    }

    /// Since when a whole result lies there, as last read.
    pub(super) fn whole_since(&self) -> Option<Instant> {
        // What changed since is not whole until it was read again.
        self.seen.filter(|seen| seen.valid && stamp(&self.path) == Some(seen.stamp)).map(|seen| seen.since)
    }
}

/// Without following a link; `None` where there is no regular file.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some(Stamp { inode: meta.ino(), bytes: meta.len(), modified_ns })
}

enum Fault {
    Missing,
    Invalid(String),
}

fn attempt(path: &Path, limit_bytes: u64) -> Result<Map<String, Value>, Fault> {
    let invalid = |why: String| Err(Fault::Invalid(why));
    // NONBLOCK: opening a FIFO that nobody writes to must not wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).expect("open flags fit the C type");
    let mut file = match std::fs::File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Fault::Missing),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return invalid("is a symbolic link: write a regular file".into());
        }
        Err(e) => return invalid(format!("cannot be opened: {e}")),
    };
    let meta = file.metadata().map_err(|e| Fault::Invalid(format!("cannot be looked at: {e}")))?;
    if !meta.is_file() {
        return invalid(format!("is {}: write a regular file", kind_of(&meta)));
    }
    if meta.len() > limit_bytes {
        return invalid(format!("is too large: {} bytes, at most {limit_bytes}", meta.len()));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed shows growth between the look and the read.
    let read = file.by_ref().take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Fault::Invalid(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > limit_bytes {
        return invalid(format!("is too large: it grew beyond {limit_bytes} bytes while it was read"));
    }
    parse(&bytes).map_err(Fault::Invalid)
}

fn kind_of(meta: &std::fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("is empty".into());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Array(_)) => Err("is a JSON array: an object is needed".into()),
        Ok(_) => Err("is a single JSON value: an object is needed".into()),
        Err(e) if e.is_eof() => Err(format!("is half-written: it ends at line {} in the middle of a value", e.line())),
        // The parser's own text would quote the content; the place is enough.
        Err(e) => Err(format!("is not JSON: error at line {} column {}", e.line(), e.column())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(make: impl FnOnce(&Path)) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("result.json");
        make(&path);
        match read(&path, 100) {
            ResultFile::Missing => "missing".into(),
            ResultFile::Invalid { why } => why,
            ResultFile::Valid(map) => format!("valid {}", Value::Object(map)),
        }
    }

    fn content(text: &str) -> String {
        why(|path| std::fs::write(path, text).expect("writes"))
    }

    #[test]
    fn each_fault_has_its_own_words() {
        assert_eq!(why(|_| ()), "missing");
        assert_eq!(content(r#"{"status":"completed"}"#), r#"valid {"status":"completed"}"#);
        assert_eq!(content(""), "is empty");
        assert_eq!(content("[1]"), "is a JSON array: an object is needed");
        assert_eq!(content("3"), "is a single JSON value: an object is needed");
        assert_eq!(content(r#"{"status":"comp"#), "is half-written: it ends at line 1 in the middle of a value");
        assert_eq!(content("{status}"), "is not JSON: error at line 1 column 2");
        assert_eq!(content(&"x".repeat(101)), "is too large: 101 bytes, at most 100");
        assert_eq!(why(|path| std::fs::create_dir(path).expect("makes")), "is a directory: write a regular file");
        let link = why(|path| std::os::unix::fs::symlink("/etc/passwd", path).expect("links"));
        assert_eq!(link, "is a symbolic link: write a regular file");
        let fifo = why(|path| {
            let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
            assert!(made.success());
        });
        assert_eq!(fifo, "is a FIFO: write a regular file");
    }

    #[test]
    fn a_file_is_read_when_it_changed_and_not_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("result.json");
        let mut watch = Watch::new(path.clone(), 100);
        assert!(!watch.is_news(), "nothing there");
        std::fs::write(&path, r#"{"a":1}"#).expect("writes");
        let written = std::fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
        assert!(watch.is_news());
        watch.read();
        assert!(!watch.is_news() && watch.whole_since().is_some());
        // Another content under the same stamp shows that nobody looks inside again.
        std::fs::write(&path, r#"{"a":1]"#).expect("writes");
        std::fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(written)).expect("set back");
        assert!(!watch.is_news() && watch.whole_since().is_some());
        // A change is news, but not at once: a file that is touched all the time is read now and then.
        std::fs::write(&path, r#"{"a":12}"#).expect("writes");
        assert!(!watch.is_news() && watch.whole_since().is_none());
        watch.read();
        assert!(watch.whole_since().is_some());
        std::fs::remove_file(&path).expect("removes");
        assert!(watch.is_news());
        watch.read();
        assert!(!watch.is_news() && watch.whole_since().is_none());
    }
}
