//! Which places a task sees in tier A, as a list of mounts: pure, so that it can be looked at in a test.
//!
//! Everything is as the host has it, read-only, but for what is **covered**: the host's temporary folders (by empty ones of
//! the task's own), `/run` (where services have their sockets) and the hidden places (by nothing). What the task may see
//! in there or write to anywhere is **placed** on top. The order is that of depth: what lies deeper comes later.

use std::path::{Path, PathBuf};

use super::Borders;

/// Folders of which a task has its own; `/dev` is made anew as a whole.
pub(in crate::executor::sandbox) const SCRATCH: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];
/// Nothing of what services keep there.
const SERVICES: &[&str] = &["/run", "/var/run"];
/// Made anew.
const DEVICES: &str = "/dev";
/// Seen all the same: where some systems keep their programs, and the name server's address.
const SEEN: &[&str] = &["/run/current-system", "/run/wrappers", "/etc/resolv.conf"];

/// What is put where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// An empty folder of the task's own.
    Scratch(PathBuf),
    /// An empty folder that stays empty.
    Empty(PathBuf),
    /// A file that holds nothing.
    NoFile(PathBuf),
    /// The host's, to read.
    Read(PathBuf),
    /// The host's, to write to.
    Write(PathBuf),
}

impl Step {
    /// Where.
    pub(super) fn path(&self) -> &Path {
        let (Self::Scratch(path) | Self::Empty(path) | Self::NoFile(path) | Self::Read(path) | Self::Write(path)) = self;
        path
    }

    fn is_cover(&self) -> bool {
        matches!(self, Self::Scratch(_) | Self::Empty(_) | Self::NoFile(_))
    }
}

/// What a place is on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    Missing,
}

/// All steps, in order. `/dev` is not among them. `kind_of` follows links; `real` resolves them.
pub(super) fn steps(borders: &Borders, kind_of: &dyn Fn(&Path) -> Kind, real: &dyn Fn(&Path) -> PathBuf) -> Vec<Step> {
    let mut wanted: Vec<Step> = Vec::new();
    let scratch = SCRATCH.iter().map(Path::new).filter(|p| !p.starts_with(DEVICES));
    wanted.extend(scratch.map(|p| Step::Scratch(real(p))));
    wanted.extend(SERVICES.iter().map(|p| Step::Empty(real(Path::new(p)))));
    let hidden = borders.hidden.iter().filter(|p| *p != Path::new(DEVICES));
    wanted.extend(hidden.map(|p| if kind_of(p) == Kind::File { Step::NoFile(p.clone()) } else { Step::Empty(p.clone()) }));
    wanted.extend(borders.programs.iter().filter_map(|p| program(p, borders)));
    wanted.extend(SEEN.iter().map(|p| Step::Read(real(Path::new(p)))));
    wanted.extend(borders.readable.iter().map(|p| Step::Read(p.clone())));
    wanted.extend(borders.writable.iter().map(|p| Step::Write(p.clone())));
    wanted.retain(|step| kind_of(step.path()) != Kind::Missing && step.path().components().count() > 1);
    // By depth, and at the same place a cover first: what is placed there lies on top.
    wanted.sort_by_key(|step| (step.path().components().count(), !step.is_cover()));
    let mut steps: Vec<Step> = Vec::new();
    for step in wanted {
        if is_needed(&step, &steps) {
            steps.push(step);
        }
    }
    steps
}

/// Whether a place lies in a folder of which a task has one of its own.
pub(super) fn is_covered(path: &Path) -> bool {
    SCRATCH.iter().chain(SERVICES).any(|cover| path.starts_with(cover))
}

/// The folder of a program, with what belongs to it; never a folder that is covered itself, nor anything hidden.
fn program(file: &Path, borders: &Borders) -> Option<Step> {
    let folder = file.parent()?;
    let is_covered = SCRATCH.iter().chain(SERVICES).any(|cover| Path::new(cover) == folder);
    let seen = if is_covered { file } else { folder };
    (!borders.hidden.iter().any(|hidden| seen.starts_with(hidden))).then(|| Step::Read(seen.to_owned()))
}

