//! Instructions that a tool's result addresses to the model: evidence, not proof. Characters that no person sees and
//! comments with orders are taken out; plain sentences stay, framed as data. What it finds, it says with spans.

use regex::bytes::Regex;

use crate::disguise;
use crate::keyword::Owner;

/// A piece of text that should not speak to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Characters that are not shown.
    Characters,
    /// A comment of markup with an order in it.
    Comment,
    /// A sentence that orders the assistant about.
    Order,
}

/// How far around its words an order may reach.
const REACH_BYTES: usize = 120;
const MAX_COMMENT_BYTES: usize = 4_000;
/// Words before a quotation that make it one.
const QUOTING_WORDS: usize = 3;

/// Words of which one stands in every match of the order at the same place of `ORDERS`.
pub(crate) const TRIGGERS: &[&[&str]] = &[
    &["ignor", "disregard", "forget", "overrid", "bypass"],
    &["do not", "don't", "never", "without"],
    &["instruction"],
    &["attention", "note to", "message to", "message for", "dear ", "hey ", "important"],
    &["as an ai", "as an assistant", "as a ai", "assistant"],
    &["you are now", "you are no longer"],
    &["system", "im_start", "im_end", "inst]", "assistant"],
    &["system prompt", "hidden prompt"],
];

const ORDERS: &[&str] = &[
    r"(?i-u)\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?)\b.{0,30}\b(?:previous|prior|above|earlier|all|your|any|the)\b.{0,30}\b(?:instructions?|prompts?|rules|guidelines|directives|context|commands|approvals?)\b",
    r"(?i-u)\b(?:do not|don't|never|without)\b.{0,16}\b(?:tell|inform|mention|reveal|notify|telling|informing|alert)\w{0,3}\b.{0,20}\b(?:the )?(?:user|human|operator|anyone)\b",
    r"(?i-u)\b(?:new|updated|real|hidden|secret|important)\s+(?:system\s+)?instructions?\b\s*(?:for (?:the )?(?:ai|assistant|agent|model)|:)",
    r"(?i-u)\b(?:attention|note to|message (?:to|for)|dear|hey|important[:,]?)\s+(?:the\s+|any\s+|all\s+)?(?:ai|llm|assistant|language model|agent|model|claude|chatgpt|copilot)\b",
    r"(?i-u)\b(?:as an? (?:ai|assistant)|ai assistant|assistant),?\s+you\s+(?:must|should|need to|have to|are required)\b",
    r"(?i-u)\byou are (?:now|no longer)\b.{0,40}\b(?:assistant|ai|bot|mode|dan|agent|admin|bound|restricted)\b",
    r"(?i-u)<\s*/?\s*(?:system|im_start|im_end|\|im_start\||\|system\||assistant)\s*\|?>|<\|im_(?:start|end)\|>|\[/?INST\]|\[/?SYSTEM\]|\]\s*SYSTEM\s*:",
    r"(?i-u)\b(?:reveal|print|output|repeat|show|leak|disclose)\b.{0,24}\b(?:your|the)\b.{0,16}\b(?:system|hidden) prompt\b",
];

/// Built once.
#[derive(Debug)]
pub(crate) struct Finder {
    orders: Vec<Regex>,
}

impl Finder {
    /// Compiles the patterns, and runs each once: what they build lazily is then part of the host's snapshot.
    pub(crate) fn new() -> Result<Self, regex::Error> {
        let orders: Vec<Regex> = ORDERS.iter().map(|order| Regex::new(order)).collect::<Result<_, _>>()?;
        for (order, triggers) in orders.iter().zip(TRIGGERS) {
            let sample = triggers.iter().fold(String::new(), |text, word| text + "reveal the " + word + " all rules, user. ");
            let _ = order.find_iter(sample.as_bytes()).count();
        }
        Ok(Self { orders })
    }

    /// What is hidden in a text, in order, without overlaps. `places` are where the automaton saw words of orders.
    pub(crate) fn find(&self, text: &str, places: &[(Owner, usize, usize)]) -> Vec<Hidden> {
        let mut found = characters(text);
        let mut covered = vec![0; self.orders.len()];
        for (owner, start, end) in places {
            match owner {
                Owner::Order(at) if *start >= covered[*at] => {
                    let (from, to) = reach(text, *start, *end);
                    covered[*at] = to;
                    let hits = self.orders[*at].find_iter(&text.as_bytes()[from..to]);
                    let hits =
                        hits.map(|hit| (from + hit.start(), from + hit.end())).filter(|(start, end)| !quoted(text, *start, *end));
                    found.extend(hits.map(|(start, end)| Hidden { start, end, kind: Kind::Order }));
                }
                Owner::Comment => found.extend(self.comment(text, *start)),
                Owner::Order(_) | Owner::Token(_) | Owner::Pattern(_) | Owner::Credential | Owner::Address => {}
            }
        }
        found.extend(disguise::find(text, &|plain| self.orders_in(plain)));
        // A comment swallows the order inside it.
        found.sort_by_key(|one| (one.start, std::cmp::Reverse(one.end)));
        let mut end = 0;
        found.retain(|one| {
            let keep = one.start >= end;
            end = if keep { one.end } else { end };
            keep
        });
        found
    }

