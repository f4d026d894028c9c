//! The sandbox: what confines an agent, in tiers that are said aloud. Decided before it starts and never loosened.
//!
//! | tier | what it is made of |
//! |---|---|
//! | A | namespaces of its own (users, mounts, processes, IPC, host name, network), and all of tier B |
//! | B | Landlock, seccomp, limits, fewer capabilities: where the machine denies namespaces |
//! | C | nothing: `sandbox = "off"` |
//!
//! `namespaces` makes them, `mounts` lays out the files that are seen there, `loopback` the network, `floor` is Landlock and
//! capabilities, `seccomp` the system calls, `limits` the resource limits.

mod floor;
mod limits;
mod loopback;
mod mounts;
mod namespaces;
mod plan;
mod seccomp;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use floor::give_up_rights;
pub use floor::landlock_abi;
pub use limits::Limits;
pub(super) use loopback::listen;
pub(super) use mounts::lay_out;
pub(super) use namespaces::{Side, fork, leave, split, without_stop};

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
    approve what it asks for itself; use a kernel from 5.13 on with Landlock enabled, or write sandbox = \"off\" in [executor] \
    of coda.toml if that is meant";

/// How much the sandbox matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Tier A, or no start.
    Require,
    /// The strongest tier that the machine gives, B at least; the task says which.
    #[default]
    BestEffort,
    /// Tier B, even where the machine gives more.
    Floor,
    /// None.
    Off,
}

/// Where an agent's connections may lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// To the gateway, and nowhere else.
    #[default]
    GatewayOnly,
    /// Wherever the server's own may.
    Open,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tier {
    A,
    B,
    C,
}

/// Settings of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How much it matters.
    pub mode: Mode,
    /// Where connections may lead.
    pub network: Network,
    /// Bounds on what one task's processes use.
    pub limits: Limits,
    /// Size of each private temporary folder of tier A, which lives in memory.
    pub tmp_bytes: u64,
    /// More places that no agent sees, absolute.
    pub hidden: Vec<PathBuf>,
    /// Places that every agent may read though they lie in hidden ones, absolute.
    pub readable: Vec<PathBuf>,
    /// More places that every agent may write to, absolute.
    pub writable: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            network: Network::default(),
            limits: Limits::default(),
            tmp_bytes: 1 << 30,
            hidden: Vec::new(),
            readable: Vec::new(),
            writable: Vec::new(),
        }
    }
}

/// The borders of one task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Borders {
    pub(crate) mode: Mode,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
    pub(crate) tmp_bytes: u64,
    /// The gateway's, on the loopback interface.
    pub(crate) gateway_port: u16,
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) readable: Vec<PathBuf>,
    pub(crate) writable: Vec<PathBuf>,
    /// Programs that must be there although they may lie in a folder that the task has one of its own of, such as `/tmp`.
    pub(crate) programs: Vec<PathBuf>,
}

/// Why the sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("{MISSING}")]
    Missing,
    #[error("capabilities of the server's user cannot be dropped: {0}")]
    Capabilities(rustix::io::Errno),
    #[error("{0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("more than {} entries beside {}: move it into a folder with fewer neighbours", floor::RULES, .0.display())]
    Crowded(PathBuf),
    #[error("the filter for system calls: {0}")]
    Seccomp(String),
    #[error("the limit on {0}: {1}")]
    Limit(&'static str, rustix::io::Errno),
    #[error("{what}: {source}")]
    Namespaces { what: String, source: std::io::Error },
}

impl SandboxError {
    fn namespaces(what: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let what = what.into();
        move |source| Self::Namespaces { what, source: source.into() }
    }
}

/// What the borders of a task are drawn around.
pub(super) struct Places<'a> {
    pub(super) coda_home: &'a Path,
    pub(super) writable: &'a [&'a Path],
    pub(super) programs: &'a [&'a Path],
    pub(super) server_home: Option<&'a Path>,
    pub(super) gateway_url: &'a str,
}

