//! Orders in a disguise that a model sees through: letters of other alphabets, percent and entity encoding, base64,
//! rot13, letters apart, digits for letters. Each disguise is looked for only where the text shows its marks, and only
//! in a bounded part of it.

use crate::hidden::{Hidden, Kind};

/// Bytes of one disguised piece that are undone.
const MAX_PIECE_BYTES: usize = 4_096;
/// Pieces of one text that are undone.
const MAX_PIECES: usize = 64;
const MIN_BASE64_BYTES: usize = 32;

/// Orders that become readable when a disguise is taken off. `orders` says whether a text holds one.
pub(crate) fn find(text: &str, orders: &dyn Fn(&str) -> bool) -> Vec<Hidden> {
    let mut found = Vec::new();
    let mut pieces = 0;
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        let start = position;
        position += line.len();
        let trimmed = line.trim_end();
        if trimmed.len() < 16 || pieces >= MAX_PIECES {
            continue;
        }
        let piece = clipped(trimmed);
        for plain in views(piece) {
            pieces += 1;
            if orders(&plain) || orders_run_together(&plain) {
                found.push(Hidden { start, end: start + piece.len(), kind: Kind::Order });
                break;
            }
        }
    }
    found
}

/// The text with letters of other alphabets that look like Latin ones replaced.
pub(crate) fn folded(text: &str) -> String {
    text.chars().map(latin).collect()
}

/// Marks of disguises, counted in one pass.
#[derive(Default)]
struct Marks {
    other_letters: bool,
    percent: usize,
    entities: usize,
    words: usize,
    single: usize,
    three: usize,
    /// Words of some length in which digits stand among small letters.
    mixed: usize,
    longest: usize,
}

/// What the marks of a byte are.
const CLASSES: [u8; 256] = classes();
const ENDS: u8 = 1;
const DIGIT: u8 = 2;
const SMALL: u8 = 4;
const PERCENT: u8 = 8;
const HASH: u8 = 16;

const fn classes() -> [u8; 256] {
    let mut all = [0; 256];
    let mut byte = 0_u8;
    loop {
        all[byte as usize] = match byte {
            b' ' | b'\t' | b'.' | b'_' => ENDS,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' => SMALL,
            b'%' => PERCENT,
            b'#' => HASH,
            _ => 0,
        };
        if byte == u8::MAX {
            return all;
        }
        byte += 1;
    }
}

impl Marks {
    fn of(piece: &str) -> Self {
        let mut marks = Self { other_letters: !piece.is_ascii(), ..Self::default() };
        let (mut length, mut digits, mut small) = (0, 0, 0);
        for byte in piece.bytes().chain([b' ']) {
            let class = CLASSES[usize::from(byte)];
            if class != ENDS {
                length += 1;
                digits += usize::from(class == DIGIT);
                small += usize::from(class == SMALL);
                marks.percent += usize::from(class == PERCENT);
                marks.entities += usize::from(class == HASH);
            } else if length > 0 {
                marks.words += 1;
                marks.single += usize::from(length == 1);
                marks.three += usize::from(length == 3);
                marks.mixed += usize::from(length > 2 && small > 0 && digits * 4 >= length);
                marks.longest = marks.longest.max(length);
                (length, digits, small) = (0, 0, 0);
            }
        }
        marks
    }
}

/// What a piece says without the disguises that it shows marks of.
fn views(piece: &str) -> Vec<String> {
    let marks = Marks::of(piece);
    let mut out = Vec::new();
    if marks.other_letters && piece.chars().any(|c| latin(c) != c) {
        out.push(folded(piece));
    }
    if marks.percent >= 4 {
        out.extend(percent(piece));
    }
    if marks.entities >= 4 && piece.contains("&#") {
        out.push(entities(piece));
    }
    if marks.longest >= MIN_BASE64_BYTES {
        out.extend(words_in_base64(piece));
    }
    // Words that English prose has none of, but its rot13 has many.
    if marks.three >= 2 && marks.words <= 200 && ["nyy ", "naq ", "gur "].iter().filter(|word| piece.contains(*word)).count() >= 2
    {
        out.push(piece.chars().map(rot13).collect());
    }
    let apart = marks.words >= 12 && marks.single * 10 >= marks.words * 7;
    let digits_for_letters = marks.words >= 4 && marks.mixed * 2 >= marks.words;
    let without_blanks = marks.longest >= 40;
    if apart || digits_for_letters || without_blanks {
        out.push(piece.to_owned());
    }
    out
}

