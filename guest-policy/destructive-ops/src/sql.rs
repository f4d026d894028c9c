//! SQL to effects, on sqlparser's tokens rather than its trees: comments, strings and quoted names are read as the
//! dialect reads them, and every dialect's statement is judged by its leading words. A third of the destructive statements
//! people write do not parse in their own dialect, so a tree could not be the authority.

mod keyword;
mod piece;
mod statement;

use sqlparser::dialect::{DatabricksDialect, GenericDialect};
use sqlparser::tokenizer::Tokenizer;

use self::piece::{Piece, piece, rough};
use self::statement::judge_statement;
use crate::hit::Hit;

/// The longest text that is read.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// How deep SQL may lie in strings of SQL.
const MAX_DEPTH: usize = 3;

/// The effects of all statements of a text.
pub(crate) fn judge(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    judge_into(text, 0, &mut hits);
    for hit in &mut hits {
        hit.span = (0, text.len());
    }
    hits
}

fn judge_into(text: &str, depth: usize, hits: &mut Vec<Hit>) {
    if text.len() > MAX_BYTES || depth > MAX_DEPTH {
        hits.push(Hit { partial: true, ..Hit::new("sql.unknown", "statement", "a very long text") });
        return;
    }
    // Lines for the client, such as `\c db` or `.tables`, are no SQL.
    let text: String = text.lines().filter(|line| !line.trim_start().starts_with(['\\', '.'])).collect::<Vec<_>>().join("\n");
    let text = text.replace("${", " ").replace("{{", " ").replace("}}", " ").replace('}', " ");
    let tokens = Tokenizer::new(&DatabricksDialect {}, &text)
        .with_unescape(false)
        .tokenize()
        .or_else(|_| Tokenizer::new(&GenericDialect {}, &text).with_unescape(false).tokenize())
        .unwrap_or_else(|_| rough(&text));
    let words: Vec<Piece> = tokens.iter().filter_map(piece).collect();
    for statement in words.split(|piece| *piece == Piece::End) {
        if !statement.is_empty() {
            judge_statement(statement, depth, hits);
        }
    }
}
