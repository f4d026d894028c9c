//! What the benchmarks need from outside: the server's program, the guests, and a folder on the disk that is measured.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The release build of coda.
    pub(crate) coda: PathBuf,
    /// The rules of the bundled policies as a native program.
    pub(crate) rules: PathBuf,
    /// `coda_empty.wasm`, `coda_patterns.wasm`, `no_force_push.wasm`.
    guests: PathBuf,
    /// Where homes are made: on a real disk, because what is durable is measured.
    work: PathBuf,
    /// Where LiteLLM is installed, if it is.
    pub(crate) litellm: Option<PathBuf>,
}

impl Place {
    /// Checks that everything is there.
    pub(crate) fn new(
        coda: PathBuf,
        rules: PathBuf,
        guests: PathBuf,
        work: PathBuf,
        litellm: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        for program in [&coda, &rules] {
            ensure!(program.is_file(), "there is no program {}; scripts/bench.sh builds it", program.display());
        }
        std::fs::create_dir_all(work.join("policy-cache")).with_context(|| format!("cannot make {}", work.display()))?;
        let place = Self { coda: coda.canonicalize()?, rules, guests, work: work.canonicalize()?, litellm };
        for name in ["coda_empty", "coda_patterns", "no_force_push"] {
            place.guest(name)?;
        }
        Ok(place)
    }

    /// A guest as bytes.
    pub(crate) fn guest(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.guests.join(format!("{name}.wasm"));
        std::fs::read(&path).with_context(|| format!("cannot read {}; scripts/bench.sh builds it", path.display()))
    }

    /// A folder that goes with its value.
    pub(crate) fn folder(&self) -> anyhow::Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(&self.work)?)
    }

    /// Compiled policies, kept from run to run.
    pub(crate) fn policy_cache(&self) -> PathBuf {
        self.work.join("policy-cache")
    }

    /// The kind of the file system that homes lie on.
    pub(crate) fn file_system(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let holds = |point: &str| self.work.starts_with(Path::new(point));
        let mut found: Vec<(&str, &str)> = (mounts.lines())
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                Some((words.next()?, words.next()?))
            })
            .filter(|(point, _)| holds(point))
            .collect();
        // The longest mount point is the nearest; of two at one place, the later covers the earlier.
        found.sort_by_key(|(point, _)| point.len());
        found.last().map_or_else(|| "unknown".to_owned(), |(_, kind)| (*kind).to_owned())
    }
}
