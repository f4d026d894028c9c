//! One event through one set: filters in order, then all guards, and what they said combined.
//!
//! - A filter sees what the one before it left. Where it faults or withholds, the chain ends: deny.
//! - At the gate `tool-call` a filter's replacement is what people are shown; what runs stays as it is, because guards
//!   judge exactly that. Only `may_rewrite` changes this, and then what was parsed from the arguments is parsed anew.
//! - A policy in the mode `warn` changes nothing at all: no content, no marks, nothing that later policies see.
//! - A policy in the mode `shadow` is only noted here; `shadow` asks it later.
//! - INVARIANT: a fault never yields allow.

use std::collections::BTreeMap;

use super::answer;
use super::bindings::Filtered;
use super::compile::Loaded;
use super::contract::{Demand, Event, Finding, Subject, ToolCallSubject, Verdict};
use super::engine::Runtime;
use super::fault::{Fault, FaultKind};
use super::guest::Evaluated;
use super::judgment::{Judgment, Mode, Step};
use super::manifest::{Closed, Rewriting};
use super::verdict::{self, Defaults};
use crate::env;

/// Parses the known parts of a call (shell, paths, SQL) out of its arguments anew, after a filter rewrote them.
pub type Reparse = dyn Fn(&mut ToolCallSubject) + Send + Sync;

/// What a chain needs beside the set.
pub(super) struct Rules<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) defaults: &'a Defaults,
    pub(super) reparse: Option<&'a Reparse>,
}

/// The set as a chain sees it.
pub(super) struct ChainOf<'a> {
    pub(super) generation: u64,
    pub(super) digest: &'a str,
    pub(super) policies: &'a [Loaded],
}

/// What a shadow policy is to be asked.
#[derive(Debug, Clone)]
pub(super) struct ShadowQuestion {
    pub(super) policy: usize,
    pub(super) role: Role,
    pub(super) event: Event,
    pub(super) earlier: Vec<Finding>,
}

/// As what a policy takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Filter,
    Guard,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Role::Filter => "filter",
            Role::Guard => "guard",
        }
    }
}

/// Judges one event.
pub(super) fn run(rules: &Rules<'_>, set: &ChainOf<'_>, event: Event) -> (Judgment, Vec<ShadowQuestion>) {
    let mut chain = Chain::new(event);
    let gate = chain.event.gate();
    for (at, policy) in set.policies.iter().enumerate().filter(|(_, p)| p.is_at(gate) && p.guest.is_filter()) {
        chain.filter(rules, at, policy);
        if chain.withheld {
            break;
        }
    }
    for (at, policy) in set.policies.iter().enumerate().filter(|(_, p)| p.is_at(gate) && p.guest.is_guard()) {
        if !chain.withheld {
            chain.guard(rules, at, policy);
        }
    }
    chain.finish(rules, set)
}

/// The judgment of an event that no chain judged.
pub(super) fn refused(event: Event, generation: u64, digest: &str, fault: &Fault) -> Judgment {
    let mut chain = Chain::new(event);
    let finding = fault.finding("");
    chain.findings.push(finding.clone());
    chain.verdicts.push(Verdict::Deny { findings: vec![finding] });
    chain.shown.clear();
    let verdict = Verdict::Deny { findings: chain.findings.clone() };
    Judgment::new(
        chain.event,
        chain.shown,
        chain.input_sha256,
        generation,
        digest.to_owned(),
        Vec::new(),
        verdict,
        chain.findings,
        BTreeMap::new(),
    )
}

/// Size of the texts of an event that a guest gets.
pub(super) fn event_bytes(event: &Event) -> u64 {
    let subject = match &event.subject {
        Subject::Prompt { text, context } => text.len() + context.len(),
        Subject::ToolCall(call) => {
            let parsed = call.shell.as_ref().map_or(0, String::len) + call.sql.as_ref().map_or(0, String::len);
            call.arguments.len() + parsed + call.tool.len() + call.paths.iter().map(String::len).sum::<usize>()
        }
        Subject::ToolResult { tool, content, .. } => content.len() + tool.len(),
        Subject::Output { content } => content.len(),
    };
    let named = |all: &BTreeMap<String, String>| all.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    (subject + named(&event.task.labels) + named(&event.task.marks)) as u64
}

/// A chain on its way.
struct Chain {
    event: Event,
    /// The content as people may see it.
    shown: String,
    input_sha256: String,
    steps: Vec<Step>,
    verdicts: Vec<Verdict>,
    /// All findings, in order, for the record.
    findings: Vec<Finding>,
    /// Findings that later policies are handed: those of policies that count.
    earlier: Vec<Finding>,
    marks: BTreeMap<String, String>,
    withheld: bool,
    shadows: Vec<ShadowQuestion>,
}

