//! A name that says "credential", and the value that it is given: `DB_PASSWORD="…"`, `apiKey: …`, `token …`. Read by
//! hand from the place of the keyword, so that a long text costs no more than it has such words.

use crate::looks;

const MAX_NAME_BYTES: usize = 64;
const MAX_VALUE_BYTES: usize = 400;
const MIN_VALUE_BYTES: usize = 8;
/// A value that only a blank or a hyphen parts from its name must be longer: prose has names of credentials, too.
const MIN_LOOSE_BYTES: usize = 20;
const MIN_PASSWORD_BYTES: usize = 4;
/// Blanks with which people line values up.
const MAX_BLANKS: usize = 40;
const MAX_USER_BYTES: usize = 80;
const MAX_PASSWORD_BYTES: usize = 120;
/// How far around a password the other parts of a connection string are looked for.
const CONNECTION_BYTES: usize = 240;

/// The password of an address `scheme://user:password@host` whose `://` stands at `start..end`.
pub(crate) fn in_address(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let stops = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'@' | b'\'' | b'"' | b'<' | b'>');
    let scheme = bytes.get(start.checked_sub(1)?).is_some_and(u8::is_ascii_alphanumeric);
    let user = bytes[end..].iter().take(MAX_USER_BYTES + 1).take_while(|byte| **byte != b':' && !stops(byte)).count();
    let from = end + user + 1;
    if !scheme || bytes.get(end + user) != Some(&b':') {
        return None;
    }
    let length = bytes[from..].iter().take(MAX_PASSWORD_BYTES + 1).take_while(|byte| !stops(byte)).count();
    let host = bytes.get(from + length + 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'[');
    let secret = text.get(from..from + length).filter(|_| bytes.get(from + length) == Some(&b'@') && host)?;
    let fits = (3..=MAX_PASSWORD_BYTES).contains(&length) && !looks::placeholder(secret) && !looks::reference(secret);
    fits.then_some((from, from + length))
}

/// The secret that a keyword at `start..end` names, if it names one.
pub(crate) fn secret(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let name_start = start - bytes[..start].iter().rev().take(MAX_NAME_BYTES).take_while(|byte| name(**byte)).count();
    // `privateKey` and `access_token` are seen from their last word on.
    let tail = bytes[end..].iter().take(MAX_NAME_BYTES).take_while(|byte| name(**byte) && **byte != b'-').count();
    let whole = (tail > 0).then(|| value(text, name_start, end + tail)).flatten();
    whole.or_else(|| value(text, name_start, end))
}

fn value(text: &str, name_start: usize, name_end: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = name_end;
    let skip = |at: &mut usize, most: usize, set: &[u8]| {
        let count = bytes[*at..].iter().take(most).take_while(|byte| set.contains(byte)).count();
        *at += count;
        count
    };
    skip(&mut at, 3, b"\"'`]\\");
    let blanks = skip(&mut at, 8, b" \t");
    let operator = operator(&bytes[at..]);
    let tight = match operator {
        Some(operator) => {
            at += operator.len();
            skip(&mut at, MAX_BLANKS, b" \t\n\r|");
            true
        }
        // `var apiToken string = "…"`, `password is "…"`.
        None if blanks > 0 => {
            let typed = text
                .get(at..)
                .and_then(|rest| ["string = ", "string := ", "is ", "String = "].into_iter().find(|word| rest.starts_with(word)));
            at += typed.map_or(0, str::len);
            typed.is_some()
        }
        None if skip(&mut at, 1, b"-._") == 0 => return None,
        None => false,
    };
    let quoted = skip(&mut at, 4, b"\"'`@\\[") > 0;
    let length = bytes[at..].iter().take(MAX_VALUE_BYTES + 1).take_while(|byte| part(**byte, quoted)).count();
    let end =
        at + bytes[at..at + length].iter().rposition(|byte| !matches!(byte, b'.' | b',' | b'\\')).map_or(0, |last| last + 1);
    let value = text.get(at..end).filter(|value| value.len() >= MIN_PASSWORD_BYTES)?;
    // `<password>…</password>`
    if operator == Some(">") && !text[end..].starts_with("</") {
        return None;
    }
    let named = Name::of(text.get(name_start..name_end)?)?;
    let connects = tight && named.password && operator == Some("=") && connection(text, name_start, end);
    (holds(&named, value, tight, quoted) || connects && !looks::placeholder(value) && !looks::reference(value))
        .then_some((at, end))
}

