//! The walk over a parsed program, in the order in which it would run.

use std::collections::HashMap;

use brush_parser::ast::{AndOr, CompoundList, FunctionBody, Pipeline};
use brush_parser::{Parser, ParserOptions};

use super::command::{Command, Gap, GapKind, Open, Redirect, Span, Stdin, Walk, base_name};
use super::nesting::{self, MAX_BYTES, MAX_NESTING};
use super::output;
use super::simple::emptying;
use super::word::{self, Arg};

/// How deep texts may lie in texts: `sh -c "eval '…'"`.
pub(super) const MAX_DEPTH: usize = 12;

/// Commands looked at in one text, loops and calls unrolled.
pub(super) const MAX_COMMANDS: usize = 4_000;

/// Walks a text.
pub(crate) fn walk(text: &str) -> Walk {
    let mut walker = Walker::new();
    let whole = (0, text.len());
    walker.text(text, whole, Some(text));
    walker.out
}

pub(crate) struct Walker<'a> {
    pub(super) out: Walk,
    pub(super) variables: HashMap<String, Option<Vec<String>>>,
    pub(super) positional: Option<Vec<String>>,
    pub(super) functions: HashMap<String, FunctionBody>,
    pub(super) aliases: HashMap<String, String>,
    pub(super) depth: usize,
    pub(super) conditional: usize,
    pub(super) via: Vec<String>,
    pub(super) span: Span,
    /// The outermost text while it is walked, to turn character positions into bytes.
    pub(super) outer: Option<&'a str>,
}

impl<'a> Walker<'a> {
    fn new() -> Self {
        Self {
            out: Walk::default(),
            variables: HashMap::new(),
            positional: None,
            functions: HashMap::new(),
            aliases: HashMap::new(),
            depth: 0,
            conditional: 0,
            via: Vec::new(),
            span: (0, 0),
            outer: None,
        }
    }

    /// Walks a text; its output, where that is evident.
    fn text(&mut self, text: &str, span: Span, outer: Option<&'a str>) -> Option<String> {
        let gap = if text.len() > MAX_BYTES {
            Some(GapKind::TooLong)
        } else if self.depth >= MAX_DEPTH || nesting::depth(text) > MAX_NESTING {
            Some(GapKind::TooDeep)
        } else {
            None
        };
        if let Some(kind) = gap {
            self.gap_at(kind, text, span);
            return None;
        }
        let Ok(program) = Parser::new(text.as_bytes(), &ParserOptions::default()).parse_program() else {
            self.gap_at(GapKind::Unparsed, text, span);
            return None;
        };
        let before = (self.outer, self.span);
        (self.outer, self.span) = (outer, span);
        self.depth += 1;
        let mut output = Some(String::new());
        for list in &program.complete_commands {
            let written = self.list(list);
            output = joined(output, written);
        }
        self.depth -= 1;
        (self.outer, self.span) = before;
        output
    }

    /// Walks a text that the current command runs, such as the argument of `sh -c`.
    pub(super) fn nested(&mut self, text: &str, through: &str) -> Option<String> {
        self.via.push(through.to_owned());
        let span = self.span;
        let output = self.text(text, span, None);
        self.via.pop();
        output
    }

    /// The same with arguments of its own.
    pub(super) fn nested_with(&mut self, text: &str, through: &str, arguments: Vec<String>) -> Option<String> {
        let before = self.positional.replace(arguments);
        let output = self.nested(text, through);
        self.positional = before;
        output
    }

    /// The substitutions in an arithmetic expression.
    pub(super) fn substitutions_of(&mut self, text: &str) {
        if text.contains("$(") || text.contains('`') {
            word::expand(&format!("\"{text}\""), self);
        }
    }

    pub(super) fn list(&mut self, list: &CompoundList) -> Option<String> {
        let mut output = Some(String::new());
        for item in &list.0 {
            let written = self.pipeline(&item.0.first);
            output = joined(output, written);
            for more in &item.0.additional {
                self.conditional += 1;
                let (AndOr::And(pipeline) | AndOr::Or(pipeline)) = more;
                let written = self.pipeline(pipeline);
                output = joined(output, written);
                self.conditional -= 1;
            }
        }
        output
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Option<String> {
        let mut stdin = Stdin::Inherited;
        let mut output = None;
        for node in &pipeline.seq {
            let first = self.out.commands.len();
            output = self.node(node, stdin);
            let program = self.out.commands.get(first..).and_then(|new| new.last()).map_or("a command", |c| c.program());
            stdin = output.clone().map_or_else(|| Stdin::From(program.to_owned()), Stdin::Known);
        }
        output
    }

    /// Adds a command that nothing more can be unwrapped from.
    pub(super) fn leaf(&mut self, argv: Vec<Arg>, redirects: Vec<Redirect>, stdin: Stdin, open: Open) {
        let command = Command { argv, redirects, stdin, open: open == Open::Yes, span: self.span, via: self.via.clone() };
        self.out.commands.push(command);
    }

    pub(super) fn gap(&mut self, kind: GapKind, what: &str) {
        let span = self.span;
        self.gap_at(kind, what, span);
    }

    pub(super) fn gap_at(&mut self, kind: GapKind, what: &str, span: Span) {
        self.out.gaps.push(Gap { kind, what: what.chars().take(200).collect(), span });
    }

    /// What follows from the words of a command: unwrapping, then the rules.
    pub(super) fn run(&mut self, argv: Vec<Arg>, redirects: Vec<Redirect>, stdin: Stdin) -> Option<String> {
        let written = !redirects.is_empty();
        let output = self.execute(argv, stdin, Open::No);
        self.bare_redirects(if output.as_deref() == Some("") { emptying(redirects) } else { redirects });
        output.filter(|_| !written)
    }

    /// Runs an argument vector that is a command by itself or the argument of another.
    pub(super) fn execute(&mut self, argv: Vec<Arg>, stdin: Stdin, open: Open) -> Option<String> {
        let program = argv.first()?;
        if !program.known || program.glob && program.text != "[" {
            if program.text.starts_with("<(…)") {
                return None;
            }
            self.gap(GapKind::DynamicProgram, &argv.iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" "));
            self.leaf(argv, Vec::new(), stdin, open);
            return None;
        }
        let mut name = base_name(&program.text).to_owned();
        // Some file systems do not tell `FIND` from `find`.
        if name.len() > 1
            && name.bytes().all(|b| b.is_ascii_uppercase())
            && matches!(name.as_str(), "RM" | "FIND" | "GIT" | "DD" | "SH" | "BASH" | "SUDO" | "DEL")
        {
            name.make_ascii_lowercase();
        }
        let mut argv = argv;
        if base_name(&argv[0].text) != name {
            argv[0].text.clone_from(&name);
        }
        self.depth += 1;
        let output = if self.depth > MAX_DEPTH {
            self.gap(GapKind::TooDeep, &name);
            None
        } else {
            super::payload::follow(self, &name, argv, stdin, open)
        };
        self.depth -= 1;
        output
    }

    /// A command that runs nothing else.
    pub(super) fn plain(&mut self, name: &str, argv: Vec<Arg>, stdin: Stdin, open: Open) -> Option<String> {
        let written = output::of(name, &argv[1..], &stdin);
        self.leaf(argv, Vec::new(), stdin, open);
        written
    }
}

fn joined(before: Option<String>, more: Option<String>) -> Option<String> {
    Some(before? + &more?)
}
