//! Text that people decide on, shown exactly: findings marked, and characters that hide or reorder text made visible, so
//! that nobody approves something other than what would run.

use std::time::{Duration, Instant};

use maud::{Markup, html};
use similar::ChangeTag;

/// Time for all comparisons of one page; then they become coarser.
const DIFFERENCE_MS: u64 = 200;

/// When those that a page begins now must be done.
pub(super) fn deadline() -> Instant {
    Instant::now() + Duration::from_millis(DIFFERENCE_MS)
}

/// A stretch of the text, with the rule codes that mark it.
#[derive(Debug, PartialEq, Eq)]
struct Stretch<'a> {
    text: &'a str,
    codes: Vec<&'a str>,
}

/// The text with its marks.
pub(super) fn exact(text: &str, marked: &[(u32, u32, String)]) -> Markup {
    html! {
        pre.exact { code {
            @for stretch in stretches(text, marked) {
                @if stretch.codes.is_empty() { (visible(stretch.text)) }
                @else { mark title=(stretch.codes.join(", ")) { (visible(stretch.text)) } }
            }
        } }
    }
}

/// What became of a text, word by word.
pub(super) fn difference(before: &str, now: &str, deadline: Instant) -> Markup {
    let diff = similar::TextDiff::configure().deadline(deadline).diff_words(before, now);
    html! {
        pre.exact { code {
            @for change in diff.iter_all_changes() {
                @match change.tag() {
                    ChangeTag::Equal => (visible(change.value())),
                    ChangeTag::Delete => del { (visible(change.value())) },
                    ChangeTag::Insert => ins { (visible(change.value())) },
                }
            }
        } }
    }
}

/// Cuts the text where a mark begins or ends. A mark beyond the text, or within a character, is widened or cut to fit.
fn stretches<'a>(text: &'a str, marked: &'a [(u32, u32, String)]) -> Vec<Stretch<'a>> {
    let fitted: Vec<(usize, usize, &str)> = marked
        .iter()
        .map(|(from, to, code)| (floor(text, *from as usize), ceil(text, *to as usize), code.as_str()))
        .filter(|(from, to, _)| from < to)
        .collect();
    let mut cuts: Vec<usize> = fitted.iter().flat_map(|(from, to, _)| [*from, *to]).chain([0, text.len()]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2)
        .map(|cut| {
            let mut codes: Vec<&str> =
                fitted.iter().filter(|(from, to, _)| *from <= cut[0] && cut[1] <= *to).map(|(_, _, code)| *code).collect();
            codes.sort_unstable();
            codes.dedup();
            Stretch { text: &text[cut[0]..cut[1]], codes }
        })
        .collect()
}

fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

fn ceil(text: &str, at: usize) -> usize {
    text.ceil_char_boundary(at)
}

/// The text with its invisible characters named.
pub(super) fn visible(text: &str) -> Markup {
    let mut parts: Vec<Result<&str, char>> = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| hides(*c)) {
        parts.push(Ok(&text[start..at]));
        parts.push(Err(c));
        start = at + c.len_utf8();
    }
    parts.push(Ok(&text[start..]));
    html! {
        @for part in parts {
            @match part {
                Ok(plain) => (plain),
                Err(c) => span.hidden title="an invisible character" { (format!("U+{:04X}", u32::from(c))) },
            }
        }
    }
}

/// Whether a character shows nothing, or changes how its neighbours are shown. Spaces that are no space look like one.
fn hides(c: char) -> bool {
    let harmless = matches!(c, '\n' | '\t' | ' ');
    !harmless
        && (c.is_control()
            || c.is_whitespace()
            || matches!(c,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut<'a>(text: &'a str, marked: &'a [(u32, u32, String)]) -> Vec<(&'a str, String)> {
        stretches(text, marked).into_iter().map(|s| (s.text, s.codes.join("+"))).collect()
    }

    #[test]
    fn a_difference_shows_both_sides_word_by_word() {
        let shown = difference("rm -rf /a", "rm -rf /<b>", deadline()).into_string();
        assert!(shown.contains("<del>"), "{shown}");
        assert!(shown.contains("<ins>") && shown.contains("&lt;b&gt;"), "{shown}");
    }

    #[test]
    fn marks_may_overlap_and_lie() {
        let marks = [
            (0, 6, "A".to_owned()),
            (3, 9, "B".to_owned()),
            (8, 999, "A".to_owned()),
            (7, 7, "C".to_owned()),
            (50, 60, "D".to_owned()),
        ];
        let found = cut("rm -rf /data", &marks);
        let expected = [("rm ", "A"), ("-rf", "A+B"), (" /", "B"), ("d", "A+B"), ("ata", "A")];
        assert_eq!(found, expected.map(|(t, c)| (t, c.to_owned())));
        let within = [(1, 2, "A".to_owned())];
        assert_eq!(cut("é!", &within), [("é", "A".to_owned()), ("!", String::new())]);
        assert_eq!(cut("", &[]), []);
    }

    #[test]
    fn text_is_escaped_and_what_hides_is_named() {
        let shown = exact("<b>\u{202e}x\u{200b}\u{1b}[2J\u{a0}", &[(0, 3, "\"R\"".into())]).into_string();
        assert!(shown.contains("<mark title=\"&quot;R&quot;\">&lt;b&gt;</mark>"), "{shown}");
        for name in ["U+202E", "U+200B", "U+001B", "U+00A0"] {
            assert!(shown.contains(name), "{shown}");
        }
        assert!(!shown.contains('\u{202e}'));
    }
}
