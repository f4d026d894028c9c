//! CODA_HOME: where everything lies, who may read it, and which server owns it.
//!
//! INVARIANT: at most one server works on one CODA_HOME. It holds a lock on `server.lock` for as long as its process
//! lives; the kernel lets go of it when the process ends, however it ends.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env;

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
const LOCK: &str = "server.lock";
const SERVER: &str = "server.json";
/// Directories that every CODA_HOME has.
const DIRECTORIES: [&str; 6] = ["policies", "keys", "cache", "tasks", "workspaces", "cli"];
const MAX_PID_TEXT: u64 = 32;
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why CODA_HOME can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It, or something in it, can't be made or written.
    #[error("cannot write {path}: {why}; CODA_HOME must be a directory that this user may write, on a disk with free space")]
    NotWritable {
        /// What.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Others could read it.
    #[error("{path} belongs to another user: set CODA_HOME to a directory of your own")]
    NotOurs {
        /// What.
        path: PathBuf,
    },
    /// Another server works on it.
    #[error("a server (process {pid}) already works on {path}: stop it, or set another CODA_HOME")]
    InUse {
        /// The other's process id; `unknown` where it can't be read.
        pid: String,
        /// CODA_HOME.
        path: PathBuf,
    },
    /// The port is taken.
    #[error(
        "cannot listen on {address}: {why}; choose another with --listen, CODA_SERVER_LISTEN, or listen in [server] of coda.toml"
    )]
    PortTaken {
        /// Which.
        address: String,
        /// Why.
        why: String,
    },
}

fn not_writable(path: &Path) -> impl Fn(std::io::Error) -> HomeError + '_ {
    |e| HomeError::NotWritable { path: path.to_owned(), why: e.to_string() }
}

/// Makes CODA_HOME and its directories, for this user alone. What is there stays; directories that others could enter
/// are closed to them.
pub fn prepare(home: &Path) -> Result<(), HomeError> {
    for directory in std::iter::once(home.to_owned()).chain(DIRECTORIES.iter().map(|d| home.join(d))) {
        DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(&directory).map_err(not_writable(&directory))?;
        let found = std::fs::metadata(&directory).map_err(not_writable(&directory))?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(HomeError::NotOurs { path: directory });
        }
        if found.permissions().mode() & 0o077 != 0 {
            let private = std::fs::Permissions::from_mode(PRIVATE_DIR);
            std::fs::set_permissions(&directory, private).map_err(not_writable(&directory))?;
        }
    }
    Ok(())
}

/// Writes a file whole or not at all, readable by this user alone.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), HomeError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", env::hex(&env::random_bytes::<4>())));
    let new = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(&new)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written.map_err(not_writable(path))
}

/// The right to be the server of one CODA_HOME; ends with the process or when it is dropped.
#[derive(Debug)]
pub struct ServerLock {
    _file: File,
    home: PathBuf,
}

impl ServerLock {
    /// Takes the lock, or says who has it.
    pub fn take(home: &Path) -> Result<Self, HomeError> {
        let path = home.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .open(&path)
            .map_err(not_writable(&path))?;
        // A command that looks whether a server runs holds the lock for microseconds: that is not another server.
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::park_timeout(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(HomeError::InUse { pid: pid_in(&file), path: home.to_owned() });
                }
                Err(TryLockError::Error(e)) => return Err(not_writable(&path)(e)),
            }
        }
        file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes())).map_err(not_writable(&path))?;
        Ok(Self { _file: file, home: home.to_owned() })
    }

    /// Tells the command line where this server listens.
    pub fn announce(&self, address: &str) -> Result<(), HomeError> {
        let server = RunningServer { address: address.to_owned(), pid: std::process::id() };
        let text = serde_json::to_vec(&server).expect("two plain fields become JSON");
        write_private(&self.home.join(SERVER), &text)
    }
}

impl Drop for ServerLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.home.join(SERVER));
    }
}

fn pid_in(file: &File) -> String {
    let mut text = String::new();
    let read = file.take(MAX_PID_TEXT).read_to_string(&mut text);
    if read.is_ok() && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) { text } else { "unknown".to_owned() }
}

/// What a running server says of itself in `server.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningServer {
    /// Such as `http://127.0.0.1:8484`.
    pub address: String,
    /// Its process id.
    pub pid: u32,
}

