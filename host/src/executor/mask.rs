//! Masks secrets in the terminal's text, before transcript and viewers see them.
//!
//! A match becomes asterisks of the same width, so that columns stay right. Text that may be the begin of a secret is held
//! back, at most as long as the longest secret, until more arrives or the stream rests (`flush`); after a rest a secret
//! that goes on is still masked from there. Colours, other sequences that move nothing, and characters without a width do
//! not hide a secret that they stand in. One that moves of the cursor put together is found on the screen's rows
//! (`Screen::conceal`): this says when to look.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::strip::{Audience, Piece};
use rules::{Alphabet, End, Here, Rule, begins, is_word, is_zero_width, stars};
pub(super) use rules::{Rules, is_solid};

/// Of a secret that the stream rests in, this much may have been shown already.
const REST_SHOWS_BYTES: usize = 3;
/// Most bytes of sequences that wait with the text they stand in.
const INSERT_BYTES: usize = 8 * 1024;
/// Lines after which the screen's rows are looked at, before they scroll away.
const LINES: usize = 8;
/// Most looks at the rows on the way through one chunk.
const STOPS: usize = 32;
/// Most repetitions of a character by one sequence.
const REPEAT_MOST: usize = 1000;

/// A sequence that stands before the held text's byte `at`.
#[derive(Debug)]
struct Insert {
    at: usize,
    bytes: Vec<u8>,
    audience: Audience,
}

/// What may be shown.
#[derive(Debug, Default)]
pub(super) struct Masked {
    /// For our own model.
    pub(super) model: Vec<u8>,
    /// For transcript and viewers.
    pub(super) view: Vec<u8>,
    /// Whether the cursor moved other than by writing on: the screen may hold what the text does not.
    pub(super) moves: bool,
    /// Whether it did since the last of the `stops`.
    unseen: bool,
    /// Positions in `model` before which the rows are to be looked at: they are about to go.
    pub(super) stops: Vec<usize>,
    /// Lines ended.
    pub(super) lines: usize,
}

impl Masked {
    fn moved(&mut self) {
        (self.moves, self.unseen) = (true, true);
    }

    fn stop(&mut self) {
        if self.stops.len() < STOPS {
            self.stops.push(self.model.len());
            self.unseen = false;
        }
    }

    fn put(&mut self, bytes: &[u8], audience: Audience) {
        self.model.extend_from_slice(bytes);
        if audience == Audience::All {
            self.view.extend_from_slice(bytes);
        }
    }
}

/// The mask of one stream.
#[derive(Debug)]
pub(super) struct Mask {
    rules: Arc<Rules>,
    /// What may be the begin of a secret, ...
    held: Vec<u8>,
    /// ... and how much of that has left at a rest.
    left: usize,
    inserts: VecDeque<Insert>,
    insert_bytes: usize,
    /// Inside the run of a token that is one already.
    inside: Option<Alphabet>,
    /// Whether the text before ended with a carriage return, which may begin a line end.
    returned: bool,
    /// Whether the byte before was part of a word: shapes begin at a word's begin.
    in_word: bool,
    /// The character that REP repeats.
    last: Option<char>,
    masked: u64,
}

