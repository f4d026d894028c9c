//! The terminal's model: what is on the screen, and what a terminal answers. No IO.
//!
//! Answers come in the order of the bytes that ask: device status and the true cursor (DSR), device attributes (DA1,
//! DA2), mode questions (DECRQM), colours (OSC 10, 11), program status (OSC 7501). Kitty's keyboard question and
//! XTVERSION stay unanswered: silence means "not supported".

use std::num::NonZeroU16;

use base64::Engine as _;

/// Most bytes of answers that wait to be written; a program that asks without reading gets no more.
const REPLY_BYTES: usize = 16 * 1024;
/// Longest title kept.
const TITLE_CHARS: usize = 192;
/// Longest status message kept.
const MESSAGE_CHARS: usize = 512;
const FOREGROUND: &str = "rgb:d0d0/d0d0/d0d0";
const BACKGROUND: &str = "rgb:1010/1010/1010";

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
    parser: vt100::Parser<Answers>,
}

#[derive(Default)]
struct Answers {
    replies: Vec<u8>,
    display: Display,
}

impl Screen {
    pub(super) fn new(columns: u16, rows: u16) -> Self {
        let size = |n: u16| NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN);
        let parser = vt100::Parser::new_with_callbacks(size(rows), size(columns), 0, Answers::default());
        Self { parser }
    }

    /// Takes bytes in; what is to be answered waits in `take_replies`.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
    }

    /// What the terminal answers.
    pub(super) fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.parser.callbacks_mut().replies)
    }

    /// What the program says about itself.
    pub(super) fn display(&self) -> &Display {
        &self.parser.callbacks().display
    }

    /// The visible text.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// The screen as bytes for a fresh terminal.
    pub(super) fn snapshot(&self, seq: u64) -> Snapshot {
        let screen = self.parser.screen();
        let (rows, columns) = screen.size();
        let mut bytes = Vec::new();
        if screen.alternate_screen() {
            // The alternate screen is drawn into; the normal one stays empty behind it.
            bytes.extend_from_slice(b"\x1b[?1049h");
        }
        bytes.extend_from_slice(screen.state_formatted().as_bytes());
        Snapshot { seq, columns: columns.get(), rows: rows.get(), bytes, display: self.display().clone() }
    }
}

impl Answers {
    fn reply(&mut self, text: &str) {
        if self.replies.len() + text.len() <= REPLY_BYTES {
            self.replies.extend_from_slice(text.as_bytes());
        }
    }

