//! A simple command: its words, its redirections, its assignments.

use brush_parser::ast::{
    Assignment, AssignmentName, AssignmentValue, CommandPrefixOrSuffixItem as Item, IoFileRedirectKind, IoFileRedirectTarget,
    IoRedirect, SimpleCommand, SourceLocation,
};

use super::command::{Open, Redirect, RedirectKind, Stdin};
use super::walk::Walker;
use super::word::{self, Arg};

impl Walker<'_> {
    pub(super) fn simple(&mut self, simple: &SimpleCommand, stdin: Stdin) -> Option<String> {
        let outer_span = self.span;
        if let (Some(text), Some(location)) = (self.outer, simple.location()) {
            self.span = (byte_at(text, location.start.index), byte_at(text, location.end.index));
        }
        let mut stdin = stdin;
        let mut argv = Vec::new();
        let mut redirects = Vec::new();
        let items = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        let mut assigned = Vec::new();
        for item in items {
            match item {
                Item::AssignmentWord(assignment, _) => assigned.push(assignment),
                Item::IoRedirect(redirect) => redirects.extend(self.redirects(std::slice::from_ref(redirect), &mut stdin)),
                Item::Word(word) => argv.extend(word::expand(&word.value, self)),
                Item::ProcessSubstitution(..) => {}
            }
        }
        let standalone = simple.word_or_name.is_none();
        let saved = (!standalone).then(|| self.variables.clone()).filter(|_| !assigned.is_empty());
        if let Some(name) = &simple.word_or_name {
            argv.extend(word::expand(&name.value, self));
        }
        // `IFS=, cmd` counts for what the command runs, not for the words of its own line.
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            match item {
                Item::Word(word) | Item::AssignmentWord(_, word) => argv.extend(word::expand(&word.value, self)),
                Item::IoRedirect(redirect) => redirects.extend(self.redirects(std::slice::from_ref(redirect), &mut stdin)),
                Item::ProcessSubstitution(_, subshell) => {
                    let output = self.list(&subshell.list);
                    argv.push(output.map_or_else(|| Arg::unknown("<(…)"), |text| Arg::literal(&format!("<({text}"))));
                }
            }
        }
        for assignment in assigned {
            self.assign(assignment);
        }
        let output = if argv.is_empty() {
            if standalone {
                self.bare_redirects(emptying(redirects));
            }
            Some(String::new())
        } else {
            self.run(argv, redirects, stdin)
        };
        if let Some(saved) = saved {
            self.variables = saved;
        }
        self.span = outer_span;
        output
    }

    pub(super) fn redirects(&mut self, list: &[IoRedirect], stdin: &mut Stdin) -> Vec<Redirect> {
        let mut opened = Vec::new();
        for redirect in list {
            match redirect {
                IoRedirect::File(_, kind, IoFileRedirectTarget::Filename(word) | IoFileRedirectTarget::Duplicate(word)) => {
                    let target = word::expand(&word.value, self).into_iter().next().unwrap_or_else(|| Arg::unknown(&word.value));
                    let kind = match kind {
                        IoFileRedirectKind::Write | IoFileRedirectKind::Clobber => Some(RedirectKind::Write),
                        IoFileRedirectKind::Append => Some(RedirectKind::Append),
                        IoFileRedirectKind::Read | IoFileRedirectKind::ReadAndWrite => {
                            *stdin = Stdin::From(target.text.clone());
                            None
                        }
                        IoFileRedirectKind::DuplicateInput => None,
                        IoFileRedirectKind::DuplicateOutput => {
                            (!target.text.bytes().all(|b| b.is_ascii_digit() || b == b'-')).then_some(RedirectKind::Write)
                        }
                    };
                    opened.extend(kind.map(|kind| Redirect { kind, target }));
                }
                IoRedirect::File(_, _, IoFileRedirectTarget::ProcessSubstitution(_, subshell)) => {
                    let output = self.list(&subshell.list);
                    *stdin = output.map_or_else(|| Stdin::From("a substitution".to_owned()), Stdin::Known);
                }
                IoRedirect::File(_, _, IoFileRedirectTarget::Fd(_)) => {}
                IoRedirect::HereDocument(_, document) => {
                    let text = &document.doc.value;
                    let text = if document.requires_expansion { word::expand_heredoc(text, self) } else { Some(text.clone()) };
                    *stdin = text.map_or_else(|| Stdin::Known(document.doc.value.clone()), Stdin::Known);
                }
                IoRedirect::HereString(_, word) => {
                    let words = word::expand(&word.value, self);
                    let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
                    *stdin = if words.iter().all(|word| word.known) { Stdin::Known(text) } else { Stdin::From(text) };
                }
                IoRedirect::OutputAndError(word, append) => {
                    let kind = if *append { RedirectKind::Append } else { RedirectKind::Write };
                    let target = word::expand(&word.value, self).into_iter().next().unwrap_or_else(|| Arg::unknown(&word.value));
                    opened.push(Redirect { kind, target });
                }
            }
        }
        opened
    }

    pub(super) fn bare_redirects(&mut self, redirects: Vec<Redirect>) {
        if !redirects.is_empty() {
            self.leaf(Vec::new(), redirects, Stdin::Inherited, Open::No);
        }
    }

    pub(super) fn assign(&mut self, assignment: &Assignment) {
        let AssignmentName::VariableName(name) = &assignment.name else { return };
        let words = match &assignment.value {
            AssignmentValue::Scalar(value) => {
                // The value of an assignment is one word, whatever blanks its expansions hold.
                let quoted =
                    if value.value.contains(['"', '\'', '\\']) { value.value.clone() } else { format!("\"{}\"", value.value) };
                vec![join(word::expand(&quoted, self))]
            }
            AssignmentValue::Array(items) => items.iter().flat_map(|(_, item)| word::expand(&item.value, self)).collect(),
        };
        let known = words.iter().all(|word| word.known);
        let mut values: Vec<String> = words.into_iter().map(|word| word.text).collect();
        if assignment.append {
            let Some(Some(before)) = self.variables.get(name) else {
                self.variables.insert(name.clone(), None);
                return;
            };
            values = match &assignment.value {
                AssignmentValue::Scalar(_) => vec![before.concat() + &values.concat()],
                AssignmentValue::Array(_) => before.iter().cloned().chain(values).collect(),
            };
        }
        self.set(name, known.then_some(values));
    }
}

/// What nothing is written to ends up empty.
pub(super) fn emptying(redirects: Vec<Redirect>) -> Vec<Redirect> {
    let empty = |redirect: Redirect| match redirect.kind {
        RedirectKind::Write => Redirect { kind: RedirectKind::Empty, ..redirect },
        RedirectKind::Empty | RedirectKind::Append => redirect,
    };
    redirects.into_iter().map(empty).collect()
}

fn join(words: Vec<Arg>) -> Arg {
    let known = words.iter().all(|word| word.known);
    let text = words.into_iter().map(|word| word.text).collect::<Vec<_>>().join(" ");
    Arg { text, known, glob: false }
}

fn byte_at(text: &str, character: usize) -> usize {
    if text.is_ascii() { character.min(text.len()) } else { text.char_indices().nth(character).map_or(text.len(), |(at, _)| at) }
}