impl Mask {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        let (held, inserts) = (Vec::new(), VecDeque::new());
        Self {
            rules,
            held,
            left: 0,
            inserts,
            insert_bytes: 0,
            inside: None,
            returned: false,
            in_word: false,
            last: None,
            masked: 0,
        }
    }

    /// Whether text waits for more.
    pub(super) fn holds(&self) -> bool {
        self.held.len() > self.left
    }

    /// How many secrets were masked.
    pub(super) fn masked(&self) -> u64 {
        self.masked
    }

    /// Takes a piece in and appends what may be shown.
    pub(super) fn feed(&mut self, piece: Piece<'_>, out: &mut Masked) {
        match piece {
            Piece::Text(text) => self.text(text, out),
            Piece::Osc(osc, audience) => {
                let masked = self.rules.masked(osc);
                self.masked += u64::from(masked != osc);
                self.insert(&[b"\x1b]", masked.as_slice(), b"\x1b\\"].concat(), audience, out);
            }
            Piece::Sequence(bytes) => match effect(bytes) {
                Effect::Looks => self.insert(bytes, Audience::All, out),
                effect => self.moved(bytes, effect, out),
            },
        }
    }

    /// The stream rests: lets out what is held, masked where it is more likely than not a secret. It is remembered: what
    /// arrives may go on with it.
    pub(super) fn flush(&mut self, out: &mut Masked) {
        let Some(&first) = self.held.first() else { return };
        let (held, rules) = (std::mem::take(&mut self.held), Arc::clone(&self.rules));
        let shown = rules.by_first[usize::from(first)].iter().map(|&index| match &rules.all[index] {
            Rule::Exact(secret) if held.len() > REST_SHOWS_BYTES && begins(secret, &held) => 0,
            Rule::Shape { prefix, .. } if held.starts_with(prefix) => prefix.len(),
            Rule::Exact(_) | Rule::Shape { .. } => held.len(),
        });
        let shown = shown.min().unwrap_or(held.len()).max(self.left);
        self.plain(&held, self.left..shown, out);
        self.hide(&held, shown..held.len(), out);
        self.inserts_until(held.len(), out);
        (self.left, self.held) = (held.len(), held);
    }

    /// The end of the stream.
    pub(super) fn finish(&mut self, out: &mut Masked) {
        self.flush(out);
        self.held.clear();
        (self.left, self.inside) = (0, None);
    }

    fn text(&mut self, text: &str, out: &mut Masked) {
        if text.is_ascii() {
            return self.lines(text.as_bytes(), out);
        }
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_zero_width(*c)) {
            self.lines(&rest.as_bytes()[..at], out);
            let (character, after) = rest[at..].split_at(c.len_utf8());
            self.insert(character.as_bytes(), Audience::All, out);
            rest = after;
        }
        self.lines(rest.as_bytes(), out);
    }

    /// Text in portions after which the screen is to be looked at: where lines end, and where what moves put together may
    /// be overwritten.
    fn lines(&mut self, bytes: &[u8], out: &mut Masked) {
        let Some(&first) = bytes.first() else { return };
        if std::mem::take(&mut self.returned) && first != b'\n' {
            out.moved();
        }
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate().filter(|(_, b)| **b < b' ') {
            let returns = *byte == b'\r' && bytes.get(at + 1).is_some_and(|next| *next != b'\n');
            out.lines += usize::from(*byte == b'\n');
            let ends = *byte == b'\n' && out.lines.is_multiple_of(LINES);
            if ends || (out.unseen && (returns || *byte == b'\n')) {
                self.take_in(&bytes[from..at], out);
                from = at;
                if out.unseen && !self.is_in_token() {
                    // The rows show more than the text: all of it has to stand there.
                    self.settle(out);
                }
                out.stop();
            }
            if returns || matches!(byte, 0x08 | 0x0b | 0x0c) {
                out.moved();
            }
        }
        self.returned = bytes.last() == Some(&b'\r');
        self.take_in(&bytes[from..], out);
    }

    /// Whether what is held is a token's begin and more: it may go on in the next line.
    fn is_in_token(&self) -> bool {
        self.rules.all.iter().any(|rule| match rule {
            Rule::Shape { prefix, .. } => self.held.starts_with(prefix),
            Rule::Exact(_) => false,
        })
    }

    fn take_in(&mut self, bytes: &[u8], out: &mut Masked) {
        if self.held.is_empty() {
            let kept = self.scan(bytes, End::Open, out);
            self.held.extend_from_slice(&bytes[kept..]);
            return;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let kept = self.scan(&all, End::Open, out);
        self.rebase(kept, out);
        all.drain(..kept);
        self.held = all;
    }

    /// A sequence, or a character without a width, that does not end what it stands in.
    fn insert(&mut self, bytes: &[u8], audience: Audience, out: &mut Masked) {
        if self.insert_bytes + bytes.len() > INSERT_BYTES {
            self.settle(out);
        }
        if !self.holds() {
            return out.put(bytes, audience);
        }
        self.insert_bytes += bytes.len();
        self.inserts.push_back(Insert { at: self.held.len(), bytes: bytes.to_vec(), audience });
    }

    /// A sequence after which the text goes on elsewhere.
    fn moved(&mut self, bytes: &[u8], effect: Effect, out: &mut Masked) {
        self.settle(out);
        (self.inside, self.in_word) = (None, false);
        out.moved();
        match effect {
            Effect::Looks | Effect::Moves => out.put(bytes, Audience::All),
            Effect::Clears => {
                out.stop();
                out.put(bytes, Audience::All);
            }
            Effect::Repeats(count) => {
                // Written out once and then repeated: whoever joins here has not seen what is repeated.
                let Some(last) = self.last else { return };
                out.put(last.encode_utf8(&mut [0; 4]).as_bytes(), Audience::All);
                if count > 1 {
                    out.put(format!("\x1b[{}b", count.min(REPEAT_MOST) - 1).as_bytes(), Audience::All);
                }
            }
        }
    }

    /// Lets out what is held as what it is: it does not go on.
    fn settle(&mut self, out: &mut Masked) {
        let held = std::mem::take(&mut self.held);
        self.scan(&held, End::Closed, out);
        self.rebase(held.len(), out);
    }

    /// The first `used` bytes of held text have left, and what stood before the next with them.
    fn rebase(&mut self, used: usize, out: &mut Masked) {
        self.inserts_until(used, out);
        self.left = self.left.saturating_sub(used);
        for insert in &mut self.inserts {
            insert.at -= used;
        }
    }

    fn inserts_until(&mut self, at: usize, out: &mut Masked) {
        while self.inserts.front().is_some_and(|insert| insert.at <= at) {
            let Some(insert) = self.inserts.pop_front() else { return };
            self.insert_bytes -= insert.bytes.len();
            out.put(&insert.bytes, insert.audience);
        }
    }

    fn plain(&mut self, text: &[u8], range: Range<usize>, out: &mut Masked) {
        self.emit(text, range, |bytes, out| out.put(bytes, Audience::All), out);
    }

    fn hide(&mut self, text: &[u8], range: Range<usize>, out: &mut Masked) {
        let write = |bytes: &[u8], out: &mut Masked| {
            let mut asterisks = Vec::new();
            stars(bytes, &mut asterisks);
            out.put(&asterisks, Audience::All);
        };
        if range.end > self.left.max(range.start) {
            self.emit(text, range, write, out);
            self.last = Some('*');
        }
    }

    /// Writes a part of the text with what stands in it.
    fn emit(&mut self, text: &[u8], range: Range<usize>, write: impl Fn(&[u8], &mut Masked), out: &mut Masked) {
        // What left at a rest does not leave again.
        let mut from = range.start.max(self.left.min(range.end));
        let range = from..range.end;
        while let Some(at) = self.inserts.front().map(|insert| insert.at).filter(|at| *at < range.end) {
            write(&text[from..at.max(from)], out);
            from = at.max(from);
            self.inserts_until(at, out);
        }
        write(&text[from..range.end], out);
        let shown = &text[range];
        if let Some(end) = shown.iter().rposition(|b| *b >= b' ') {
            let begin = shown[..=end].iter().rposition(|b| b & 0b1100_0000 != 0b1000_0000).unwrap_or(0);
            self.last = std::str::from_utf8(&shown[begin..=end]).ok().and_then(|c| c.chars().next());
        }
    }

    /// Appends what may be shown of `text`; returns how many bytes it used.
    fn scan(&mut self, text: &[u8], end: End, out: &mut Masked) -> usize {
        let mut clean = self.go_on(text, out);
        let mut from = clean;
        while let Some(at) = self.rules.next(text, from) {
            if at > clean {
                self.in_word = is_word(text[at - 1]);
            }
            match self.rules.look(&text[at..], self.in_word, end) {
                Here::Nothing => from = at + 1,
                Here::Perhaps => {
                    self.plain(text, clean..at, out);
                    return at;
                }
                Here::Secret { shown, hidden, goes_on } => {
                    self.plain(text, clean..at + shown, out);
                    self.hide(text, at + shown..at + shown + hidden, out);
                    (from, clean) = (at + shown + hidden, at + shown + hidden);
                    self.inside = goes_on;
                    self.in_word = true;
                    self.masked += 1;
                }
            }
        }
        if text.len() > clean {
            self.in_word = is_word(text[text.len() - 1]);
        }
        self.plain(text, clean..text.len(), out);
        text.len()
    }

    /// Masks the rest of a token whose begin has left.
    fn go_on(&mut self, text: &[u8], out: &mut Masked) -> usize {
        let Some(alphabet) = self.inside else { return 0 };
        let used = text.iter().take_while(|b| alphabet.has(**b)).count();
        self.hide(text, 0..used, out);
        if used < text.len() {
            self.inside = None;
        }
        used
    }
}

