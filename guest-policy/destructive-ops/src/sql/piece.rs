//! Tokens, reduced to what matters for judging, and a statement of them.

use sqlparser::tokenizer::Token;

/// What of a token matters here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// A bare word; upper case in the first field.
    Word(String, String),
    /// A quoted name.
    Name(String),
    /// A string literal.
    Text(String),
    Open,
    Close,
    Dot,
    Comma,
    End,
    Other,
}

pub(super) fn piece(token: &Token) -> Option<Piece> {
    Some(match token {
        Token::Whitespace(_) | Token::EOF => return None,
        Token::Word(word) if word.quote_style.is_some() => Piece::Name(word.value.clone()),
        Token::Word(word) => Piece::Word(word.value.to_uppercase(), word.value.clone()),
        Token::SingleQuotedString(text)
        | Token::DoubleQuotedString(text)
        | Token::NationalStringLiteral(text)
        | Token::EscapedStringLiteral(text)
        | Token::TripleDoubleQuotedString(text)
        | Token::TripleSingleQuotedString(text) => Piece::Text(text.clone()),
        Token::DollarQuotedString(text) => Piece::Text(text.value.clone()),
        Token::LParen => Piece::Open,
        Token::RParen => Piece::Close,
        Token::Period => Piece::Dot,
        Token::Comma => Piece::Comma,
        Token::SemiColon => Piece::End,
        _ => Piece::Other,
    })
}

/// Words of a text that no dialect tokenises: an open quote, for example.
pub(super) fn rough(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for part in text.split_inclusive([';', '(', ')']) {
        for word in part.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()) {
            tokens.push(Token::make_word(word, None));
        }
        if part.ends_with(';') {
            tokens.push(Token::SemiColon);
        }
    }
    tokens
}

pub(super) struct Statement<'s> {
    pub(super) pieces: &'s [Piece],
}

impl Statement<'_> {
    pub(super) fn word(&self, at: usize) -> &str {
        match self.pieces.get(at) {
            Some(Piece::Word(upper, _)) => upper,
            _ => "",
        }
    }

    pub(super) fn find(&self, from: usize, word: &str) -> Option<usize> {
        (from..self.pieces.len()).find(|at| self.word(*at) == word)
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.find(0, word).is_some()
    }

    /// The dotted name that starts at or after a position, past the words that may stand before it.
    pub(super) fn name(&self, mut at: usize) -> String {
        const BEFORE: &[&str] = &[
            "IF",
            "EXISTS",
            "NOT",
            "ONLY",
            "TABLE",
            "FROM",
            "INTO",
            "CONCURRENTLY",
            "ON",
            "TO",
            "LOW_PRIORITY",
            "QUICK",
            "IGNORE",
            "DELTA",
        ];
        while BEFORE.contains(&self.word(at)) {
            at += 1;
        }
        let mut name = String::new();
        let mut dotted = true;
        while let Some(piece) = self.pieces.get(at) {
            match piece {
                Piece::Word(_, text) | Piece::Name(text) | Piece::Text(text) if dotted => {
                    name.push_str(text);
                    dotted = false;
                }
                Piece::Dot if !dotted => {
                    name.push('.');
                    dotted = true;
                }
                Piece::Other if dotted || name.is_empty() => name.push('?'),
                _ => break,
            }
            at += 1;
        }
        name
    }
}
