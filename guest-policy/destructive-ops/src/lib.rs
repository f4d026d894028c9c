//! The bundled guard: it asks before anything is destroyed.
//!
//! ```text
//! shell text ─ walk ─► commands ─ rules ─► effects ─ decide ─► allow | needs-approval | deny
//! SQL text ── sql ──────────────────────►    │
//! prompt ─── prompt ────────────────────►    ┘
//! ```
//!
//! It judges effects, not strings: what a text would run is followed through quotes, variables, substitutions, wrappers
//! and payloads, and what can not be followed is asked about. It never looks at files and never runs anything.

mod catalog;
mod decide;
mod hit;
mod prompt;
mod rules;
mod settings;
mod shell;
mod sql;

use coda_policy::prelude::*;
use coda_policy::types::ToolCall;

use crate::hit::Hit;
pub use crate::settings::Settings;

/// The configured policy.
#[derive(Debug)]
pub struct DestructiveOps {
    settings: Settings,
}

impl Policy for DestructiveOps {
    type Settings = Settings;

    fn describe() -> Description {
        let about = Description::new("destructive-ops", env!("CARGO_PKG_VERSION"));
        let about = catalog::rules().fold(about, |about, rule| about.rule(rule.code, rule.severity, rule.effect, rule.summary));
        about.gate(Gate::Prompt).gate(Gate::ToolCall).settings_schema(settings::SCHEMA)
    }

    fn configure(settings: Settings, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        settings.check()?;
        Ok(Self { settings })
    }
}

impl Guard for DestructiveOps {
    fn review(&self, event: &Event, _: &[Finding]) -> Result<Verdict, PolicyError> {
        Ok(match &event.subject {
            Subject::Prompt(prompt) => self.prompt(event, &prompt.text),
            Subject::ToolCall(call) => {
                let (hits, span_of) = call_effects(call);
                decide::verdict(&self.settings, event, hits, span_of)
            }
            Subject::ToolResult(_) | Subject::Output(_) => allow(),
        })
    }
}

impl DestructiveOps {
    fn prompt(&self, event: &Event, text: &str) -> Verdict {
        let hits = prompt::judge(&self.settings, text);
        let intent = !hits.is_empty();
        let mut verdict = decide::verdict(&self.settings, event, hits, "prompt");
        if intent {
            let findings = match &mut verdict {
                Verdict::Allow(findings) | Verdict::Deny(findings) => findings,
                Verdict::NeedsApproval(demand) => &mut demand.findings,
            };
            for finding in findings {
                finding.marks.push(coda_policy::Mark { name: decide::INTENT.to_owned(), value: "prompt".to_owned() });
            }
        }
        verdict
    }
}

/// The effects of a tool call, and which text their spans refer to.
fn call_effects(call: &ToolCall) -> (Vec<Hit>, &'static str) {
    if let Some(text) = &call.shell {
        return (rules::judge(&shell::walk(text)), "shell");
    }
    if let Some(text) = &call.sql {
        return (sql::judge(text), "sql");
    }
    let whole = (0, call.arguments.len());
    let mut hits = rules::paths(&call.paths, whole);
    hits.extend(rules::tool(&call.tool, &call.arguments, whole));
    (hits, "arguments")
}

/// A base64 text in a program, where it decodes.
fn shell_decode(text: &str) -> Option<String> {
    (text.len() >= 8).then(|| shell::encoded(text)).flatten()
}

coda_policy::policy!(DestructiveOps: guard);

#[cfg(test)]
mod tests;
