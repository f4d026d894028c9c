//! Words as far as they can be known before the shell runs them: quotes, braces, tildes, variables with known values and
//! substitutions whose output is evident are resolved; everything else keeps its source text and is marked unknown.

use brush_parser::ParserOptions;
use brush_parser::word::{
    self, BraceExpressionMember, BraceExpressionOrText, Parameter, ParameterExpr, SpecialParameter, TildeExpr, WordPiece,
    WordPieceWithSource,
};

use super::walk::Walker;

/// Words that one word may become, by braces.
const MAX_BRACE_WORDS: usize = 64;
/// Bytes of one expanded word.
const MAX_WORD_BYTES: usize = 64 * 1024;

/// One word of a command after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arg {
    /// The text; unknown parts stand as they were written.
    pub(crate) text: String,
    /// Whether all of it is known.
    pub(crate) known: bool,
    /// Whether an unquoted `*`, `?` or `[` is in it.
    pub(crate) glob: bool,
}

impl Arg {
    /// A word that is known.
    pub(crate) fn literal(text: &str) -> Self {
        Self { text: text.to_owned(), known: true, glob: false }
    }

    /// A word whose text only the shell will know.
    pub(crate) fn unknown(text: &str) -> Self {
        Self { text: text.to_owned(), known: false, glob: false }
    }
}

/// The words that one source word becomes.
pub(crate) fn expand(source: &str, walker: &mut Walker<'_>) -> Vec<Arg> {
    // Most words hold nothing that the shell would change.
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b'=' | b',' | b'@' | b'%' | b'+');
    if !source.is_empty() && source.bytes().all(plain) {
        return vec![Arg::literal(source)];
    }
    let mut out = Vec::new();
    for word in braces(source) {
        let mut fields = Fields::default();
        match word::parse(&word, &ParserOptions::default()) {
            Ok(pieces) => pieces_into(&pieces, &word, Quoting::None, walker, &mut fields),
            Err(_) => fields.unknown(&word),
        }
        out.extend(fields.finish());
    }
    out
}

/// The text of a heredoc with an unquoted tag.
pub(crate) fn expand_heredoc(source: &str, walker: &mut Walker<'_>) -> Option<String> {
    let pieces = word::parse_heredoc(source, &ParserOptions::default()).ok()?;
    let mut fields = Fields::default();
    pieces_into(&pieces, source, Quoting::Double, walker, &mut fields);
    let words = fields.finish();
    words.iter().all(|word| word.known).then(|| words.into_iter().map(|word| word.text).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    None,
    Double,
}

#[derive(Default)]
struct Fields {
    done: Vec<Arg>,
    current: Option<Arg>,
}

impl Fields {
    fn current(&mut self) -> &mut Arg {
        self.current.get_or_insert_with(|| Arg::literal(""))
    }

    fn text(&mut self, text: &str) {
        let current = self.current();
        if current.text.len() + text.len() > MAX_WORD_BYTES {
            current.known = false;
        } else {
            current.text.push_str(text);
        }
    }

    fn bare(&mut self, text: &str) {
        self.text(text);
        if text.contains(['*', '?', '[']) {
            self.current().glob = true;
        }
    }

    fn unknown(&mut self, raw: &str) {
        self.text(raw);
        self.current().known = false;
    }

    /// The value of an expansion outside quotes: split at blanks, as the shell does.
    fn split(&mut self, value: &str) {
        if value.starts_with(char::is_whitespace) {
            self.close();
        }
        for (index, part) in value.split_whitespace().enumerate() {
            if index > 0 {
                self.close();
            }
            self.bare(part);
        }
        if value.ends_with(char::is_whitespace) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.done.extend(self.current.take());
    }

    fn finish(mut self) -> Vec<Arg> {
        self.close();
        self.done
    }
}

fn pieces_into(pieces: &[WordPieceWithSource], source: &str, quoting: Quoting, walker: &mut Walker<'_>, out: &mut Fields) {
    for piece in pieces {
        let raw = source.get(piece.start_index..piece.end_index).unwrap_or("$?");
        match &piece.piece {
            WordPiece::Text(text) => match quoting {
                Quoting::None => out.bare(text),
                Quoting::Double => out.text(text),
            },
            WordPiece::SingleQuotedText(text) => out.text(text),
            WordPiece::AnsiCQuotedText(text) => out.text(&ansi_c(text)),
            WordPiece::DoubleQuotedSequence(inner) | WordPiece::GettextDoubleQuotedSequence(inner) => {
                out.text("");
                pieces_into(inner, source, Quoting::Double, walker, out);
            }
            WordPiece::TildeExpansion(tilde) => match tilde {
                TildeExpr::Home => out.text("~"),
                TildeExpr::UserHome(user) => out.text(&format!("~{user}")),
                TildeExpr::WorkingDir => out.text("."),
                TildeExpr::OldWorkingDir
                | TildeExpr::NthDirFromTopOfDirStack { .. }
                | TildeExpr::NthDirFromBottomOfDirStack { .. } => out.unknown(raw),
            },
            WordPiece::EscapeSequence(text) => {
                let text = text.strip_prefix('\\').unwrap_or(text);
                out.text(if text == "\n" { "" } else { text });
            }
            WordPiece::ParameterExpansion(expression) => match value(expression, walker) {
                Some(values) => put(&values, quoting, out),
                None => out.unknown(raw),
            },
            WordPiece::CommandSubstitution(text) => substitution(text, raw, quoting, walker, out),
            WordPiece::BackquotedCommandSubstitution(text) => {
                substitution(&text.replace("\\`", "`").replace("\\$", "$"), raw, quoting, walker, out);
            }
            WordPiece::ArithmeticExpression(expression) => {
                walker.substitutions_of(&expression.value);
                out.unknown(raw);
            }
        }
    }
}

fn substitution(text: &str, raw: &str, quoting: Quoting, walker: &mut Walker<'_>, out: &mut Fields) {
    match walker.nested(text, "$()") {
        Some(output) => put(&[output.trim_end_matches('\n').to_owned()], quoting, out),
        None => out.unknown(raw),
    }
}

fn put(values: &[String], quoting: Quoting, out: &mut Fields) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.close();
        }
        match quoting {
            Quoting::None => out.split(value),
            Quoting::Double => out.text(value),
        }
    }
}

