//! Instructions that a tool's result addresses to the model: evidence, not proof. Characters that no person sees and
//! comments with orders are taken out; plain sentences stay, framed as data. What it finds, it says with spans.

use regex::{Regex, RegexSet};

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

/// Built once.
#[derive(Debug)]
pub(crate) struct Finder {
    comment: Regex,
    orders: Vec<Regex>,
    any: RegexSet,
}

const ORDERS: &[&str] = &[
    r"(?i)\b(?:ignore|disregard|forget|override|bypass)\b.{0,30}\b(?:previous|prior|above|earlier|all|your|any|the)\b.{0,30}\b(?:instructions?|prompts?|rules|guidelines|directives|context|commands)\b",
    r"(?i)\b(?:do not|don't|never|without)\b.{0,16}\b(?:tell|inform|mention|reveal|notify|telling|informing|alert)\w*\b.{0,20}\b(?:the )?(?:user|human|operator|anyone)\b",
    r"(?i)\b(?:new|updated|real|hidden|secret|important)\s+(?:system\s+)?instructions?\b\s*(?:for (?:the )?(?:ai|assistant|agent|model)|:)",
    r"(?i)\b(?:attention|note to|message (?:to|for)|instructions? (?:to|for)|dear|hey|important[:,]?)\s+(?:the\s+|any\s+|all\s+)?(?:ai|llm|assistant|language model|agent|model|claude|chatgpt|copilot)\b",
    r"(?i)\b(?:as an? (?:ai|assistant)|ai assistant|assistant),?\s+you\s+(?:must|should|need to|have to|are required)\b",
    r"(?i)\byou are (?:now|no longer)\b.{0,40}\b(?:assistant|ai|bot|mode|dan|agent|admin|bound|restricted)\b",
    r"(?i)<\s*/?\s*(?:system|im_start|im_end|\|im_start\||\|system\||assistant)\s*\|?>|<\|im_(?:start|end)\|>|\[/?INST\]|\[/?SYSTEM\]",
    r"(?i)\b(?:reveal|print|output|repeat|show|leak|disclose)\b.{0,24}\b(?:your|the)\b.{0,12}\bsystem prompt\b",
];

impl Finder {
    /// Compiles the patterns.
    pub(crate) fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            comment: Regex::new(r"(?s)<!--.{0,4000}?-->")?,
            orders: ORDERS.iter().map(|order| Regex::new(order)).collect::<Result<_, _>>()?,
            any: RegexSet::new(ORDERS)?,
        })
    }

    /// What is hidden in a text, in order, without overlaps.
    pub(crate) fn find(&self, text: &str) -> Vec<Hidden> {
        let mut found = characters(text);
        let orders = self.any.matches(text);
        for at in orders.iter() {
            found.extend(self.orders[at].find_iter(text).map(|hit| Hidden {
                start: hit.start(),
                end: hit.end(),
                kind: Kind::Order,
            }));
        }
        let comments = self
            .comment
            .find_iter(text)
            .filter(|hit| orders.matched_any() && self.any.is_match(hit.as_str()) || orders_about(hit.as_str()));
        found.extend(comments.map(|hit| Hidden { start: hit.start(), end: hit.end(), kind: Kind::Comment }));
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
}

/// A comment that names the assistant and a command.
fn orders_about(comment: &str) -> bool {
    let lower = comment.to_lowercase();
    ["assistant", " ai ", "agent", "llm", "claude", "chatgpt"].iter().any(|who| lower.contains(who))
        && ["must", "run ", "execute", "send", "curl", "delete", "ignore", "instead"].iter().any(|what| lower.contains(what))
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
