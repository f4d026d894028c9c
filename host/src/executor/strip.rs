//! Cuts a terminal stream into whole characters and whole sequences, and takes out what must not reach a viewer's
//! terminal or grow in our own.
//!
//! Dropped for everybody: DCS, APC, PM and SOS strings, C1 controls, DEL and the controls that move nothing, sequences
//! over their limit, and what switches away from UTF-8, after which other bytes would be C1 controls. Bytes that are no UTF-8 become U+FFFD. Dropped for viewers: OSC 52 (clipboard), OSC 8 links
//! that are not http(s), long titles, and every OSC that is not a title, a link or a colour. A character or a sequence
//! that is not complete waits: whoever joins between two pieces misses no half of one.

/// Longest OSC string.
const OSC_BYTES: usize = 4096;
/// Longest other sequence.
const SEQUENCE_BYTES: usize = 256;
/// Longest title that a viewer gets.
const TITLE_BYTES: usize = 192;
/// Longest link that a viewer gets.
const LINK_BYTES: usize = 2048;
const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Whole characters and the controls BEL, BS, HT, LF, VT, FF, CR, SO, SI.
    Text(&'a str),
    /// An escape or a control sequence.
    Sequence(&'a [u8]),
    /// The content of an OSC string, and whether viewers may see it.
    Osc(&'a [u8], Audience),
}

/// Who a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Our own model, viewers and the transcript.
    All,
    /// Our own model.
    Model,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC, perhaps with intermediates.
    Escape,
    /// In a control sequence; `TooLong` once it is over its limit.
    Control,
    TooLong,
    Osc,
    /// In a string that is dropped: DCS, APC, PM, SOS, an OSC over the limit.
    Drop,
    /// After ESC inside a string: perhaps its end.
    StringEscape {
        dropped: bool,
    },
}

/// The filter of one stream.
#[derive(Debug)]
pub(super) struct Strip {
    state: State,
    /// The begin of a character, a sequence or an OSC string.
    held: Vec<u8>,
}

impl Strip {
    pub(super) fn new() -> Self {
        Self { state: State::Text, held: Vec::new() }
    }

    /// Takes bytes in and hands on what is whole.
    pub(super) fn feed(&mut self, bytes: &[u8], to: &mut impl FnMut(Piece<'_>)) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Text {
                let rest = &bytes[at..];
                let end = rest.iter().position(|b| *b == ESC).unwrap_or(rest.len());
                self.text(&rest[..end], to);
                at += end;
                if at == bytes.len() {
                    return;
                }
                self.incomplete(to);
                if let Some(length) = control_sequence(&bytes[at..]) {
                    to(Piece::Sequence(&bytes[at..at + length]));
                    at += length;
                    continue;
                }
            }
            self.state = self.step(bytes[at], to);
            at += 1;
        }
    }

    /// Text without ESC.
    fn text(&mut self, bytes: &[u8], to: &mut impl FnMut(Piece<'_>)) {
        if self.held.is_empty() {
            let kept = characters(bytes, to);
            self.held.extend_from_slice(&bytes[kept..]);
            return;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let kept = characters(&all, to);
        all.drain(..kept);
        self.held = all;
    }

    /// A sequence begins: what is held will not become a character.
    fn incomplete(&mut self, to: &mut impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            self.held.clear();
            to(Piece::Text("\u{fffd}"));
        }
    }

    fn step(&mut self, byte: u8, to: &mut impl FnMut(Piece<'_>)) -> State {
        match self.state {
            State::Text => self.begin(),
            State::Escape => self.escape(byte, to),
            State::Control | State::TooLong => self.control(byte, to),
            State::Osc => match byte {
                BEL => self.osc_end(to),
                ESC => State::StringEscape { dropped: false },
                // CAN and SUB abort a string.
                0x18 | 0x1a => self.abort(),
                _ if self.held.len() >= OSC_BYTES => self.drop_string(),
                _ => {
                    self.held.push(byte);
                    State::Osc
                }
            },
            State::Drop => match byte {
                ESC => State::StringEscape { dropped: true },
                // BEL ends an OSC only; for DCS it would be content. Ending early shows text, never a control.
                BEL | 0x18 | 0x1a => State::Text,
                _ => State::Drop,
            },
            State::StringEscape { dropped } => match byte {
                b'\\' if dropped => State::Text,
                b'\\' => self.osc_end(to),
                // ESC ends the string, and this begins another sequence.
                _ => {
                    self.begin();
                    self.escape(byte, to)
                }
            },
        }
    }

    fn begin(&mut self) -> State {
        self.held.clear();
        self.held.push(ESC);
        State::Escape
    }

    fn abort(&mut self) -> State {
        self.held.clear();
        State::Text
    }

    fn drop_string(&mut self) -> State {
        self.held.clear();
        State::Drop
    }

    fn escape(&mut self, byte: u8, to: &mut impl FnMut(Piece<'_>)) -> State {
        let bare = self.held.len() == 1;
        match byte {
            b']' if bare => {
                self.held.clear();
                State::Osc
            }
            b'[' if bare => {
                self.held.push(byte);
                State::Control
            }
            b'P' | b'_' | b'^' | b'X' if bare => self.drop_string(),
            0x20..=0x2f if self.held.len() < SEQUENCE_BYTES => {
                self.held.push(byte);
                State::Escape
            }
            0x30..=0x7e => self.sequence_end(byte, to),
            _ => self.inside(byte, State::Escape, to),
        }
    }

    fn control(&mut self, byte: u8, to: &mut impl FnMut(Piece<'_>)) -> State {
        match byte {
            0x40..=0x7e if self.state == State::TooLong => self.abort(),
            0x40..=0x7e => self.sequence_end(byte, to),
            0x20..=0x3f if self.held.len() < SEQUENCE_BYTES => {
                self.held.push(byte);
                self.state
            }
            0x20..=0x3f => State::TooLong,
            _ => self.inside(byte, self.state, to),
        }
    }

    /// A byte that is no part of the sequence it stands in: a terminal obeys a control at once.
    fn inside(&mut self, byte: u8, state: State, to: &mut impl FnMut(Piece<'_>)) -> State {
        match byte {
            ESC => self.begin(),
            0x18 | 0x1a => self.abort(),
            _ if byte < 0x20 => {
                characters(&[byte], to);
                state
            }
            // What is no ASCII can't be part of one.
            0x80.. => {
                self.held.clear();
                self.held.push(byte);
                State::Text
            }
            _ => state,
        }
    }

    fn sequence_end(&mut self, byte: u8, to: &mut impl FnMut(Piece<'_>)) -> State {
        self.held.push(byte);
        let string_end = self.held == b"\x1b\\";
        let encoding = self.held.starts_with(b"\x1b%");
        if !string_end && !encoding {
            to(Piece::Sequence(&self.held));
        }
        self.abort()
    }

    fn osc_end(&mut self, to: &mut impl FnMut(Piece<'_>)) -> State {
        let audience = if viewers_may_see(&self.held) { Audience::All } else { Audience::Model };
        // C1 controls too: one of them ends the string, the next begins another.
        if std::str::from_utf8(&self.held).is_ok_and(|text| !text.contains(char::is_control)) {
            to(Piece::Osc(&self.held, audience));
        }
        self.abort()
    }
}

/// Hands on the whole characters of `bytes`, without the controls that nobody needs; returns how many bytes it used.
fn characters(bytes: &[u8], to: &mut impl FnMut(Piece<'_>)) -> usize {
    // Most of it is ASCII without anything to drop.
    if bytes.iter().all(|b| matches!(b, b' '..=b'~' | 0x07..=0x0f))
        && let Ok(text) = std::str::from_utf8(bytes)
        && !text.is_empty()
    {
        to(Piece::Text(text));
        return bytes.len();
    }
    let mut used = 0;
    for chunk in bytes.utf8_chunks() {
        let mut text = chunk.valid();
        used += text.len();
        while let Some((at, dropped)) = text.char_indices().find(|(_, c)| is_dropped(*c)) {
            if at > 0 {
                to(Piece::Text(&text[..at]));
            }
            text = &text[at + dropped.len_utf8()..];
        }
        if !text.is_empty() {
            to(Piece::Text(text));
        }
        let invalid = chunk.invalid();
        let may_go_on =
            used + invalid.len() == bytes.len() && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
        if invalid.is_empty() || may_go_on {
            continue;
        }
        used += invalid.len();
        to(Piece::Text("\u{fffd}"));
    }
    used
}

/// Length of the whole control sequence that `bytes` begin with, if it is nothing but one, and no longer than its limit.
fn control_sequence(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let end = parameters.iter().take(SEQUENCE_BYTES - 2).position(|b| !matches!(b, 0x20..=0x3f))?;
    matches!(parameters[end], 0x40..=0x7e).then_some(end + 3)
}

fn is_dropped(c: char) -> bool {
    c.is_control() && !matches!(c, '\x07'..='\x0f')
}

fn viewers_may_see(osc: &[u8]) -> bool {
    let mut parts = osc.splitn(2, |b| *b == b';');
    let (number, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match number {
        b"0" | b"1" | b"2" => rest.len() <= TITLE_BYTES,
        b"8" => {
            let target = rest.splitn(2, |b| *b == b';').nth(1).unwrap_or_default();
            let web = target.starts_with(b"https://") || target.starts_with(b"http://");
            target.is_empty() || (web && rest.len() <= LINK_BYTES)
        }
        // Palette and colours, but no question: a viewer's terminal would answer it.
        b"4" | b"10" | b"11" | b"12" | b"104" | b"110" | b"111" | b"112" => !rest.contains(&b'?'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(strip: &mut Strip, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        strip.feed(bytes, &mut |piece| match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Sequence(bytes) => out.extend_from_slice(bytes),
            Piece::Osc(osc, Audience::All) => out.extend([b"\x1b]", osc, b"\x1b\\"].concat()),
            Piece::Osc(_, Audience::Model) => {}
        });
        String::from_utf8(out).expect("whole characters")
    }

    fn check(input: &str, expected_view: &str) {
        check_bytes(input.as_bytes(), expected_view);
    }

    fn check_bytes(bytes: &[u8], expected_view: &str) {
        for cut in 0..=bytes.len() {
            let mut strip = Strip::new();
            let whole = view(&mut strip, &bytes[..cut]) + &view(&mut strip, &bytes[cut..]);
            assert_eq!(whole, expected_view, "cut at {cut} of {:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn viewers_get_no_clipboard_no_strange_links_no_strings() {
        check("a\x1b]52;c;aGk=\x07b", "ab");
        check("a\x1b]8;;file:///etc/passwd\x1b\\x\x1b]8;;\x1b\\", "ax\x1b]8;;\x1b\\");
        check("\x1b]8;id=1;https://example.org\x07x", "\x1b]8;id=1;https://example.org\x1b\\x");
        check("\x1b]2;title\x07", "\x1b]2;title\x1b\\");
        check(&format!("\x1b]2;{}\x07z", "t".repeat(TITLE_BYTES + 1)), "z");
        check("\x1bPq#0;2;0\x1b\\a\x1b_Gf=1;x\x1b\\b\x1b^p\x1b\\c", "abc");
        check("\x1b]10;?\x1b\\\x1b]7501;state=done\x1b\\.", ".");
        check("é\u{9d}52;c;aGk=\u{9c}\u{a0}", "é52;c;aGk=\u{a0}");
        check("\x1b[1;31mred\x1b[0m\x1b(B\x1bM", "\x1b[1;31mred\x1b[0m\x1b(B\x1bM");
        check("\x1b]2;never ended \x1b[1mx", "\x1b[1mx");
        // C1 controls, behind ESC and inside of a string that is let through otherwise.
        check("a\x1b\u{90}q\u{9c}b\x1b\u{e9}", "aqb\u{e9}");
        check("a\x1b]2;t\u{9c}\u{9d}52;c;aGk=\u{9c}\x1b\\b", "ab");
        // Controls inside of a sequence do not hide what it is.
        check("a\x1b\n]52;c;aGk=\x07b\x1b\x7f]52;c;aGk=\x07\x1b\r\x1b\x00Pq\x1b\\c\x1b\t[1mx", "a\nb\rc\t\x1b[1mx");
        // Nothing switches away from UTF-8.
        check("a\x1b%@b\x1b%/Gc\x1b%\x1b[1md", "abc\x1b[1md");
    }

    #[test]
    fn what_is_not_whole_waits() {
        let mut strip = Strip::new();
        let mut pieces = |bytes: &[u8]| view(&mut strip, bytes);
        assert_eq!(pieces(b"a\xe2\x9c"), "a");
        assert_eq!(pieces(b"\x93\x1b["), "✓");
        assert_eq!(pieces(b"1;3"), "");
        assert_eq!(pieces(b"1mred\x1b("), "\x1b[1;31mred");
        assert_eq!(pieces(b"B."), "\x1b(B.");
    }

    #[test]
    fn what_no_terminal_shows_the_same_way_is_gone() {
        check_bytes(b"a\xff\xe2\x9cb\x7fc\x05\0d\xc2\x9b31me", "a\u{fffd}\u{fffd}bcd31me");
        // A control inside a sequence is obeyed at once; ESC and CAN end it.
        check_bytes(b"a\x1b[3\r1mb\x1b[3\x1b[1mc\x1b[4\x18md", "a\r\x1b[31mb\x1b[1mcmd");
        check(&format!("a\x1b[{}mb", "1;".repeat(SEQUENCE_BYTES)), "ab");
    }

    #[test]
    fn an_endless_string_takes_no_memory() {
        let mut strip = Strip::new();
        for begin in ["\x1b]0;", "\x1b[", "\x1b(", "\x1bP"] {
            assert_eq!(view(&mut strip, begin.as_bytes()), "");
            for _ in 0..1000 {
                view(&mut strip, &[b'!'; 1000]);
            }
            assert!(strip.held.capacity() <= 2 * OSC_BYTES);
            assert_eq!(view(&mut strip, b"\x18after"), "after");
        }
    }
}
