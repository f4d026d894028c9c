//! Checkpoints and the key that makes them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

use super::AuditError;
use crate::env;

const KEY_BYTES: usize = 32;
const VERSION: u32 = 1;

/// What closes a segment: how many records it has, how it ends, and the proof that coda said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Version of this form.
    pub v: u32,
    /// Which segment.
    pub segment: i64,
    /// Its first record.
    pub first_seq: i64,
    /// How many it has.
    pub count: i64,
    /// Hash of its last.
    pub head: String,
    /// When it was closed, milliseconds since the epoch.
    pub closed_ms: i64,
    /// HMAC-SHA-256 of all of the above, hexadecimal.
    pub hmac: String,
}

/// A text that is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: expected the JSON of an 'audit checkpoint' line of the log stream, or its field 'checkpoint'")]
pub struct UnreadableCheckpoint;

impl Checkpoint {
    /// Closes a segment.
    #[must_use]
    pub fn seal(key: &Key, segment: i64, first_seq: i64, count: i64, head: String, closed_ms: i64) -> Self {
        let mut checkpoint = Self { v: VERSION, segment, first_seq, count, head, closed_ms, hmac: String::new() };
        checkpoint.hmac = env::hex(&key.mac(&checkpoint.sealed()).finalize().into_bytes());
        checkpoint
    }

    /// Whether it was made with `key`.
    #[must_use]
    pub fn is_by(&self, key: &Key) -> bool {
        unhex(&self.hmac).is_some_and(|mac| key.mac(&self.sealed()).verify_slice(&mac).is_ok())
    }

    /// Number of its last record.
    #[must_use]
    pub fn last_seq(&self) -> i64 {
        self.first_seq.saturating_add(self.count).saturating_sub(1)
    }

    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings serialize")
    }

    /// Reads it from its own JSON or from the line of the log stream that carries it.
    pub fn parse(text: &str) -> Result<Self, UnreadableCheckpoint> {
        let value: Value = serde_json::from_str(text.trim()).map_err(|_| UnreadableCheckpoint)?;
        let carried = value.get("checkpoint").or_else(|| value.get("fields").and_then(|f| f.get("checkpoint")));
        match carried {
            Some(Value::String(inner)) => Self::parse(inner),
            Some(inner) => serde_json::from_value(inner.clone()).map_err(|_| UnreadableCheckpoint),
            None => serde_json::from_value(value).map_err(|_| UnreadableCheckpoint),
        }
    }

    fn sealed(&self) -> String {
        format!(
            r#"{{"closed_ms":{},"count":{},"first_seq":{},"head":{},"segment":{},"v":{}}}"#,
            self.closed_ms,
            self.count,
            self.first_seq,
            Value::String(self.head.clone()),
            self.segment,
            self.v
        )
    }
}

/// The key of the checkpoints. Its file is readable for its owner alone.
#[derive(Clone)]
pub struct Key([u8; KEY_BYTES]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A new random one.
    #[must_use]
    pub fn random() -> Self {
        Self(env::random_bytes())
    }

    /// Reads the key; `None` where there is no file.
    pub fn load(path: &Path) -> Result<Option<Self>, AuditError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(file_error(path, &e)),
        };
        let bytes = unhex(text.trim()).and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        let why = "not a key: expected 64 hexadecimal digits; restore it from a backup".to_owned();
        bytes.map(|bytes| Some(Self(bytes))).ok_or_else(|| AuditError::File { path: path.display().to_string(), why })
    }

    /// Reads the key, or makes one; the second value says whether it was made. An open file mode is closed.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), AuditError> {
        if let Some(key) = Self::load(path)? {
            let meta = fs::metadata(path).map_err(|e| file_error(path, &e))?;
            if meta.permissions().mode() & 0o077 != 0 {
                tracing::warn!(path = %path.display(), "the audit key was readable for others; its mode is 0600 now");
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|e| file_error(path, &e))?;
            }
            return Ok((key, false));
        }
        let key = Self::random();
        write_private(path, &format!("{}\n", env::hex(&key.0))).map_err(|e| file_error(path, &e))?;
        Ok((key, true))
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        mac
    }
}

/// The newest checkpoint as it was published beside the key.
pub(super) fn read_file(path: &Path) -> Result<Option<Checkpoint>, AuditError> {
    match fs::read_to_string(path) {
        Ok(text) => Checkpoint::parse(&text)
            .map(Some)
            .map_err(|e| AuditError::File { path: path.display().to_string(), why: e.to_string() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(file_error(path, &e)),
    }
}

/// Publishes the newest checkpoint beside the key.
pub(super) fn write_file(path: &Path, checkpoint: &Checkpoint) -> Result<(), AuditError> {
    write_private(path, &format!("{}\n", checkpoint.to_json())).map_err(|e| file_error(path, &e))
}

/// Writes a file for its owner alone, whole or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(folder)?.sync_all()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

fn file_error(path: &Path, e: &io::Error) -> AuditError {
    AuditError::File { path: path.display().to_string(), why: e.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_by_its_key_and_as_it_was() {
        let key = Key::random();
        let sealed = Checkpoint::seal(&key, 3, 10, 5, "ab".into(), 7);
        assert!(sealed.is_by(&key) && !sealed.is_by(&Key::random()));
        assert_eq!(sealed.last_seq(), 14);
        let changes: [fn(&mut Checkpoint); 7] = [
            |c| c.v += 1,
            |c| c.segment += 1,
            |c| c.first_seq += 1,
            |c| c.count -= 1,
            |c| c.head.push('0'),
            |c| c.closed_ms += 1,
            |c| c.hmac = "zz".into(),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut changed = sealed.clone();
            change(&mut changed);
            assert!(!changed.is_by(&key), "change {i}");
        }
    }

    #[test]
    fn it_reads_back_from_wherever_it_was_kept() {
        let sealed = Checkpoint::seal(&Key::random(), 1, 1, 1, "ab".into(), 7);
        let json = sealed.to_json();
        let line = serde_json::json!({"target": "audit", "fields": {"message": "audit checkpoint", "checkpoint": json}});
        let flat = serde_json::json!({ "checkpoint": sealed });
        for text in [json.clone(), line.to_string(), flat.to_string()] {
            assert_eq!(Checkpoint::parse(&text).as_ref(), Ok(&sealed), "{text}");
        }
        assert!(Checkpoint::parse("{}").is_err() && Checkpoint::parse("nonsense").is_err());
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys/audit.key");
        let (key, fresh) = Key::load_or_create(&path).expect("made");
        assert!(fresh && fs::metadata(&path).expect("there").permissions().mode() & 0o777 == 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened");
        let (again, fresh) = Key::load_or_create(&path).expect("read");
        assert!(!fresh && again.0 == key.0);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").expect("spoilt");
        assert!(Key::load(&path).expect_err("refused").to_string().contains("restore it from a backup"));
    }
}