/// The borders of one task: `readable` and `writable` places may lie inside hidden ones.
pub(super) fn borders(settings: &Settings, places: &Places<'_>) -> Borders {
    // A hidden place is compared by its real path: a link elsewhere leads to the same place.
    let real = |p: &Path| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_owned());
    // A link that lies in a folder that is covered is not there to be followed: what it leads to is, under its name.
    let as_called = |p: &Path| {
        let called = (plan::is_covered(p) && real(p) != p).then(|| p.to_owned());
        [Some(real(p)), called].into_iter().flatten()
    };
    let credentials = places.server_home.into_iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name)));
    let hidden = [real(places.coda_home), PathBuf::from("/dev")];
    let more = settings.hidden.iter().cloned().chain(credentials).filter(|p| p.exists()).map(|p| real(&p));
    // As it is called and as it is: a link on the way must be there too.
    let programs = places.programs.iter().flat_map(|p| [p.to_path_buf(), real(p)]).filter(|p| p.is_absolute());
    Borders {
        mode: settings.mode,
        network: settings.network,
        limits: settings.limits,
        tmp_bytes: settings.tmp_bytes,
        gateway_port: places.gateway_url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).unwrap_or(0),
        hidden: hidden.into_iter().chain(more).collect(),
        readable: settings.readable.iter().map(|p| real(p)).collect(),
        writable: places
            .writable
            .iter()
            .copied()
            .chain(settings.writable.iter().map(PathBuf::as_path))
            .flat_map(as_called)
            .collect(),
        programs: programs.collect(),
    }
}

/// Confines this thread and everything that it executes; for tier A, inside the namespaces. Returns what was reached, for
/// people.
pub(crate) fn confine(borders: &Borders, tier: Tier) -> Result<String, SandboxError> {
    if tier == Tier::C {
        return Ok("tier C: none, as sandbox = \"off\" says".into());
    }
    limits::set(&borders.limits)?;
    floor::drop_capabilities().map_err(SandboxError::Capabilities)?;
    let landlock = floor::restrict(borders, tier)?;
    // A network of its own needs no filter on kinds of sockets: they lead nowhere.
    let sockets = match (tier, borders.network) {
        (Tier::B, Network::GatewayOnly) => seccomp::Sockets::TcpOnly,
        (Tier::A | Tier::B | Tier::C, _) => seccomp::Sockets::Families,
    };
    seccomp::install(sockets)?;
    Ok(said(tier, borders.network, landlock))
}

/// For people, and for a task's record.
fn said(tier: Tier, network: Network, landlock: floor::Reached) -> String {
    let landlock_said = match landlock {
        floor::Reached { complete: true, .. } => "Landlock",
        floor::Reached { .. } => "Landlock as far as this kernel has it",
    };
    let network = match (tier, network) {
        (_, Network::Open) => "open",
        (Tier::A, Network::GatewayOnly) => "the gateway only",
        (Tier::B | Tier::C, Network::GatewayOnly) if landlock.tcp => "the gateway's port only",
        (Tier::B | Tier::C, Network::GatewayOnly) => "any TCP, as this kernel's Landlock is older than 6.7",
    };
    match tier {
        Tier::A => format!("tier A: namespaces, {landlock_said}, seccomp; network: {network}"),
        Tier::B | Tier::C => format!("tier B: {landlock_said}, seccomp; network: {network}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(home: &Path) -> Places<'_> {
        Places { coda_home: Path::new("/nowhere/coda"), writable: &[], programs: &[], server_home: Some(home), gateway_url: "" }
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
        let borders = borders(&settings, &places(home.path()));
        for profile in profiles {
            let real = home.path().canonicalize().expect("there").join(profile);
            assert!(borders.hidden.contains(&real), "{profile}");
        }
        assert_eq!(borders.readable, readable, "but for what the operator lets them read");
    }

    #[test]
    fn the_gateway_s_port_is_read_from_its_address() {
        let port = |gateway_url| borders(&Settings::default(), &Places { gateway_url, ..places(Path::new("/")) }).gateway_port;
        assert_eq!((port("http://127.0.0.1:8080"), port("http://127.0.0.1:9/"), port("nonsense")), (8080, 9, 0));
    }

    #[test]
    fn what_is_in_force_is_said_and_never_more() {
        let whole = floor::Reached { complete: true, tcp: true };
        let old = floor::Reached { complete: false, tcp: false };
        assert!(said(Tier::A, Network::GatewayOnly, whole).ends_with("network: the gateway only"));
        assert!(said(Tier::A, Network::Open, whole).ends_with("network: open"));
        assert!(said(Tier::B, Network::GatewayOnly, whole).ends_with("network: the gateway's port only"));
        let little = said(Tier::B, Network::GatewayOnly, old);
        assert!(little.contains("as far as this kernel has it") && little.contains("any TCP"), "{little}");
    }
}
