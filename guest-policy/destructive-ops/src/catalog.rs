//! The rules: their codes, how much they matter, and what a person reads. `{}` stands for the resource.

mod platform;
mod shell;
mod sql;

use coda_policy::{Effect, Reversible, Severity};

/// One rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    pub(crate) effect: Effect,
    pub(crate) reversible: Reversible,
    /// One line.
    pub(crate) summary: &'static str,
    /// What would be lost.
    pub(crate) lost: &'static str,
    /// The nearest safe form.
    pub(crate) safe: &'static str,
}

const fn rule(
    code: &'static str,
    severity: Severity,
    effect: Effect,
    reversible: Reversible,
    summary: &'static str,
    lost: &'static str,
    safe: &'static str,
) -> Rule {
    Rule { code, severity, effect, reversible, summary, lost, safe }
}

/// The rules whose findings refuse unless settings say otherwise.
pub(crate) const DENIED: &[&str] = &["shell.wipe-root", "shell.device", "shell.fork-bomb", "coda.own-files"];

/// Every rule.
pub(crate) fn rules() -> impl Iterator<Item = &'static Rule> {
    shell::RULES.iter().chain(platform::RULES).chain(sql::RULES)
}

/// The rule of a code. INVARIANT: codes in this crate are in the table; a test walks them.
pub(crate) fn find(code: &str) -> &'static Rule {
    rules().find(|rule| rule.code == code).unwrap_or(&shell::RULES[0])
}
