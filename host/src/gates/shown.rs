//! What people and logs get to see of a judged subject: exact, but for what a policy found to disclose a secret.
//!
//! A policy names a secret by its place in the text that it judged. People read other forms of that text: of a tool call
//! the command, which stands in the judged arguments as a JSON string. So a secret is looked for by its words: as written,
//! as JSON decodes them and as it encodes them. Where none of these is found, nothing is shown.

use std::collections::BTreeSet;

use crate::policy::contract::{Demand, Effect, Finding, Subject};

const MASK: &str = "[masked]";
/// Stands for texts with a secret in them that was not found again.
const WITHHELD: &str = "[withheld: it holds a secret that cannot be masked in place]";
/// A line of a secret that is at least this long is masked by itself too, bytes: shorter ones are ordinary words.
const LINE_BYTES: usize = 12;
/// Different forms of secrets that are looked for in one subject; where there are more, it is withheld.
const MAX_FORMS: usize = 2_048;
/// Places of other findings that are looked for.
const MAX_MARKED: usize = 4_096;

/// Texts that together show one subject, without the secrets that `findings` disclose. `screened` is what filters left of
/// it: where it is still what was judged, every secret must be found in one of the texts, or all of them are withheld.
#[must_use]
pub fn masked<const N: usize>(texts: [&str; N], subject: &Subject, screened: &str, findings: &[Finding]) -> [String; N] {
    let withheld = || texts.map(|_| WITHHELD.to_owned());
    let Some(secrets) = secrets(subject, findings) else { return withheld() };
    let Some(forms) = distinct(secrets.iter().flat_map(Secret::forms)) else { return withheld() };
    let placed = || {
        disclosing(findings).all(|f| words(f, subject).next().is_some())
            && secrets.iter().all(|s| texts.iter().any(|t| s.is_in(t)))
    };
    if screened == subject.content() && !placed() {
        return withheld();
    }
    texts.map(|text| hidden(text, &forms))
}

/// A demand as people and logs may see it: what a policy says of a call, and what it names as its target, may repeat a
/// secret that stands in the call.
#[must_use]
pub fn demand(demand: &Demand, subject: &Subject, findings: &[Finding]) -> Demand {
    let secrets = secrets(subject, findings);
    let forms = secrets.as_ref().and_then(|secrets| distinct(secrets.iter().flat_map(Secret::forms)));
    let hide = |text: &mut String| *text = forms.as_ref().map_or_else(|| WITHHELD.to_owned(), |forms| hidden(text, forms));
    let mut seen = demand.clone();
    hide(&mut seen.reason);
    for finding in &mut seen.findings {
        hide(&mut finding.message);
        if let Some(resource) = &mut finding.resource {
            hide(&mut resource.name);
            hide(&mut resource.environment);
        }
    }
    seen
}

/// What findings disclose, each once; `None` where there is more than the host looks for.
fn secrets(subject: &Subject, findings: &[Finding]) -> Option<Vec<Secret>> {
    let named = distinct(disclosing(findings).flat_map(|f| words(f, subject)))?;
    Some(named.into_iter().map(Secret::new).collect())
}

/// Where the words that the other findings are about stand in `content`: byte ranges, each with its rule code.
#[must_use]
pub fn marked(content: &str, subject: &Subject, findings: &[Finding]) -> Vec<(u32, u32, String)> {
    findings
        .iter()
        .filter(|f| f.effect != Effect::Disclose)
        .flat_map(|f| words(f, subject).map(move |words| (words, f)))
        .take(MAX_MARKED)
        .filter_map(|(words, finding)| {
            let start = content.find(words)?;
            Some((u32::try_from(start).ok()?, u32::try_from(start + words.len()).ok()?, finding.code.clone()))
        })
        .collect()
}

/// Each word once; `None` where there are more than the host looks for.
fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Option<BTreeSet<&'a str>> {
    let mut found = BTreeSet::new();
    for word in words {
        found.insert(word);
        if found.len() > MAX_FORMS {
            return None;
        }
    }
    Some(found)
}

fn disclosing(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|f| f.effect == Effect::Disclose)
}

