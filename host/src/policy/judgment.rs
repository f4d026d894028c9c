//! What a chain answered: the combined verdict, each policy's step, and, where it allows, the cleared content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cleared::Cleared;
use super::contract::{Demand, Event, Finding, Gate, Verdict};
use crate::approval::Consumed;
use crate::id::DecisionId;

/// Whether a policy's answer counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It counts.
    #[default]
    Enforce,
    /// Its findings are logged and shown; it stops and changes nothing.
    Warn,
    /// It runs off the request path; only the log sees it.
    Shadow,
}

/// One policy's part in a judgment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name in policies.toml.
    pub policy: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Whether it counted.
    pub mode: Mode,
    /// `filter` or `guard`.
    pub role: String,
    /// `allow`, `needs-approval`, `deny`, `unchanged`, `replaced`, `withheld`, or `fault`.
    pub outcome: String,
    /// Rule codes of its findings.
    pub codes: Vec<String>,
    /// What went wrong, where the outcome is the closed verdict of a fault.
    pub fault: Option<String>,
    /// Fuel burnt.
    pub fuel: u64,
    /// Wall time in microseconds.
    pub micros: u64,
}

/// A chain's answer to one event.
#[derive(Debug, Clone)]
pub struct Judgment {
    /// Id under which it is logged.
    pub decision: DecisionId,
    /// Gate.
    pub gate: Gate,
    /// Generation of the set that judged.
    pub generation: u64,
    /// Digest of that set.
    pub set_digest: String,
    /// Each policy in order.
    pub steps: Vec<Step>,
    /// All of them combined.
    pub verdict: Verdict,
    /// Findings of filters and guards, in order, for the log and the page.
    pub findings: Vec<Finding>,
    /// Marks to store with the task (an empty value removes).
    pub marks: BTreeMap<String, String>,
    /// SHA-256 of the content before any filter.
    pub input_sha256: String,
    /// The content after the filters. Private: it leaves through `cleared` or `release` only.
    content: String,
    /// The content as people may see it: masked where a filter masked what must run unchanged.
    shown: String,
}

/// A judgment that does not let its content pass.
#[derive(Debug, Clone)]
pub enum Stopped {
    /// Waits for people.
    NeedsApproval(Demand),
    /// Refused, and why.
    Deny(Vec<Finding>),
}

impl Judgment {
    /// Puts a judgment together. `event` is as the filters left it, `shown` its content as people may see it.
    #[expect(clippy::too_many_arguments, reason = "each is a column of the decision record")]
    pub(in crate::policy) fn new(
        event: Event,
        shown: String,
        input_sha256: String,
        generation: u64,
        set_digest: String,
        steps: Vec<Step>,
        verdict: Verdict,
        findings: Vec<Finding>,
        marks: BTreeMap<String, String>,
    ) -> Self {
        let gate = event.gate();
        let content = event.subject.content().to_owned();
        Self {
            decision: DecisionId::new(),
            gate,
            generation,
            set_digest,
            steps,
            verdict,
            findings,
            marks,
            input_sha256,
            content,
            shown,
        }
    }

    /// The content, if the chain allows it.
    pub fn cleared(self) -> Result<Cleared<String>, Box<(Self, Stopped)>> {
        match &self.verdict {
            Verdict::Allow { .. } => Ok(Cleared::by(self.decision.clone(), self.content)),
            Verdict::NeedsApproval(demand) => {
                let demand = demand.clone();
                Err(Box::new((self, Stopped::NeedsApproval(demand))))
            }
            Verdict::Deny { findings } => {
                let findings = findings.clone();
                Err(Box::new((self, Stopped::Deny(findings))))
            }
        }
    }

    /// The content of a needs-approval judgment, against an approval whose consumption is committed. A deny stays a deny.
    pub fn release(self, _consumed: &Consumed) -> Result<Cleared<String>, Vec<Finding>> {
        match self.verdict {
            Verdict::Allow { .. } | Verdict::NeedsApproval(_) => Ok(Cleared::by(self.decision, self.content)),
            Verdict::Deny { findings } => Err(findings),
        }
    }

    /// The content as the people who decide, the log and the pages may see it. Empty where it is withheld. At the gate
    /// `tool-call` it may be masked where the call itself is not: never run it.
    pub(crate) fn screened(&self) -> &str {
        &self.shown
    }
}
