//! The walk over a parsed program, in the order in which it would run.

use std::collections::HashMap;

use brush_parser::ast::{
    AndOr, Assignment, AssignmentName, AssignmentValue, Command as Node, CommandPrefixOrSuffixItem as Item, CompoundCommand,
    CompoundList, FunctionBody, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, Pipeline, SimpleCommand, SourceLocation,
};
use brush_parser::{Parser, ParserOptions};

use super::nesting::{self, MAX_BYTES, MAX_NESTING};
use super::output;
use super::word::{self, Arg};

/// How deep texts may lie in texts: `sh -c "eval '…'"`.
const MAX_DEPTH: usize = 12;
/// Commands looked at in one text, loops and calls unrolled.
const MAX_COMMANDS: usize = 4_000;
/// Values of a loop's variable that are followed one by one.
const MAX_LOOP_VALUES: usize = 8;

/// What a text would run.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The commands, payloads followed.
    pub(crate) commands: Vec<Command>,
    /// What could not be followed.
    pub(crate) gaps: Vec<Gap>,
    /// Other languages found on the way: SQL and programs for interpreters are the rules' matter.
    pub(crate) fork_bomb: Option<Span>,
}

/// Bytes of the outermost text.
pub(crate) type Span = (usize, usize);

/// One command that would run.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Program and arguments; empty for a bare redirection.
    pub(crate) argv: Vec<Arg>,
    /// Where its output goes.
    pub(crate) redirects: Vec<Redirect>,
    /// What it reads.
    pub(crate) stdin: Stdin,
    /// Whether more arguments are added when it runs, as by xargs.
    pub(crate) open: bool,
    /// Where in the outermost text.
    pub(crate) span: Span,
    /// Through what it was reached, such as `sudo` or `sh -c`.
    pub(crate) via: Vec<String>,
}

/// A file that the shell itself opens for writing.
#[derive(Debug, Clone)]
pub(crate) struct Redirect {
    /// How it is opened.
    pub(crate) kind: RedirectKind,
    /// Which file.
    pub(crate) target: Arg,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectKind {
    /// Its content is thrown away.
    Empty,
    /// Its content is replaced.
    Write,
    /// It is added to.
    Append,
}

/// What a command reads from its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// Nothing of the text's own.
    Inherited,
    /// This text.
    Known(String),
    /// What another program writes.
    From(String),
}

/// Something that could not be followed.
#[derive(Debug, Clone)]
pub(crate) struct Gap {
    /// What kind.
    pub(crate) kind: GapKind,
    /// The words in question.
    pub(crate) what: String,
    /// Where in the outermost text.
    pub(crate) span: Span,
}

/// Kinds of gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GapKind {
    /// The text does not parse.
    Unparsed,
    /// It is longer than what is parsed.
    TooLong,
    /// It nests deeper, or unrolls to more, than what is followed.
    TooDeep,
    /// The name of the program is known only when it runs.
    DynamicProgram,
    /// A shell or interpreter runs text that is known only when it runs.
    UnseenScript,
    /// A shell or interpreter runs text from the network.
    RemoteScript,
}

/// Walks a text.
pub(crate) fn walk(text: &str) -> Walk {
    let mut walker = Walker::new();
    let whole = (0, text.len());
    walker.text(text, whole, Some(text));
    walker.out
}