/// What a finding's spans cover, in whole characters: a policy that counts otherwise covers one more, never one less.
fn words<'a>(finding: &'a Finding, subject: &'a Subject) -> impl Iterator<Item = &'a str> {
    let text = subject.spanned(finding);
    let whole = |(start, end): &(u32, u32)| (text.floor_char_boundary(*start as usize), text.ceil_char_boundary(*end as usize));
    finding.spans.iter().map(whole).filter_map(|(start, end)| text.get(start..end)).filter(|words| !words.is_empty())
}

/// One mask for each run of secrets, all found before any is masked: those that overlap leave no rest, and no mask is
/// looked through.
fn hidden(text: &str, forms: &BTreeSet<&str>) -> String {
    let mut found: Vec<(usize, usize)> =
        forms.iter().flat_map(|form| text.match_indices(form).map(|(at, words)| (at, at + words.len()))).collect();
    found.sort_unstable();
    let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
    for (start, end) in found {
        if start >= done {
            shown.push_str(&text[done..start]);
            shown.push_str(MASK);
        }
        done = done.max(end);
    }
    shown.push_str(&text[done..]);
    shown
}

/// A secret in each form that it may be read in.
struct Secret {
    whole: Vec<String>,
    lines: Vec<String>,
}

impl Secret {
    fn new(words: &str) -> Self {
        let decoded = serde_json::from_str::<String>(&format!("\"{words}\"")).ok();
        let quoted = serde_json::Value::from(words).to_string();
        let encoded = quoted[1..quoted.len() - 1].to_owned();
        // Decoded, `\"\"` is no words at all.
        let whole: Vec<String> =
            [Some(words.to_owned()), decoded, Some(encoded)].into_iter().flatten().filter(|form| !form.is_empty()).collect();
        let lines = whole.iter().flat_map(|form| form.lines()).filter(|line| line.len() >= LINE_BYTES);
        Self { lines: lines.map(str::to_owned).collect(), whole }
    }

    fn is_in(&self, text: &str) -> bool {
        self.whole.iter().any(|form| text.contains(form))
    }

