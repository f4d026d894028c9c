//! What a command writes, where its words alone tell: `echo`, `printf`, decoders and simple filters. Text that is piped
//! into a shell or stands in a substitution is followed this way.

use super::command::Stdin;
use super::word::{Arg, ansi_c};

/// Bytes of output that are followed.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// The output of a command with these arguments, or none where it depends on more.
pub(crate) fn of(program: &str, args: &[Arg], stdin: &Stdin) -> Option<String> {
    if args.iter().any(|arg| !arg.known || arg.glob) {
        return None;
    }
    let words: Vec<&str> = args.iter().map(|arg| arg.text.as_str()).collect();
    let input = match stdin {
        Stdin::Known(text) => Some(text.as_str()),
        Stdin::Inherited | Stdin::From(_) => None,
    };
    let options = |allowed: &[&str]| words.iter().all(|word| allowed.contains(word));
    let output = match program {
        "echo" => echo(&words),
        "printf" => printf(&words)?,
        "true" | ":" => String::new(),
        "cat" if !words.is_empty() && options(&["/dev/null"]) => String::new(),
        "cat" if options(&["-"]) => input?.to_owned(),
        "tee" | "sort" | "uniq" | "head" | "tail" if words.is_empty() => input?.to_owned(),
        "rev" if words.is_empty() => input?.lines().map(|line| line.chars().rev().collect::<String>() + "\n").collect(),
        "base64" if options(&["-d", "-D", "--decode", "-di", "-i"]) && !words.is_empty() => decode_base64(input?)?,
        "xxd" if options(&["-r", "-p", "-rp", "-ps"]) && words.len() < 3 && !words.is_empty() => decode_hex(input?)?,
        "tr" => translate(&words, input?)?,
        "sed" => substitute(&words, input?)?,
        _ => return None,
    };
    (output.len() <= MAX_OUTPUT_BYTES).then_some(output)
}

fn echo(words: &[&str]) -> String {
    let flags = words.iter().take_while(|word| matches!(**word, "-n" | "-e" | "-E" | "-ne" | "-en")).count();
    let (options, rest) = words.split_at(flags);
    let text = rest.join(" ");
    let text = if options.iter().any(|option| option.contains('e')) { ansi_c(&text) } else { text };
    if options.iter().any(|option| option.contains('n')) { text } else { text + "\n" }
}

fn printf(words: &[&str]) -> Option<String> {
    let words = words.strip_prefix(&["--"]).unwrap_or(words);
    let (format, mut rest) = words.split_first()?;
    let mut out = String::new();
    loop {
        let mut used = false;
        let mut chars = format.chars().peekable();
        let mut plain = String::new();
        while let Some(c) = chars.next() {
            if c != '%' {
                plain.push(c);
                continue;
            }
            let kind = chars.next()?;
            out.push_str(&ansi_c(&std::mem::take(&mut plain)));
            match kind {
                '%' => out.push('%'),
                's' | 'b' | 'd' | 'q' => {
                    let (word, after) = rest.split_first().map_or(("", rest), |(word, after)| (*word, after));
                    rest = after;
                    used = true;
                    match kind {
                        'b' => out.push_str(&ansi_c(word)),
                        'q' => out.extend(quoted(word)),
                        _ => out.push_str(word),
                    }
                }
                _ => return None,
            }
        }
        out.push_str(&ansi_c(&plain));
        if rest.is_empty() || !used || out.len() > MAX_OUTPUT_BYTES {
            return Some(out);
        }
    }
}

/// A word as `printf %q` writes it: one word again, whatever is in it.
fn quoted(word: &str) -> impl Iterator<Item = char> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '=' | ',' | '+' | '@' | '%');
    word.chars().flat_map(move |c| (!plain(c)).then_some('\\').into_iter().chain([c]))
}

pub(crate) fn decode_base64(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace()) {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}

fn decode_hex(text: &str) -> Option<String> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    String::from_utf8(digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect()).ok()
}

fn translate(words: &[&str], input: &str) -> Option<String> {
    match words {
        ["-d", set] => {
            let set = characters(set)?;
            Some(input.chars().filter(|c| !set.contains(c)).collect())
        }
        [from, to] if !from.starts_with('-') => {
            let (from, to) = (characters(from)?, characters(to)?);
            let last = *to.last()?;
            let map = |c: char| from.iter().position(|f| *f == c).map_or(c, |at| to.get(at).copied().unwrap_or(last));
            Some(input.chars().map(map).collect())
        }
        _ => None,
    }
}

/// The characters of a set of `tr`, with its ranges and the two common classes.
fn characters(set: &str) -> Option<Vec<char>> {
    match set {
        "[:upper:]" => return Some(('A'..='Z').collect()),
        "[:lower:]" => return Some(('a'..='z').collect()),
        _ if set.contains("[:") => return None,
        _ => {}
    }
    let chars: Vec<char> = ansi_c(set).chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if at + 2 < chars.len() && chars[at + 1] == '-' && chars[at] <= chars[at + 2] {
            out.extend(chars[at]..=chars[at + 2]);
            at += 3;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    (out.len() <= 512).then_some(out)
}

/// `sed s/a/b/` with literal text.
fn substitute(words: &[&str], input: &str) -> Option<String> {
    let [script] = words else { return None };
    let rest = script.strip_prefix('s')?;
    let separator = rest.chars().next()?;
    let parts: Vec<&str> = rest[separator.len_utf8()..].split(separator).collect();
    let [from, to, flags] = parts.as_slice() else { return None };
    if from.is_empty() || from.contains(['.', '*', '[', '\\', '^', '$']) || to.contains(['\\', '&']) {
        return None;
    }
    match *flags {
        "g" => Some(input.replace(from, to)),
        "" => Some(input.lines().map(|line| line.replacen(from, to, 1) + "\n").collect()),
        _ => None,
    }
}
