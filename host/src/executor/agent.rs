//! The agents: how each program is called, and what it needs to find. One file per supported agent; any other program
//! that keeps to the folder protocol (`io/prompt.txt` in, `io/result.json` out) works as a custom one.

mod hermes;
mod runbook;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Launch, StartError};

/// How an agent is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// coda's own: runs the shell block of a task step by step.
    Runbook,
    /// Hermes Agent in its one-shot form.
    Hermes,
    /// A program that reads `$CODA_TASK_DIR/prompt.txt`, or is told `envelope::STAND_IN` by its arguments, and writes `result.json` beside it.
    #[default]
    Custom,
}

/// One `[agents.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// How it is called.
    pub kind: Kind,
    /// The program: an absolute path, or a name looked up in the agent's PATH. Empty: the kind's own.
    pub command: PathBuf,
    /// More arguments, before those of the kind.
    pub arguments: Vec<String>,
    /// More environment.
    pub environment: BTreeMap<String, String>,
    /// Model that the agent asks for by name; empty: `default`.
    pub model: String,
    /// When it is taken for stuck, in seconds; `None` = as all.
    pub idle_s: Option<u64>,
}

/// An agent as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AgentInfo {
    /// Name that tasks choose it by.
    pub name: String,
    /// Where its program was found; `None` where it is missing.
    pub program: Option<PathBuf>,
    /// What to do where it is missing.
    pub hint: String,
}

/// A file that an agent needs to find, below `io` or `home`.
#[derive(Debug, Clone)]
pub(super) struct NeededFile {
    /// `io` or `home`.
    pub(super) place: &'static str,
    /// Relative path.
    pub(super) path: &'static str,
    /// Its content; written with mode 0600.
    pub(super) content: Vec<u8>,
}

/// A call of an agent.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) files: Vec<NeededFile>,
}

/// The agents that tasks may choose.
#[derive(Debug, Clone)]
pub struct Agents {
    profiles: BTreeMap<String, Profile>,
    /// How coda's own hidden commands are called.
    own_program: Vec<OsString>,
}

impl Agents {
    /// The built-in ones, and those of the configuration (which may replace `hermes`, never `runbook`).
    #[must_use]
    pub fn new(configured: BTreeMap<String, Profile>, own_program: Vec<OsString>) -> Self {
        let built_in = |kind| Profile { kind, ..Profile::default() };
        let mut profiles = BTreeMap::from([("hermes".to_owned(), built_in(Kind::Hermes))]);
        profiles.extend(configured);
        profiles.insert("runbook".to_owned(), built_in(Kind::Runbook));
        if let Some(hermes) = profiles.get_mut("hermes")
            && hermes.kind == Kind::Custom
        {
            hermes.kind = Kind::Hermes;
        }
        Self { profiles, own_program }
    }

    /// An agent's own idle rule.
    pub(super) fn idle_s(&self, name: &str) -> Option<u64> {
        self.profiles.get(name)?.idle_s
    }

    /// Whether tasks may choose this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

    /// All of them, by name, and whether their programs are there.
    #[must_use]
    pub fn list(&self) -> Vec<AgentInfo> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let info = |(name, profile): (&String, &Profile)| AgentInfo {
            name: name.clone(),
            program: self.program(profile, &path.to_string_lossy()),
            hint: hint(profile),
        };
        self.profiles.iter().map(info).collect()
    }

    fn program(&self, profile: &Profile, path: &str) -> Option<PathBuf> {
        match profile.kind {
            Kind::Runbook => self.own_program.first().map(PathBuf::from),
            Kind::Hermes | Kind::Custom => resolve(command_of(profile), path),
        }
    }

    /// How this launch's agent is called, in an environment with this `PATH`.
    pub(super) fn prepare(&self, launch: &Launch, path: &str) -> Result<Call, StartError> {
        let Some(profile) = self.profiles.get(&launch.agent) else {
            let known = self.profiles.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(StartError::UnknownAgent { agent: launch.agent.clone(), known });
        };
        let program = self.program(profile, path).ok_or_else(|| StartError::NotInstalled {
            agent: launch.agent.clone(),
            program: command_of(profile).display().to_string(),
            hint: hint(profile),
        })?;
        let mut arguments: Vec<OsString> = profile.arguments.iter().map(OsString::from).collect();
        let mut environment = profile.environment.clone();
        let mut files = vec![NeededFile { place: "io", path: "prompt.txt", content: launch.envelope.get().clone().into_bytes() }];
        match profile.kind {
            Kind::Runbook => arguments.extend(runbook::arguments(&self.own_program)),
            Kind::Hermes => {
                arguments.extend(hermes::arguments(launch));
                environment.extend(hermes::environment(launch));
                files.push(hermes::config(launch, profile));
            }
            Kind::Custom => {}
        }
        Ok(Call { program, arguments, environment, files })
    }
}

fn command_of(profile: &Profile) -> &Path {
    match profile.kind {
        Kind::Hermes if profile.command.as_os_str().is_empty() => Path::new("hermes"),
        Kind::Runbook | Kind::Hermes | Kind::Custom => &profile.command,
    }
}

fn hint(profile: &Profile) -> String {
    match profile.kind {
        Kind::Runbook => "it is part of coda".into(),
        Kind::Hermes => {
            "pip install hermes-agent==0.19.0, then put `hermes` on PATH or its path in [agents.hermes] command".into()
        }
        Kind::Custom => "set its path in [agents.NAME] command".into(),
    }
}

/// Finds a program as a shell would, but never in the current directory.
fn resolve(command: &Path, path: &str) -> Option<PathBuf> {
    let is_program = |p: &PathBuf| {
        p.is_absolute() && std::fs::metadata(p).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if command.components().count() != 1 || command.is_absolute() {
        return Some(command.to_owned()).filter(is_program);
    }
    std::env::split_paths(path).map(|dir| dir.join(command)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_and_nowhere_else() {
        assert!(resolve(Path::new("sh"), "/nowhere:/bin").is_some());
        assert!(resolve(Path::new("sh"), "").is_none());
        assert!(resolve(Path::new("./sh"), "/bin").is_none());
        assert!(resolve(Path::new("/bin/sh"), "").is_some());
        assert!(resolve(Path::new("/etc/passwd"), "").is_none(), "not executable");
        assert!(resolve(Path::new(""), "/bin").is_none());
    }
}
