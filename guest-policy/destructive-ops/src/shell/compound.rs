//! Loops, branches, groups and functions.

use brush_parser::ast::{Command as Node, CompoundCommand, CompoundList, FunctionBody, SeparatorOperator};

use super::command::{GapKind, Stdin};
use super::walk::{MAX_COMMANDS, MAX_DEPTH, Walker};
use super::word::{self, Arg};

/// Values of a loop's variable that are followed one by one.
const MAX_LOOP_VALUES: usize = 8;

impl Walker<'_> {
    pub(super) fn node(&mut self, node: &Node, stdin: Stdin) -> Option<String> {
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

    pub(super) fn body(&mut self, body: &FunctionBody, stdin: Stdin) -> Option<String> {
        self.depth += 1;
        let output = if self.depth < MAX_DEPTH { self.compound(&body.0, stdin) } else { None };
        self.depth -= 1;
        output
    }

    pub(super) fn compound(&mut self, compound: &CompoundCommand, stdin: Stdin) -> Option<String> {
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
                self.watch_endless(&clause.0, &clause.1.list);
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
    pub(super) fn read_into(&mut self, condition: &CompoundList, stdin: &Stdin) {
        let Some(Node::Simple(simple)) = condition.0.first().and_then(|item| item.0.first.seq.first()) else { return };
        if let Stdin::Known(text) = stdin
            && simple.word_or_name.as_ref().is_some_and(|word| word.value == "read")
        {
            let line = text.trim_end_matches('\n');
            self.simple(simple, if line.contains('\n') { Stdin::Inherited } else { Stdin::Known(line.to_owned()) });
        }
    }

    /// `while true; do work & done`: jobs are started without end, and nothing waits for them.
    fn watch_endless(&mut self, condition: &CompoundList, body: &CompoundList) {
        let named = |node: &Node, names: &[&str]| match node {
            Node::Simple(simple) => simple.word_or_name.as_ref().is_some_and(|word| names.contains(&word.value.as_str())),
            Node::Compound(..) | Node::Function(_) | Node::ExtendedTest(..) => false,
        };
        let any =
            |list: &CompoundList, names: &[&str]| list.0.iter().flat_map(|item| &item.0.first.seq).any(|node| named(node, names));
        let endless = condition.0.len() == 1 && any(condition, &["true", ":", "/bin/true", "/usr/bin/true", "false"]);
        let spawns = body.0.iter().any(|item| matches!(item.1, SeparatorOperator::Async));
        if endless && spawns && !any(body, &["wait", "sleep", "read", "inotifywait"]) {
            self.out.fork_bomb = Some(self.span);
        }
    }

    /// `f() { f | f & }`: a function that calls itself through a pipe or in the background.
    pub(super) fn watch_fork_bomb(&mut self, name: &str, body: &FunctionBody) {
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
}