/// The value of a parameter expansion, or none where only the shell will know it.
fn value(expression: &ParameterExpr, walker: &mut Walker<'_>) -> Option<Vec<String>> {
    match expression {
        ParameterExpr::Parameter { parameter, indirect: false } => lookup(parameter, walker),
        ParameterExpr::Parameter { parameter, indirect: true } => {
            let name = lookup(parameter, walker)?.join(" ");
            lookup(&Parameter::Named(name), walker)
        }
        ParameterExpr::UseDefaultValues { parameter, default_value, .. }
        | ParameterExpr::AssignDefaultValues { parameter, default_value, .. } => lookup(parameter, walker).or_else(|| {
            // The variable may come from the environment; where the script never set it, the default is what it says.
            let words = expand(default_value.as_deref().unwrap_or_default(), walker);
            words.iter().all(|word| word.known).then(|| words.into_iter().map(|word| word.text).collect())
        }),
        ParameterExpr::IndicateErrorIfNullOrUnset { parameter, .. } => lookup(parameter, walker),
        ParameterExpr::UseAlternativeValue { parameter, alternative_value, .. } => {
            lookup(parameter, walker)?;
            let words = expand(alternative_value.as_deref().unwrap_or_default(), walker);
            words.iter().all(|word| word.known).then(|| words.into_iter().map(|word| word.text).collect())
        }
        ParameterExpr::RemoveSmallestSuffixPattern { parameter, pattern, .. }
        | ParameterExpr::RemoveLargestSuffixPattern { parameter, pattern, .. } => {
            let value = lookup(parameter, walker)?.join(" ");
            let pattern = literal_pattern(pattern.as_deref())?;
            Some(vec![value.strip_suffix(pattern).unwrap_or(&value).to_owned()])
        }
        ParameterExpr::RemoveSmallestPrefixPattern { parameter, pattern, .. }
        | ParameterExpr::RemoveLargestPrefixPattern { parameter, pattern, .. } => {
            let value = lookup(parameter, walker)?.join(" ");
            let pattern = literal_pattern(pattern.as_deref())?;
            Some(vec![value.strip_prefix(pattern).unwrap_or(&value).to_owned()])
        }
        ParameterExpr::Substring { parameter, offset, length, .. } => {
            let value: Vec<char> = lookup(parameter, walker)?.join(" ").chars().collect();
            let start = signed(&offset.value, value.len())?;
            let end = match length {
                None => value.len(),
                Some(length) if length.value.trim().starts_with('-') => signed(&length.value, value.len())?,
                Some(length) => start.saturating_add(length.value.trim().parse().ok()?).min(value.len()),
            };
            Some(vec![value.get(start..end)?.iter().collect()])
        }
        ParameterExpr::ReplaceSubstring { parameter, pattern, replacement, .. } => {
            let value = lookup(parameter, walker)?.join(" ");
            let pattern = literal_pattern(Some(pattern))?;
            Some(vec![value.replace(pattern, replacement.as_deref().unwrap_or_default())])
        }
        ParameterExpr::UppercasePattern { parameter, .. } => Some(vec![lookup(parameter, walker)?.join(" ").to_uppercase()]),
        ParameterExpr::LowercasePattern { parameter, .. } => Some(vec![lookup(parameter, walker)?.join(" ").to_lowercase()]),
        ParameterExpr::ParameterLength { .. }
        | ParameterExpr::Transform { .. }
        | ParameterExpr::UppercaseFirstChar { .. }
        | ParameterExpr::LowercaseFirstChar { .. }
        | ParameterExpr::VariableNames { .. }
        | ParameterExpr::MemberKeys { .. } => None,
    }
}