/// What is seen at its place already needs nothing, nor does a cover over what is covered.
fn is_needed(step: &Step, before: &[Step]) -> bool {
    let at = step.path();
    let above = before.iter().filter(|b| at.starts_with(b.path())).max_by_key(|b| b.path().components().count());
    match (step, above) {
        (_, Some(above)) if above == step => false,
        // Nothing is there to be covered.
        (Step::Scratch(_) | Step::Empty(_) | Step::NoFile(_), Some(above)) => !above.is_cover(),
        (Step::Read(_), above) => above.is_some_and(Step::is_cover),
        (Step::Write(_) | Step::Scratch(_) | Step::Empty(_) | Step::NoFile(_), _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Places, Settings, borders};
    use super::*;

    fn planned(coda_home: &str, io: &str, readable: &[&str], program: &str) -> Vec<Step> {
        let settings = Settings { readable: readable.iter().map(PathBuf::from).collect(), ..Settings::default() };
        let places = Places {
            coda_home: Path::new(coda_home),
            writable: &[Path::new(io)],
            programs: &[Path::new(program)],
            server_home: None,
            gateway_url: "",
        };
        let kind = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
            Some("missing") => Kind::Missing,
            Some("agent") => Kind::File,
            _ => Kind::Folder,
        };
        steps(&borders(&settings, &places), &kind, &Path::to_path_buf)
    }

    #[test]
    fn hidden_places_are_covered_and_what_the_task_has_lies_on_top() {
        let steps = planned("/srv/coda", "/srv/coda/tasks/1/io", &["/srv/coda/missing", "/srv/data"], "/opt/agent/bin/agent");
        let at = |wanted: &Step| steps.iter().position(|step| step == wanted);
        let cover = at(&Step::Empty("/srv/coda".into())).expect("covered");
        let io = at(&Step::Write("/srv/coda/tasks/1/io".into())).expect("placed");
        assert!(cover < io, "{steps:?}");
        assert!(at(&Step::Scratch("/tmp".into())).is_some() && at(&Step::Empty("/run".into())).is_some());
        // Seen anyway, missing, or made anew.
        for path in ["/srv/data", "/opt/agent/bin", "/srv/coda/missing", "/dev", "/dev/shm", "/etc/resolv.conf"] {
            assert!(steps.iter().all(|step| step.path() != Path::new(path)), "{path} in {steps:?}");
        }
    }

    #[test]
    fn a_program_in_a_temporary_folder_is_seen_and_coda_home_beside_it_is_not() {
        let steps = planned("/tmp/t/coda", "/tmp/t/coda/tasks/1/io", &[], "/tmp/t/agent");
        let order: Vec<&Step> = steps.iter().filter(|step| step.path().starts_with("/tmp")).collect();
        let expected = [
            Step::Scratch("/tmp".into()),
            Step::Read("/tmp/t".into()),
            Step::Empty("/tmp/t/coda".into()),
            Step::Write("/tmp/t/coda/tasks/1/io".into()),
        ];
        assert_eq!(order, expected.iter().collect::<Vec<_>>());
        // A home in a temporary folder needs no cover of its own where nothing beside it is seen.
        let steps = planned("/tmp/t/coda", "/tmp/t/coda/tasks/1/io", &[], "/usr/bin/agent");
        assert!(!steps.contains(&Step::Empty("/tmp/t/coda".into())), "{steps:?}");
        // A program in a covered folder itself does not bring all of it along.
        let steps = planned("/srv/coda", "/srv/coda/tasks/1/io", &[], "/tmp/agent");
        assert!(!steps.contains(&Step::Read("/tmp".into())) && steps.contains(&Step::Read("/tmp/agent".into())), "{steps:?}");
        let steps = planned("/srv/coda", "/srv/coda/tasks/1/io", &[], "/srv/coda/agent");
        assert!(
            !steps.contains(&Step::Read("/srv/coda".into())) && !steps.contains(&Step::Read("/srv/coda/agent".into())),
            "{steps:?}"
        );
    }
}
