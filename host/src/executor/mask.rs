//! Masks secrets on the terminal's byte stream, before transcript and viewers see them.
//!
//! Two kinds: the task's **exact** secrets, and **shapes** of well-known tokens (a prefix that is always the same, and a
//! run of at least so many characters). A match becomes asterisks of the same width, so that columns stay right.
//! Bytes that may be the begin of a secret are held back, at most as long as the longest secret, until more arrives or
//! the stream rests (`flush`); after a rest a secret that goes on is still masked from there.
//!
//! Best effort: a secret that is coloured inside, wrapped by cursor moves, or encoded is not seen.

use std::collections::BTreeSet;

/// Shorter exact secrets would blot out ordinary text.
const SHORTEST_EXACT_BYTES: usize = 6;
/// Lines of a secret of several lines are masked one by one from this length.
const SHORTEST_LINE_BYTES: usize = 12;
/// A longer exact secret is masked by its begin of this length and the lines it has: it bounds what is held back.
const LONGEST_EXACT_BYTES: usize = 4096;
/// Of a secret that the stream rests in, this much may have been shown already.
const REST_SHOWS_BYTES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// A-Z, a-z, 0-9, `_`, `-`.
    Word,
    /// As `Word`, and `.`: tokens in several parts.
    Dotted,
    /// 0-9, a-f.
    Hex,
    /// A-Z, 0-9.
    Upper,
    /// Base64 and line ends, up to the dashes of the end line.
    Pem,
}

impl Alphabet {
    fn has(self, b: u8) -> bool {
        match self {
            Alphabet::Word => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'),
            Alphabet::Dotted => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'),
            Alphabet::Hex => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            Alphabet::Upper => b.is_ascii_digit() || b.is_ascii_uppercase(),
            Alphabet::Pem => b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\r' | b'\n' | b' '),
        }
    }
}

/// Prefix, alphabet and least length of what follows.
const SHAPES: &[(&str, Alphabet, usize)] = &[
    ("AKIA", Alphabet::Upper, 16),
    ("ASIA", Alphabet::Upper, 16),
    ("AIza", Alphabet::Word, 35),
    ("ya29.", Alphabet::Word, 20),
    ("ghp_", Alphabet::Word, 30),
    ("gho_", Alphabet::Word, 30),
    ("ghu_", Alphabet::Word, 30),
    ("ghs_", Alphabet::Word, 30),
    ("ghr_", Alphabet::Word, 30),
    ("github_pat_", Alphabet::Word, 22),
    ("glpat-", Alphabet::Word, 20),
    ("dapi", Alphabet::Hex, 32),
    ("dkea", Alphabet::Hex, 32),
    ("sk-ant-", Alphabet::Word, 20),
    ("sk-", Alphabet::Word, 32),
    ("sk_live_", Alphabet::Word, 16),
    ("rk_live_", Alphabet::Word, 16),
    ("xoxb-", Alphabet::Word, 16),
    ("xoxp-", Alphabet::Word, 16),
    ("xoxa-", Alphabet::Word, 16),
    ("xoxs-", Alphabet::Word, 16),
    ("xapp-", Alphabet::Word, 16),
    ("hf_", Alphabet::Word, 30),
    ("npm_", Alphabet::Word, 36),
    ("pypi-AgEIcHlwaS5vcmc", Alphabet::Word, 20),
    ("SG.", Alphabet::Dotted, 40),
    ("eyJhbGciOi", Alphabet::Dotted, 40),
    ("coda_tok_", Alphabet::Word, 16),
    ("coda_login_", Alphabet::Word, 16),
    ("coda_task_", Alphabet::Word, 16),
    ("-----BEGIN PRIVATE KEY-----", Alphabet::Pem, 8),
    ("-----BEGIN RSA PRIVATE KEY-----", Alphabet::Pem, 8),
    ("-----BEGIN EC PRIVATE KEY-----", Alphabet::Pem, 8),
    ("-----BEGIN OPENSSH PRIVATE KEY-----", Alphabet::Pem, 8),
];

