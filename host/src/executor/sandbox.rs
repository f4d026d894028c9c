//! The sandbox's floor: Landlock. What an agent may read and write, decided before it starts and never loosened.
//!
//! * Readable: everything except the **hidden** places: CODA_HOME, the server user's credential folders, devices.
//!   Landlock can only allow, so every sibling along the way to a hidden place is allowed by itself; the folders *on*
//!   the way (such as `/`) can be walked through but not listed.
//! * Writable: the task's `io` and `home` (private temporary folder included), the workspace, a few devices, terminals.
//! * Of a root user's capabilities the ordinary ones stay; those that look into other processes, devices, mounts and the
//!   kernel go (Landlock alone does not keep a root process out of another's environment).
//! * Signals and abstract sockets end at the sandbox's border (kernels with ABI 6).
//!
//! It does not hide that a path exists (`stat` is not covered), confine the network, or keep one task's terminals from
//! another's: that takes namespaces.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities};
use serde::{Deserialize, Serialize};

/// What is asked of the kernel; an older one gives what it has.
const WANTED: ABI = ABI::V6;
/// Most rules: bounds the work where a folder on the way to a hidden place is crowded.
const RULES: usize = 20_000;
/// Devices that programs need, readable and writable.
const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"];
/// Below the server user's home: nothing for an agent. Only those that exist matter.
const CREDENTIALS: &[&str] = &[
    ".ssh",
    ".aws",
    ".azure",
    ".gnupg",
    ".kube",
    ".docker",
    ".netrc",
    ".pgpass",
    ".databrickscfg",
    ".git-credentials",
    ".config/gcloud",
    ".config/gh",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".password-store",
    // Browsers: a cookie there is a login of the person who decides.
    ".mozilla",
    ".librewolf",
    ".config/google-chrome",
    ".config/google-chrome-beta",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera",
    "snap/firefox",
    "snap/chromium",
    "snap/brave",
    ".var/app",
];
/// What is said where agents could not be confined.
pub const MISSING: &str = "this kernel offers no Landlock, so no agent is started: it could read the keys of this server and \
    approve what it asks for itself; use a kernel from 5.13 on with Landlock enabled, or write sandbox = \"none\" in [executor] \
    of coda.toml if that is meant";

/// What a root agent keeps: files of others, ports below 1024, becoming another user.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// How much the sandbox matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// No task starts without it.
    Require,
    /// As much as the kernel has, but never nothing; the task says what that is.
    #[default]
    BestEffort,
    /// None.
    Off,
}

/// Settings of the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// How much it matters.
    pub mode: Mode,
    /// More places that no agent sees, absolute.
    pub hidden: Vec<PathBuf>,
    /// Places that every agent may read though they lie in hidden ones, absolute.
    pub readable: Vec<PathBuf>,
    /// More places that every agent may write to, absolute.
    pub writable: Vec<PathBuf>,
}

/// The borders of one task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Borders {
    pub(crate) mode: Mode,
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) readable: Vec<PathBuf>,
    pub(crate) writable: Vec<PathBuf>,
}

/// Why the sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("{MISSING}")]
    Missing,
    #[error("capabilities of the server's user cannot be dropped: {0}")]
    Capabilities(#[from] rustix::io::Errno),
    #[error("{0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("more than {RULES} entries beside {0}: move it into a folder with fewer neighbours")]
    Crowded(PathBuf),
}

/// The places of one task: `readable` and `writable` ones may lie inside hidden ones.
pub(super) fn borders(settings: &Settings, coda_home: &Path, writable: &[&Path], server_home: Option<&Path>) -> Borders {
    // A hidden place is compared by its real path: a link elsewhere leads to the same place.
    let real = |p: &Path| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_owned());
    let credentials = server_home.into_iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name)));
    let hidden = [real(coda_home), PathBuf::from("/dev")];
    let more = settings.hidden.iter().cloned().chain(credentials).filter(|p| p.exists()).map(|p| real(&p));
    Borders {
        mode: settings.mode,
        hidden: hidden.into_iter().chain(more).collect(),
        readable: settings.readable.iter().map(|p| real(p)).collect(),
        writable: writable.iter().map(|p| real(p)).chain(settings.writable.iter().map(|p| real(p))).collect(),
    }
}