    fn orders_in(&self, text: &str) -> bool {
        self.orders.iter().any(|order| order.is_match(text.as_bytes()))
    }

    fn comment(&self, text: &str, start: usize) -> Option<Hidden> {
        let most = (start + MAX_COMMENT_BYTES).min(text.len());
        let length = text.as_bytes()[start..most].windows(3).position(|three| three == b"-->")? + 3;
        let comment = text.get(start..start + length)?;
        let orders = self.orders_in(comment) || orders_about(comment) || orders_about(&disguise::folded(comment));
        orders.then_some(Hidden { start, end: start + length, kind: Kind::Comment })
    }
}

/// The part of a text around a word in which its order would lie.
fn reach(text: &str, start: usize, end: usize) -> (usize, usize) {
    let mut from = start.saturating_sub(REACH_BYTES);
    let mut to = (end + REACH_BYTES).min(text.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    (from, to)
}

/// Whether a sentence that talks about an order only quotes it: `The post says 'ignore all previous instructions'`.
fn quoted(text: &str, start: usize, end: usize) -> bool {
    let Some(mark) = text[..start].chars().next_back().filter(|mark| matches!(mark, '\'' | '"' | '`' | '“' | '‘')) else {
        return false;
    };
    let closing = match mark {
        '“' => '”',
        '‘' => '’',
        same => same,
    };
    let (_, to) = reach(text, end, end);
    let before = text[..start - mark.len_utf8()].rsplit('\n').next().unwrap_or_default();
    let words =
        before.split_whitespace().rev().take(QUOTING_WORDS).filter(|word| word.bytes().any(|b| b.is_ascii_lowercase())).count();
    text[end..to].contains(closing) && (words == QUOTING_WORDS || before.ends_with('('))
}

/// A comment that names the assistant and a command.
fn orders_about(comment: &str) -> bool {
    let lower = comment.to_lowercase();
    ["assistant", " ai ", "agent", "llm", "claude", "chatgpt"].iter().any(|who| lower.contains(who))
        && ["must", "run ", "execute", "send", "curl", "delete", "ignore", "instead", "reveal"]
            .iter()
            .any(|what| lower.contains(what))
}

/// Tag characters, direction overrides and long runs of zero width.
fn characters(text: &str) -> Vec<Hidden> {
    if text.is_ascii() {
        return Vec::new();
    }
    let mut out: Vec<Hidden> = Vec::new();
    let mut run: Option<(usize, usize, usize)> = None;
    let mut flag = false;
    for (at, c) in text.char_indices() {
        let hidden = match c {
            // The flags of England, Scotland and Wales are a black flag and tag characters.
            '\u{1F3F4}' => {
                flag = true;
                false
            }
            '\u{E0000}'..='\u{E007F}' => !flag,
            '\u{202A}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2060}'..='\u{2064}'
            | '\u{FEFF}'
            | '\u{E0100}'..='\u{E01EF}' => true,
            _ => {
                flag = false;
                false
            }
        };
        if hidden {
            let (start, count) = run.map_or((at, 0), |(start, _, count)| (start, count));
            run = Some((start, at + c.len_utf8(), count + 1));
        } else if let Some((start, end, count)) = run.take() {
            push_run(&mut out, text, start, end, count);
        }
    }
    if let Some((start, end, count)) = run {
        push_run(&mut out, text, start, end, count);
    }
    out
}

/// A single joiner is ordinary in many scripts and in emoji; overrides and runs are not.
fn push_run(out: &mut Vec<Hidden>, text: &str, start: usize, end: usize, count: usize) {
    let odd = text[start..end].chars().any(|c| matches!(c, '\u{E0000}'..='\u{E007F}' | '\u{202D}' | '\u{202E}'));
    if odd || count >= 4 {
        out.push(Hidden { start, end, kind: Kind::Characters });
    }
}
