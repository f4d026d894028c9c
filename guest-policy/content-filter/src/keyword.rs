//! One pass over a text that finds where a rule might hold: every later look is at these places only.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};

use crate::hidden::TRIGGERS;
use crate::pattern::PATTERNS;
use crate::token::TOKENS;

/// Words that name a credential when a value follows.
const CREDENTIALS: &[&str] = &["secret", "token", "passw", "passphrase", "pwd", "key", "credential", "auth", "private", "access"];

/// Whose place a keyword is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A token of this position in the table.
    Token(usize),
    /// A pattern of this position in the list.
    Pattern(usize),
    /// The name of a credential.
    Credential,
    /// Words of an order of this position in the list.
    Order(usize),
    /// The `://` of an address.
    Address,
    /// The beginning of a comment of markup.
    Comment,
}

/// The automaton over all keywords.
#[derive(Debug)]
pub(crate) struct Keywords {
    automaton: AhoCorasick,
    owners: Vec<Owner>,
}

impl Keywords {
    /// Builds it.
    pub(crate) fn new() -> Result<Self, BuildError> {
        let mut words: Vec<&str> = Vec::new();
        let mut owners = Vec::new();
        let mut add = |word: &'static str, owner| {
            words.push(word);
            owners.push(owner);
        };
        for (at, token) in TOKENS.iter().enumerate() {
            add(token.prefix, Owner::Token(at));
        }
        for (at, pattern) in PATTERNS.iter().enumerate() {
            pattern.keywords.iter().for_each(|word| add(word, Owner::Pattern(at)));
        }
        for (at, triggers) in TRIGGERS.iter().enumerate() {
            triggers.iter().for_each(|word| add(word, Owner::Order(at)));
        }
        CREDENTIALS.iter().for_each(|word| add(word, Owner::Credential));
        add("://", Owner::Address);
        add("<!--", Owner::Comment);
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(&words)?;
        Ok(Self { automaton, owners })
    }

    /// Every place, in the order of its end: owner, first byte, byte after the last.
    pub(crate) fn places<'t>(&'t self, text: &'t str) -> impl Iterator<Item = (Owner, usize, usize)> + 't {
        let hits = self.automaton.find_overlapping_iter(text);
        hits.map(|hit| (self.owners[hit.pattern().as_usize()], hit.start(), hit.end()))
    }
}