/// Whether a password stands in a connection string: `Server=db;User=app;Pwd=…`.
fn connection(text: &str, start: usize, end: usize) -> bool {
    const PARTS: [&str; 9] =
        ["server=", "data source=", "host=", "provider=", "driver=", "uid=", "user id=", "initial catalog=", "database="];
    let bytes = text.as_bytes();
    let beside = bytes.get(end) == Some(&b';') || start.checked_sub(1).is_some_and(|at| bytes[at] == b';');
    if !beside {
        return false;
    }
    let line = |byte: &u8| *byte == b'\n';
    let from = start - bytes[..start].iter().rev().take(CONNECTION_BYTES).take_while(|byte| !line(byte)).count();
    let to = end + bytes[end..].iter().take(CONNECTION_BYTES).take_while(|byte| !line(byte)).count();
    let around = String::from_utf8_lossy(&bytes[from..to]).to_ascii_lowercase().replace(" =", "=");
    PARTS.iter().filter(|part| around.contains(*part)).count() >= 2
}

fn holds(named: &Name, value: &str, tight: bool, quoted: bool) -> bool {
    if value.len() > MAX_VALUE_BYTES || value.contains('\n') || !quoted && looks::member(value) {
        return false;
    }
    if !tight {
        let hex = value.bytes().filter(u8::is_ascii_alphanumeric).count() * 10 >= value.len() * 8;
        return value.len() >= MIN_LOOSE_BYTES && hex && digits(value) >= 2 && looks::random(value);
    }
    if named.password && quoted && value.len() >= MIN_PASSWORD_BYTES {
        return !looks::placeholder(value) && !looks::reference(value) && !ordinary(value);
    }
    value.len() >= MIN_VALUE_BYTES && looks::random(value)
}

/// What gives a value to a name, in the ways of many languages.
fn operator(rest: &[u8]) -> Option<&'static str> {
    const ALL: [&str; 13] = ["::::=", ":::=", "::=", "=>", ":=", "==", "!=", "||", "=", ":", ",", "(", ">"];
    let first = rest.first().filter(|byte| matches!(byte, b':' | b'=' | b'!' | b'|' | b',' | b'(' | b'>'))?;
    ALL.into_iter().find(|operator| operator.as_bytes()[0] == *first && rest.starts_with(operator.as_bytes()))
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// Words that stand where a password would, and are none.
pub(crate) fn ordinary(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "password", "passwd", "secret", "none", "null", "true", "false", "string", "username", "required", "text", "type",
        "hidden",
    ];
    let lower = value.to_ascii_lowercase();
    WORDS.contains(&lower.as_str())
        || lower.contains("password")
        || lower.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && lower.contains('_')
}

/// A name of something, read word by word.
struct Name {
    /// It names what a person types.
    password: bool,
}

impl Name {
    fn of(name: &str) -> Option<Self> {
        // What names the credential is the last word; what follows it says that it is something about one.
        const ABOUT: &[&str] = &[
            "id",
            "ids",
            "name",
            "names",
            "file",
            "path",
            "url",
            "uri",
            "length",
            "len",
            "type",
            "size",
            "count",
            "ref",
            "field",
            "label",
            "endpoint",
            "expires",
            "expiry",
            "ttl",
            "version",
            "store",
            "mode",
            "policy",
            "arn",
            "hash",
            "index",
            "limit",
            "format",
            "algorithm",
            "provider",
            "header",
            "prefix",
            "suffix",
            "regex",
            "pattern",
            "board",
            "word",
            "words",
            "map",
            "error",
            "required",
            "enabled",
            "host",
            "domain",
            "scope",
            "scopes",
            "at",
            "date",
            "time",
            "method",
            "class",
        ];
        const CREDENTIAL: &[&str] = &[
            "secret",
            "token",
            "key",
            "credential",
            "auth",
            "passwd",
            "password",
            "passphrase",
            "pwd",
            "private",
            "access",
            "pass",
        ];
        let lower = name.to_ascii_lowercase();
        let mut parts: Vec<&str> = Vec::with_capacity(8);
        let (mut from, mut before) = (0, b'_');
        for (at, byte) in name.bytes().chain([b'_']).enumerate() {
            let word = byte.is_ascii_alphanumeric();
            let hump = byte.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
            if !word || hump {
                parts.extend(lower.get(from..at));
                from = if word { at } else { at + 1 };
            }
            before = byte;
        }
        parts.retain(|part| !part.is_empty());
        let last = *parts.last()?;
        let stem = last.trim_end_matches('s').trim_end_matches(|c: char| c.is_ascii_digit());
        if ABOUT.contains(&last) || parts.iter().any(|part| *part == "public" || *part == "nonce") {
            return None;
        }
        let ends = CREDENTIAL.iter().any(|word| stem.ends_with(word));
        let holds = parts.iter().any(|part| CREDENTIAL.iter().any(|word| part.ends_with(word)));
        (holds && (ends || parts.len() <= 4))
            .then(|| Self { password: ["passw", "passphrase", "pwd"].iter().any(|word| stem.contains(word)) || stem == "pass" })
    }
}

fn name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn part(byte: u8, quoted: bool) -> bool {
    looks::token(byte)
        || matches!(byte, b'!' | b'#' | b'%' | b'^' | b'*')
        || quoted && matches!(byte, b'@' | b'$' | b'&' | b'?' | b':' | b'+')
}
