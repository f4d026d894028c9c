//! The folders that an agent shares with coda (`io`) and has for itself (`home`): made ready before each attempt.
//!
//! INVARIANT: both belong to the agent, which may have put links there. Every step below them is taken through `Dir`, which
//! no link leads out of; nothing of what lies there is read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

use super::agent::{Kept, NeededFile, Part};
use super::{Launch, StartError};
use crate::env;
use crate::id::TaskId;
use crate::task::conversation::{Conversation, session_id};

/// Files that a conversation may have.
const MAX_FILES: usize = 256;
/// Their size in all: a conversation that is larger is not kept.
const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Entries that are looked at for them.
const MAX_ENTRIES: usize = 10_000;

/// An empty home, with the conversation of the attempt before in it where it is `kept` and there.
pub(super) fn renew(task: &TaskId, task_dir: &Path, kept: Option<Kept>) -> Result<Conversation, StartError> {
    let home = task_dir.join("home");
    let fault = |source| StartError::Prepare { what: home.display().to_string(), source };
    let is_used = match std::fs::symlink_metadata(&home) {
        Ok(meta) => !meta.is_dir() || std::fs::read_dir(&home).map_err(fault)?.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(fault(e)),
    };
    if !is_used {
        return Ok(Conversation::New);
    }
    // Beside it, where the agent does not see it. A name of its own: what could not be removed before may still be there.
    let aside = task_dir.join(format!("home-{}", env::hex(&env::random_bytes::<8>())));
    std::fs::rename(&home, &aside).map_err(fault)?;
    make(&home).map_err(fault)?;
    let conversation = kept.map_or(Ok(Conversation::New), |kept| bring(&aside, &home, kept, &session_id(task)));
    if let Err(e) = remove(&aside) {
        tracing::warn!(task.id = %task, error = %e, "what an attempt left in its home could not be removed; it goes with the task");
    }
    conversation.or_else(|e| {
        tracing::warn!(task.id = %task, error = %e, "an agent's conversation could not be kept; it begins a new one");
        // Nothing of one that came in parts.
        remove(&home).and_then(|()| make(&home)).map_err(fault)?;
        Ok(Conversation::New)
    })
}

/// Moves a conversation to where the next attempt finds it.
fn bring(from: &Path, to: &Path, kept: Kept, id: &str) -> std::io::Result<Conversation> {
    if !std::fs::symlink_metadata(from)?.is_dir() {
        return Ok(Conversation::New);
    }
    let (from, to) = (Dir::open_ambient_dir(from, ambient_authority())?, Dir::open_ambient_dir(to, ambient_authority())?);
    let mut found = Found::default();
    found.look(&from, Path::new(kept.folder), kept.depth, &|name| (kept.part)(name, id))?;
    if !found.is_conversation {
        return Ok(Conversation::New);
    }
    for path in &found.files {
        if let Some(parent) = path.parent() {
            to.create_dir_all(parent)?;
        }
        from.rename(path, &to, path)?;
    }
    Ok(Conversation::Resumed)
}

/// The files of a conversation.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    bytes: u64,
    entries: usize,
    is_conversation: bool,
}

impl Found {
    /// Plain files only; folders down to a depth, and never through a link.
    fn look(&mut self, dir: &Dir, folder: &Path, depth: usize, part: &dyn Fn(&str) -> Part) -> std::io::Result<()> {
        let is_folder = |above: &Path| dir.symlink_metadata(above).is_ok_and(|meta| meta.is_dir());
        if !folder.ancestors().filter(|above| !above.as_os_str().is_empty()).all(is_folder) {
            return Ok(());
        }
        for entry in dir.read_dir(folder)? {
            let entry = entry?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(std::io::Error::other(format!("more than {MAX_ENTRIES} entries lie where it keeps it")));
            }
            let (name, meta) = (entry.file_name(), entry.metadata()?);
            let path = folder.join(&name);
            if meta.is_dir() && depth > 0 {
                self.look(dir, &path, depth - 1, part)?;
            }
            let part = name.to_str().filter(|_| meta.is_file()).map_or(Part::Nothing, part);
            if part == Part::Nothing {
                continue;
            }
            self.is_conversation |= part == Part::Conversation && meta.len() > 0;
            self.bytes = self.bytes.saturating_add(meta.len());
            self.files.push(path);
            if self.bytes > MAX_BYTES || self.files.len() > MAX_FILES {
                let limit = format!("it is larger than {MAX_BYTES} bytes in {MAX_FILES} files");
                return Err(std::io::Error::other(limit));
            }
        }
        Ok(())
    }
}

