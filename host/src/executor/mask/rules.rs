//! What is a secret: the task's own ones, and shapes of well-known tokens. Looks at text alone.

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use unicode_width::UnicodeWidthChar as _;

/// Shorter exact secrets would blot out ordinary text.
const SHORTEST_EXACT_BYTES: usize = 6;
/// Lines of a secret of several lines are masked one by one from this length.
const SHORTEST_LINE_BYTES: usize = 12;
/// A longer exact secret is masked by its begin of this length and the lines it has: it bounds what is held back.
const LONGEST_EXACT_BYTES: usize = 4096;
/// Most blanks, line ends and boxes between two parts of a broken secret.
const LONGEST_GAP_BYTES: usize = 256;
/// What a gap begins with: blanks, line ends, `|` and the first byte of `│`.
const GAP_BEGINS: &[u8] = b" \t\r\n|\xe2";
/// Shortest part of an encoded secret that is looked for.
const SHORTEST_ENCODED_CHARS: usize = 12;
/// Where text breaks off, a begin of an exact secret counts as the secret from this many bytes ...
const SHORTEST_BEGIN_BYTES: usize = 8;
/// ... and from this share of it, in quarters.
const BEGIN_QUARTERS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
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
    pub(super) fn has(self, b: u8) -> bool {
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
pub(super) enum Rule {
    Exact(Vec<u8>),
    Shape { prefix: &'static [u8], alphabet: Alphabet, least: usize },
}

impl Rule {
    pub(super) fn literal(&self) -> &[u8] {
        match self {
            Rule::Exact(secret) => secret,
            Rule::Shape { prefix, .. } => prefix,
        }
    }

    fn length(&self) -> usize {
        match self {
            Rule::Exact(secret) => secret.len(),
            Rule::Shape { prefix, least, .. } => prefix.len() + least,
        }
    }

    /// The two bytes that it begins with, where gaps may break it also with what a gap begins with.
    fn begins(&self) -> impl Iterator<Item = usize> {
        let literal = self.literal();
        let breaks = matches!(self, Rule::Exact(secret) if secret.len() >= SHORTEST_BEGIN_BYTES);
        let gaps = if breaks { GAP_BEGINS } else { &[] };
        let first = literal[0];
        gaps.iter().chain([&literal[1]]).map(move |second| pair_of(first, *second))
    }
}

fn pair_of(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Other letters fall together with ASCII ones: one look too many.
fn link(before: char, after: char) -> usize {
    (before as usize & 0xff) << 8 | (after as usize & 0xff)
}

fn has(bits: &[u64; 1024], at: usize) -> bool {
    bits[at / 64] & (1 << (at % 64)) != 0
}

fn set(bits: &mut [u64; 1024], at: usize) {
    bits[at / 64] |= 1 << (at % 64);
}

fn links(rules: &[Rule], broken: &[Vec<char>]) -> Box<[u64; 1024]> {
    let mut links = Box::new([0; 1024]);
    let exact = rules.iter().filter_map(|rule| match rule {
        Rule::Exact(secret) => Some(String::from_utf8_lossy(secret).chars().filter(|c| is_solid(*c)).collect::<Vec<char>>()),
        Rule::Shape { .. } => None,
    });
    for letters in exact.chain(broken.iter().cloned()) {
        for pair in letters.windows(2) {
            set(&mut links, link(pair[0], pair[1]));
        }
    }
    links
}

/// What follows the text that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More of the same text, perhaps.
    Open,
    /// Something else: what is there is all there is.
    Closed,
}

/// What stands at a position.
pub(super) enum Here {
    Nothing,
    Perhaps,
    Secret { shown: usize, hidden: usize, goes_on: Option<Alphabet> },
}

/// All rules of one task.
#[derive(Debug)]
pub(in crate::executor) struct Rules {
    pub(super) all: Vec<Rule>,
    /// Rules by first byte: most bytes begin none.
    pub(super) by_first: Box<[Vec<usize>; 256]>,
    /// One bit for each two bytes that a rule may begin with: most text holds few of them.
    pairs: Box<[u64; 1024]>,
    /// One bit for each two letters that are neighbours in a secret of the task.
    links: Box<[u64; 1024]>,
    longest: usize,
    broken: Vec<Vec<char>>,
}

impl Rules {
    pub(in crate::executor) fn new<'a>(secrets: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        let solid = secrets.clone().into_iter().map(|secret| secret.chars().filter(|c| is_solid(*c)));
        let solid = solid.map(|secret| secret.take(LONGEST_EXACT_BYTES).collect::<Vec<char>>());
        let broken: Vec<Vec<char>> = solid.filter(|secret| secret.len() >= SHORTEST_BEGIN_BYTES).collect();
        let mut all: Vec<Rule> = exact_forms(secrets).into_iter().map(Rule::Exact).collect();
        let shapes = SHAPES.iter();
        all.extend(shapes.map(|&(prefix, alphabet, least)| Rule::Shape { prefix: prefix.as_bytes(), alphabet, least }));
        let mut by_first: Box<[Vec<usize>; 256]> = Box::new(std::array::from_fn(|_| Vec::new()));
        let mut pairs = Box::new([0; 1024]);
        for (index, rule) in all.iter().enumerate() {
            by_first[usize::from(rule.literal()[0])].push(index);
            for pair in rule.begins() {
                set(&mut pairs, pair);
            }
        }
        let longest = all.iter().map(Rule::length).max().unwrap_or(0);
        let links = links(&all, &broken);
        Self { all, by_first, pairs, links, longest, broken }
    }

    /// Most characters, blanks and boxes aside, that are a secret or enough of it to be known.
    pub(in crate::executor) fn longest(&self) -> usize {
        self.longest
    }

    /// Whether two letters may be neighbours in a secret whose parts stand apart; asterisks stand for any.
    pub(in crate::executor) fn links(&self, before: char, after: char) -> bool {
        before == '*' || after == '*' || has(&self.links, link(before, after))
    }

    /// Where, at `from` or after it, a rule may begin.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let pairs = text.get(from..)?.windows(2);
        let found = pairs.into_iter().position(|pair| has(&self.pairs, pair_of(pair[0], pair[1])));
        // What follows the last byte is not known.
        let last =
            || text.len().checked_sub(1).filter(|last| *last >= from && !self.by_first[usize::from(text[*last])].is_empty());
        found.map(|at| from + at).or_else(last)
    }

    /// The task's own secrets as they are looked for where lines and boxes break them: their solid characters.
    pub(in crate::executor) fn broken(&self) -> &[Vec<char>] {
        &self.broken
    }

    /// What is to be hidden in a text that is whole.
    pub(in crate::executor) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let (mut found, mut from, mut behind) = (Vec::new(), 0, None);
        while let Some(at) = self.next(text, from) {
            let in_word = behind == Some(at) || (at > 0 && is_word(text[at - 1]));
            match self.look(&text[at..], in_word, End::Closed) {
                Here::Secret { shown, hidden, .. } => {
                    found.push(at + shown..at + shown + hidden);
                    from = at + shown + hidden;
                    behind = Some(from);
                }
                Here::Nothing | Here::Perhaps => from = at + 1,
            }
        }
        found
    }

    /// A text that is whole, masked.
    pub(in crate::executor) fn masked(&self, text: &[u8]) -> Vec<u8> {
        let (mut out, mut from) = (Vec::with_capacity(text.len()), 0);
        for range in self.find(text) {
            out.extend_from_slice(&text[from..range.start]);
            stars(&text[range.clone()], &mut out);
            from = range.end;
        }
        out.extend_from_slice(&text[from..]);
        out
    }

    /// What begins at the begin of `rest`. The longest match wins; one that may become longer waits.
    pub(super) fn look(&self, rest: &[u8], in_word: bool, end: End) -> Here {
        let mut best = Here::Nothing;
        let mut length = 0;
        for &index in &self.by_first[usize::from(rest[0])] {
            let found = match &self.all[index] {
                Rule::Shape { .. } if in_word => continue,
                Rule::Exact(secret) => exact_here(secret, rest, end),
                Rule::Shape { prefix, alphabet, least } => shape_here(prefix, *alphabet, *least, rest, end),
            };
            match found {
                Here::Perhaps => return Here::Perhaps,
                Here::Secret { shown, hidden, .. } if shown + hidden > length => {
                    length = shown + hidden;
                    best = found;
                }
                Here::Nothing | Here::Secret { .. } => {}
            }
        }
        best
    }
}

