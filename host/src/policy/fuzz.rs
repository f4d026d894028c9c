//! Answers of guests, and `policies.toml`: a malformed one is refused, never read as something weaker.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::answer;
use super::bindings::{self, Filtered, filter, wit};
use super::contract::{Caller, Demand, Effect, Event, Finding, Requirement, Subject, TaskFacts, ToolCallSubject, Verdict};
use super::manifest::{Closed, Manifest};
use super::verdict::{Defaults, combine};
use crate::fuzzing::Input;
use crate::gates::shown;

const CODES: [&str; 3] = ["ops.drop", "ops.delete", "x"];
const MAX_POLICIES: usize = 64;
const MAX_ERROR_BYTES: usize = 4_000;

/// An event and a guest's answer to it, as bytes.
pub fn verdict(data: &[u8]) {
    let mut input = Input::new(data);
    let event = event(&mut input);
    let codes: BTreeSet<String> = CODES.iter().map(|code| (*code).to_owned()).collect();
    if input.byte().is_multiple_of(4) {
        return filtered(&mut input, &event, &codes);
    }
    let answered = given_verdict(&mut input);
    let (denied, allowed) = (matches!(answered, wit::Verdict::Deny(_)), matches!(answered, wit::Verdict::Allow(_)));
    let read = bindings::verdict(answered);
    let text = serde_json::to_string(&read).expect("a verdict has a JSON form");
    assert_eq!(serde_json::from_str::<Verdict>(&text).expect("it reads back"), read);
    match answer::verdict(read.clone(), &event, &codes) {
        Ok(checked) => {
            assert_eq!(checked, read, "a check changes nothing");
            assert_eq!(matches!(checked, Verdict::Deny { .. }), denied);
            assert_eq!(matches!(checked, Verdict::Allow { .. }), allowed);
            assert!(allowed || !checked.findings().is_empty(), "who stops says why");
            checked.findings().iter().for_each(|finding| in_bounds(finding, &codes));
            if let Verdict::NeedsApproval(demand) = &checked {
                demanded(demand);
            }
            display(&event, checked.findings());
            never_weaker(checked);
        }
        Err(fault) => {
            assert_eq!(fault.refused, denied, "a broken refusal stays one");
            assert!(fault.detail.len() <= 310 && fault.finding("p").message.len() < 1_000, "{fault}");
        }
    }
}

fn event(input: &mut Input<'_>) -> Event {
    let subject = match input.byte() % 4 {
        0 => Subject::Prompt { text: input.text(), context: input.text() },
        1 => Subject::ToolCall(ToolCallSubject {
            id: "1".into(),
            tool: "shell".into(),
            arguments: input.text(),
            shell: Some(input.text()),
            paths: Vec::new(),
            sql: None,
        }),
        2 => Subject::ToolResult { call_id: "1".into(), tool: "shell".into(), content: input.text() },
        _ => Subject::Output { content: input.text() },
    };
    Event {
        id: "e".into(),
        time_ms: 0,
        seed: 0,
        seq: 0,
        tenant: "default".into(),
        caller: Caller::default(),
        task: TaskFacts::default(),
        subject,
    }
}

fn given_verdict(input: &mut Input<'_>) -> wit::Verdict {
    match input.byte() % 3 {
        0 => wit::Verdict::Allow(given_findings(input)),
        1 => wit::Verdict::Deny(given_findings(input)),
        _ => wit::Verdict::NeedsApproval(wit::Demand {
            findings: given_findings(input),
            approvals: (0..input.byte() % 20)
                .map(|_| wit::Requirement { role: input.text(), count: u32::from(input.byte()) })
                .collect(),
            allow_requester: input.byte() % 2 == 1,
            expires_after_s: input.number(),
            reason: input.text().repeat(usize::from(input.byte())),
        }),
    }
}