pub(crate) struct Walker<'a> {
    pub(super) out: Walk,
    variables: HashMap<String, Option<Vec<String>>>,
    positional: Option<Vec<String>>,
    functions: HashMap<String, FunctionBody>,
    pub(super) aliases: HashMap<String, String>,
    depth: usize,
    conditional: usize,
    pub(super) via: Vec<String>,
    span: Span,
    /// The outermost text while it is walked, to turn character positions into bytes.
    outer: Option<&'a str>,
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

    fn list(&mut self, list: &CompoundList) -> Option<String> {
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

    fn node(&mut self, node: &Node, stdin: Stdin) -> Option<String> {
        if self.out.commands.len() > MAX_COMMANDS {
            if !self.out.gaps.iter().any(|gap| gap.kind == GapKind::TooDeep) {
                self.gap(GapKind::TooDeep, "more commands than are followed");
            }
            return None;
        }
        match node {
            Node::Simple(simple) => self.simple(simple, stdin),
            Node::Compound(compound, redirects) => {
                let mut stdin = stdin;
                if let Some(list) = redirects {
                    let opened = self.redirects(&list.0, &mut stdin);
                    self.bare_redirects(opened);
                }
                self.compound(compound, stdin)
            }
            Node::Function(function) => {
                let name = function.fname.value.clone();
                self.watch_fork_bomb(&name, &function.body);
                self.functions.insert(name, function.body.clone());
                // A function that is defined may be called later, in this text or the next one.
                let before = self.positional.take();
                self.body(&function.body, Stdin::Inherited);
                self.positional = before;
                None
            }
            Node::ExtendedTest(test, redirects) => {
                if let Some(list) = redirects {
                    let mut stdin = stdin;
                    let opened = self.redirects(&list.0, &mut stdin);
                    self.bare_redirects(opened);
                }
                self.substitutions_of(&test.expr.to_string());
                None
            }
        }
    }

    fn body(&mut self, body: &FunctionBody, stdin: Stdin) -> Option<String> {
        self.depth += 1;
        let output = if self.depth < MAX_DEPTH { self.compound(&body.0, stdin) } else { None };
        self.depth -= 1;
        output
    }

    fn compound(&mut self, compound: &CompoundCommand, stdin: Stdin) -> Option<String> {
        match compound {
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(group) => self.list(&group.list),
            CompoundCommand::ForClause(clause) => {
                let values: Vec<Arg> = match &clause.values {
                    Some(words) => words.iter().flat_map(|word| word::expand(&word.value, self)).collect(),
                    None => vec![Arg::unknown("$@")],
                };
                if values.len() <= MAX_LOOP_VALUES && values.iter().all(|value| value.known && !value.glob) {
                    for value in values {
                        self.variables.insert(clause.variable_name.clone(), Some(vec![value.text]));
                        self.list(&clause.body.list);
                    }
                } else {
                    self.variables.insert(clause.variable_name.clone(), None);
                    self.list(&clause.body.list);
                }
                None
            }
            CompoundCommand::CaseClause(clause) => {
                self.conditional += 1;
                word::expand(&clause.value.value, self);
                for case in &clause.cases {
                    if let Some(list) = &case.cmd {
                        self.list(list);
                    }
                }
                self.conditional -= 1;
                None
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition);
                self.conditional += 1;
                self.list(&clause.then);
                for branch in clause.elses.iter().flatten() {
                    if let Some(condition) = &branch.condition {
                        self.list(condition);
                    }
                    self.list(&branch.body);
                }
                self.conditional -= 1;
                None
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.read_into(&clause.0, &stdin);
                self.list(&clause.0);
                self.conditional += 1;
                self.list(&clause.1.list);
                self.conditional -= 1;
                None
            }
            CompoundCommand::ArithmeticForClause(clause) => {
                self.list(&clause.body.list);
                None
            }
            CompoundCommand::Arithmetic(command) => {
                self.substitutions_of(&command.expr.value);
                // `((rm -rf x))` is arithmetic to bash and two subshells to a plain sh.
                if brush_parser::arithmetic::parse(&command.expr.value).is_err() {
                    self.nested(&command.expr.value, "(( ))");
                }
                None
            }
            CompoundCommand::Coprocess(coprocess) => self.node(&coprocess.body, stdin),
        }
    }

    /// `… | while read line`: what is read is known where the pipe's text is.
    fn read_into(&mut self, condition: &CompoundList, stdin: &Stdin) {
        let Some(Node::Simple(simple)) = condition.0.first().and_then(|item| item.0.first.seq.first()) else { return };
        if let Stdin::Known(text) = stdin
            && simple.word_or_name.as_ref().is_some_and(|word| word.value == "read")
        {
            let line = text.trim_end_matches('\n');
            self.simple(simple, if line.contains('\n') { Stdin::Inherited } else { Stdin::Known(line.to_owned()) });
        }
    }

    fn simple(&mut self, simple: &SimpleCommand, stdin: Stdin) -> Option<String> {
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

    fn redirects(&mut self, list: &[IoRedirect], stdin: &mut Stdin) -> Vec<Redirect> {
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

    fn bare_redirects(&mut self, redirects: Vec<Redirect>) {
        if !redirects.is_empty() {
            self.leaf(Vec::new(), redirects, Stdin::Inherited, Open::No);
        }
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

    fn gap_at(&mut self, kind: GapKind, what: &str, span: Span) {
        self.out.gaps.push(Gap { kind, what: what.chars().take(200).collect(), span });
    }

    fn assign(&mut self, assignment: &Assignment) {
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

    /// Sets a variable. In a branch that may not be taken, another value than before makes it unknown.
    pub(super) fn set(&mut self, name: &str, values: Option<Vec<String>>) {
        let unsure = self.conditional > 0 && self.variables.get(name).is_some_and(|before| *before != values);
        self.variables.insert(name.to_owned(), if unsure { None } else { values });
    }

    pub(super) fn set_positional(&mut self, values: Option<Vec<String>>) {
        self.positional = values;
    }

    pub(super) fn variable(&self, name: &str) -> Option<Vec<String>> {
        if let Some(value) = self.variables.get(name) {
            return value.as_ref().map(|values| vec![values.first().cloned().unwrap_or_default()]);
        }
        let fixed = match name {
            "HOME" => "~",
            "PWD" => ".",
            "IFS" => " \t\n",
            "SHELL" | "BASH" => "/bin/bash",
            _ => return None,
        };
        Some(vec![fixed.to_owned()])
    }

    pub(super) fn array(&self, name: &str) -> Option<Vec<String>> {
        self.variables.get(name).cloned().flatten()
    }

    pub(super) fn positional(&self) -> Option<Vec<String>> {
        self.positional.clone()
    }

    /// Calls a function of the text.
    pub(super) fn call(&mut self, name: &str, argv: &[Arg], stdin: Stdin) -> Option<Option<String>> {
        let body = self.functions.get(name)?.clone();
        let known = argv.iter().all(|arg| arg.known);
        let arguments = known.then(|| argv.iter().map(|arg| arg.text.clone()).collect());
        let before = std::mem::replace(&mut self.positional, arguments);
        self.via.push(format!("{name}()"));
        let output = self.body(&body, stdin);
        self.via.pop();
        self.positional = before;
        Some(output)
    }

    /// `f() { f | f & }`: a function that calls itself through a pipe or in the background.
    fn watch_fork_bomb(&mut self, name: &str, body: &FunctionBody) {
        let calls = |node: &Node| match node {
            Node::Simple(simple) => simple.word_or_name.as_ref().is_some_and(|word| word.value == name),
            Node::Compound(..) | Node::Function(_) | Node::ExtendedTest(..) => false,
        };
        let (CompoundCommand::BraceGroup(brush_parser::ast::BraceGroupCommand { list, .. })
        | CompoundCommand::Subshell(brush_parser::ast::SubshellCommand { list, .. })) = &body.0
        else {
            return;
        };
        if list.0.iter().any(|item| item.0.first.seq.iter().filter(|node| calls(node)).count() > 1) {
            self.out.fork_bomb = Some(self.span);
        }
    }

    /// What follows from the words of a command: unwrapping, then the rules.
    fn run(&mut self, argv: Vec<Arg>, redirects: Vec<Redirect>, stdin: Stdin) -> Option<String> {
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

/// What nothing is written to ends up empty.
fn emptying(redirects: Vec<Redirect>) -> Vec<Redirect> {
    let empty = |redirect: Redirect| match redirect.kind {
        RedirectKind::Write => Redirect { kind: RedirectKind::Empty, ..redirect },
        RedirectKind::Empty | RedirectKind::Append => redirect,
    };
    redirects.into_iter().map(empty).collect()
}

/// Whether more arguments are added when a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// By xargs or find.
    Yes,
    /// These are all.
    No,
}

impl Command {
    /// The program's name without its folder; empty for a bare redirection.
    pub(crate) fn program(&self) -> &str {
        self.argv.first().map_or("", |arg| base_name(&arg.text))
    }
}

/// `/usr/bin/rm` and `rm.exe` are `rm`.
pub(crate) fn base_name(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.strip_suffix(".exe").unwrap_or(name)
}

fn join(words: Vec<Arg>) -> Arg {
    let known = words.iter().all(|word| word.known);
    let text = words.into_iter().map(|word| word.text).collect::<Vec<_>>().join(" ");
    Arg { text, known, glob: false }
}

fn joined(before: Option<String>, more: Option<String>) -> Option<String> {
    Some(before? + &more?)
}

fn byte_at(text: &str, character: usize) -> usize {
    if text.is_ascii() { character.min(text.len()) } else { text.char_indices().nth(character).map_or(text.len(), |(at, _)| at) }
}
