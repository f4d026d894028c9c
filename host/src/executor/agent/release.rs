//! Which release an agent's program is: what it says of itself.

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Kind, tested};
use crate::env;

/// How long a program may take to name its release: some load all of theirs for it.
const VERSION_TIMEOUT: Duration = Duration::from_secs(15);
/// Programs of which the answer is kept; beyond it they are asked again.
const MAX_KEPT: usize = 64;

/// What a program says of its release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// The number; `None` where it was not told.
    pub version: Option<String>,
    /// Whether coda is tested with it; `None` where coda is tested with no release of this agent.
    pub tested: Option<bool>,
}

/// Asks an agent's program, within `VERSION_TIMEOUT`.
pub async fn ask(kind: Kind, program: &Path) -> Release {
    // Of a custom program nobody says that it knows --version: it might begin to work.
    let Some(range) = kind.tested() else { return Release::default() };
    let said = said_of(program).await;
    let version = said.as_deref().and_then(tested::version_in).map(str::to_owned);
    Release { tested: version.as_deref().map(|v| range.covers(v)), version }
}

/// Asks a program, in a home of its own: some write files into it even for this. It gets none of the server's secrets.
async fn said_of(program: &Path) -> Option<String> {
    let home = std::env::temp_dir().join(format!("coda-version.{}", env::hex(&env::random_bytes::<8>())));
    std::fs::DirBuilder::new().mode(0o700).create(&home).ok()?;
    let mut command = tokio::process::Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.arg("--version").env("HOME", &home).env("HERMES_HOME", &home);
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let asked = tokio::time::timeout(VERSION_TIMEOUT, command.output()).await;
    let _ = std::fs::remove_dir_all(&home);
    let output = asked.ok()?.ok().filter(|output| output.status.success())?;
    // Some say it on standard error.
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A program's file as it is now: another one after an update.
type File = (PathBuf, u64, i64, i64);

/// What programs said, for as long as their files stay as they are. A handle; clones share everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Releases(Arc<Mutex<HashMap<File, Release>>>);

impl Releases {
    /// As `ask`, once for each file.
    pub(super) async fn of(&self, kind: Kind, program: &Path) -> Release {
        let Ok(meta) = std::fs::metadata(program) else { return Release::default() };
        let file = (program.to_owned(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&file).cloned();
        if let Some(known) = known {
            return known;
        }
        let release = ask(kind, program).await;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not told may be told next time.
        if release.version.is_some() && kept.len() < MAX_KEPT {
            kept.insert(file, release.clone());
        }
        release
    }
}