/// Orders in a text whose blanks are gone or wrong.
fn orders_run_together(text: &str) -> bool {
    const RUNS: &[&[&str]] = &[
        &["ignoreall", "instructions"],
        &["ignoreprevious", "instructions"],
        &["ignoreallprevious"],
        &["forgetprevious", "rules"],
        &["forgetall"],
        &["disregard", "instructions"],
        &["reveal", "systemprompt"],
        &["reveal", "hidden", "prompt"],
        &["bypass", "approval"],
    ];
    let plain: String =
        text.chars().map(latin).filter(char::is_ascii_alphanumeric).map(|c| unleet(c.to_ascii_lowercase())).collect();
    // `1` stands for i and for l; both readings count.
    let other = plain.replace('l', "i");
    RUNS.iter().any(|run| {
        let inside = |text: &str, fold: bool| {
            let mut rest = text;
            run.iter().all(|part| {
                let part = if fold { part.replace('l', "i") } else { (*part).to_owned() };
                rest.find(&part).map(|at| rest = &rest[at + part.len()..]).is_some()
            })
        };
        inside(&plain, false) || inside(&other, true)
    })
}

fn unleet(c: char) -> char {
    match c {
        '0' => 'o',
        '1' => 'l',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        other => other,
    }
}

fn rot13(c: char) -> char {
    let turn = |base: u8| char::from(base + (c as u8 - base + 13) % 26);
    match c {
        'a'..='z' => turn(b'a'),
        'A'..='Z' => turn(b'A'),
        other => other,
    }
}

/// Cyrillic and Greek letters that look like Latin ones, and full-width forms.
fn latin(c: char) -> char {
    match c {
        'а' => 'a',
        'е' => 'e',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'с' => 'c',
        'у' => 'y',
        'х' => 'x',
        'і' | 'ι' => 'i',
        'ѕ' => 's',
        'ј' => 'j',
        'ԁ' => 'd',
        'һ' => 'h',
        'ո' => 'n',
        'ν' => 'v',
        'τ' => 't',
        'α' => 'a',
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'Е' | 'Ε' => 'E',
        'К' | 'Κ' => 'K',
        'М' | 'Μ' => 'M',
        'Н' | 'Η' => 'H',
        'О' | 'Ο' => 'O',
        'Р' | 'Ρ' => 'P',
        'С' => 'C',
        'Т' | 'Τ' => 'T',
        'Х' | 'Χ' => 'X',
        'І' | 'Ι' => 'I',
        'Ѕ' => 'S',
        '！'..='～' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
        other => other,
    }
}

fn percent(piece: &str) -> Option<String> {
    let bytes = piece.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = (*byte == b'%').then(|| piece.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

fn entities(piece: &str) -> String {
    let mut out = String::with_capacity(piece.len());
    let mut rest = piece;
    while let Some(at) = rest.find("&#") {
        out.push_str(&rest[..at]);
        rest = &rest[at + 2..];
        let Some((code, after)) = rest.split_once(';').filter(|(code, _)| code.len() <= 7) else { continue };
        let hex = code.strip_prefix(['x', 'X']);
        let number = hex.map_or_else(|| code.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
        out.extend(number.and_then(char::from_u32));
        rest = after;
    }
    out + rest
}

/// What the long words of a piece say in base64, where it is text.
fn words_in_base64(piece: &str) -> Vec<String> {
    let long = piece.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')));
    let decoded = long.filter(|word| word.len() >= MIN_BASE64_BYTES).take(4).filter_map(base64);
    decoded.filter(|text| text.bytes().filter(|b| b.is_ascii_lowercase() || *b == b' ').count() * 2 > text.len()).collect()
}

fn base64(word: &str) -> Option<String> {
    let mut out = Vec::with_capacity(word.len() * 3 / 4);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in word.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        buffer = buffer << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(buffer >> bits & 0xff).unwrap_or_default());
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn clipped(text: &str) -> &str {
    let mut end = text.len().min(MAX_PIECE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