impl Chain {
    fn new(event: Event) -> Self {
        let shown = event.subject.content().to_owned();
        Self {
            input_sha256: env::sha256_hex(shown.as_bytes()),
            shown,
            event,
            steps: Vec::new(),
            verdicts: Vec::new(),
            findings: Vec::new(),
            earlier: Vec::new(),
            marks: BTreeMap::new(),
            withheld: false,
            shadows: Vec::new(),
        }
    }

    fn filter(&mut self, rules: &Rules<'_>, at: usize, policy: &Loaded) {
        if policy.spec.mode == Mode::Shadow {
            return self.note_shadow(at, Role::Filter);
        }
        let asked = ask_filter(rules.runtime, policy, &self.event);
        let counts = policy.spec.mode == Mode::Enforce;
        let checked = asked.and_then(|answer| self.accept(answer, policy));
        let outcome = match &checked.result {
            Ok(Filtered::Unchanged(_)) => "unchanged",
            Ok(Filtered::Replaced(..)) => "replaced",
            Ok(Filtered::Withhold(_)) => "withheld",
            Err(_) => "fault",
        };
        let found: &[Finding] = match &checked.result {
            Ok(Filtered::Unchanged(found) | Filtered::Replaced(_, found) | Filtered::Withhold(found)) => found,
            Err(_) => &[],
        };
        self.step(policy, Role::Filter, outcome, found, &checked);
        match checked.result {
            Ok(Filtered::Unchanged(found)) => self.note(found, counts),
            Ok(Filtered::Replaced(new, found)) => {
                if counts {
                    self.replace(rules, policy, new);
                }
                self.note(found, counts);
            }
            Ok(Filtered::Withhold(found)) if counts => self.withhold(found),
            Ok(Filtered::Withhold(found)) => self.note(found, false),
            Err(fault) if counts => self.withhold(vec![fault.finding(&policy.spec.name)]),
            Err(fault) => self.note(vec![fault.finding(&policy.spec.name)], false),
        }
    }

    /// The bounds that depend on what the task has already.
    fn accept(&self, answer: Filtered, policy: &Loaded) -> Result<Filtered, Fault> {
        match &answer {
            Filtered::Unchanged(found) | Filtered::Replaced(_, found) | Filtered::Withhold(found) => {
                self.marks_fit(found, policy)?;
            }
        }
        Ok(answer)
    }

    fn replace(&mut self, rules: &Rules<'_>, policy: &Loaded, new: String) {
        let rewrites = policy.spec.rewriting == Rewriting::Allowed;
        match (&mut self.event.subject, rewrites, rules.reparse) {
            (Subject::ToolCall(_), false, _) => self.mask(rules, policy, new),
            (Subject::ToolCall(call), true, Some(reparse)) => {
                call.arguments.clone_from(&new);
                reparse(call);
                self.shown = new;
            }
            (Subject::ToolCall(_), true, None) => {
                let fault = Fault::new(FaultKind::Engine, "it rewrote arguments that cannot be parsed anew");
                self.withhold(vec![fault.finding(&policy.spec.name)]);
            }
            (subject @ (Subject::Prompt { .. } | Subject::ToolResult { .. } | Subject::Output { .. }), _, _) => {
                subject.set_content(new.clone());
                self.shown = new;
            }
        }
    }

    /// What people are shown of a call that stays as it is. Where an earlier filter masked something, this one is asked
    /// about the masked text too, so that both masks hold.
    fn mask(&mut self, rules: &Rules<'_>, policy: &Loaded, new: String) {
        if self.shown == self.event.subject.content() {
            self.shown = new;
            return;
        }
        let mut masked = self.event.clone();
        masked.subject.set_content(std::mem::take(&mut self.shown));
        match ask_filter(rules.runtime, policy, &masked).result {
            Ok(Filtered::Replaced(both, _)) => self.shown = both,
            Ok(Filtered::Unchanged(_)) => masked.subject.content().clone_into(&mut self.shown),
            // Nothing is shown rather than too much.
            Ok(Filtered::Withhold(_)) | Err(_) => {}
        }
    }

    fn guard(&mut self, rules: &Rules<'_>, at: usize, policy: &Loaded) {
        if policy.spec.mode == Mode::Shadow {
            return self.note_shadow(at, Role::Guard);
        }
        let asked = ask_guard(rules.runtime, policy, &self.event, &self.earlier);
        let asked = asked.and_then(|answer| self.marks_fit(answer.findings(), policy).map(|()| answer));
        let outcome = asked.result.as_ref().map_or("fault", Verdict::as_str);
        let found = asked.result.as_ref().map_or(&[][..], Verdict::findings);
        self.step(policy, Role::Guard, outcome, found, &asked);
        let verdict = match asked.result {
            Ok(verdict) => verdict,
            Err(fault) => closed(&fault, policy),
        };
        let counts = policy.spec.mode == Mode::Enforce;
        if counts && !matches!(verdict, Verdict::Allow { .. }) {
            self.remember(verdict.findings());
            self.findings.extend_from_slice(verdict.findings());
            self.earlier.extend_from_slice(verdict.findings());
            self.verdicts.push(verdict);
        } else {
            self.note(verdict.findings().to_vec(), counts);
        }
    }

