//! Compiled components, kept below CODA_HOME so that a start does not compile anew.
//!
//! Machine code from a file is trusted code, so: the folder is this user's alone (0700), only this module writes it, a
//! file is named by what it was made of (component, settings, granted files, engine) and begins with the SHA-256 of its
//! content. Anything that does not match is compiled again. Operators cannot hand compiled code in: `source` refuses it.

use std::hash::{Hash as _, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::env;

const MAGIC: &[u8; 8] = b"coda-ao1";
const DIGEST_BYTES: usize = 32;
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// Compiled forms that are kept; the oldest go first.
const MAX_FILES: usize = 64;

/// A compiled component and how it is to be configured.
pub(super) struct Cached {
    pub(super) component: Component,
    /// Why each instance must be configured; `None` for a snapshot.
    pub(super) per_instance: Option<String>,
}

/// The folder, or nothing where it cannot be made private: then everything is compiled at each start.
pub(super) struct Cache(Option<PathBuf>);

impl Cache {
    pub(super) fn open(dir: PathBuf) -> Self {
        match make_private(&dir) {
            Ok(()) => Self(Some(dir)),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "compiled policies are not cached; each start compiles them");
                Self(None)
            }
        }
    }

    /// Keeps nothing.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The folder, if there is one.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// What was compiled from exactly this, if it is there and whole.
    pub(super) fn load(&self, engine: &Engine, key: &str) -> Option<Cached> {
        let path = self.path(engine, key)?;
        let bytes = std::fs::read(&path).ok()?;
        let Some((per_instance, code)) = open_envelope(&bytes) else {
            tracing::warn!(file = %path.display(), "a cached policy is damaged; it is compiled anew");
            return None;
        };
        // SAFETY: the file lies in a folder that only this user can write, this module wrote it from
        // `Component::serialize` of an engine with the same compatibility hash, and its digest was checked just now.
        #[expect(unsafe_code, reason = "the one place where compiled code is loaded")]
        let component = unsafe { Component::deserialize(engine, code) };
        match component {
            Ok(component) => Some(Cached { component, per_instance }),
            Err(error) => {
                tracing::warn!(file = %path.display(), error = format!("{error:#}"), "a cached policy is not usable; it is compiled anew");
                None
            }
        }
    }

    /// Keeps what was compiled. A cache that cannot be written costs time, nothing else.
    pub(super) fn save(&self, engine: &Engine, key: &str, cached: &Cached) {
        let Some(path) = self.path(engine, key) else { return };
        let written = cached.component.serialize().map_err(|e| e.to_string()).and_then(|code| {
            write_whole(&path, &seal_envelope(cached.per_instance.as_deref(), &code)).map_err(|e| e.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(file = %path.display(), error, "a compiled policy could not be cached");
        }
        self.drop_oldest();
    }

    fn path(&self, engine: &Engine, key: &str) -> Option<PathBuf> {
        let mut engine_hash = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut engine_hash);
        let engine = env::hex(&engine_hash.0.finalize()[..8]);
        self.0.as_ref().map(|dir| dir.join(format!("{key}-{engine}.cwasm")))
    }

    fn drop_oldest(&self) {
        let Some(entries) = self.0.as_ref().and_then(|dir| std::fs::read_dir(dir).ok()) else { return };
        let mut files: Vec<_> = (entries.flatten())
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "cwasm"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let excess = files.len().saturating_sub(MAX_FILES);
        for (_, path) in files.into_iter().take(excess) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A hasher whose result does not change from one build of the standard library to the next.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(PRIVATE_DIR))
}

/// Magic, SHA-256 of the rest, length of the note, the note, the code.
fn seal_envelope(note: Option<&str>, code: &[u8]) -> Vec<u8> {
    let note = note.unwrap_or_default();
    let mut rest = u32::try_from(note.len()).unwrap_or_default().to_le_bytes().to_vec();
    rest.extend_from_slice(note.as_bytes());
    rest.extend_from_slice(code);
    let mut sealed = MAGIC.to_vec();
    sealed.extend_from_slice(&Sha256::digest(&rest));
    sealed.extend(rest);
    sealed
}

fn open_envelope(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
    let sealed = bytes.strip_prefix(MAGIC)?;
    let (digest, rest) = sealed.split_at_checked(DIGEST_BYTES)?;
    if Sha256::digest(rest)[..] != *digest {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (note, code) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let note = std::str::from_utf8(note).ok()?;
    Some(((!note.is_empty()).then(|| note.to_owned()), code))
}

/// Written beside and renamed, so that a crash leaves no half file under the name.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.tmp", env::hex(&env::random_bytes::<4>())));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_only_whole() {
        let sealed = seal_envelope(Some("why"), b"code");
        assert_eq!(open_envelope(&sealed), Some((Some("why".to_owned()), &b"code"[..])));
        assert_eq!(open_envelope(&seal_envelope(None, b"code")), Some((None, &b"code"[..])));
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(open_envelope(&bad), None, "byte {at}");
            assert_eq!(open_envelope(&sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn the_folder_is_private() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("cache");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Cache::open(dir.clone()).0.is_some());
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, PRIVATE_DIR);
    }
}