fn make(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Removes whatever it is; a link itself, and nothing behind it.
fn remove(path: &Path) -> std::io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

/// Makes the task's folders, takes an old result away and writes what the agent needs to find.
pub(super) fn prepare(launch: &Launch, files: &[NeededFile]) -> Result<(), StartError> {
    let fault = |what: &Path| {
        let what = what.display().to_string();
        move |source| StartError::Prepare { what, source }
    };
    for place in ["io", "home"] {
        let path = launch.task_dir.join(place);
        make(&path).map_err(fault(&path))?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority()).map_err(fault(&path))?;
        if place == "io" {
            clear(&dir, "result.json").map_err(fault(&path.join("result.json")))?;
        } else {
            dir.create_dir_all("tmp").map_err(fault(&path.join("tmp")))?;
        }
        for file in files.iter().filter(|file| file.place == place) {
            place_file(&dir, Path::new(file.path), &file.content).map_err(fault(&path.join(file.path)))?;
        }
    }
    if !launch.workspace.is_dir() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such folder");
        return Err(fault(&launch.workspace)(missing));
    }
    Ok(())
}

/// Removes whatever has this name.
pub(super) fn clear(dir: &Dir, name: &str) -> std::io::Result<()> {
    match dir.symlink_metadata(name) {
        Ok(meta) if meta.is_dir() => dir.remove_dir_all(name),
        Ok(_) => dir.remove_file(name),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Writes beside and renames, so that whatever had the name is replaced and not written through.
pub(super) fn place_file(dir: &Dir, path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        dir.create_dir_all(parent)?;
    }
    let beside = path.with_extension(format!("new-{}", env::hex(&env::random_bytes::<8>())));
    let mut file = dir.open_with(&beside, OpenOptions::new().write(true).create_new(true).mode(0o600))?;
    file.write_all(content)?;
    dir.rename(&beside, dir, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::executor::agent::Kind;

    /// A home that an agent has left.
    struct Left {
        dir: tempfile::TempDir,
        task: TaskId,
    }

    impl Left {
        fn with(files: &[(&str, &str)]) -> Self {
            let left = Self { dir: tempfile::tempdir().expect("a directory"), task: TaskId::new() };
            for (path, content) in files {
                let path = left.home().join(path.replace("ID", &session_id(&left.task)));
                std::fs::create_dir_all(path.parent().expect("in a folder")).expect("makes");
                std::fs::write(path, content).expect("writes");
            }
            left
        }

        fn home(&self) -> PathBuf {
            self.dir.path().join("home")
        }

        fn renew(&self, kind: Kind) -> Conversation {
            renew(&self.task, self.dir.path(), kind.kept()).expect("it is made anew")
        }

        /// Every file that is there now, and nothing beside the home.
        fn files(&self) -> Vec<String> {
            let beside: Vec<_> =
                std::fs::read_dir(self.dir.path()).expect("lists").map(|e| e.expect("an entry").file_name()).collect();
            assert_eq!(beside, ["home"], "what was there is removed");
            let (mut found, mut open) = (Vec::new(), vec![self.home()]);
            while let Some(folder) = open.pop() {
                for entry in std::fs::read_dir(folder).expect("lists") {
                    let path = entry.expect("an entry").path();
                    match path.is_dir() {
                        true => open.push(path),
                        false => found.push(path.strip_prefix(self.home()).expect("below").display().to_string()),
                    }
                }
            }
            found.iter().map(|path| path.replace(&session_id(&self.task), "ID")).collect()
        }
    }

    #[test]
    fn a_conversation_comes_along_and_nothing_else() {
        let left = Left::with(&[
            (".claude/projects/-work/ID.jsonl", "{}"),
            (".claude/projects/-work/other.jsonl", "{}"),
            (".claude/projects/-work/memory/MEMORY.md", "obey me"),
            (".claude/settings.json", "no hooks"),
            (".claude/settings.local.json", "no hooks"),
            (".claude/plugins/evil/plugin.json", "{}"),
            (".bashrc", "evil"),
        ]);
        assert_eq!(left.renew(Kind::Claude), Conversation::Resumed);
        assert_eq!(left.files(), [".claude/projects/-work/ID.jsonl"]);
        let left =
            Left::with(&[(".hermes/state.db", "x"), (".hermes/state.db-wal", "x"), (".hermes/plugins/evil/__init__.py", "x")]);
        assert_eq!(left.renew(Kind::Hermes), Conversation::Resumed);
        let mut files = left.files();
        files.sort();
        assert_eq!(files, [".hermes/state.db", ".hermes/state.db-wal"]);
    }

    #[test]
    fn without_a_whole_conversation_the_home_is_empty() {
        let nothing = |files: &[(&str, &str)], kind| {
            let left = Left::with(files);
            assert_eq!((left.renew(kind), left.files()), (Conversation::New, Vec::new()), "{files:?}");
        };
        nothing(&[(".claude/projects/-work/another.jsonl", "{}")], Kind::Claude);
        nothing(&[(".claude/projects/-work/ID.jsonl", "")], Kind::Claude);
        nothing(&[(".claude/projects/-work/too/deep/ID.jsonl", "{}")], Kind::Claude);
        nothing(&[(".hermes/state.db-wal", "x")], Kind::Hermes);
        nothing(&[(".gemini/tmp/work/chats/session-1.jsonl", "{}")], Kind::Gemini);
        let left = Left::with(&[(".claude/projects/-work/ID.jsonl", "{}"), (".claude/projects/-x/ID.jsonl", "{}")]);
        let large = std::fs::File::options()
            .write(true)
            .open(left.home().join(".claude/projects/-x").join(format!("{}.jsonl", session_id(&left.task))));
        large.and_then(|file| file.set_len(MAX_BYTES)).expect("it grows");
        assert_eq!((left.renew(Kind::Claude), left.files()), (Conversation::New, Vec::new()), "larger than what is kept");
    }

    #[test]
    fn links_are_no_conversation_and_what_they_lead_to_stays() {
        let elsewhere = tempfile::tempdir().expect("a directory");
        let left = Left::with(&[(".claude/x", "")]);
        let file = format!("{}.jsonl", session_id(&left.task));
        std::fs::write(elsewhere.path().join(&file), "secret").expect("writes");
        symlink(elsewhere.path(), left.home().join(".claude/projects")).expect("links");
        assert_eq!((left.renew(Kind::Claude), left.files()), (Conversation::New, Vec::new()));
        let left = Left { task: left.task, ..Left::with(&[(".claude/projects/-work/x", "")]) };
        symlink(elsewhere.path().join(&file), left.home().join(".claude/projects/-work").join(&file)).expect("links");
        symlink(elsewhere.path(), left.home().join(".claude/projects/-linked")).expect("links");
        assert_eq!((left.renew(Kind::Claude), left.files()), (Conversation::New, Vec::new()));
        assert_eq!(std::fs::read_to_string(elsewhere.path().join(&file)).expect("it is there"), "secret");
        // A home that is none any more.
        let left = Left::with(&[]);
        symlink(elsewhere.path(), left.home()).expect("links");
        assert_eq!((left.renew(Kind::Claude), left.files()), (Conversation::New, Vec::new()));
        assert!(elsewhere.path().join(&file).exists());
    }
}
