//! Personal data: form, then check digit where the kind has one. What is on by default is read by hand, one look at each
//! number of the text; the other kinds are patterns that an operator switches on.

use regex::bytes::Regex;

/// All kinds.
pub(crate) const KINDS: [&str; 6] = ["email", "phone", "card", "iban", "ssn", "ip"];

/// Kinds that are patterns. ASCII only: they stay small.
const PATTERNS: [(&str, &str); 3] = [
    ("email", r"(?-u)\b[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9\-]{0,62}\.){1,8}[A-Za-z]{2,24}\b"),
    (
        "phone",
        r"(?-u)(?:\+\d{1,3}[ .\-]?)(?:\(?\d{1,4}\)?[ .\-]?){2,5}\d{2,4}\b|\(\d{3}\) ?\d{3}[ .\-]\d{4}\b|\b\d{3}[.\-]\d{3}[.\-]\d{4}\b",
    ),
    ("ip", r"(?-u)\b(?:\d{1,3}\.){3}\d{1,3}\b|(?i:\b(?:[0-9a-f]{1,4}:){2,7}(?::?[0-9a-f]{1,4}){1,6}\b)"),
];

const MAX_CARD_DIGITS: usize = 19;
const MIN_CARD_DIGITS: usize = 13;
const MAX_IBAN_BYTES: usize = 34;
const MIN_IBAN_BYTES: usize = 15;

/// The kinds that settings ask for, ready.
#[derive(Debug)]
pub(crate) struct Finder {
    patterns: Vec<(&'static str, Regex)>,
    card: bool,
    iban: bool,
    ssn: bool,
}

impl Finder {
    /// Compiles what is wanted.
    pub(crate) fn new(wanted: &[String]) -> Result<Self, regex::Error> {
        let on = |kind: &str| wanted.iter().any(|one| one == kind);
        let patterns = PATTERNS.into_iter().filter(|(kind, _)| on(kind));
        let patterns = patterns.map(|(kind, pattern)| Ok((kind, Regex::new(pattern)?))).collect::<Result<_, regex::Error>>()?;
        Ok(Self { patterns, card: on("card"), iban: on("iban"), ssn: on("ssn") })
    }

