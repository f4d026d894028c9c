//! Resource limits of a task's processes: each is inherited by all that the agent starts, and none can be raised again.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::SandboxError;

/// Bounds; 0 means none of coda's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads. Tier A counts the task's own, tier B all of the server's user. Root has no such limit.
    pub processes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Size of one file.
    pub file_bytes: u64,
    /// Address space of one process. Many runtimes reserve far more than they use.
    pub address_space_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processes: 4096, open_files: 65_536, file_bytes: 0, address_space_bytes: 0 }
    }
}

/// Sets them on this process, and forbids core files: they would hold what the process knew.
pub(super) fn set(limits: &Limits) -> Result<(), SandboxError> {
    let wanted = [
        ("processes", Resource::Nproc, limits.processes),
        ("open files", Resource::Nofile, limits.open_files),
        ("file size", Resource::Fsize, limits.file_bytes),
        ("address space", Resource::As, limits.address_space_bytes),
    ];
    for (name, resource, most) in wanted.into_iter().filter(|(_, _, most)| *most > 0) {
        lower(resource, most).map_err(|e| SandboxError::Limit(name, e))?;
    }
    lower(Resource::Core, 0).map_err(|e| SandboxError::Limit("core files", e))
}

/// Never raises: what the server itself may not, an agent may not.
fn lower(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let now = getrlimit(resource);
    let capped = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    setrlimit(resource, Rlimit { current: capped(now.current), maximum: capped(now.maximum) })
}
