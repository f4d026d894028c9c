//! The files that a task sees in tier A: lays out what `plan` says in a mount namespace of its own, with its own `/proc`,
//! `/dev` and terminals. Read-only but for the task's places, so that Landlock is the second lock and not the only one.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount, open_tree,
};

use super::plan::{self, Kind, Step};
use super::{Borders, SandboxError};

pub(super) use super::plan::SCRATCH;

/// Devices that programs need.
const NODES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Links that programs expect beside them.
const LINKS: &[(&str, &str)] = &[
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];
const NO_FILE: &str = "/dev/null";
/// Terminals that are held for a moment at most, to give the task's own its number.
const TERMINALS: u32 = 256;
/// Size of a folder that holds mount points and nothing else.
const EMPTY_BYTES: u64 = 1 << 20;
const READ_ONLY: u64 = 1;
const NO_SUID: u64 = 2;
const NO_DEVICES: u64 = 4;

/// What must live as long as the view.
pub(in crate::executor) struct View {
    /// Keeps the number that the task's terminal has in `/dev/pts`.
    _terminal: Option<OwnedFd>,
}

/// A part of the host's tree, to be put somewhere.
struct Piece {
    step: Step,
    tree: Option<OwnedFd>,
    is_folder: bool,
}

/// Lays it out. To be called inside, with the host's `/proc` still there.
pub(in crate::executor) fn lay_out(borders: &Borders) -> Result<View, SandboxError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(SandboxError::namespaces("the mounts cannot be made private"))?;
    // Taken before anything is covered.
    let real = |p: &Path| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_owned());
    let pieces: Vec<Piece> = plan::steps(borders, &kind_of, &real).into_iter().map(take).collect::<Result<_, _>>()?;
    let nodes: Vec<(PathBuf, OwnedFd)> = NODES
        .iter()
        .map(|name| Path::new("/dev").join(name))
        .map(|path| clone_of(&path).map(|tree| (path, tree)))
        .collect::<Result<_, _>>()?;
    let terminal = own_terminal();
    let null = clone_of(Path::new(NO_FILE))?;
    mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .map_err(SandboxError::namespaces("/proc cannot be mounted (in a container, /proc may be partly masked)"))?;
    set_attributes(CWD.as_raw_fd(), c"/", READ_ONLY | NO_SUID, Depth::Everything, "the file system cannot be made read-only")?;
    let shown = devices(borders, nodes, terminal)?;
    let mut covers = vec![PathBuf::from("/dev")];
    for piece in &pieces {
        put(piece, borders, &null, &mut covers)?;
    }
    for cover in covers {
        let path = c_path(&cover)?;
        set_attributes(CWD.as_raw_fd(), &path, READ_ONLY, Depth::This, "a cover cannot be made read-only")?;
    }
    Ok(View { _terminal: shown })
}

fn kind_of(path: &Path) -> Kind {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Kind::Folder,
        Ok(_) => Kind::File,
        Err(_) => Kind::Missing,
    }
}

fn take(step: Step) -> Result<Piece, SandboxError> {
    let tree = match &step {
        Step::Read(path) | Step::Write(path) => Some(clone_of(path)?),
        Step::Scratch(_) | Step::Empty(_) | Step::NoFile(_) => None,
    };
    let is_folder = kind_of(step.path()) == Kind::Folder;
    Ok(Piece { step, tree, is_folder })
}

fn clone_of(path: &Path) -> Result<OwnedFd, SandboxError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).map_err(SandboxError::namespaces(format!("{} cannot be shown to the task", path.display())))
}

fn put(piece: &Piece, borders: &Borders, null: &OwnedFd, covers: &mut Vec<PathBuf>) -> Result<(), SandboxError> {
    let at = piece.step.path();
    match &piece.step {
        Step::Scratch(path) => memory(path, "1777", borders.tmp_bytes, MountFlags::empty())?,
        Step::Empty(path) => {
            memory(path, "0755", EMPTY_BYTES, MountFlags::empty())?;
            covers.push(path.clone());
        }
        Step::NoFile(path) => attach(&again(null)?, path)?,
        Step::Read(_) | Step::Write(_) => {
            let tree = piece.tree.as_ref().expect("it was taken");
            make_place(at, piece.is_folder)?;
            // A device that the operator lets agents write to stays one.
            let devices = if at.starts_with("/dev") { 0 } else { NO_DEVICES };
            let attributes = if matches!(piece.step, Step::Read(_)) { READ_ONLY } else { 0 } | NO_SUID | devices;
            set_attributes(tree.as_raw_fd(), c"", attributes, Depth::Everything, "a place cannot be made read-only")?;
            attach(tree, at)?;
        }
    }
    Ok(())
}