#[derive(Debug)]
enum Rule {
    Exact(Vec<u8>),
    Shape { prefix: &'static [u8], alphabet: Alphabet, least: usize },
}

impl Rule {
    fn literal(&self) -> &[u8] {
        match self {
            Rule::Exact(secret) => secret,
            Rule::Shape { prefix, .. } => prefix,
        }
    }
}

/// Inside a secret whose begin has left already.
#[derive(Debug, Clone, Copy)]
enum Inside {
    Run(Alphabet),
    Exact { rule: usize, at: usize },
}

/// What stands at a position.
enum Here {
    Nothing,
    Perhaps,
    Secret { shown: usize, hidden: usize, goes_on: Option<Alphabet> },
}

/// The mask of one stream.
#[derive(Debug)]
pub(super) struct Mask {
    rules: Vec<Rule>,
    /// Rules by first byte: most bytes begin none.
    by_first: Box<[Vec<usize>; 256]>,
    held: Vec<u8>,
    inside: Option<Inside>,
    /// Whether the byte before was part of a word: shapes begin at a word's begin.
    in_word: bool,
    masked: u64,
}

impl Mask {
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut rules: Vec<Rule> = exact_forms(secrets).into_iter().map(Rule::Exact).collect();
        let shapes = SHAPES.iter();
        rules.extend(shapes.map(|&(prefix, alphabet, least)| Rule::Shape { prefix: prefix.as_bytes(), alphabet, least }));
        let mut by_first: Box<[Vec<usize>; 256]> = Box::new(std::array::from_fn(|_| Vec::new()));
        for (index, rule) in rules.iter().enumerate() {
            by_first[usize::from(rule.literal()[0])].push(index);
        }
        Self { rules, by_first, held: Vec::new(), inside: None, in_word: false, masked: 0 }
    }

    /// Whether bytes wait for more.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many secrets were masked.
    pub(super) fn masked(&self) -> u64 {
        self.masked
    }

    /// Takes bytes in and appends what may be shown.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.held.is_empty() {
            let kept = self.scan(bytes, out);
            self.held.extend_from_slice(&bytes[kept..]);
            return;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let kept = self.scan(&all, out);
        all.drain(..kept);
        self.held = all;
    }

    /// The stream rests: lets out what is held, masked where it is more likely than not a secret.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let Some(&first) = held.first() else { return };
        let begun = self.by_first[usize::from(first)].iter().copied().max_by_key(|&index| {
            let literal = self.rules[index].literal();
            held.iter().zip(literal).take_while(|(a, b)| a == b).count()
        });
        let Some(rule) = begun else { return };
        match &self.rules[rule] {
            Rule::Shape { prefix, alphabet, .. } if held.len() >= prefix.len() => {
                out.extend_from_slice(prefix);
                stars(&held[prefix.len()..], out);
                self.inside = Some(Inside::Run(*alphabet));
            }
            Rule::Shape { .. } => out.extend_from_slice(&held),
            Rule::Exact(_) => {
                let shown = if held.len() > REST_SHOWS_BYTES { 0 } else { held.len() };
                out.extend_from_slice(&held[..shown]);
                stars(&held[shown..], out);
                self.inside = Some(Inside::Exact { rule, at: held.len() });
            }
        }
        self.in_word = held.last().is_some_and(|b| is_word(*b));
    }

    /// The end of the stream.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        self.inside = None;
    }

    /// Appends what may be shown of `bytes`; returns how many bytes it used.
    fn scan(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = self.go_on(bytes, out);
        let mut clean = at;
        while at < bytes.len() {
            let first = bytes[at];
            if self.by_first[usize::from(first)].is_empty() {
                self.in_word = is_word(first);
                at += 1;
                continue;
            }
            match self.look(&bytes[at..]) {
                Here::Nothing => {
                    self.in_word = is_word(first);
                    at += 1;
                }
                Here::Perhaps => {
                    out.extend_from_slice(&bytes[clean..at]);
                    return at;
                }
                Here::Secret { shown, hidden, goes_on } => {
                    out.extend_from_slice(&bytes[clean..at + shown]);
                    stars(&bytes[at + shown..at + shown + hidden], out);
                    at += shown + hidden;
                    clean = at;
                    self.inside = goes_on.map(Inside::Run);
                    self.in_word = true;
                    self.masked += 1;
                }
            }
        }
        out.extend_from_slice(&bytes[clean..]);
        bytes.len()
    }

    /// Masks the rest of a secret whose begin has left.
    fn go_on(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let used = match self.inside {
            None => return 0,
            Some(Inside::Run(alphabet)) => bytes.iter().take_while(|b| alphabet.has(**b)).count(),
            Some(Inside::Exact { rule, at }) => {
                let rest = self.rules[rule].literal().get(at..).unwrap_or_default();
                let same = bytes.iter().zip(rest).take_while(|(a, b)| a == b).count();
                self.inside = Some(Inside::Exact { rule, at: at + same });
                if same == rest.len() {
                    self.inside = None;
                }
                same
            }
        };
        stars(&bytes[..used], out);
        if used > 0 {
            self.in_word = is_word(bytes[used - 1]);
        }
        if used < bytes.len() {
            self.inside = None;
        }
        used
    }

    /// What begins at the begin of `rest`. The longest match wins; one that may become longer waits.
    fn look(&self, rest: &[u8]) -> Here {
        let mut best = Here::Nothing;
        let mut length = 0;
        for &index in &self.by_first[usize::from(rest[0])] {
            let rule = &self.rules[index];
            let literal = rule.literal();
            let same = rest.iter().zip(literal).take_while(|(a, b)| a == b).count();
            if matches!(rule, Rule::Shape { .. }) && self.in_word {
                continue;
            }
            if same < literal.len() {
                if same == rest.len() {
                    return Here::Perhaps;
                }
                continue;
            }
            let found = match rule {
                Rule::Exact(_) => Here::Secret { shown: 0, hidden: same, goes_on: None },
                Rule::Shape { alphabet, least, .. } => {
                    let run = rest[same..].iter().take_while(|b| alphabet.has(**b)).count();
                    let open = same + run == rest.len();
                    if run < *least {
                        if open {
                            return Here::Perhaps;
                        }
                        continue;
                    }
                    Here::Secret { shown: same, hidden: run, goes_on: open.then_some(*alphabet) }
                }
            };
            if let Here::Secret { shown, hidden, .. } = found
                && shown + hidden > length
            {
                length = shown + hidden;
                best = found;
            }
        }
        best
    }
}

