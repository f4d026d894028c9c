//! What a text looks like: a key that a machine made, a stand-in that a person wrote, or a reference to the real thing.

/// Bytes of the longest run of one character that a secret has.
const MAX_RUN: usize = 7;

/// Whether a byte may be part of a token.
pub(crate) fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'.' | b'~' | b'=' | b'-')
}

/// Whether a match is a stand-in rather than a secret.
pub(crate) fn placeholder(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "example",
        "changeme",
        "change_me",
        "change-me",
        "your_",
        "your-",
        "yourp",
        "yours",
        "yourt",
        "placeholder",
        "dummy",
        "redacted",
        "xxxx",
        "notreal",
        "not-real",
        "insert",
        "sample",
        "masked",
        "[secret:",
        "fake",
        "replace",
        "helloworld",
        "hello_world",
        "mypassword",
        "password123",
        "abcdefghijklmnopqrstuvwxyz123",
    ];
    let lower = text.to_ascii_lowercase();
    WORDS.iter().any(|word| has(&lower, word)) || run(text) > MAX_RUN || one_kind(text)
}

/// Whether a text stands for a value that is elsewhere: a variable, a template, an expression of a program.
pub(crate) fn reference(text: &str) -> bool {
    const PARTS: &[&str] = &[
        "${",
        "$(",
        "{{",
        "%(",
        "<",
        "process.env",
        "os.environ",
        "getenv",
        "environ",
        "config.",
        "settings.",
        "self.",
        "this.",
        "undefined",
        "secretref",
        "valuefrom",
        "secrets.",
        "vars.",
        "var.",
        "data.",
        "module.",
        "todo",
        "()",
        "::",
    ];
    let lower = text.to_ascii_lowercase();
    PARTS.iter().any(|part| has(&lower, part)) || lower.starts_with(['$', '%', '*', '{', '(', '@', '&'])
}

/// `X25519.KeyPair`, `key_code.u16`: a member of something in a program.
pub(crate) fn member(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.len() <= 20
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && part.bytes().filter(u8::is_ascii_digit).count() <= 5
    };
    text.contains('.') && text.split('.').all(part)
}

/// Whether a short text holds a word. The general search costs more to set up than such a text is long.
fn has(text: &str, word: &str) -> bool {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    text.len() >= word.len() && (0..=text.len() - word.len()).any(|at| text[at] == word[0] && text[at..at + word.len()] == *word)
}

/// `********`, `aaaaaaa`: nothing in it varies.
fn one_kind(text: &str) -> bool {
    let mut seen = [false; 256];
    text.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|seen| **seen).count() <= 3
}

fn run(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut longest, mut length) = (0, 0);
    for at in 0..bytes.len() {
        length = if at > 0 && bytes[at] == bytes[at - 1] { length + 1 } else { 1 };
        longest = longest.max(length);
    }
    longest
}

/// Whether a text looks like a key: mixed characters and enough of them per length.
pub(crate) fn random(text: &str) -> bool {
    if placeholder(text) || reference(text) {
        return false;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let upper = text.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = text.bytes().filter(u8::is_ascii_lowercase).count();
    let symbols = text.len() - digits - upper - lower;
    let path = text.matches('/').count() > 2 && !text.contains(['+', '=']) || text.starts_with("./") || text.starts_with("//");
    let dotted = text.contains('.')
        && text.split('.').all(|part| part.len() < 16 && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    if path || dotted || words(text) || (digits == text.len() && digits < 20) {
        return false;
    }
    let mixed = usize::from(digits > 0) + usize::from(upper > 0) + usize::from(lower > 0) + usize::from(symbols > 0);
    let entropy = entropy(text);
    match text.len() {
        ..12 => digits > 0 && mixed >= 3 && entropy >= 2.7,
        12..20 => digits >= 2 && mixed >= 2 && entropy >= 3.0,
        20.. => {
            digits >= 2 && mixed >= 2 && entropy >= 2.9
                || upper > 4 && lower > 4 && symbols * 8 < text.len() && entropy >= 4.0
                || digits == text.len() && entropy >= 2.5
                || text.len() >= 26 && symbols == 0 && entropy >= 4.2
        }
    }
}

/// Words and versions joined by marks, as names are: each part is letters, or a short number.
fn words(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['-', '_', '.', '/', ':']).collect();
    parts.len() > 1
        && parts.iter().all(|part| {
            let letters = part.bytes().filter(u8::is_ascii_alphabetic).count();
            let digits = part.bytes().filter(u8::is_ascii_digit).count();
            let one_case = part.bytes().skip(1).all(|b| !b.is_ascii_uppercase()) || part.bytes().all(|b| !b.is_ascii_lowercase());
            letters + digits == part.len()
                && (digits == 0 && part.len() <= 14 && one_case
                    || letters <= 1 && digits <= 4
                    || letters >= 3 * digits && letters <= 12 && one_case)
        })
}

/// Shannon entropy in bits per byte.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = f64::from(u32::try_from(text.len().max(1)).unwrap_or(u32::MAX));
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length).map(|share| -share * share.log2()).sum()
}
