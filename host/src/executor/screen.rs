//! The terminal's model: what is on the screen, and what a terminal answers. No IO.
//!
//! Answers come in the order of the bytes that ask: device status and the true cursor (DSR), device attributes (DA1,
//! DA2), mode questions (DECRQM), colours (OSC 10, 11), program status (OSC 7501). Kitty's keyboard question and
//! XTVERSION stay unanswered: silence means "not supported".

#[cfg(any(test, fuzzing))]
mod cells;
mod conceal;
mod draw;
#[cfg(test)]
mod looks;
mod model;
mod obey;

use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::term::{MIN_COLUMNS, MIN_SCREEN_LINES};
use alacritty_terminal::vte::ansi::Processor;
use base64::Engine as _;

use super::mask::Rules;
use model::{AtOnce, Model};

/// Longest title kept.
const TITLE_CHARS: usize = 192;
/// Longest status message kept.
const MESSAGE_CHARS: usize = 512;
const FOREGROUND: &str = "rgb:d0d0/d0d0/d0d0";
const BACKGROUND: &str = "rgb:1010/1010/1010";
const ESC: u8 = 0x1b;
/// Printable characters in a row from which they are written at once.
const RUN: usize = 6;
/// DECXCPR, which the parser does not know.
const ASKS_CURSOR: &[u8] = b"\x1b[?6n";

/// What the program says about itself (OSC 0, 2, 7501). Anything in the terminal can print it: for display only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Display {
    /// Window title.
    pub title: String,
    /// `idle`, `working`, `blocked`, `done`, `error`, or empty.
    pub state: String,
    /// What it says it is doing.
    pub message: String,
    /// From 0 to 100.
    pub progress: Option<u8>,
}

/// A screen that can be drawn from nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Position in the stream: output with a higher number follows it.
    pub seq: u64,
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
    /// Terminal bytes that draw it on a fresh terminal, modes included.
    pub bytes: Vec<u8>,
    /// What the program says about itself.
    pub display: Display,
}

/// The model.
pub(super) struct Screen {
    model: Model,
    parser: Processor<AtOnce>,
    display: Display,
    /// Whether it was fed a part of a character or a sequence: then all of it passes the parser.
    cut: bool,
}

impl Screen {
    pub(super) fn new(columns: u16, rows: u16) -> Self {
        let model = Model::new(usize::from(columns).max(MIN_COLUMNS), usize::from(rows).max(MIN_SCREEN_LINES));
        Self { model, parser: Processor::new(), display: Display::default(), cut: false }
    }

    /// Takes whole characters and whole sequences in, as `Strip` leaves them; what is to be answered waits in
    /// `take_replies`.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let (mut rest, mut at) = (bytes, 0);
        while at < rest.len() {
            let here = &rest[at..];
            let printable = here.iter().take_while(|b| matches!(b, b' '..=b'~')).count();
            if printable >= RUN && !self.cut {
                self.parser.advance(&mut self.model, &rest[..at]);
                // The last one passes the parser, which repeats it when it is told to.
                rest = self.print(&here[..printable - 1], &here[printable - 1..]);
                at = 1;
            } else if printable > 0 {
                at += printable;
            } else if here.starts_with(b"\x1b]") || here.starts_with(ASKS_CURSOR) {
                self.parser.advance(&mut self.model, &rest[..at]);
                (rest, at) = (self.answer(here), 0);
            } else {
                let whole = piece(here);
                self.cut |= whole.is_none();
                at += whole.unwrap_or(1);
            }
        }
        self.parser.advance(&mut self.model, rest);
    }

    /// Writes printable ASCII, most of it without the parser; returns `after`.
    fn print<'a>(&mut self, text: &[u8], after: &'a [u8]) -> &'a [u8] {
        let mut rest = text;
        while !rest.is_empty() {
            let printed = self.model.print(rest);
            rest = &rest[printed..];
            let own = usize::from(printed == 0);
            self.parser.advance(&mut self.model, &rest[..own]);
            rest = &rest[own..];
        }
        after
    }

    /// Height.
    pub(super) fn rows(&self) -> u16 {
        u16::try_from(self.model.term.screen_lines()).unwrap_or(u16::MAX)
    }

    /// Hides the secrets that stand on the screen, in the model itself; returns how many there were.
    pub(super) fn conceal(&mut self, rules: &Rules) -> u64 {
        conceal::conceal(&mut self.model, rules)
    }

    /// What the terminal answers.
    pub(super) fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.model.replies)
    }

    /// What the program says about itself.
    pub(super) fn display(&self) -> &Display {
        &self.display
    }

    /// The visible text.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        let rows: Vec<String> = self.cells().iter().map(|row| row.iter().map(|(text, _)| text.as_str()).collect()).collect();
        let rows: Vec<&str> = rows.iter().map(|row: &String| row.trim_end()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// The screen as bytes for a fresh terminal.
    pub(super) fn snapshot(&mut self, seq: u64) -> Snapshot {
        let columns = u16::try_from(self.model.term.columns()).unwrap_or(u16::MAX);
        Snapshot { seq, columns, rows: self.rows(), bytes: draw::draw(&mut self.model), display: self.display.clone() }
    }

    /// Answers the sequence at the begin of `bytes`, which is one of `own_sequence`; returns what follows it.
    fn answer<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if let Some(rest) = bytes.strip_prefix(ASKS_CURSOR) {
            let (line, column) = self.model.cursor();
            self.model.reply(&format!("\x1b[?{line};{column};1R"));
            return rest;
        }
        let end = bytes.windows(2).position(|pair| pair == b"\x1b\\").map_or(bytes.len(), |at| at + 2);
        let (whole, rest) = bytes.split_at(end);
        let osc = whole.strip_prefix(b"\x1b]").and_then(|osc| osc.strip_suffix(b"\x1b\\")).unwrap_or_default();
        if !self.osc(osc) {
            self.parser.advance(&mut self.model, whole);
        }
        rest
    }

    /// Does what is ours; false for what the model is to do.
    fn osc(&mut self, osc: &[u8]) -> bool {
        let (number, text) = osc.iter().position(|b| *b == b';').map_or((osc, &[][..]), |at| (&osc[..at], &osc[at + 1..]));
        match (number, text) {
            (b"0" | b"2", title) => self.display.title = printable(title, TITLE_CHARS),
            (b"10", b"?" | b"?;?") => {
                self.model.reply(&format!("\x1b]10;{FOREGROUND}\x1b\\"));
                if text.len() > 1 {
                    self.model.reply(&format!("\x1b]11;{BACKGROUND}\x1b\\"));
                }
            }
            (b"11", text) if text.starts_with(b"?") => self.model.reply(&format!("\x1b]11;{BACKGROUND}\x1b\\")),
            (b"7501", b"?") => self.model.reply("\x1b]7501;?\x1b\\"),
            (b"7501", report) => self.status(report),
            (b"4" | b"8" | b"10" | b"11" | b"12" | b"104" | b"110" | b"111" | b"112", text) => {
                return text.contains(&b'?') && number != b"8";
            }
            _ => {}
        }
        true
    }

    fn status(&mut self, report: &[u8]) {
        let mut display = Display { title: std::mem::take(&mut self.display.title), ..Display::default() };
        for pair in report.split(|b| *b == b':') {
            let Some((key, value)) = std::str::from_utf8(pair).ok().and_then(|p| p.split_once('=')) else { continue };
            match key {
                "state" if matches!(value, "idle" | "working" | "blocked" | "done" | "error") => display.state = value.into(),
                "progress" => display.progress = value.parse().ok().filter(|p| *p <= 100),
                "msg" => {
                    let decoded = base64::engine::general_purpose::STANDARD.decode(value).unwrap_or_default();
                    display.message = printable(&decoded, MESSAGE_CHARS);
                }
                _ => {}
            }
        }
        self.display = display;
    }
}

