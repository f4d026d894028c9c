//! Policies without a server: loaded, configured and asked exactly as a server does it, for tests and measurements.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::chain::{self, ChainOf, Rules};
use super::compile::{self, CompileError, Loaded};
use super::contract::Event;
use super::engine::Runtime;
use super::judgment::Judgment;
use super::settings::Settings;
use super::source::{self, MANIFEST, MAX_SUITE_BYTES, SetSource, SourceError};
use super::status::PolicyStatus;
use super::suite::{CaseReport, Suite};
use super::verdict::Defaults;

/// Which policies are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Those inside the binary, each with its default settings.
    Bundled,
    /// A policy folder.
    Folder(PathBuf),
    /// One component, with its default settings.
    Component(PathBuf),
}

impl Target {
    /// A policy folder, its policies.toml, or a component file.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        if path.is_dir() {
            Target::Folder(path.to_owned())
        } else if path.file_name().is_some_and(|name| name == MANIFEST) {
            Target::Folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned())
        } else {
            Target::Component(path.to_owned())
        }
    }
}

/// Why policies cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The engine does not start.
    #[error("the policy engine does not start: {0}")]
    Engine(String),
    /// The folder or file is no set.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A component is no policy, or does not take its settings.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A suite.
    #[error("suite {path}: {problem}")]
    Suite {
        /// Which file.
        path: String,
        /// What.
        problem: String,
    },
}

/// Policies that can be asked.
pub struct Trial {
    runtime: Runtime,
    source: SetSource,
    policies: Vec<Loaded>,
    defaults: Defaults,
}

impl Trial {
    /// Loads. With a `cache` folder, what is compiled is kept there, under the same rules as a server's.
    pub fn open(target: &Target, settings: &Settings, cache: Option<PathBuf>) -> Result<Self, TrialError> {
        let source = match target {
            Target::Bundled => source::read_bundled(settings)?,
            Target::Folder(folder) => source::read_folder(folder, settings)?.0,
            Target::Component(path) => source::read_component(path, settings)?,
        };
        let runtime = Runtime::new(settings).map_err(|error| TrialError::Engine(format!("{error:#}")))?;
        let cache = cache.map_or_else(Cache::none, Cache::open);
        let policies = compile::compile(&runtime, &cache, &source, settings)?;
        let defaults =
            Defaults { approvals: settings.default_approvals.clone(), expires_after_s: settings.approval_expires_s.max(1) };
        Ok(Self { runtime, source, policies, defaults })
    }

    /// Adds a suite file; it tests the policy that it is named after, or the only one.
    pub fn add_suite(&mut self, path: &Path) -> Result<(), TrialError> {
        let wrong = |problem: String| TrialError::Suite { path: path.display().to_string(), problem };
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !Suite::EXTENSIONS.contains(&extension) {
            return Err(wrong(format!("it must end in .{}", Suite::EXTENSIONS.join(", ."))));
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let policy = match self.policies.as_slice() {
            [only] => only,
            all => all.iter().find(|policy| policy.spec.name == stem).ok_or_else(|| {
                let names: Vec<_> = all.iter().map(|policy| policy.spec.name.as_str()).collect();
                wrong(format!("no policy is called '{stem}'; name the file after one of {}", names.join(", ")))
            })?,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        file.take(MAX_SUITE_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > MAX_SUITE_BYTES {
            return Err(wrong(format!("it is larger than {MAX_SUITE_BYTES} bytes")));
        }
        let suite = Suite::parse(&policy.spec.name, extension, &text).map_err(wrong)?;
        self.source.suites.push(suite);
        Ok(())
    }

    /// Leaves out the suites that the policies brought along.
    pub fn forget_suites(&mut self) {
        self.source.suites.clear();
    }

    /// Runs the cases that are wanted, in order, and tells of each.
    pub fn test(&self, wanted: &dyn Fn(&str, &str) -> bool, told: &mut dyn FnMut(CaseReport)) {
        for suite in &self.source.suites {
            let policy = self.policies.iter().find(|policy| policy.spec.name == suite.policy);
            let policy = policy.expect("a suite is read with its policy");
            for case in suite.cases.iter().filter(|case| wanted(&suite.policy, &case.name)) {
                told(suite.report(case, &self.runtime, policy));
            }
        }
    }

    /// Policies that no suite tests.
    #[must_use]
    pub fn untested(&self) -> Vec<&str> {
        let tested = |policy: &&Loaded| !self.source.suites.iter().any(|suite| suite.policy == policy.spec.name);
        self.policies.iter().filter(tested).map(|policy| policy.spec.name.as_str()).collect()
    }

    /// Judges one event as a server's gate would.
    pub(super) fn judge(&self, event: Event) -> Judgment {
        let rules = Rules { runtime: &self.runtime, defaults: &self.defaults, reparse: None };
        let set = ChainOf { generation: 0, digest: &self.source.digest, policies: &self.policies };
        chain::run(&rules, &set, event).0
    }

    /// The digest of the set: of components, settings, order and modes.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.source.digest
    }

    /// Each policy.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicyStatus> {
        self.policies.iter().map(PolicyStatus::of).collect()
    }
}