fn exact_here(secret: &[u8], rest: &[u8], end: End) -> Here {
    let (same, used) = along(secret, rest);
    let hidden = |used| Here::Secret { shown: 0, hidden: used, goes_on: None };
    if same == secret.len() {
        return hidden(used);
    }
    if used == rest.len() && end == End::Open {
        return Here::Perhaps;
    }
    let most_of_it = same >= SHORTEST_BEGIN_BYTES && same * 4 >= secret.len() * BEGIN_QUARTERS;
    if most_of_it { hidden(used) } else { Here::Nothing }
}

/// Whether `text` is a begin of the secret.
pub(super) fn begins(secret: &[u8], text: &[u8]) -> bool {
    along(secret, text).1 == text.len()
}

/// How far text goes along with a secret, in bytes of both: a long one may be broken by blanks, lines and boxes.
fn along(secret: &[u8], text: &[u8]) -> (usize, usize) {
    let (mut same, mut used, mut ahead) = (0, 0, 0);
    while same < secret.len() && ahead < text.len() {
        if text[ahead] == secret[same] {
            same += 1;
            ahead += 1;
            used = ahead;
            continue;
        }
        let gap = if same == 0 || secret.len() < SHORTEST_BEGIN_BYTES { 0 } else { gap(&text[ahead..]) };
        if gap == 0 || ahead + gap - used > LONGEST_GAP_BYTES {
            return (same, used);
        }
        ahead += gap;
    }
    // A gap at the end belongs to it while it may go on.
    (same, if same < secret.len() { ahead } else { used })
}

