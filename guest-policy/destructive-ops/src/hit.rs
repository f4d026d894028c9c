//! One effect that a rule saw, before it becomes a finding.

use crate::shell::{Arg, Command};

/// Bytes of a resource's name that are shown.
const MAX_NAME_BYTES: usize = 200;

/// An effect on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Rule code.
    pub(crate) code: &'static str,
    /// Kind of resource.
    pub(crate) kind: String,
    /// Its name as found.
    pub(crate) name: String,
    /// Whether the name, or whether it happens at all, is known only when it runs.
    pub(crate) partial: bool,
    /// Where, in bytes of the text that was judged.
    pub(crate) span: (usize, usize),
    /// Through what it was reached.
    pub(crate) via: Vec<String>,
}

impl Hit {
    /// An effect of a command on a resource.
    pub(crate) fn of(command: &Command, code: &'static str, kind: &str, name: &str) -> Self {
        Self { span: command.span, via: command.via.clone(), ..Self::new(code, kind, name) }
    }

    /// An effect of a command on what a word names.
    pub(crate) fn on(command: &Command, code: &'static str, kind: &str, word: &Arg) -> Self {
        Self { partial: !word.known, ..Self::of(command, code, kind, &word.text) }
    }

    /// An effect that no command stands for.
    pub(crate) fn new(code: &'static str, kind: &str, name: &str) -> Self {
        let mut end = name.len().min(MAX_NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        Self { code, kind: kind.to_owned(), name: name[..end].to_owned(), partial: false, span: (0, 0), via: Vec::new() }
    }
}
