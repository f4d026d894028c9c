//! The result file: what an agent leaves in `io/result.json`. It is input from outside: opened without following links
//! and without waiting, regular files only, bounded, and a JSON object; what it says is judged elsewhere.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::{Map, Value};

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
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified_ns: i128,
}

/// Reads it once, with the stamp of what was read.
pub(super) fn read(path: &Path, limit_bytes: u64) -> (ResultFile, Option<Stamp>) {
    match attempt(path, limit_bytes) {
        Ok((map, stamp)) => (ResultFile::Valid(map), Some(stamp)),
        Err(Fault::Missing) => (ResultFile::Missing, None),
        Err(Fault::Invalid(why)) => (ResultFile::Invalid { why }, None),
    }
}

enum Fault {
    Missing,
    Invalid(String),
}

fn attempt(path: &Path, limit_bytes: u64) -> Result<(Map<String, Value>, Stamp), Fault> {
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
    let stamp = Stamp {
        inode: meta.ino(),
        bytes: bytes.len() as u64,
        modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
    };
    parse(&bytes).map(|map| (map, stamp)).map_err(Fault::Invalid)
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

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
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
        match read(&path, 100).0 {
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
}