/// Bytes of what may stand between two parts of a broken secret.
fn gap(text: &[u8]) -> usize {
    const BOX: &[u8] = "│".as_bytes();
    match text {
        [b' ' | b'\t' | b'\r' | b'\n' | b'|', ..] => 1,
        text if text.starts_with(BOX) => BOX.len(),
        _ => 0,
    }
}

fn shape_here(prefix: &[u8], alphabet: Alphabet, least: usize, rest: &[u8], end: End) -> Here {
    let same = rest.iter().zip(prefix).take_while(|(a, b)| a == b).count();
    let run = if same < prefix.len() { 0 } else { rest[same..].iter().take_while(|b| alphabet.has(**b)).count() };
    let open = same + run == rest.len() && end == End::Open;
    if same < prefix.len() || run < least {
        return if open { Here::Perhaps } else { Here::Nothing };
    }
    Here::Secret { shown: same, hidden: run, goes_on: open.then_some(alphabet) }
}

/// Every form in which a terminal may show the secrets: as they are, with the terminal's line ends, line by line.
fn exact_forms<'a>(secrets: impl IntoIterator<Item = &'a str>) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for secret in secrets {
        let secret: String = secret.trim_matches(['\r', '\n']).chars().filter(|c| !is_zero_width(*c)).collect();
        let lines = secret.lines().filter(|line| line.len() >= SHORTEST_LINE_BYTES);
        let crlf = secret.replace("\r\n", "\n").replace('\n', "\r\n");
        for form in [secret.as_str(), crlf.as_str()].into_iter().chain(lines) {
            if form.len() >= SHORTEST_EXACT_BYTES {
                forms.insert(form.as_bytes()[..form.floor_char_boundary(LONGEST_EXACT_BYTES)].to_vec());
            }
        }
        if secret.len() >= SHORTEST_EXACT_BYTES {
            let secret = &secret[..secret.floor_char_boundary(LONGEST_EXACT_BYTES)];
            forms.extend(encoded(secret.as_bytes()).filter(|form| form.len() >= SHORTEST_ENCODED_CHARS));
        }
    }
    forms
}

/// In hexadecimal, and in base64 wherever in a text it stands: one of three beats, without the letters that it shares
/// with its neighbours.
fn encoded(secret: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let base64 = [0, 1, 2].into_iter().flat_map(|before| {
        let text = [&[0; 2][..before], secret].concat();
        let own = (before * 8).div_ceil(6)..text.len() * 8 / 6;
        let part = move |whole: String| whole.as_bytes()[own.clone()].to_vec();
        [part(STANDARD_NO_PAD.encode(&text)), part(URL_SAFE_NO_PAD.encode(&text))]
    });
    let forms: Vec<Vec<u8>> = base64.collect();
    forms.into_iter().chain([hex.to_uppercase().into_bytes(), hex.into_bytes()])
}

pub(super) fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// Whether it is text: no blank, and none of the lines that programs draw around it.
pub(in crate::executor) fn is_solid(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_graphic() && c != '|';
    }
    !c.is_whitespace() && !is_zero_width(c) && !matches!(c, '|' | '\u{2500}'..='\u{259f}')
}

/// Whether a terminal draws the character on the one before, or not at all.
pub(super) fn is_zero_width(c: char) -> bool {
    !c.is_ascii() && c.width() == Some(0)
}

/// Asterisks as wide as the text; line ends stay, so that the screen keeps its form.
pub(super) fn stars(bytes: &[u8], out: &mut Vec<u8>) {
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '\r' | '\n' => out.push(c as u8),
            _ => out.extend(std::iter::repeat_n(b'*', c.width().unwrap_or(1))),
        }
    }
}
