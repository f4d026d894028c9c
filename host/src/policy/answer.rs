//! Whether a guest's answer keeps the contract. What does not is a fault, as if there were no answer.

use std::collections::BTreeSet;

use super::bindings::Filtered;
use super::contract::{Event, Finding, Gate, Subject, Verdict};
use super::fault::{Fault, FaultKind};

const MAX_FINDINGS: usize = 512;
const MAX_CODE_BYTES: usize = 128;
const MAX_MESSAGE_BYTES: usize = 8 << 10;
const MAX_NAME_BYTES: usize = 4 << 10;
const MAX_SPANS: usize = 4_096;
const MAX_ANNOTATIONS: usize = 64;
const MAX_REQUIREMENTS: usize = 16;
const MAX_COUNT: u32 = 100;
/// Bounds of the contract.
pub(super) const MAX_MARKS: usize = 64;
const MAX_MARK_NAME_BYTES: usize = 64;
const MAX_MARK_VALUE_BYTES: usize = 256;

/// A guard's verdict, checked.
pub(super) fn verdict(verdict: Verdict, event: &Event, codes: &BTreeSet<String>) -> Result<Verdict, Fault> {
    let refused = matches!(verdict, Verdict::Deny { .. });
    let checked = findings(verdict.findings(), &event.subject, codes).and_then(|()| match &verdict {
        Verdict::Allow { .. } => Ok(()),
        Verdict::Deny { findings } => some(findings, "a deny"),
        Verdict::NeedsApproval(demand) => {
            some(&demand.findings, "a demand")?;
            bounded("the reason", &demand.reason, MAX_MESSAGE_BYTES)?;
            if demand.approvals.len() > MAX_REQUIREMENTS {
                return Err(invalid(format!("a demand of more than {MAX_REQUIREMENTS} requirements")));
            }
            demand.approvals.iter().try_for_each(|wanted| match wanted.count {
                1..=MAX_COUNT if !wanted.role.is_empty() && wanted.role.len() <= MAX_CODE_BYTES => Ok(()),
                count => Err(invalid(format!("a demand of {count} people of the role '{}'", wanted.role))),
            })
        }
    });
    match checked {
        Ok(()) => Ok(verdict),
        Err(fault) if refused => Err(fault.of_refusal()),
        Err(fault) => Err(fault),
    }
}

/// A filter's answer, checked. What replaces a result must still be one.
pub(super) fn filtered(answer: Filtered, event: &Event, codes: &BTreeSet<String>) -> Result<Filtered, Fault> {
    let (found, refused) = match &answer {
        Filtered::Unchanged(found) | Filtered::Replaced(_, found) => (found, false),
        Filtered::Withhold(found) => (found, true),
    };
    let checked = findings(found, &event.subject, codes).and_then(|()| match &answer {
        Filtered::Unchanged(_) => Ok(()),
        Filtered::Withhold(found) => some(found, "withholding"),
        Filtered::Replaced(new, _) => well_formed(new, event.gate()),
    });
    match checked {
        Ok(()) => Ok(answer),
        Err(fault) if refused => Err(fault.of_refusal()),
        Err(fault) => Err(fault),
    }
}

fn well_formed(new: &str, gate: Gate) -> Result<(), Fault> {
    match gate {
        Gate::Prompt | Gate::ToolResult => Ok(()),
        Gate::ToolCall => {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(new);
            parsed.map(drop).map_err(|_| invalid("arguments that are not JSON".into()))
        }
        Gate::Output => {
            let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(new);
            parsed.map(drop).map_err(|_| invalid("a result that is not a JSON object".into()))
        }
    }
}

fn findings(found: &[Finding], subject: &Subject, codes: &BTreeSet<String>) -> Result<(), Fault> {
    if found.len() > MAX_FINDINGS {
        return Err(invalid(format!("more than {MAX_FINDINGS} findings")));
    }
    found.iter().try_for_each(|finding| one(finding, subject, codes))
}

fn one(finding: &Finding, subject: &Subject, codes: &BTreeSet<String>) -> Result<(), Fault> {
    let code = &finding.code;
    if !codes.contains(code) {
        let shown: String = code.chars().take(MAX_CODE_BYTES).flat_map(char::escape_default).collect();
        return Err(invalid(format!("a finding '{shown}' that its description does not list")));
    }
    bounded("a message", &finding.message, MAX_MESSAGE_BYTES)?;
    if let Some(resource) = &finding.resource {
        for text in [&resource.kind, &resource.name, &resource.environment] {
            bounded("a resource", text, MAX_NAME_BYTES)?;
        }
    }
    if finding.annotations.len() > MAX_ANNOTATIONS || finding.spans.len() > MAX_SPANS {
        return Err(invalid(format!("a finding '{code}' with too many annotations or spans")));
    }
    for (name, value) in &finding.annotations {
        bounded("an annotation", name, MAX_CODE_BYTES)?;
        bounded("an annotation", value, MAX_NAME_BYTES)?;
    }
    marks(finding)?;
    let text = subject.spanned(finding);
    let outside = |(start, end): &(u32, u32)| start > end || *end as usize > text.len();
    match finding.spans.iter().find(|span| outside(span)) {
        Some((start, end)) => Err(invalid(format!("a finding '{code}' at {start}..{end} of {} bytes", text.len()))),
        None => Ok(()),
    }
}

fn marks(finding: &Finding) -> Result<(), Fault> {
    if finding.marks.len() > MAX_MARKS {
        return Err(invalid(format!("a finding with more than {MAX_MARKS} marks")));
    }
    finding.marks.iter().try_for_each(|(name, value)| {
        if name.is_empty() || name.len() > MAX_MARK_NAME_BYTES || value.len() > MAX_MARK_VALUE_BYTES {
            return Err(invalid(format!(
                "a mark outside of its bounds: a name of 1 to {MAX_MARK_NAME_BYTES} bytes, a value of at most {MAX_MARK_VALUE_BYTES}"
            )));
        }
        Ok(())
    })
}

fn some(findings: &[Finding], what: &str) -> Result<(), Fault> {
    if findings.is_empty() { Err(invalid(format!("{what} without a finding that says why"))) } else { Ok(()) }
}

fn bounded(what: &str, text: &str, most: usize) -> Result<(), Fault> {
    if text.len() > most { Err(invalid(format!("{what} of {} bytes, where {most} are the limit", text.len()))) } else { Ok(()) }
}

fn invalid(detail: String) -> Fault {
    Fault::new(FaultKind::InvalidAnswer, detail)
}
