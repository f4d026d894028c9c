//! The settings of `content-filter`, as policies.toml has them.

use coda_policy::{Gate, PolicyError};
use serde::Deserialize;

use crate::personal::KINDS;

/// JSON Schema of the settings.
pub(crate) const SCHEMA: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"properties":{
"secrets":{"type":"boolean","description":"Whether secrets are masked. Default: true."},
"exact":{"type":"array","description":"Secrets known by value.","items":{"type":"object","additionalProperties":false,"required":["name","value"],"properties":{"name":{"type":"string"},"value":{"type":"string","minLength":6}}}},
"keep":{"type":"array","items":{"type":"string"},"description":"Texts that are never masked, such as a documented example key."},
"personal":{"type":"array","items":{"enum":["email","phone","card","iban","ssn","ip"]},"description":"Kinds of personal data that are masked. Default: card, iban, ssn; addresses and phone numbers are what people work with."},
"personal_gates":{"type":"array","items":{"enum":["prompt","tool-result","output"]},"description":"Where. Default: tool-result and output."},
"instructions":{"type":"boolean","description":"Whether hidden instructions in tool results are looked for. Default: true."}}}"#;

/// See the schema for what each field means to an operator.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) secrets: bool,
    pub(crate) exact: Vec<Exact>,
    pub(crate) keep: Vec<String>,
    pub(crate) personal: Vec<String>,
    pub(crate) personal_gates: Vec<String>,
    pub(crate) instructions: bool,
}

/// A secret known by value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exact {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Shorter values would mask ordinary words.
const MIN_EXACT_BYTES: usize = 6;

impl Default for Settings {
    fn default() -> Self {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            secrets: true,
            exact: Vec::new(),
            keep: Vec::new(),
            personal: texts(&["card", "iban", "ssn"]),
            personal_gates: texts(&["tool-result", "output"]),
            instructions: true,
        }
    }
}

impl Settings {
    /// Refuses what means nothing.
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let invalid = |text: String| Err(PolicyError::InvalidSettings(text));
        if let Some(kind) = self.personal.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return invalid(format!(
                "personal data of kind {kind:?} is not known; there are email, phone, card, iban, ssn and ip"
            ));
        }
        if let Some(gate) = self.personal_gates.iter().find(|gate| !["prompt", "tool-result", "output"].contains(&gate.as_str()))
        {
            return invalid(format!(
                "{gate:?} is not a gate at which personal data is masked; there are prompt, tool-result and output"
            ));
        }
        if let Some(exact) = self.exact.iter().find(|exact| exact.value.len() < MIN_EXACT_BYTES) {
            return invalid(format!(
                "the exact secret {:?} is shorter than {MIN_EXACT_BYTES} bytes and would mask ordinary words",
                exact.name
            ));
        }
        Ok(())
    }

    /// Whether personal data is masked at a gate.
    pub(crate) fn personal_at(&self, gate: Gate) -> bool {
        let name = match gate {
            Gate::Prompt => "prompt",
            Gate::ToolCall => return false,
            Gate::ToolResult => "tool-result",
            Gate::Output => "output",
        };
        self.personal_gates.iter().any(|one| one == name)
    }
}