/// Length of the control, the characters that are no ASCII, or the sequence at the begin of `bytes`; `None` where they are
/// not whole.
fn piece(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x80..=0xff, ..] => {
            let length = bytes.iter().position(u8::is_ascii).unwrap_or(bytes.len());
            std::str::from_utf8(&bytes[..length]).is_ok().then_some(length)
        }
        [ESC, b'[', rest @ ..] => {
            let end = rest.iter().position(|b| !matches!(b, 0x20..=0x3f))?;
            matches!(rest[end], 0x40..=0x7e).then_some(end + 3)
        }
        [ESC, rest @ ..] => {
            let end = rest.iter().position(|b| !matches!(b, 0x20..=0x2f))?;
            matches!(rest[end], 0x30..=0x7e).then_some(end + 2)
        }
        _ => Some(1),
    }
}

fn printable(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &str) -> String {
        let mut screen = Screen::new(120, 40);
        screen.feed(input.as_bytes());
        String::from_utf8(screen.take_replies()).expect("text").replace('\x1b', "^")
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        assert_eq!(answers("\x1b[c"), "^[?62;22c");
        assert_eq!(answers("\x1b[5n"), "^[0n");
        assert_eq!(answers("ab\r\ncde\x1b[6n\x1b[c"), "^[2;4R^[?62;22c");
        assert_eq!(answers(&format!("{}\x1b[6n", "x".repeat(120))), "^[1;120R");
        assert_eq!(answers("\x1b[?2004h\x1b[?2004$p\x1b[?1049$p\x1b[?31337$p"), "^[?2004;1$y^[?1049;2$y^[?31337;0$y");
        assert_eq!(answers("\x1b]11;?\x1b\\\x1b]10;?\x1b\\"), "^]11;rgb:1010/1010/1010^\\^]10;rgb:d0d0/d0d0/d0d0^\\");
        assert_eq!(answers("\x1b]7501;?\x1b\\\x1b[c"), "^]7501;?^\\^[?62;22c");
        assert_eq!(answers("\x1b[>0q\x1b[?u"), "");
    }

    #[test]
    fn a_program_that_only_asks_gets_a_bounded_answer() {
        assert!(answers(&"\x1b[6n".repeat(100_000)).len() <= 16 * 1024 + 1);
    }

    #[test]
    fn a_snapshot_draws_the_same_screen_with_its_modes() {
        let mut screen = Screen::new(40, 5);
        screen.feed(b"\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[3;7H\x1b[1;32mgreen\x1b[0m\xe2\x9c\x93");
        let snapshot = screen.snapshot(3);
        let mut copy = Screen::new(snapshot.columns, snapshot.rows);
        copy.feed(&snapshot.bytes);
        assert_eq!((copy.cells(), copy.state()), (screen.cells(), screen.state()));
    }

    #[test]
    fn program_status_is_kept_for_display() {
        let mut screen = Screen::new(40, 5);
        screen.feed(b"\x1b]2;my title\x1b\\\x1b]7501;state=working:progress=40:msg=d3JpdGluZw==:app=x\x1b\\");
        let expected =
            Display { title: "my title".into(), state: "working".into(), message: "writing".into(), progress: Some(40) };
        assert_eq!(screen.display(), &expected);
    }
}
