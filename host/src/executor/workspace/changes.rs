//! What a task changed in its workspace, found by the host: a listing before and one after, and a bounded unified diff.
//!
//! The baseline lies in the task's folder, out of the agent's reach, so it survives a restart. `.git` is left out. An
//! agent's links are never followed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Most files that are listed.
const FILES: usize = 20_000;
/// Deepest folder that is listed.
const DEPTH: usize = 64;
/// Files up to this size are compared by content, larger ones by size and time.
const CONTENT_BYTES: u64 = 1024 * 1024;
/// Most bytes read for one listing.
const LISTING_BYTES: u64 = 256 * 1024 * 1024;
/// Files up to this size have their old text kept for a diff.
const KEPT_FILE_BYTES: u64 = 128 * 1024;
/// Most old text kept.
const KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Longest diff.
const DIFF_BYTES: usize = 1024 * 1024;
/// Most files named as changed.
const CHANGED: usize = 2000;
/// Time that the comparison of one file may take; then it becomes coarser.
const DIFF_MS: u64 = 500;
const CONTEXT_LINES: usize = 3;

/// A workspace before an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    files: BTreeMap<String, Entry>,
    /// Old text of small files.
    texts: BTreeMap<String, String>,
    /// Whether there was more than is listed.
    cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    /// Digest of the content, or of size and time.
    mark: String,
}

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Relative paths, sorted.
    pub files: Vec<String>,
    /// A unified diff of what is text.
    pub diff: String,
    /// Where something was left out, what.
    pub note: Option<String>,
}

impl Baseline {
    /// Lists a workspace as it is now.
    #[must_use]
    pub fn take(workspace: &Path) -> Self {
        let mut baseline = Self::default();
        let mut budget = Budget { listing: LISTING_BYTES, kept: KEPT_BYTES };
        match Dir::open_ambient_dir(workspace, cap_std::ambient_authority()) {
            Ok(dir) => baseline.list(&dir, Path::new(""), 0, &mut budget),
            Err(_) => baseline.cut = true,
        }
        baseline
    }

    /// Reads one that was kept.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Keeps it.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension("part");
        std::fs::write(&beside, serde_json::to_vec(self)?)?;
        std::fs::rename(beside, path)
    }

    fn list(&mut self, dir: &Dir, at: &Path, depth: usize, budget: &mut Budget) {
        let Ok(entries) = dir.entries() else {
            self.cut = true;
            return;
        };
        for entry in entries.flatten() {
            if self.files.len() >= FILES || depth > DEPTH {
                self.cut = true;
                return;
            }
            let name = PathBuf::from(entry.file_name());
            let Ok(meta) = dir.symlink_metadata(&name) else { continue };
            let path = at.join(&name);
            if meta.is_dir() {
                if name.as_os_str() == ".git" {
                    continue;
                }
                match dir.open_dir(&name) {
                    Ok(below) => self.list(&below, &path, depth + 1, budget),
                    Err(_) => self.cut = true,
                }
                continue;
            }
            self.file(dir, &name, &path, &meta, budget);
        }
    }

    fn file(&mut self, dir: &Dir, name: &Path, path: &Path, meta: &cap_std::fs::Metadata, budget: &mut Budget) {
        let shown = path.to_string_lossy().into_owned();
        let content = content_of(dir, name, meta, budget);
        let mark = match &content {
            Some(content) => crate::env::hex(&sha2::Sha256::digest(content)),
            None => format!("{} {}.{} {:o}", meta.len(), meta.mtime(), meta.mtime_nsec(), meta.mode()),
        };
        if let Some(text) = content.and_then(|c| String::from_utf8(c).ok()).filter(|t| !t.contains('\0')) {
            let bytes = text.len() as u64;
            if bytes <= KEPT_FILE_BYTES && bytes <= budget.kept {
                budget.kept -= bytes;
                self.texts.insert(shown.clone(), text);
            }
        }
        self.files.insert(shown, Entry { bytes: meta.len(), mark });
    }

    /// What differs now from then.
    #[must_use]
    pub fn changes(&self, workspace: &Path) -> Changes {
        let now = Self::take(workspace);
        let mut changes = Changes::default();
        let all = self.files.keys().chain(now.files.keys().filter(|path| !self.files.contains_key(*path)));
        changes.files = all.filter(|path| self.files.get(*path) != now.files.get(*path)).cloned().collect();
        changes.files.sort();
        let mut notes = Vec::new();
        if self.cut || now.cut {
            notes.push(format!("more than {FILES} files, or some unreadable: not all were compared"));
        }
        if changes.files.len() > CHANGED {
            notes.push(format!("{} files changed: the first {CHANGED} are named", changes.files.len()));
            changes.files.truncate(CHANGED);
        }
        for path in &changes.files {
            let piece = self.diff_of(&now, path);
            if changes.diff.len() + piece.len() > DIFF_BYTES {
                notes.push(format!("the diff is cut at {DIFF_BYTES} bytes"));
                break;
            }
            changes.diff.push_str(&piece);
        }
        changes.note = (!notes.is_empty()).then(|| notes.join("; "));
        changes
    }

    fn diff_of(&self, now: &Self, path: &str) -> String {
        // Text that was not kept is not "empty": its file exists without it.
        let text = |of: &Self| match (of.files.contains_key(path), of.texts.get(path)) {
            (false, _) => Some(String::new()),
            (true, text) => text.cloned(),
        };
        let name =
            |of: &Self, side: &str| if of.files.contains_key(path) { format!("{side}/{path}") } else { "/dev/null".into() };
        let (Some(old), Some(new)) = (text(self), text(now)) else {
            return format!("Binary or large file {path} differs\n");
        };
        let mut config = similar::TextDiff::configure();
        let diff = config.timeout(std::time::Duration::from_millis(DIFF_MS)).diff_lines(&old, &new);
        let header = (name(self, "a"), name(now, "b"));
        diff.unified_diff().context_radius(CONTEXT_LINES).header(&header.0, &header.1).to_string()
    }
}