    fn forms(&self) -> impl Iterator<Item = &str> {
        self.whole.iter().chain(&self.lines).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::policy::contract::{Coverage, Resource, Reversible, Severity, ToolCallSubject};

    fn finding(effect: Effect, of: &str, words: &str, text: &str) -> Finding {
        let start = text.find(words).expect("the words are in the text");
        let span = (u32::try_from(start).expect("short"), u32::try_from(start + words.len()).expect("short"));
        let annotations = if of.is_empty() { BTreeMap::new() } else { BTreeMap::from([("span-of".into(), of.into())]) };
        Finding {
            code: "x".into(),
            severity: Severity::High,
            effect,
            resource: None,
            reversible: Reversible::Unknown,
            coverage: Coverage::Full,
            message: String::new(),
            spans: vec![span],
            annotations,
            marks: BTreeMap::new(),
        }
    }

    fn shell(command: &str) -> (Subject, String) {
        let arguments = json!({ "command": command }).to_string();
        let call = ToolCallSubject {
            tool: "shell".into(),
            arguments: arguments.clone(),
            shell: Some(command.to_owned()),
            ..ToolCallSubject::default()
        };
        (Subject::ToolCall(call), arguments)
    }

    #[test]
    fn a_secret_is_masked_and_other_marks_stay_on_their_words() {
        let command = "TOKEN=abc123 rm -rf data";
        let (call, arguments) = shell(command);
        let findings =
            [finding(Effect::Disclose, "", "abc123", &arguments), finding(Effect::Delete, "shell", "rm -rf data", command)];
        let [content] = masked([command], &call, &arguments, &findings);
        assert_eq!(content, "TOKEN=[masked] rm -rf data");
        let (start, end, _) = marked(&content, &call, &findings)[0];
        assert_eq!(&content[start as usize..end as usize], "rm -rf data");
    }

    #[test]
    fn what_a_policy_says_of_a_call_repeats_no_secret_of_it() {
        let command = "rm -rf /srv/x abc123-secret";
        let (call, arguments) = shell(command);
        let mut delete = finding(Effect::Delete, "shell", "rm -rf", command);
        delete.message = "abc123-secret would be deleted".into();
        let resource = Resource { kind: "path".into(), name: "/srv/x abc123-secret".into(), environment: String::new() };
        delete.resource = Some(resource);
        let asked = Demand {
            findings: vec![delete],
            approvals: Vec::new(),
            allow_requester: false,
            expires_after_s: 0,
            reason: "it names abc123-secret".into(),
        };
        let seen = demand(&asked, &call, &[finding(Effect::Disclose, "", "abc123-secret", &arguments)]);
        assert!(!format!("{seen:?}").contains("abc123"), "{seen:?}");
        assert_eq!(seen.findings[0].resource.as_ref().map(|r| r.name.as_str()), Some("/srv/x [masked]"));
        assert_eq!(demand(&asked, &call, &[]), asked);
    }

    #[test]
    fn a_secret_with_escapes_is_masked_in_the_decoded_command() {
        let key = "-----BEGIN KEY-----\nc2VjcmV0LXNlY3JldA\n\"quoted\\\n-----END KEY-----";
        let command = format!("echo '{key}' > id; head -2 <<< 'c2VjcmV0LXNlY3JldA'; rm -rf /srv");
        let (call, arguments) = shell(&command);
        let encoded = serde_json::Value::from(key).to_string();
        let [content, raw] = masked(
            [&command, &arguments],
            &call,
            &arguments,
            &[finding(Effect::Disclose, "", encoded.trim_matches('"'), &arguments)],
        );
        assert_eq!(content, "echo '[masked]' > id; head -2 <<< '[masked]'; rm -rf /srv");
        assert_eq!(raw, r#"{"command":"echo '[masked]' > id; head -2 <<< '[masked]'; rm -rf /srv"}"#);
    }

    #[test]
    fn a_secret_found_in_the_command_is_masked_in_the_arguments() {
        let command = "export P='a\"b\\c-long-enough'";
        let (call, arguments) = shell(command);
        let found = finding(Effect::Disclose, "shell", "a\"b\\c-long-enough", command);
        let [raw] = masked([&arguments], &call, &arguments, &[found]);
        assert_eq!(raw, r#"{"command":"export P='[masked]'"}"#);
    }

    #[test]
    fn a_secret_that_is_not_found_again_withholds_the_text() {
        let (call, arguments) = shell("deploy hunter2");
        let found = finding(Effect::Disclose, "", "hunter2", &arguments);
        assert_eq!(masked(["deploy"], &call, &arguments, std::slice::from_ref(&found)), [WITHHELD]);
        assert_eq!(masked(["deploy", "hunter2"], &call, &arguments, std::slice::from_ref(&found)), ["deploy", MASK]);
        // A filter has cut it out before.
        assert_eq!(masked(["deploy ***"], &call, "deploy ***", std::slice::from_ref(&found)), ["deploy ***"]);
        for spans in [Vec::new(), vec![(3, 3)]] {
            let nowhere = Finding { spans, ..found.clone() };
            assert_eq!(masked(["deploy hunter2"], &call, &arguments, &[nowhere]), [WITHHELD]);
        }
    }

    fn shown_without(text: &str, spans: &[(u32, u32)]) -> String {
        let subject = Subject::Output { content: text.to_owned() };
        let disclosing = |span: &(u32, u32)| Finding { spans: vec![*span], ..finding(Effect::Disclose, "", "", text) };
        let [shown] = masked([text], &subject, text, &spans.iter().map(disclosing).collect::<Vec<_>>());
        shown
    }

    #[test]
    fn secrets_leave_no_rest_and_masks_do_not_grow() {
        assert_eq!(shown_without("abcdefghi tail", &[(0, 6), (3, 9)]), "[masked] tail", "they overlap");
        assert_eq!(shown_without("a中b", &[(2, 3)]), "a[masked]b", "the span lies inside of a character");
        assert_eq!(shown_without("ma", &[(0, 1), (1, 2)].repeat(40)), "[masked][masked]", "a mask is none of the words");
        let text: String = (0..3_000_u32).filter_map(|n| char::from_u32(0x4e00 + n)).collect();
        let many: Vec<(u32, u32)> = (0..3_000).map(|n| (n * 3, n * 3 + 3)).collect();
        assert!(shown_without(&text, &many) == WITHHELD, "too many to look for");
        let often = [vec![(0, 1); 3_000], vec![(2, 3)]].concat();
        assert_eq!(shown_without("a-b", &often), "[masked]-[masked]", "one that is named often counts once");
    }
}
