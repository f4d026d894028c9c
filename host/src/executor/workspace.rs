//! Workspaces: where agents work. A chain's own folder, kept over attempts and chains, or a named one from the
//! configuration, which one task at a time may write to. Never a path from a client.

mod changes;

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cap_std::fs::Dir;

pub use changes::{Baseline, Changes};

use crate::id::SessionId;

/// How long a clone may take.
const CLONE_S: u64 = 600;

/// One `[workspaces.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// A folder of this machine. Either this or `git`.
    pub path: Option<PathBuf>,
    /// A repository that is cloned once.
    pub git: Option<String>,
}

/// Settings: the named workspaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// By name.
    pub named: BTreeMap<String, Profile>,
}

/// Why a task does not get a workspace.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// No such name: who may use which is asked when a task is handed over.
    #[error("workspace '{name}' is not known: leave it out to get one of your own")]
    Unknown {
        /// As it was asked for.
        name: String,
    },
    /// Somebody else writes to it.
    #[error("workspace '{name}' is in use by another task: one task at a time may write to it")]
    Busy {
        /// Its name.
        name: String,
    },
    /// It can't be made ready.
    #[error("workspace {name} cannot be made ready: {why}")]
    Unready {
        /// Its name, or the chain.
        name: String,
        /// Why.
        why: String,
    },
}

/// The workspaces of one server.
#[derive(Debug, Clone)]
pub struct Workspaces {
    settings: Settings,
    /// `CODA_HOME/workspaces`.
    root: PathBuf,
    taken: Arc<Mutex<HashSet<String>>>,
}

/// A workspace that one task may write to, until this is dropped.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    name: String,
    taken: Arc<Mutex<HashSet<String>>>,
}

impl Lease {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Workspaces {
    /// Those of a CODA_HOME.
    #[must_use]
    pub fn new(settings: Settings, coda_home: &Path) -> Self {
        Self { settings, root: coda_home.join("workspaces"), taken: Arc::default() }
    }

    /// A chain's own workspace as it is, made or not; `None` while a task has it.
    #[must_use]
    pub fn take(&self, chain: &SessionId) -> Option<Lease> {
        self.hold(format!("chain {chain}"), self.root.join(chain.as_str()))
    }

    fn hold(&self, key: String, path: PathBuf) -> Option<Lease> {
        let free = self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        free.then(|| Lease { path, name: key, taken: Arc::clone(&self.taken) })
    }

    /// Takes the workspace for a task that starts: the named one, or the chain's own, which is made if it is new.
    pub async fn lease(&self, chain: &SessionId, name: Option<&str>) -> Result<Lease, WorkspaceError> {
        let (key, shown) = match name {
            Some(name) => (format!("named {name}"), name.to_owned()),
            None => (format!("chain {chain}"), chain.to_string()),
        };
        // From here on the lease gives the name back, whatever happens.
        let Some(mut lease) = self.hold(key, PathBuf::new()) else { return Err(WorkspaceError::Busy { name: shown }) };
        lease.path = match name {
            Some(name) => self.named(name).await?,
            None => make(&self.root.join(chain.as_str())).map_err(|why| WorkspaceError::Unready { name: shown, why })?,
        };
        Ok(lease)
    }

    async fn named(&self, name: &str) -> Result<PathBuf, WorkspaceError> {
        let profile = self.settings.named.get(name).ok_or_else(|| WorkspaceError::Unknown { name: name.to_owned() })?;
        let unready = |why: String| WorkspaceError::Unready { name: format!("'{name}'"), why };
        match (&profile.path, &profile.git) {
            (Some(path), None) if path.is_dir() => Ok(path.clone()),
            (Some(path), None) => Err(unready(format!("{} is no folder", path.display()))),
            (None, Some(url)) => {
                // Not a name of a chain, which begins with its prefix.
                let path = self.root.join(format!("named-{}", crate::env::sha256_hex(name.as_bytes())));
                if !path.is_dir() {
                    make(&self.root).map_err(unready)?;
                    clone(url, &path).await.map_err(unready)?;
                }
                Ok(path)
            }
            _ => Err(unready("its configuration needs either path or git".into())),
        }
    }
}

fn make(path: &Path) -> Result<PathBuf, String> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path.to_owned())
}