/// What is known of the server of a CODA_HOME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerState {
    /// There is none.
    Absent,
    /// It holds the lock and does not listen yet: it compiles policies, or settles what an earlier one left.
    Starting,
    /// It answers.
    Running(RunningServer),
}

/// Looks at the server of this CODA_HOME. A `server.json` that a killed one left behind does not count, also while its
/// successor starts: somebody else may listen there meanwhile, and would be handed this user's key.
#[must_use]
pub fn server(home: &Path) -> ServerState {
    let Ok(lock) = OpenOptions::new().read(true).open(home.join(LOCK)) else { return ServerState::Absent };
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) | Err(TryLockError::Error(_)) => return ServerState::Absent,
    }
    let told = std::fs::read(home.join(SERVER)).ok().and_then(|text| serde_json::from_slice::<RunningServer>(&text).ok());
    match told.filter(|server| server.pid.to_string() == pid_in(&lock)) {
        Some(server) => ServerState::Running(server),
        None => ServerState::Starting,
    }
}

/// The server that answers for this CODA_HOME now.
#[must_use]
pub fn running(home: &Path) -> Option<RunningServer> {
    match server(home) {
        ServerState::Running(server) => Some(server),
        ServerState::Absent | ServerState::Starting => None,
    }
}

/// Listens, or says which setting names the port.
pub fn listen(address: SocketAddr) -> Result<TcpListener, HomeError> {
    let taken = |e: std::io::Error| HomeError::PortTaken { address: address.to_string(), why: e.to_string() };
    let listener = TcpListener::bind(address).map_err(taken)?;
    listener.set_nonblocking(true).map_err(taken)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_made_for_its_user_alone() {
        let outer = tempfile::tempdir().expect("a directory");
        let home = outer.path().join("deep/home");
        prepare(&home).expect("made");
        std::fs::set_permissions(home.join("keys"), std::fs::Permissions::from_mode(0o755)).expect("opened");
        prepare(&home).expect("made again");
        for directory in [home.clone(), home.join("keys"), home.join("cache")] {
            let mode = std::fs::metadata(&directory).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o700, "{}", directory.display());
        }
    }

    #[test]
    fn a_home_that_cannot_be_made_says_so() {
        let outer = tempfile::tempdir().expect("a directory");
        std::fs::write(outer.path().join("file"), "").expect("written");
        let error = prepare(&outer.path().join("file/home")).expect_err("below a file");
        assert!(error.to_string().contains("CODA_HOME must be a directory"), "{error}");
    }

    #[test]
    fn a_second_server_is_told_who_the_first_is() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(running(home.path()), None);
        let lock = ServerLock::take(home.path()).expect("free");
        lock.announce("http://127.0.0.1:1").expect("written");
        let error = ServerLock::take(home.path()).expect_err("taken");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(running(home.path()).map(|s| s.address), Some("http://127.0.0.1:1".to_owned()));
        drop(lock);
        assert_eq!(running(home.path()), None);
        ServerLock::take(home.path()).expect("free again");
    }

    #[test]
    fn an_address_left_by_a_killed_server_is_not_believed() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join(LOCK), "1").expect("written");
        std::fs::write(home.path().join(SERVER), r#"{"address":"http://127.0.0.1:1","pid":1}"#).expect("written");
        assert_eq!(server(home.path()), ServerState::Absent);
        let lock = ServerLock::take(home.path()).expect("free");
        assert_eq!(server(home.path()), ServerState::Starting, "not while its successor starts either");
        lock.announce("http://127.0.0.1:2").expect("written");
        assert_eq!(running(home.path()).map(|s| s.address), Some("http://127.0.0.1:2".to_owned()));
    }

    #[test]
    fn a_taken_port_names_the_setting() {
        let first = listen("127.0.0.1:0".parse().expect("an address")).expect("free");
        let error = listen(first.local_addr().expect("bound")).expect_err("taken");
        assert!(error.to_string().contains("CODA_SERVER_LISTEN"), "{error}");
    }

    #[test]
    fn private_files_are_replaced_whole() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("secret");
        write_private(&path, b"one").expect("written");
        write_private(&path, b"two").expect("written again");
        assert_eq!(std::fs::read(&path).expect("there"), b"two");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(home.path()).expect("listed").count(), 1);
    }
}