fn given_findings(input: &mut Input<'_>) -> Vec<wit::Finding> {
    // Now and then more than the host takes.
    let count: u16 = match input.byte() {
        255 => 513,
        few => u16::from(few % 5),
    };
    (0..count).map(|_| given_finding(input)).collect()
}

fn given_finding(input: &mut Input<'_>) -> wit::Finding {
    let code = match input.byte() {
        255 => input.text(),
        known => CODES[usize::from(known) % CODES.len()].to_owned(),
    };
    let wide = input.byte();
    let span = |input: &mut Input<'_>| match wide {
        255 => wit::Span { start: input.number(), end: input.number() },
        _ => wit::Span { start: u32::from(input.byte()), end: u32::from(input.byte()) },
    };
    wit::Finding {
        code,
        severity: input.pick(&[wit::Severity::Info, wit::Severity::High, wit::Severity::Critical]),
        effect: input.pick(&[wit::Effect::Delete, wit::Effect::Disclose, wit::Effect::None, wit::Effect::Other]),
        resource: (input.byte() % 2 == 1).then(|| wit::Resource {
            kind: input.text(),
            name: input.text(),
            environment: String::new(),
        }),
        reversible: wit::Reversible::Unknown,
        coverage: wit::Coverage::Partial,
        message: input.text().repeat(usize::from(input.byte())),
        spans: (0..input.byte() % 4).map(|_| span(input)).collect(),
        annotations: (0..input.byte() % 3)
            .map(|_| wit::Annotation {
                name: input.pick(&["span-of", "a"]).into(),
                value: input.pick(&["shell", "sql", "context", ""]).into(),
            })
            .collect(),
        marks: (0..input.byte() % 3).map(|_| wit::Mark { name: input.text(), value: input.text() }).collect(),
    }
}

fn filtered(input: &mut Input<'_>, event: &Event, codes: &BTreeSet<String>) {
    let given = match input.byte() % 3 {
        0 => filter::Filtered::Unchanged(given_findings(input)),
        1 => filter::Filtered::Replaced(filter::Replacement { content: input.text(), findings: given_findings(input) }),
        _ => filter::Filtered::Withhold(given_findings(input)),
    };
    let read = bindings::filtered(given);
    let withheld = matches!(read, Filtered::Withhold(_));
    match answer::filtered(read.clone(), event, codes) {
        Ok(checked) => {
            assert_eq!(checked, read, "a check changes nothing");
            if let (Filtered::Replaced(new, _), Subject::Output { .. }) = (&checked, &event.subject) {
                assert!(matches!(serde_json::from_str(new), Ok(serde_json::Value::Object(_))), "a result stays an object");
            }
        }
        Err(fault) => assert_eq!(fault.refused, withheld, "a broken refusal stays one"),
    }
}

fn in_bounds(finding: &Finding, codes: &BTreeSet<String>) {
    assert!(codes.contains(&finding.code) && finding.message.len() <= 8 << 10 && finding.marks.len() <= 64);
    assert!(finding.spans.len() <= 4_096 && finding.spans.iter().all(|(start, end)| start <= end));
    let back = bindings::finding(bindings::finding_in(finding));
    assert_eq!(&back, finding, "a later guest gets the finding as it is");
}

fn demanded(demand: &Demand) {
    assert!(demand.approvals.len() <= 16 && demand.reason.len() <= 8 << 10);
    assert!(demand.approvals.iter().all(|wanted| (1..=100).contains(&wanted.count) && !wanted.role.is_empty()));
}

