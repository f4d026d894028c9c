//! The settings of `destructive-ops`, as policies.toml has them.

use coda_policy::{PolicyError, Severity};
use serde::Deserialize;

use crate::catalog::{DENIED, rules};

/// JSON Schema of the settings.
pub(crate) const SCHEMA: &str = include_str!("settings.schema.json");

/// See `settings.schema.json` for what each field means to an operator.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Codes that refuse instead of asking.
    pub(crate) deny: Vec<String>,
    /// Who must agree where no rule says more.
    pub(crate) approvals: Vec<Approval>,
    /// Whether the submitter may be one of them.
    pub(crate) allow_requester: bool,
    /// When a request expires; 0 leaves it to the operator's configuration.
    pub(crate) expires_after_s: u32,
    /// Whether deleting below the working directory, by relative path, passes.
    pub(crate) allow_in_workspace: bool,
    /// Paths below which file effects pass.
    pub(crate) allow_paths: Vec<String>,
    /// Resources whose effects pass, as `kind:name` with `*`.
    pub(crate) allow_targets: Vec<String>,
    /// Severity by code: `info` and `low` pass with a finding, the others ask.
    pub(crate) severity: std::collections::BTreeMap<String, String>,
    /// Words in names that mean production.
    pub(crate) production: Vec<String>,
    /// Who must agree for particular resources; all that fit add up.
    pub(crate) rule: Vec<ResourceRule>,
}

/// People who must agree.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    pub(crate) role: String,
    #[serde(default = "one")]
    pub(crate) count: u32,
}

/// Which resources, and who must agree.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceRule {
    #[serde(default)]
    pub(crate) resource: Match,
    pub(crate) approvals: Vec<Approval>,
    #[serde(default)]
    pub(crate) allow_requester: bool,
    #[serde(default)]
    pub(crate) expires_after_s: u32,
}

/// A resource by patterns with `*`; what is left out fits everything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Match {
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) environment: Option<String>,
}

fn one() -> u32 {
    1
}

impl Default for Settings {
    fn default() -> Self {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            deny: texts(DENIED),
            approvals: vec![Approval { role: "approver".to_owned(), count: 1 }],
            allow_requester: false,
            expires_after_s: 0,
            allow_in_workspace: false,
            allow_paths: Vec::new(),
            allow_targets: Vec::new(),
            severity: std::collections::BTreeMap::new(),
            production: texts(&["prod", "production", "prd", "live"]),
            rule: Vec::new(),
        }
    }
}

impl Settings {
    /// Refuses codes, severities and counts that mean nothing.
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let invalid = |text: String| Err(PolicyError::InvalidSettings(text));
        for code in self.deny.iter().chain(self.severity.keys()) {
            if !rules().any(|rule| rule.code == code) {
                return invalid(format!("no rule has the code {code:?}; `coda policy list` shows all"));
            }
        }
        for (code, word) in &self.severity {
            if Severity::parse(word).is_none() {
                return invalid(format!("severity of {code} is {word:?}; it must be info, low, medium, high or critical"));
            }
        }
        let all = self.approvals.iter().chain(self.rule.iter().flat_map(|rule| &rule.approvals));
        for approval in all {
            if approval.count == 0 || approval.role.is_empty() {
                return invalid("an approval needs a role and a count of at least 1".to_owned());
            }
        }
        Ok(())
    }
}

/// Whether a text fits a pattern in which `*` stands for anything. Case does not matter.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        last = Some(part);
    }
    match last {
        None => rest.is_empty(),
        Some(part) => part.is_empty() || text.ends_with(part),
    }
}
