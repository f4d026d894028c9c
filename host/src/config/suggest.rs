//! From a mistyped word to the one that was meant.

/// Below this similarity (0 to 1) a suggestion would confuse more than help.
const MIN_SIMILARITY: f64 = 0.7;

/// `: did you mean 'X'?`, or nothing.
pub(super) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!(": did you mean '{candidate}'?"))
        .unwrap_or_default()
}

/// Words between backticks.
fn ticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Rewords what the TOML reader says of an unknown key; other messages stay.
pub(super) fn reword(message: &str) -> String {
    if !message.starts_with("unknown field") {
        return message.lines().next().unwrap_or_default().to_owned();
    }
    let mut words = ticked(message);
    let unknown = words.next().unwrap_or_default();
    let known: Vec<&str> = words.collect();
    let hint = closest(unknown, known.iter().copied());
    if hint.is_empty() {
        format!("unknown key '{unknown}': this table knows {}", known.join(", "))
    } else {
        format!("unknown key '{unknown}'{hint}")
    }
}