/// What people are shown of the judged text: no span that discloses, and marks that lie inside it.
fn display(event: &Event, findings: &[Finding]) {
    let judged = event.subject.content();
    let [masked] = shown::masked([judged], &event.subject, judged, findings);
    assert!(masked.len() <= 9 * judged.len() + 100, "what is shown is bounded: {} of {}", masked.len(), judged.len());
    for (start, end, _) in shown::marked(&masked, &event.subject, findings) {
        assert!(masked.get(start as usize..end as usize).is_some(), "a mark lies outside of {masked:?}");
    }
    if masked.starts_with("[withheld: ") && masked != judged {
        return;
    }
    for finding in findings.iter().filter(|finding| finding.effect == Effect::Disclose) {
        let text = event.subject.spanned(finding);
        for (start, end) in &finding.spans {
            // Every whole character that the span touches.
            let (start, end) = (text.floor_char_boundary(*start as usize), text.ceil_char_boundary(*end as usize));
            let secret = &text[start..end];
            let kept = !secret.is_empty() && masked.split("[masked]").any(|piece| piece.contains(secret));
            assert!(!kept, "{secret:?} is shown in {masked:?}");
        }
    }
}

/// Whatever else a chain holds, a stop stays a stop.
fn never_weaker(checked: Verdict) {
    let defaults = Defaults { approvals: vec![Requirement { role: "approver".into(), count: 1 }], expires_after_s: 3_600 };
    let allow = || Verdict::Allow { findings: Vec::new() };
    let word = checked.as_str();
    let whole = combine([allow(), checked, allow()], &defaults);
    assert_eq!(whole.as_str(), word);
    if let Verdict::NeedsApproval(demand) = whole {
        assert!(!demand.approvals.is_empty() && demand.expires_after_s > 0, "somebody decides, and not for ever");
    }
}

/// The text of a `policies.toml`.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A byte order mark is one at the begin only, and has no place behind a comment.
    let text = text.trim_start_matches('\u{feff}');
    let parsed = Manifest::parse(text);
    assert_eq!(
        parsed,
        Manifest::parse(&format!("# a comment\n{text}")).map_err(|e| moved(e, &parsed)),
        "comments change nothing"
    );
    let manifest = match parsed {
        Ok(manifest) => manifest,
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() <= MAX_ERROR_BYTES, "an error of {} bytes", said.len());
            assert!(!said.chars().any(|c| c != '\n' && c.is_control()), "an error that acts on a terminal: {said:?}");
            return;
        }
    };
    let table: Table = text.parse().expect("it was read");
    let given = table.get("policy").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    assert!(manifest.policies.len() == given.len() && given.len() <= MAX_POLICIES, "no policy is lost, none made up");
    let names: BTreeSet<&str> = manifest.policies.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names.len(), manifest.policies.len(), "names are unique");
    for (entry, value) in manifest.policies.iter().zip(given) {
        let says = |key: &str, word: &str| value.get(key).and_then(Value::as_str) == Some(word);
        assert_eq!(value.get("name").and_then(Value::as_str), Some(entry.name.as_str()));
        assert!(!entry.name.is_empty() && entry.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        assert_eq!(
            entry.closed == Closed::NeedsApproval,
            says("closed", "needs-approval"),
            "closed is what was written, else deny"
        );
        let free = value.get("mode").is_none() || says("mode", "enforce");
        assert_eq!(entry.mode == super::Mode::Enforce, free, "a policy counts unless it says otherwise");
        let rewrites = value.get("may_rewrite").and_then(Value::as_bool) == Some(true);
        assert_eq!(entry.rewriting == super::Rewriting::Allowed, rewrites);
        assert!([entry.fuel, entry.timeout_ms, entry.memory_bytes].iter().flatten().all(|limit| *limit > 0));
        let pinned = value.get("sha256").is_some();
        assert_eq!(entry.sha256.is_some(), pinned, "a pin is never dropped");
    }
}

/// An error of the text one line further up.
fn moved(
    error: super::manifest::ManifestError,
    before: &Result<Manifest, super::manifest::ManifestError>,
) -> super::manifest::ManifestError {
    use super::manifest::ManifestError;
    match (error, before) {
        (ManifestError::Syntax(_), Err(ManifestError::Syntax(text))) => ManifestError::Syntax(text.clone()),
        (error, _) => error,
    }
}