async fn clone(url: &str, path: &Path) -> Result<(), String> {
    let beside = path.with_extension("part");
    let _ = std::fs::remove_dir_all(&beside);
    let mut command = tokio::process::Command::new("git");
    command.args(["clone", "--quiet", "--"]).arg(url).arg(&beside);
    // A question for a password would wait for ever.
    command.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::time::timeout(Duration::from_secs(CLONE_S), command.kill_on_drop(true).output()).await;
    let output = output.map_err(|_| format!("the clone took longer than {CLONE_S} s"))?.map_err(|e| format!("git: {e}"))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(500).collect();
        return Err(format!("the clone failed: {said}"));
    }
    std::fs::rename(&beside, path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Puts the chained results where the agent reads them: `io/prior/SESSION.json`, read-only, replacing what was there.
pub fn place_prior(io: &Path, results: &[(SessionId, serde_json::Value)]) -> std::io::Result<()> {
    use cap_std::fs::PermissionsExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(io)?;
    let io = Dir::open_ambient_dir(io, cap_std::ambient_authority())?;
    super::folders::clear(&io, "prior")?;
    io.create_dir("prior")?;
    let prior = io.open_dir("prior")?;
    for (session, result) in results {
        let name = format!("{session}.json");
        super::folders::place_file(&prior, Path::new(&name), format!("{result:#}\n").as_bytes())?;
        prior.set_permissions(&name, cap_std::fs::Permissions::from_mode(0o400))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspaces(home: &Path) -> Workspaces {
        let profile = |path: &str| Profile { path: Some(home.join(path)), git: None };
        let named = BTreeMap::from([("repo".to_owned(), profile("repo")), ("gone".to_owned(), profile("gone"))]);
        std::fs::create_dir(home.join("repo")).expect("makes");
        Workspaces::new(Settings { named }, home)
    }

    #[tokio::test]
    async fn one_writer_at_a_time() {
        let home = tempfile::tempdir().expect("a directory");
        let all = workspaces(home.path());
        let chain = SessionId::new();
        let lease = all.lease(&chain, Some("repo")).await.expect("free");
        assert_eq!(lease.path(), home.path().join("repo"));
        assert!(matches!(all.lease(&SessionId::new(), Some("repo")).await, Err(WorkspaceError::Busy { .. })));
        drop(lease);
        all.lease(&chain, Some("repo")).await.expect("free again");
        assert!(matches!(all.lease(&chain, Some("gone")).await, Err(WorkspaceError::Unready { .. })));
        let own = all.lease(&chain, None).await.expect("made");
        assert_eq!(own.path(), home.path().join("workspaces").join(chain.as_str()));
        assert!(all.take(&chain).is_none(), "a task has it");
        drop(own);
        let taken = all.take(&chain).expect("free again");
        assert!(matches!(all.lease(&chain, None).await, Err(WorkspaceError::Busy { .. })));
        drop(taken);
        assert!(all.take(&SessionId::new()).is_some_and(|lease| !lease.path().exists()), "taking makes nothing");
    }

    #[tokio::test]
    async fn a_repository_is_cloned_once() {
        let home = tempfile::tempdir().expect("a directory");
        let origin = home.path().join("origin");
        let git = |words: &[&str]| {
            let done = std::process::Command::new("git").args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words).status();
            assert!(done.expect("git runs").success());
        };
        let at = origin.display().to_string();
        git(&["init", "--quiet", &at]);
        git(&["-C", &at, "commit", "--quiet", "--allow-empty", "-m", "first"]);
        let profile = Profile { path: None, git: Some(at) };
        let all = Workspaces::new(Settings { named: BTreeMap::from([("r".to_owned(), profile)]) }, home.path());
        let path = all.lease(&SessionId::new(), Some("r")).await.expect("cloned").path().to_owned();
        std::fs::write(path.join("kept"), "x").expect("writes");
        let again = all.lease(&SessionId::new(), Some("r")).await.expect("there");
        assert!(again.path().join("kept").exists());
    }

    #[test]
    fn prior_results_replace_what_an_agent_put_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let (io, outside) = (dir.path().join("io"), dir.path().join("outside"));
        std::fs::create_dir_all(&outside).expect("makes");
        std::fs::create_dir_all(&io).expect("makes");
        std::os::unix::fs::symlink(&outside, io.join("prior")).expect("links");
        let session = SessionId::new();
        place_prior(&io, &[(session.clone(), serde_json::json!({"status": "completed"}))]).expect("placed");
        assert!(io.join("prior").join(format!("{session}.json")).is_file());
        assert_eq!(std::fs::read_dir(&outside).expect("reads").count(), 0);
    }
}
