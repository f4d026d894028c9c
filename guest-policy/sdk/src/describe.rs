//! What a policy says of itself, in types that all worlds share.

use crate::types::{Effect, Gate, Severity};

/// A rule that a policy may report.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Stable code, such as `shell.rm`.
    pub code: String,
    /// The severity that it is reported with, unless settings say otherwise.
    pub severity: Severity,
    /// The effect that it stands for.
    pub effect: Effect,
    /// One line for a person.
    pub summary: String,
}

/// What a policy says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Lower-case words joined by `-`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Every rule code that a finding of this policy can carry.
    pub rules: Vec<Rule>,
    /// The gates at which the policy has something to say.
    pub gates: Vec<Gate>,
    /// JSON Schema of the settings, as text.
    pub settings_schema: String,
}

impl Description {
    /// A policy without rules, gates and settings.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            rules: Vec::new(),
            gates: Vec::new(),
            settings_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
        }
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, code: &str, severity: Severity, effect: Effect, summary: &str) -> Self {
        self.rules.push(Rule { code: code.to_owned(), severity, effect, summary: summary.to_owned() });
        self
    }

    /// Adds a gate.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gates.push(gate);
        self
    }

    /// Sets the settings' JSON Schema.
    #[must_use]
    pub fn settings_schema(mut self, schema: &str) -> Self {
        self.settings_schema = schema.to_owned();
        self
    }
}

/// A file of a granted directory, read once when the policy was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedFile {
    /// Path below the granted directory, with `/`.
    pub path: String,
    /// The whole content.
    pub content: Vec<u8>,
}