struct Budget {
    listing: u64,
    kept: u64,
}

/// The content of a small regular file; a link's content is where it leads, as text.
fn content_of(dir: &Dir, name: &Path, meta: &cap_std::fs::Metadata, budget: &mut Budget) -> Option<Vec<u8>> {
    if meta.is_symlink() {
        let target = dir.read_link_contents(name).ok()?;
        return Some(format!("link to {}\n", target.display()).into_bytes());
    }
    if !meta.is_file() || meta.len() > CONTENT_BYTES.min(budget.listing) {
        return None;
    }
    budget.listing -= meta.len();
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("open flags fit the C type");
    let file = dir.open_with(name, OpenOptions::new().read(true).custom_flags(flags)).ok()?;
    let mut content = Vec::new();
    file.take(CONTENT_BYTES + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= CONTENT_BYTES).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_found_by_the_host() {
        let dir = tempfile::tempdir().expect("a directory");
        let (workspace, kept) = (dir.path().join("w"), dir.path().join("baseline.json"));
        let write = |path: &str, text: &[u8]| {
            let path = workspace.join(path);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
            std::fs::write(path, text).expect("writes");
        };
        write("same.txt", b"same\n");
        write("sub/edited.txt", b"one\ntwo\nthree\n");
        write("gone.txt", b"gone\n");
        write(".git/config", b"x");
        Baseline::take(&workspace).save(&kept).expect("keeps");
        write("sub/edited.txt", b"one\n2\nthree\n");
        write("new.bin", b"\0\x01");
        write(".git/config", b"y");
        std::fs::remove_file(workspace.join("gone.txt")).expect("removes");
        std::os::unix::fs::symlink("/etc/passwd", workspace.join("link")).expect("links");
        std::fs::File::options()
            .write(true)
            .open(workspace.join("same.txt"))
            .expect("opens")
            .set_modified(std::time::UNIX_EPOCH)
            .expect("sets");
        let changes = Baseline::load(&kept).expect("reads").changes(&workspace);
        assert_eq!(changes.files, ["gone.txt", "link", "new.bin", "sub/edited.txt"]);
        for expected in [
            "--- a/sub/edited.txt\n+++ b/sub/edited.txt\n",
            "-two\n+2\n",
            "+++ /dev/null",
            "+link to /etc/passwd",
            "Binary or large file new.bin differs",
        ] {
            assert!(changes.diff.contains(expected), "{expected:?} in {}", changes.diff);
        }
        assert!(!changes.diff.contains("root:") && changes.note.is_none());
    }
}
