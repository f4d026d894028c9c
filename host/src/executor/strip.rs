//! Takes out of a terminal stream what must not reach a viewer's terminal, and bounds what reaches our own model.
//!
//! Dropped for everybody: DCS, APC, PM and SOS strings, C1 controls, and OSC strings over a limit. Dropped for viewers:
//! OSC 52 (clipboard), OSC 8 links that are not http(s), long titles, and every OSC that is not a title, a link or a
//! colour. Escape sequences are never cut in the middle: each output is a sequence of whole ones.

/// Longest OSC string.
const OSC_BYTES: usize = 4096;
/// Longest title that a viewer gets.
const TITLE_BYTES: usize = 192;
/// Longest link that a viewer gets.
const LINK_BYTES: usize = 2048;
const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// In an OSC string; `too_long` once it is over its limit.
    Osc,
    /// In a string that is dropped: DCS, APC, PM, SOS, an OSC over the limit.
    Drop,
    /// After ESC inside a string: perhaps its end.
    StringEscape {
        dropped: bool,
    },
    /// After 0xC2, which begins the C1 controls in UTF-8.
    C1Lead,
}

/// The filter of one stream.
#[derive(Debug)]
pub(super) struct Strip {
    state: State,
    osc: Vec<u8>,
}

/// What is left.
#[derive(Debug, Default)]
pub(super) struct Stripped {
    /// For our own model: bounded, otherwise whole.
    pub(super) model: Vec<u8>,
    /// For transcript and viewers.
    pub(super) view: Vec<u8>,
}

impl Stripped {
    fn both(&mut self, bytes: &[u8]) {
        self.model.extend_from_slice(bytes);
        self.view.extend_from_slice(bytes);
    }
}

impl Strip {
    pub(super) fn new() -> Self {
        Self { state: State::Text, osc: Vec::new() }
    }

    /// Takes bytes in and appends what is left.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Stripped) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Text {
                let rest = &bytes[at..];
                let plain = rest.iter().position(|b| matches!(*b, ESC | 0xC2)).unwrap_or(rest.len());
                out.both(&rest[..plain]);
                at += plain;
                if at == bytes.len() {
                    return;
                }
            }
            self.state = self.step(bytes[at], out);
            at += 1;
        }
    }

    fn step(&mut self, byte: u8, out: &mut Stripped) -> State {
        match self.state {
            State::Text if byte == ESC => State::Escape,
            State::Text => State::C1Lead,
            State::Escape => self.escape(byte, out),
            State::Osc => match byte {
                BEL => self.osc_end(out),
                ESC => State::StringEscape { dropped: false },
                // CAN and SUB abort a string.
                0x18 | 0x1a => State::Text,
                _ if self.osc.len() >= OSC_BYTES => State::Drop,
                _ => {
                    self.osc.push(byte);
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
                b'\\' => self.osc_end(out),
                // ESC ends the string, and this begins another sequence.
                _ => self.escape(byte, out),
            },
            State::C1Lead => {
                if !(0x80..=0x9f).contains(&byte) {
                    out.both(&[0xC2]);
                    return self.after_c1_lead(byte, out);
                }
                State::Text
            }
        }
    }

    fn after_c1_lead(&mut self, byte: u8, out: &mut Stripped) -> State {
        match byte {
            ESC => State::Escape,
            0xC2 => State::C1Lead,
            _ => {
                out.both(&[byte]);
                State::Text
            }
        }
    }

    fn escape(&mut self, byte: u8, out: &mut Stripped) -> State {
        match byte {
            b']' => {
                self.osc.clear();
                State::Osc
            }
            b'P' | b'_' | b'^' | b'X' => State::Drop,
            ESC => State::Escape,
            0x18 | 0x1a => State::Text,
            _ => {
                out.both(&[ESC, byte]);
                State::Text
            }
        }
    }

    fn osc_end(&mut self, out: &mut Stripped) -> State {
        for (target, wanted) in [(&mut out.model, true), (&mut out.view, viewers_may_see(&self.osc))] {
            if wanted {
                target.extend_from_slice(b"\x1b]");
                target.extend_from_slice(&self.osc);
                target.extend_from_slice(b"\x1b\\");
            }
        }
        self.osc.clear();
        State::Text
    }
}

fn viewers_may_see(osc: &[u8]) -> bool {
    let mut parts = osc.splitn(2, |b| *b == b';');
    let (number, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if osc.iter().any(u8::is_ascii_control) {
        return false;
    }
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

    fn check(input: &str, expected_view: &str) {
        let bytes = input.as_bytes();
        for cut in 0..=bytes.len() {
            let (mut strip, mut out) = (Strip::new(), Stripped::default());
            strip.feed(&bytes[..cut], &mut out);
            strip.feed(&bytes[cut..], &mut out);
            assert_eq!(String::from_utf8_lossy(&out.view), expected_view, "cut at {cut} of {input:?}");
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
    }

    #[test]
    fn an_endless_string_takes_no_memory() {
        let (mut strip, mut out) = (Strip::new(), Stripped::default());
        strip.feed(b"\x1b]0;", &mut out);
        for _ in 0..1000 {
            strip.feed(&[b'x'; 1000], &mut out);
        }
        assert!(strip.osc.capacity() <= 2 * OSC_BYTES && out.model.is_empty());
        strip.feed(b"\x07after", &mut out);
        assert_eq!(out.view, b"after");
    }
}
