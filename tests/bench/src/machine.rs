//! Where a run took place: a figure says little without it.

use std::fmt;

use serde::Serialize;

/// What this machine is.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// The processor's model.
    pub(crate) model: String,
    /// Memory in GiB.
    pub(crate) memory_gib: u64,
    /// Operating system and release.
    pub(crate) system: String,
    /// Load average of the last minute before the run.
    pub(crate) load: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let kib = field("/proc/meminfo", "MemTotal").split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        Self {
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            model: field("/proc/cpuinfo", "model name"),
            memory_gib: kib.unwrap_or_default() >> 20,
            system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processors, model, memory_gib, system, load } = self;
        write!(f, "{processors} processors ({model}), {memory_gib} GiB, {system}; load average {load} before the run.")
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    line.map_or("unknown", |(_, value)| value.trim()).to_owned()
}
