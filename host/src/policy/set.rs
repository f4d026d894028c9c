//! A set that can judge: compiled policies in order, under one digest. Never changes once made.

use std::time::Duration;

use super::chain::ChainOf;
use super::compile::Loaded;
use super::contract::Gate;
use super::engine::Runtime;
use super::manifest::Place;
use super::source::SetSource;
use super::suite::Suite;

/// A compiled set and the bytes it was made of.
pub(super) struct PolicySet {
    pub(super) source: SetSource,
    pub(super) policies: Vec<Loaded>,
}

impl PolicySet {
    /// Runs the policies' own tests; the texts of those that fail.
    pub(super) fn run_suites(&self, runtime: &Runtime) -> SuiteReport {
        run_suites(runtime, &self.source.suites, &self.policies)
    }

    /// The one that words answers.
    pub(super) fn shaper(&self) -> Option<&Loaded> {
        self.policies.iter().find(|policy| policy.places.contains(&Place::Shape))
    }

    /// Gates at which nobody judges: the operator's choice, and worth saying.
    pub(super) fn open_gates(&self) -> Vec<Gate> {
        Gate::ALL.into_iter().filter(|gate| !self.policies.iter().any(|policy| policy.is_at(*gate))).collect()
    }
}

/// Runs suites against the policies that they belong to.
pub(super) fn run_suites(runtime: &Runtime, suites: &[Suite], policies: &[Loaded]) -> SuiteReport {
    let mut report = SuiteReport { cases: 0, failures: Vec::new() };
    for suite in suites {
        let policy = policies.iter().find(|policy| policy.spec.name == suite.policy);
        let policy = policy.expect("a suite is read with its policy");
        report.cases += suite.cases.len();
        report.failures.extend(suite.run(runtime, policy));
    }
    report
}

/// What the policies' own tests said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteReport {
    /// How many ran.
    pub cases: usize,
    /// Those that failed.
    pub failures: Vec<String>,
}

/// A set under its generation.
pub(super) struct Live {
    pub(super) generation: u64,
    pub(super) set: PolicySet,
}

impl Live {
    pub(super) fn chain(&self) -> ChainOf<'_> {
        ChainOf { generation: self.generation, digest: &self.set.source.digest, policies: &self.set.policies }
    }

    /// How long a chain may take before its worker counts as lost: every policy's own time limits, and then some.
    pub(super) fn longest(&self, configure: Duration) -> Duration {
        let each = |policy: &Loaded| {
            let configured = if policy.cost.snapshot { Duration::ZERO } else { configure };
            // A full policy is asked twice, and a mask is asked for once more.
            (Duration::from_millis(policy.spec.limits.timeout_ms) + configured) * 3
        };
        self.set.policies.iter().map(each).sum::<Duration>() + HOST_GRACE
    }
}

const HOST_GRACE: Duration = Duration::from_secs(2);
