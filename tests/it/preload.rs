//! What a test preloads into its server: another wall clock, and the database as a power cut would leave it. The machine
//! cannot be asked for either, and coda has no switch for them; see `tests/faults/shim.c`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::server::Server;

/// The shared object, built once by the C compiler that links every Rust program here.
fn shim() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/faults/shim.c");
        let to = format!("{}/faults-{}.so", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o", &to, source, "-ldl", "-lpthread"]);
        assert!(compiler.status().is_ok_and(|done| done.success()), "the C compiler 'cc' is needed for {source}");
        to
    })
}

/// The wall clock of one server.
pub struct Clock(PathBuf);

impl Clock {
    /// Gives a server that does not run yet a clock of its own.
    pub fn of(server: &mut Server) -> Self {
        let clock = Self(server.path("clock"));
        clock.jump(0);
        server.set("LD_PRELOAD", shim());
        server.set("CODA_TEST_CLOCK", &clock.0.display().to_string());
        clock
    }

    /// From now on it is off by this.
    pub fn jump(&self, seconds: i64) {
        use std::io::{Seek as _, Write as _};
        // In place: the server has this file mapped.
        let mut file = std::fs::File::options().create(true).truncate(false).write(true).open(&self.0).expect("a clock file");
        file.rewind().and_then(|()| file.write_all(&(seconds * 1_000_000_000).to_ne_bytes())).expect("the clock is set");
    }
}

/// What of one server's database was synced.
pub struct Synced(PathBuf);

/// Which of the two files lose what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Both,
    Log,
    Database,
}

impl Synced {
    /// Follows the database of a server that does not run yet.
    pub fn of(server: &mut Server) -> Self {
        let synced = Self(server.path("synced"));
        std::fs::create_dir(&synced.0).expect("a folder");
        server.set("LD_PRELOAD", shim());
        server.set("CODA_TEST_SYNCED", &synced.0.display().to_string());
        synced
    }

    /// To be called before each start: what was followed of an earlier process does not count for the next.
    pub fn begin(&self) {
        for name in ["coda.db", "coda.db-wal"] {
            let _ = std::fs::remove_file(self.0.join(name));
        }
    }

    /// The power fails: of a server that was killed, what was not synced is gone.
    pub fn cut(&self, server: &Server, lost: Lost) {
        let files: &[&str] = match lost {
            Lost::Both => &["coda.db", "coda.db-wal"],
            Lost::Log => &["coda.db-wal"],
            Lost::Database => &["coda.db"],
        };
        for name in files {
            // Not there: the process did not come to write it.
            if self.0.join(name).exists() {
                std::fs::copy(self.0.join(name), server.path(name)).expect("copied");
            }
        }
        let _ = std::fs::remove_file(server.path("coda.db-shm"));
    }
}
