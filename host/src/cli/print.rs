//! Printing for people: aligned tables, relative times, colours on a terminal. Everything that comes from a task is
//! cleaned first: a result must not be able to move the reader's cursor or retitle the window.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use super::context::CliError;
use crate::env;
use crate::task::Status;

const GAP: usize = 2;

/// Writes a line to standard output. A reader that went away ends the command quietly.
pub fn line(text: &str) -> Result<(), CliError> {
    raw(&format!("{text}\n"))
}

/// Writes text as it is.
pub fn raw(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::Failed(format!("cannot write: {e}"))),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes progress to standard error.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes one JSON document.
pub fn json(value: &Value) -> Result<(), CliError> {
    line(&serde_json::to_string_pretty(value).expect("a JSON value becomes text"))
}

/// Text without what a terminal would act on; line ends and tabs stay.
#[must_use]
pub fn clean(text: &str) -> String {
    // Besides the control characters: those that turn the direction of writing, and so hide what a command does.
    let acts = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

/// The same in one line, with at most `max` characters.
#[must_use]
pub fn short(text: &str, max: usize) -> String {
    let flat = clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= max { flat } else { flat.chars().take(max.saturating_sub(1)).chain(['…']).collect() }
}

/// A table with aligned columns; the last column is not padded. Cells may carry colour.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(visible(cell));
        }
    }
    let head: Vec<String> = head.iter().map(|h| paint(Colour::Dim, h)).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let last = row.len().saturating_sub(1);
        for (index, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if index < last {
                let pad = widths.get(index).copied().unwrap_or_default().saturating_sub(visible(cell)) + GAP;
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}

/// Characters that take a place on the screen: all but colour sequences of our own.
fn visible(cell: &str) -> usize {
    let mut count = 0;
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            let _ = chars.find(|c| *c == 'm');
        } else {
            count += 1;
        }
    }
    count
}

/// Colours with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// It went well.
    Good,
    /// Somebody must look.
    Attention,
    /// It went wrong.
    Bad,
    /// Of second rank.
    Dim,
}

/// Colours a text, on a terminal and without `NO_COLOR`.
#[must_use]
pub fn paint(colour: Colour, text: &str) -> String {
    let plain =
        std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    if plain || !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Good => "32",
        Colour::Attention => "33",
        Colour::Bad => "31",
        Colour::Dim => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// A status in its colour.
#[must_use]
pub fn status(status: Status) -> String {
    let colour = match status {
        Status::Completed => Colour::Good,
        Status::NeedsApproval | Status::InfoNeeded => Colour::Attention,
        Status::Failed | Status::TimedOut | Status::Cancelled | Status::Denied => Colour::Bad,
        Status::Queued | Status::Running => Colour::Dim,
    };
    paint(colour, status.as_str())
}

/// An instant (RFC 3339) as seen from now: `3 min ago`, `in 2 h`. Other text stays as it is.
#[must_use]
pub fn relative(instant: &str) -> String {
    relative_at(instant, env::now_ms())
}

fn relative_at(instant: &str, now_ms: env::Millis) -> String {
    let Ok(at) = time::OffsetDateTime::parse(instant, &time::format_description::well_known::Rfc3339) else {
        return clean(instant);
    };
    let away = at.unix_timestamp() - i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    let span = duration(away.unsigned_abs());
    match away {
        -4..=4 => "now".to_owned(),
        5.. => format!("in {span}"),
        _ => format!("{span} ago"),
    }
}

/// Seconds in the largest fitting unit.
#[must_use]
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let rows = vec![vec!["\u{1b}[32mok\u{1b}[0m".to_owned(), "x".into()], vec!["longer".into(), "y".into()]];
        assert_eq!(table(&["A", "B"], &rows), "A       B\n\u{1b}[32mok\u{1b}[0m      x\nlonger  y\n");
    }

    #[test]
    fn nothing_from_a_task_reaches_the_terminal_as_a_command() {
        assert_eq!(clean("a\u{1b}[2J\u{7}\tb\n\u{202e}c"), "a\u{fffd}[2J\u{fffd}\tb\n\u{fffd}c");
        assert_eq!(short("one\n  two three", 8), "one two…");
    }

    #[test]
    fn times_are_told_from_now() {
        let now = 1_000_000_000_000;
        let at = |s: u64| env::rfc3339(s * 1_000);
        assert_eq!(relative_at(&at(1_000_000_000), now), "now");
        assert_eq!(relative_at(&at(1_000_000_000 - 200), now), "3 min ago");
        assert_eq!(relative_at(&at(1_000_000_000 + 86_400), now), "in 24 h");
        assert_eq!(relative_at("soon", now), "soon");
    }
}