fn literal_pattern(pattern: Option<&str>) -> Option<&str> {
    pattern.filter(|pattern| !pattern.contains(['*', '?', '[', '$', '`', '\\', '(']))
}

fn signed(text: &str, length: usize) -> Option<usize> {
    let offset: i64 = text.trim().parse().ok()?;
    let length = i64::try_from(length).ok()?;
    usize::try_from(if offset < 0 { length + offset } else { offset.min(length) }).ok()
}

fn lookup(parameter: &Parameter, walker: &Walker<'_>) -> Option<Vec<String>> {
    match parameter {
        Parameter::Named(name) => walker.variable(name),
        Parameter::NamedWithAllIndices { name, .. } => walker.array(name),
        Parameter::NamedWithIndex { name, index } => {
            let index: usize = index.trim().parse().ok()?;
            walker.array(name)?.get(index).map(|value| vec![value.clone()])
        }
        Parameter::Positional(0) => Some(vec!["bash".to_owned()]),
        Parameter::Positional(n) => walker.positional()?.get(*n as usize - 1).map(|value| vec![value.clone()]),
        Parameter::Special(SpecialParameter::AllPositionalParameters { concatenate: false }) => walker.positional(),
        Parameter::Special(SpecialParameter::AllPositionalParameters { concatenate: true }) => {
            walker.positional().map(|values| vec![values.join(" ")])
        }
        Parameter::Special(SpecialParameter::ShellName) => Some(vec!["bash".to_owned()]),
        Parameter::Special(_) => None,
    }
}

/// `{a,b}` and `{1..3}`, up to a bound; a word with more stands as it is.
fn braces(source: &str) -> Vec<String> {
    let plain = || vec![source.to_owned()];
    if !source.contains('{') || source.len() > MAX_WORD_BYTES {
        return plain();
    }
    match word::parse_brace_expansions(source, &ParserOptions::default()) {
        Ok(Some(parts)) => {
            let words = brace_words(&parts);
            if words.is_empty() || words.len() > MAX_BRACE_WORDS { plain() } else { words }
        }
        Ok(None) | Err(_) => plain(),
    }
}

fn brace_words(parts: &[BraceExpressionOrText]) -> Vec<String> {
    let mut words = vec![String::new()];
    for part in parts {
        let choices = match part {
            BraceExpressionOrText::Text(text) => vec![text.clone()],
            BraceExpressionOrText::Expr(members) => members.iter().flat_map(brace_member).take(MAX_BRACE_WORDS + 1).collect(),
        };
        words = words.iter().flat_map(|word| choices.iter().map(move |choice| format!("{word}{choice}"))).collect();
        if words.len() > MAX_BRACE_WORDS {
            return Vec::new();
        }
    }
    words
}

fn brace_member(member: &BraceExpressionMember) -> Vec<String> {
    let many = MAX_BRACE_WORDS as i64 + 1;
    match member {
        BraceExpressionMember::Child(parts) => brace_words(parts),
        BraceExpressionMember::NumberSequence { start, end, .. } => {
            let (low, high) = (*start.min(end), *start.max(end));
            (low..=high.min(low.saturating_add(many))).map(|number| number.to_string()).collect()
        }
        BraceExpressionMember::CharSequence { start, end, .. } => {
            let (low, high) = (*start.min(end), *start.max(end));
            (low..=high).take(MAX_BRACE_WORDS + 1).map(String::from).collect()
        }
    }
}

/// The escapes of `$'…'`, `echo -e` and `printf`.
pub(crate) fn ansi_c(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('a' | 'b' | 'e' | 'E' | 'f' | 'v') => {}
            Some('x') => push_code(&mut out, &mut chars, 16, 2, 0),
            Some('u') => push_code(&mut out, &mut chars, 16, 4, 0),
            Some('U') => push_code(&mut out, &mut chars, 16, 8, 0),
            Some(digit @ '0'..='7') => {
                push_code(&mut out, &mut chars, 8, if digit == '0' { 3 } else { 2 }, digit as u32 - '0' as u32)
            }
            Some(other) => out.push(other),
        }
    }
    out
}

fn push_code(out: &mut String, chars: &mut std::iter::Peekable<std::str::Chars<'_>>, radix: u32, digits: usize, start: u32) {
    let mut code = start;
    for _ in 0..digits {
        match chars.peek().and_then(|c| c.to_digit(radix)) {
            Some(digit) => {
                code = code.wrapping_mul(radix).wrapping_add(digit);
                chars.next();
            }
            None => break,
        }
    }
    out.extend(char::from_u32(code));
}