/// What a sequence does to the text around it.
enum Effect {
    /// Nothing: a colour, a mode, a question.
    Looks,
    /// The cursor or cells move.
    Moves,
    /// Text goes.
    Clears,
    /// The last character once more, so many times.
    Repeats(usize),
}

fn effect(sequence: &[u8]) -> Effect {
    let Some((&last, rest)) = sequence.split_last() else { return Effect::Looks };
    let Some(parameters) = rest.strip_prefix(b"\x1b[") else {
        return match (rest, last) {
            (b"\x1b", b'c') => Effect::Clears,
            (b"\x1b", b'D' | b'E' | b'M' | b'7' | b'8') | (b"\x1b#", _) => Effect::Moves,
            _ => Effect::Looks,
        };
    };
    let number = || std::str::from_utf8(parameters).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let screens = || parameters.split(|b| matches!(b, b'?' | b';')).any(|mode| matches!(mode, b"47" | b"1047" | b"1049"));
    match last {
        b'b' => Effect::Repeats(number().max(1)),
        b'J' | b'K' | b'L' | b'M' | b'P' | b'S' | b'T' | b'X' => Effect::Clears,
        b'h' | b'l' if screens() => Effect::Clears,
        b'h' | b'l' if parameters.starts_with(b"?6") && parameters.len() == 2 => Effect::Moves,
        b'A'..=b'I' | b'Z' | b'@' | b'`' | b'a' | b'd' | b'e' | b'f' | b'r' | b's' | b'u' => Effect::Moves,
        _ => Effect::Looks,
    }
}