/// Confines this thread and everything that it executes. Returns what was reached, for people.
pub(crate) fn confine(borders: &Borders) -> Result<String, SandboxError> {
    if borders.mode == Mode::Off {
        return Ok("none: sandbox = \"none\"".into());
    }
    drop_capabilities()?;
    // Device nodes are never made: whoever may, could read the disk through one.
    let write = AccessFs::from_all(WANTED) & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    let read = AccessFs::from_read(WANTED);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?;
    let mut rules = Rules { ruleset: ruleset.create()?, count: 0 };
    rules.around(Path::new("/"), &borders.hidden, read)?;
    for path in &borders.readable {
        rules.allow(path, read)?;
    }
    for path in &borders.writable {
        rules.allow(path, write)?;
    }
    for device in DEVICES {
        rules.allow(Path::new(device), write)?;
    }
    reached(rules.ruleset.restrict_self()?.ruleset)
}

/// INVARIANT: without a sandbox no agent runs, unless the operator asked for that.
fn reached(status: RulesetStatus) -> Result<String, SandboxError> {
    match status {
        RulesetStatus::FullyEnforced => Ok("landlock: files, signals and abstract sockets".into()),
        RulesetStatus::PartiallyEnforced => Ok("landlock: files, as far as this kernel's Landlock goes".into()),
        RulesetStatus::NotEnforced => Err(SandboxError::Missing),
    }
}

/// The newest Landlock that this kernel takes. Making a rule set restricts nothing.
#[must_use]
pub fn landlock_abi() -> Option<u32> {
    let versions = [(6, ABI::V6), (5, ABI::V5), (4, ABI::V4), (3, ABI::V3), (2, ABI::V2), (1, ABI::V1)];
    let takes = |abi: ABI| {
        let wanted = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let handled = wanted.handle_access(AccessFs::from_all(abi));
        let scoped = handled.and_then(|r| if abi >= ABI::V6 { r.scope(Scope::from_all(abi)) } else { Ok(r) });
        scoped.and_then(Ruleset::create).is_ok()
    };
    versions.into_iter().find(|(_, abi)| takes(*abi)).map(|(number, _)| number)
}

/// For ever: out of the bounding set, so that no program gets them back.
fn drop_capabilities() -> Result<(), SandboxError> {
    let now = capabilities(None)?;
    if now.permitted.is_empty() {
        return Ok(());
    }
    if now.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(KEPT).iter() {
            match remove_capability_from_bounding_set(capability) {
                // An older kernel does not know it.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    let kept = now.permitted.intersection(KEPT);
    Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?)
}

struct Rules {
    ruleset: RulesetCreated,
    count: usize,
}

impl Rules {
    /// Allows everything below `dir` but the hidden places.
    fn around(&mut self, dir: &Path, hidden: &[PathBuf], access: BitFlags<AccessFs>) -> Result<(), SandboxError> {
        if hidden.iter().any(|h| h == dir) {
            return Ok(());
        }
        if !hidden.iter().any(|h| h.starts_with(dir)) {
            return self.allow(dir, access);
        }
        let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
        for entry in entries.flatten() {
            // A link is followed when a rule is made for it, perhaps into a hidden place; its target has its own rule.
            if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                self.around(&entry.path(), hidden, access)?;
            }
            if self.count > RULES {
                return Err(SandboxError::Crowded(dir.to_owned()));
            }
        }
        Ok(())
    }

    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), SandboxError> {
        // What is gone or closed to us needs no rule.
        let Ok(fd) = PathFd::new(path) else { return Ok(()) };
        let is_dir = std::fs::metadata(path).is_ok_and(|meta| meta.is_dir());
        let access = if is_dir { access } else { access & AccessFs::from_file(WANTED) };
        self.count += 1;
        (&mut self.ruleset).add_rule(PathBeneath::new(fd, access))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_landlock_nothing_runs_and_the_way_out_is_named() {
        let error = reached(RulesetStatus::NotEnforced).expect_err("refused").to_string();
        assert!(error.contains("sandbox = \"none\" in [executor]"), "{error}");
        assert!(reached(RulesetStatus::PartiallyEnforced).is_ok_and(|said| said.starts_with("landlock: ")));
    }

    #[test]
    fn a_browser_s_logins_are_hidden() {
        let home = tempfile::tempdir().expect("a folder");
        let profiles = [".mozilla", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware", "snap/firefox"];
        for profile in profiles {
            std::fs::create_dir_all(home.path().join(profile)).expect("made");
        }
        let readable = vec![home.path().join(".mozilla/shared")];
        let settings = Settings { readable: readable.clone(), ..Settings::default() };
        let borders = borders(&settings, &home.path().join("coda"), &[], Some(home.path()));
        for profile in profiles {
            let real = home.path().canonicalize().expect("there").join(profile);
            assert!(borders.hidden.contains(&real), "{profile}");
        }
        assert_eq!(borders.readable, readable, "but for what the operator lets them read");
    }
}
