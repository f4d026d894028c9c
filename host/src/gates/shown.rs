//! What people and logs get to see of a judged text: exact, but for spans that disclose a secret.

use crate::policy::contract::{Effect, Finding};

const MASK: &str = "[masked]";

/// `content` with each span of a disclosing finding masked, and what is left of the other findings' spans, moved along.
/// A span that refers to another text (annotation `span-of`) is found by its words.
#[must_use]
pub fn mask(content: &str, judged: &str, findings: &[Finding]) -> (String, Vec<(u32, u32, String)>) {
    let secrets: Vec<&str> = findings
        .iter()
        .filter(|f| f.effect == Effect::Disclose)
        .flat_map(|f| f.spans.iter().filter_map(|s| slice(judged, *s)))
        .filter(|s| !s.is_empty())
        .collect();
    let masked = secrets.iter().fold(content.to_owned(), |text, secret| text.replace(secret, MASK));
    let marked = findings
        .iter()
        .filter(|f| f.effect != Effect::Disclose)
        .flat_map(|f| f.spans.iter().map(move |s| (s, f)))
        .filter_map(|(span, finding)| {
            let words = slice(content, *span)?;
            let start = masked.find(words)?;
            Some((u32::try_from(start).ok()?, u32::try_from(start + words.len()).ok()?, finding.code.clone()))
        })
        .collect();
    (masked, marked)
}

fn slice(text: &str, (start, end): (u32, u32)) -> Option<&str> {
    text.get(start as usize..end as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::contract::{Coverage, Reversible, Severity};

    fn finding(effect: Effect, span: (u32, u32)) -> Finding {
        Finding {
            code: "x".into(),
            severity: Severity::High,
            effect,
            resource: None,
            reversible: Reversible::Unknown,
            coverage: Coverage::Full,
            message: String::new(),
            spans: vec![span],
            annotations: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    #[test]
    fn a_secret_is_masked_and_other_marks_stay_on_their_words() {
        let text = "TOKEN=abc123 rm -rf data";
        let (masked, marked) = mask(text, text, &[finding(Effect::Disclose, (6, 12)), finding(Effect::Delete, (13, 24))]);
        assert_eq!(masked, "TOKEN=[masked] rm -rf data");
        let (start, end, _) = marked[0];
        assert_eq!(&masked[start as usize..end as usize], "rm -rf data");
    }
}
