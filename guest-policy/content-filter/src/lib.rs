//! The bundled filter.
use coda_policy::prelude::*;
use regex::Regex;
/// The policy.
#[derive(Debug)]
pub struct ContentFilter(Regex);
impl Policy for ContentFilter {
    type Settings = serde_json::Value;
    fn describe() -> Description {
        Description::new("content-filter", "0.1.0")
            .rule("secret.aws-access-key", Severity::High, Effect::Disclose, "an AWS access key")
            .gate(Gate::Prompt)
            .gate(Gate::ToolCall)
            .gate(Gate::ToolResult)
            .gate(Gate::Output)
    }
    fn configure(_: serde_json::Value, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        Ok(Self(Regex::new(r"\bAKIA[A-Z2-7]{16}\b").map_err(|e| PolicyError::Failed(e.to_string()))?))
    }
}
impl Filter for ContentFilter {
    fn apply(&self, event: &Event) -> Result<Filtered, PolicyError> {
        let findings: Vec<Finding> = self
            .0
            .find_iter(event.content())
            .map(|m| {
                Finding::new("secret.aws-access-key", Effect::Disclose, "An AWS access key was masked. Use a reference instead.")
                    .at(m.start(), m.end())
            })
            .collect();
        if findings.is_empty() || event.gate() == Gate::ToolCall {
            return Ok(Filtered::Unchanged(findings));
        }
        Ok(Filtered::Replaced {
            content: self.0.replace_all(event.content(), "[secret:aws-access-key:0000]").into_owned(),
            findings,
        })
    }
}
coda_policy::policy!(ContentFilter: filter);