    fn cursor(screen: &vt100::Screen) -> (u16, u16) {
        let (rows, columns) = screen.size();
        let (row, column) = screen.cursor_position();
        // Behind the last column while a wrap is pending: a terminal says the last column.
        ((row + 1).min(rows.get()), (column + 1).min(columns.get()))
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

fn printable(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(most).collect()
}

/// The state of a mode that we know: 1 set, 2 reset; 0 for one that we don't.
fn mode_state(screen: &vt100::Screen, mode: u16) -> u8 {
    use vt100::{MouseProtocolEncoding as Encoding, MouseProtocolMode as Mouse};
    let is_set = match mode {
        1 => screen.application_cursor(),
        25 => !screen.hide_cursor(),
        47 | 1047 | 1049 => screen.alternate_screen(),
        9 => screen.mouse_protocol_mode() == Mouse::Press,
        1000 => screen.mouse_protocol_mode() == Mouse::PressRelease,
        1002 => screen.mouse_protocol_mode() == Mouse::ButtonMotion,
        1003 => screen.mouse_protocol_mode() == Mouse::AnyMotion,
        1005 => screen.mouse_protocol_encoding() == Encoding::Utf8,
        1006 => screen.mouse_protocol_encoding() == Encoding::Sgr,
        2004 => screen.bracketed_paste(),
        _ => return 0,
    };
    if is_set { 1 } else { 2 }
}

impl vt100::Callbacks for Answers {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.display.title = printable(title, TITLE_CHARS);
    }

    fn unhandled_csi(&mut self, screen: &mut vt100::Screen, i1: Option<u8>, i2: Option<u8>, params: &[&[u16]], c: char) {
        let first = params.first().and_then(|p| p.first()).copied().unwrap_or(0);
        match (i1, i2, c) {
            (None, None, 'n') if first == 5 => self.reply("\x1b[0n"),
            (None, None, 'n') if first == 6 => {
                let (row, column) = Self::cursor(screen);
                self.reply(&format!("\x1b[{row};{column}R"));
            }
            (Some(b'?'), None, 'n') if first == 6 => {
                let (row, column) = Self::cursor(screen);
                self.reply(&format!("\x1b[?{row};{column};1R"));
            }
            (None, None, 'c') if first == 0 => self.reply("\x1b[?62;22c"),
            (Some(b'>'), None, 'c') if first == 0 => self.reply("\x1b[>1;10;0c"),
            (Some(b'?'), Some(b'$'), 'p') => {
                let state = mode_state(screen, first);
                self.reply(&format!("\x1b[?{first};{state}$y"));
            }
            (Some(b'$'), None, 'p') => self.reply(&format!("\x1b[{first};0$y")),
            _ => {}
        }
    }

    fn unhandled_osc(&mut self, _: &mut vt100::Screen, params: &[&[u8]]) {
        match params {
            [b"10", b"?", rest @ ..] => {
                self.reply(&format!("\x1b]10;{FOREGROUND}\x1b\\"));
                if rest.first() == Some(&b"?".as_slice()) {
                    self.reply(&format!("\x1b]11;{BACKGROUND}\x1b\\"));
                }
            }
            [b"11", b"?", ..] => self.reply(&format!("\x1b]11;{BACKGROUND}\x1b\\")),
            [b"7501", b"?"] => self.reply("\x1b]7501;?\x1b\\"),
            [b"7501", report] => self.status(report),
            _ => {}
        }
    }
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
        assert_eq!(answers("\x1b]11;?\x1b\\\x1b]10;?\x07"), "^]11;rgb:1010/1010/1010^\\^]10;rgb:d0d0/d0d0/d0d0^\\");
        assert_eq!(answers("\x1b]7501;?\x1b\\\x1b[c"), "^]7501;?^\\^[?62;22c");
        assert_eq!(answers("\x1b[>0q\x1b[?u"), "");
    }

    #[test]
    fn a_program_that_only_asks_gets_a_bounded_answer() {
        assert!(answers(&"\x1b[6n".repeat(100_000)).len() <= REPLY_BYTES + 1);
    }

    #[test]
    fn a_snapshot_draws_the_same_screen_with_its_modes() {
        let mut screen = Screen::new(40, 5);
        screen.feed(b"\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[3;7H\x1b[1;32mgreen\x1b[0m\xe2\x9c\x93");
        let snapshot = screen.snapshot(3);
        let mut copy = Screen::new(snapshot.columns, snapshot.rows);
        copy.feed(&snapshot.bytes);
        let (a, b) = (screen.parser.screen(), copy.parser.screen());
        assert_eq!(a.contents_formatted(), b.contents_formatted());
        assert!(b.alternate_screen() && b.bracketed_paste() && b.hide_cursor());
        assert_eq!(copy.parser.screen().cursor_position(), screen.parser.screen().cursor_position());
    }

    #[test]
    fn program_status_is_kept_for_display() {
        let mut screen = Screen::new(40, 5);
        screen.feed(b"\x1b]2;my title\x07\x1b]7501;state=working:progress=40:msg=d3JpdGluZw==:app=x\x1b\\");
        let expected =
            Display { title: "my title".into(), state: "working".into(), message: "writing".into(), progress: Some(40) };
        assert_eq!(screen.display(), &expected);
    }
}