    fn withhold(&mut self, found: Vec<Finding>) {
        self.remember(&found);
        self.findings.extend_from_slice(&found);
        self.verdicts.push(Verdict::Deny { findings: found });
        self.shown.clear();
        self.withheld = true;
    }

    /// Findings that stop nothing.
    fn note(&mut self, found: Vec<Finding>, counts: bool) {
        self.findings.extend_from_slice(&found);
        if counts {
            self.remember(&found);
            self.earlier.extend_from_slice(&found);
            self.verdicts.push(Verdict::Allow { findings: found });
        }
    }

    fn remember(&mut self, found: &[Finding]) {
        let marks = found.iter().flat_map(|finding| &finding.marks);
        self.marks.extend(marks.map(|(name, value)| (name.clone(), value.clone())));
    }

    fn marks_fit(&self, found: &[Finding], policy: &Loaded) -> Result<(), Fault> {
        if policy.spec.mode != Mode::Enforce || found.iter().all(|finding| finding.marks.is_empty()) {
            return Ok(());
        }
        let mut all = self.event.task.marks.clone();
        all.extend(self.marks.clone());
        all.extend(found.iter().flat_map(|finding| finding.marks.clone()));
        all.retain(|_, value| !value.is_empty());
        if all.len() > answer::MAX_MARKS {
            return Err(Fault::new(FaultKind::Marks, format!("the task would carry more than {} marks", answer::MAX_MARKS)));
        }
        Ok(())
    }

    fn note_shadow(&mut self, policy: usize, role: Role) {
        self.shadows.push(ShadowQuestion { policy, role, event: self.event.clone(), earlier: self.earlier.clone() });
    }

    fn step<T>(&mut self, policy: &Loaded, role: Role, outcome: &str, found: &[Finding], asked: &Evaluated<T>) {
        self.steps.push(step(policy, role, outcome, found, asked));
    }

    fn finish(self, rules: &Rules<'_>, set: &ChainOf<'_>) -> (Judgment, Vec<ShadowQuestion>) {
        let verdict = verdict::combine(self.verdicts, rules.defaults);
        let judgment = Judgment::new(
            self.event,
            self.shown,
            self.input_sha256,
            set.generation,
            set.digest.to_owned(),
            self.steps,
            verdict,
            self.findings,
            self.marks,
        );
        (judgment, self.shadows)
    }
}

/// The record of one answer.
pub(super) fn step<T>(policy: &Loaded, role: Role, outcome: &str, found: &[Finding], asked: &Evaluated<T>) -> Step {
    Step {
        policy: policy.spec.name.clone(),
        digest: policy.spec.component.clone(),
        mode: policy.spec.mode,
        role: role.as_str().into(),
        outcome: outcome.into(),
        codes: found.iter().map(|finding| finding.code.clone()).collect(),
        fault: asked.result.as_ref().err().map(ToString::to_string),
        fuel: asked.fuel,
        micros: asked.micros,
    }
}

/// Asks a filter and checks its answer.
pub(super) fn ask_filter(runtime: &Runtime, policy: &Loaded, event: &Event) -> Evaluated<Filtered> {
    policy.guest.apply(runtime, event).and_then(|answer| answer::filtered(answer, event, &policy.codes))
}

/// Asks a guard and checks its answer.
pub(super) fn ask_guard(runtime: &Runtime, policy: &Loaded, event: &Event, earlier: &[Finding]) -> Evaluated<Verdict> {
    policy.guest.review(runtime, event, earlier).and_then(|answer| answer::verdict(answer, event, &policy.codes))
}

/// What a guard's fault means.
fn closed(fault: &Fault, policy: &Loaded) -> Verdict {
    let finding = fault.finding(&policy.spec.name);
    match policy.spec.closed {
        Closed::NeedsApproval if !fault.refused => Verdict::NeedsApproval(Demand {
            reason: format!("the policy '{}' gave no usable answer, so people decide", policy.spec.name),
            findings: vec![finding],
            approvals: Vec::new(),
            allow_requester: false,
            expires_after_s: 0,
        }),
        Closed::NeedsApproval | Closed::Deny => Verdict::Deny { findings: vec![finding] },
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::contract::Gate;
    use crate::policy::manifest::Place;

    #[test]
    fn every_gate_has_a_word_in_policies_toml() {
        for gate in Gate::ALL {
            let place = serde_json::to_value(Place::from(gate)).unwrap();
            assert_eq!(place, gate.as_str());
        }
    }
}