/// Every form in which a terminal may show the secrets: as they are, with the terminal's line ends, line by line.
fn exact_forms<'a>(secrets: impl IntoIterator<Item = &'a str>) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for secret in secrets {
        let secret = secret.trim_matches(['\r', '\n']);
        let lines = secret.lines().filter(|line| line.len() >= SHORTEST_LINE_BYTES);
        let crlf = secret.replace("\r\n", "\n").replace('\n', "\r\n");
        for form in [secret, crlf.as_str()].into_iter().chain(lines) {
            if form.len() >= SHORTEST_EXACT_BYTES {
                forms.insert(form.as_bytes()[..form.len().min(LONGEST_EXACT_BYTES)].to_vec());
            }
        }
    }
    forms
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// One asterisk per character; line ends stay, so that the screen keeps its form.
fn stars(bytes: &[u8], out: &mut Vec<u8>) {
    let is_continuation = |b: u8| b & 0b1100_0000 == 0b1000_0000;
    out.extend(bytes.iter().filter(|b| !is_continuation(**b)).map(|b| if matches!(b, b'\r' | b'\n') { *b } else { b'*' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], pieces: &[&[u8]]) -> String {
        let mut mask = Mask::new(secrets.iter().copied());
        let mut out = Vec::new();
        for piece in pieces {
            mask.feed(piece, &mut out);
        }
        mask.finish(&mut out);
        String::from_utf8(out).expect("text")
    }

    /// The same wherever the stream is cut into two, and byte by byte.
    fn check(secrets: &[&str], text: &str, expected: &str) {
        let bytes = text.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(masked(secrets, &[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut} of {text:?}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(masked(secrets, &single), expected, "byte by byte");
    }

    #[test]
    fn exact_secrets_are_masked_wherever_the_stream_is_cut() {
        check(&["hunter22"], "pw=hunter22; hunter2 hunter2hunter22\n", "pw=********; hunter2 hunter2********\n");
        check(&["abcabc", "abcabcabd"], "abcabcabd abcabcabc abcabx", "********* ******abc abcabx");
        check(&["pässwörd"], "a pässwörd b", "a ******** b");
        check(&["s3"], "too short: s3", "too short: s3");
        check(&["firstline-1234\nsecondline-5678"], "firstline-1234\r\nsecondline-5678.", "**************\r\n***************.");
    }

    #[test]
    fn token_shapes_are_masked_wherever_the_stream_is_cut() {
        let token = format!("ghp_{}", "a1B2".repeat(9));
        check(&[], &format!("token {token}\x1b[0m end"), &format!("token ghp_{}\x1b[0m end", "*".repeat(36)));
        check(&[], "ghp_short and AKIAabc and risk-averse", "ghp_short and AKIAabc and risk-averse");
        check(&[], "AKIAIOSFODNN7EXAMPLE,", "AKIA****************,");
        let key = "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADAN\r\nabcd==\r\n-----END PRIVATE KEY-----";
        check(&[], key, "-----BEGIN PRIVATE KEY-----\r\n************\r\n******\r\n-----END PRIVATE KEY-----");
    }

    #[test]
    fn what_is_held_is_bounded_and_a_rest_lets_it_out() {
        let mut mask = Mask::new(["hunter22-long-secret"]);
        let mut out = Vec::new();
        mask.feed(b"say hu", &mut out);
        assert!(mask.holds());
        mask.flush(&mut out);
        assert_eq!(out, b"say hu");
        mask.feed(b"nter22-long-secret!", &mut out);
        assert_eq!(out, b"say hu******************!", "the rest of the secret is masked although its begin was shown");
        out.clear();
        mask.feed(b"ghp_0123", &mut out);
        mask.flush(&mut out);
        mask.feed(b"45 !", &mut out);
        assert_eq!(out, b"ghp_****** !");
        out.clear();
        mask.feed(&b"ordinary text\n".repeat(1000), &mut out);
        assert!(mask.held.len() < 64, "{} bytes held", mask.held.len());
    }
}
