//! The floor of tiers A and B: Landlock and capabilities.
//!
//! * Readable: everything except the **hidden** places: CODA_HOME, the server user's credential folders, devices.
//!   Landlock can only allow, so every sibling along the way to a hidden place is allowed by itself; the folders *on*
//!   the way (such as `/`) can be walked through but not listed.
//! * Writable: the task's `io` and `home` (private temporary folder included), the workspace, a few devices, terminals.
//! * Signals and abstract sockets end at the sandbox's border (kernels with ABI 6).
//! * In tier B, TCP leads to the gateway's port and nowhere else, and nothing can be listened on (ABI 4).
//! * Of a root user's capabilities the ordinary ones stay; those that look into other processes, devices, mounts and the
//!   kernel go (Landlock alone does not keep a root process out of another's environment).
//!
//! Landlock does not hide that a path exists (`stat` is not covered), nor sockets that have a name in the file system.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities};

use super::{Borders, Network, SandboxError, Tier, mounts};

/// What is asked of the kernel; an older one gives what it has.
const WANTED: ABI = ABI::V6;
/// Confines TCP from this version on.
const TCP_ABI: u32 = 4;
/// Most rules: bounds the work where a folder on the way to a hidden place is crowded.
pub(super) const RULES: usize = 20_000;
/// Devices that programs need, readable and writable.
const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"];

/// What a root agent keeps: files of others, ports below 1024, becoming another user.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// What the kernel's Landlock gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    /// All that was asked.
    pub(super) complete: bool,
    /// It knows TCP.
    pub(super) tcp: bool,
}

/// Puts Landlock on this thread.
pub(super) fn restrict(borders: &Borders, tier: Tier) -> Result<Reached, SandboxError> {
    // Device nodes are never made: whoever may, could read the disk through one.
    let write = AccessFs::from_all(WANTED) & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    let read = AccessFs::from_read(WANTED);
    let confines_tcp = tier == Tier::B && borders.network == Network::GatewayOnly;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?;
    if confines_tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(WANTED))?;
    }
    let mut rules = Rules { ruleset: ruleset.create()?, count: 0 };
    if confines_tcp {
        (&mut rules.ruleset).add_rule(NetPort::new(borders.gateway_port, AccessNet::ConnectTcp))?;
    }
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
    if tier == Tier::A {
        for path in mounts::SCRATCH {
            rules.allow(Path::new(path), write)?;
        }
    }
    reached(rules.ruleset.restrict_self()?.ruleset)
}

/// INVARIANT: without a sandbox no agent runs, unless the operator asked for that.
fn reached(status: RulesetStatus) -> Result<Reached, SandboxError> {
    let tcp = landlock_abi().is_some_and(|abi| abi >= TCP_ABI);
    match status {
        RulesetStatus::FullyEnforced => Ok(Reached { complete: true, tcp }),
        RulesetStatus::PartiallyEnforced => Ok(Reached { complete: false, tcp }),
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
        let net = handled.and_then(|r| if abi >= ABI::V4 { r.handle_access(AccessNet::from_all(abi)) } else { Ok(r) });
        let scoped = net.and_then(|r| if abi >= ABI::V6 { r.scope(Scope::from_all(abi)) } else { Ok(r) });
        scoped.and_then(Ruleset::create).is_ok()
    };
    versions.into_iter().find(|(_, abi)| takes(*abi)).map(|(number, _)| number)
}

/// For ever: out of the bounding set, so that no program gets them back.
pub(super) fn drop_capabilities() -> Result<(), Errno> {
    let now = capabilities(None)?;
    if now.permitted.is_empty() {
        return Ok(());
    }
    // Namespaces give an ordinary user all of them, in there. The agent gets none of that.
    let kept = if rustix::process::geteuid().is_root() { KEPT } else { CapabilitySet::empty() };
    if now.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(kept).iter() {
            match remove_capability_from_bounding_set(capability) {
                // An older kernel does not know it.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(e) => return Err(e),
            }
        }
    }
    let kept = now.permitted.intersection(kept);
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
}

/// Of what the first process inside has, it needs to signal whomever the agent became.
pub(in crate::executor) fn give_up_rights() -> Result<(), SandboxError> {
    let kept = CapabilitySet::KILL;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
        .map_err(SandboxError::Capabilities)
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
        assert!(error.contains("sandbox = \"off\" in [executor]"), "{error}");
        assert!(reached(RulesetStatus::PartiallyEnforced).is_ok_and(|reached| !reached.complete));
    }
}