    /// Hands over every piece: kind, first byte, byte after the last.
    pub(crate) fn find(&self, text: &str, take: &mut dyn FnMut(&'static str, usize, usize)) {
        for (kind, pattern) in &self.patterns {
            for hit in pattern.find_iter(text.as_bytes()) {
                if std::str::from_utf8(hit.as_bytes()).is_ok_and(|found| holds(kind, found)) {
                    take(kind, hit.start(), hit.end());
                }
            }
        }
        if self.card || self.iban || self.ssn {
            self.numbers(text.as_bytes(), take);
        }
    }

    fn numbers(&self, text: &[u8], take: &mut dyn FnMut(&'static str, usize, usize)) {
        let mut at = 0;
        while at < text.len() {
            let byte = text[at];
            let begins = at == 0 || !joins(text[at - 1]);
            let found = if !begins {
                None
            } else if byte.is_ascii_digit() {
                let ssn = self.ssn.then(|| ssn(text, at)).flatten().map(|end| ("ssn", end));
                ssn.or_else(|| self.card.then(|| card(text, at)).flatten().map(|end| ("card", end)))
            } else if byte.is_ascii_uppercase() {
                self.iban.then(|| iban(text, at)).flatten().map(|end| ("iban", end))
            } else {
                None
            };
            match found {
                Some((kind, end)) => {
                    take(kind, at, end);
                    at = end;
                }
                None => at += 1,
            }
        }
    }
}

/// Whether a byte before or after a number makes it part of something longer.
fn joins(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn ends(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|byte| !joins(*byte))
}

/// 13 to 19 digits, alone or in groups, with the check digit of payment cards; the longest that holds.
fn card(text: &[u8], start: usize) -> Option<usize> {
    if !matches!(text[start], b'2'..=b'6') || start > 0 && matches!(text[start - 1], b'-' | b'.') {
        return None;
    }
    let mut digits: Vec<u32> = Vec::with_capacity(MAX_CARD_DIGITS);
    let mut found = None;
    let mut at = start;
    while let Some(byte) = text.get(at) {
        match byte {
            b'0'..=b'9' if digits.len() < MAX_CARD_DIGITS => digits.push(u32::from(byte - b'0')),
            b' ' | b'-' if text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                at += 1;
                continue;
            }
            _ => break,
        }
        at += 1;
        let varied = digits.iter().any(|digit| *digit != digits[0]);
        if digits.len() >= MIN_CARD_DIGITS && ends(text, at) && varied && luhn(&digits) {
            found = Some(at);
        }
    }
    found
}

/// `078-05-1120`, `078 05 1120`: nine digits in the groups of a social security number, in ranges that are given out.
fn ssn(text: &[u8], start: usize) -> Option<usize> {
    let number = text.get(start..start + 11)?;
    let mark = number[3];
    let groups = [&number[..3], &number[4..6], &number[7..]];
    let formed =
        matches!(mark, b'-' | b' ') && number[6] == mark && groups.iter().all(|group| group.iter().all(u8::is_ascii_digit));
    let given = !matches!(groups[0], b"000" | b"666") && groups[0][0] != b'9' && groups[1] != b"00" && groups[2] != b"0000";
    let alone = ends(text, start + 11) && (start == 0 || !matches!(text[start - 1], b'-' | b'.' | b'+' | b')'));
    // With blanks, any table of numbers could look like it, so more digits may not follow.
    let apart = mark == b'-' || !matches!((text.get(start + 11), text.get(start + 12)), (Some(b' '), Some(b'0'..=b'9')));
    (formed && given && alone && apart).then_some(start + 11)
}

fn iban(text: &[u8], start: usize) -> Option<usize> {
    let head = text.get(start..start + 4)?;
    if !(head[1].is_ascii_uppercase() && head[2].is_ascii_digit() && head[3].is_ascii_digit()) {
        return None;
    }
    let mut plain: Vec<u8> = Vec::with_capacity(MAX_IBAN_BYTES);
    let mut found = None;
    let mut at = start;
    while let Some(byte) = text.get(at) {
        match byte {
            b'A'..=b'Z' | b'0'..=b'9' if plain.len() < MAX_IBAN_BYTES => plain.push(*byte),
            b' ' if text.get(at + 1).is_some_and(|next| next.is_ascii_uppercase() || next.is_ascii_digit()) => {
                at += 1;
                continue;
            }
            _ => break,
        }
        at += 1;
        if plain.len() >= MIN_IBAN_BYTES && ends(text, at) && mod97(&plain) {
            found = Some(at);
        }
    }
    found
}

/// Whether a match of a pattern is what its kind says.
fn holds(kind: &str, text: &str) -> bool {
    match kind {
        "phone" => (7..=15).contains(&text.bytes().filter(u8::is_ascii_digit).count()),
        "ip" if text.contains(':') => text.bytes().any(|b| b.is_ascii_digit()) && text.parse::<std::net::Ipv6Addr>().is_ok(),
        "ip" => text.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| !ip.is_loopback() && ip.octets()[0] != 0),
        _ => true,
    }
}

fn luhn(digits: &[u32]) -> bool {
    let value = |(at, digit): (usize, &u32)| match (at % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

fn mod97(plain: &[u8]) -> bool {
    let remainder = plain[4..].iter().chain(&plain[..4]).try_fold(0_u32, |remainder, byte| {
        let value = char::from(*byte).to_digit(36)?;
        Some(if value > 9 { (remainder * 100 + value) % 97 } else { (remainder * 10 + value) % 97 })
    });
    remainder == Some(1)
}