/// The same tree once more: each mount is put in one place only.
fn again(tree: &OwnedFd) -> Result<OwnedFd, SandboxError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(tree, c"", flags).map_err(SandboxError::namespaces("an empty file cannot be made"))
}

/// A folder in memory.
fn memory(at: &Path, mode: &str, bytes: u64, more: MountFlags) -> Result<(), SandboxError> {
    let data = CString::new(format!("mode={mode},size={bytes}")).expect("no zero byte in numbers");
    mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV | more, data.as_c_str())
        .map_err(SandboxError::namespaces(format!("{} cannot be covered", at.display())))
}

/// What a mount is put on: in a cover of ours it has to be made.
fn make_place(at: &Path, is_folder: bool) -> Result<(), SandboxError> {
    let made = match is_folder {
        _ if at.exists() => Ok(()),
        true => std::fs::create_dir_all(at),
        false => at.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::File::create(at).map(drop)),
    };
    made.map_err(|source| SandboxError::Namespaces { what: format!("{} cannot be placed", at.display()), source })
}

fn attach(tree: &OwnedFd, at: &Path) -> Result<(), SandboxError> {
    move_mount(tree, c"", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(SandboxError::namespaces(format!("{} cannot be placed", at.display())))
}

/// The terminal that this process has as its standard output: its number, and itself.
fn own_terminal() -> Option<(u32, OwnedFd)> {
    let path = std::fs::read_link("/proc/self/fd/1").ok()?;
    let number = path.strip_prefix("/dev/pts").ok()?.to_str()?.parse().ok()?;
    Some((number, clone_of(&path).ok()?))
}

/// A `/dev` of the task's own: a few nodes, terminals that nobody else has, and the one that the task runs in.
fn devices(
    borders: &Borders,
    nodes: Vec<(PathBuf, OwnedFd)>,
    own: Option<(u32, OwnedFd)>,
) -> Result<Option<OwnedFd>, SandboxError> {
    let failed = |source| SandboxError::Namespaces { what: "/dev cannot be made".into(), source };
    memory(Path::new("/dev"), "0755", EMPTY_BYTES, MountFlags::NOEXEC)?;
    for (path, tree) in nodes {
        make_place(&path, false)?;
        attach(&tree, &path)?;
    }
    for (to, link) in LINKS {
        std::os::unix::fs::symlink(to, link).map_err(failed)?;
    }
    for folder in ["/dev/pts", "/dev/shm"] {
        std::fs::create_dir(folder).map_err(failed)?;
    }
    memory(Path::new("/dev/shm"), "1777", borders.tmp_bytes, MountFlags::empty())?;
    let options = c"newinstance,ptmxmode=0666,mode=620";
    mount("devpts", "/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options)
        .map_err(SandboxError::namespaces("terminals of the task's own cannot be made"))?;
    Ok(own.and_then(|(number, tree)| show_terminal(number, &tree)))
}

/// The task's terminal is one of the host's. Under the number that it has there, programs that ask for its name find it;
/// where that can't be, they find it as `/dev/tty` only.
fn show_terminal(number: u32, tree: &OwnedFd) -> Option<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let name = CString::new(format!("/dev/pts/{number}")).expect("no zero byte in numbers");
    // Numbers are given out from 0 on: those before it are held for the moment.
    let mut held = Vec::new();
    for _ in 0..=number.min(TERMINALS) {
        let stand_in = rustix::fs::open("/dev/pts/ptmx", flags, rustix::fs::Mode::empty()).ok()?;
        if rustix::pty::ptsname(&stand_in, Vec::new()).ok()? == name {
            move_mount(tree, c"", CWD, name.as_c_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).ok()?;
            return Some(stand_in);
        }
        held.push(stand_in);
    }
    None
}

fn c_path(path: &Path) -> Result<CString, SandboxError> {
    use std::os::unix::ffi::OsStrExt as _;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|e| SandboxError::Namespaces { what: format!("{}", path.display()), source: e.into() })
}

/// How far down attributes go.
#[derive(Clone, Copy)]
enum Depth {
    This,
    Everything,
}

fn set_attributes(folder: i32, path: &std::ffi::CStr, set: u64, depth: Depth, what: &str) -> Result<(), SandboxError> {
    /// As the kernel reads it.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attributes = Attributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    let depth = match depth {
        Depth::This => 0,
        Depth::Everything => libc::AT_RECURSIVE,
    };
    #[expect(unsafe_code, reason = "no safe interface sets the attributes of a whole tree of mounts")]
    // SAFETY: path and attributes outlive the call, which only reads them; the size is that of what is handed over.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder,
            path.as_ptr(),
            depth | libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    let source = std::io::Error::last_os_error();
    if done == 0 { Ok(()) } else { Err(SandboxError::Namespaces { what: what.into(), source }) }
}
