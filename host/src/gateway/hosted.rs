//! Hosted tools: tools that run at the model's provider, where no gate stands. They are stripped from every request, but
//! for those that the operator lists for the agent and that the policies then allow by their declaration.
//!
//! ```text
//! declaration ─ known here? ─ listed? ─ allowed by its declaration? ─► offered, and so expected in answer and history
//!                    └───────────┴──────────────┴─► stripped: what then comes of such a tool is an error
//! ```
//! A tool that is not known here is never offered: nobody could say what it leaves in an answer. Connectors to other
//! servers (`mcp`) are among these: they carry credentials and call what the request names.

mod answered;

pub(in crate::gateway) use answered::{Answered, put_back, readable};

use std::collections::BTreeSet;

use serde_json::Value;

use super::dialect::Dialect;
use crate::gates::ToolGates;
use crate::id::TaskId;
use crate::policy::Cleared;

/// More entries in one list are refused.
const MAX_ENTRIES: usize = 64;
/// More declarations in one request are stripped.
const MAX_DECLARATIONS: usize = 16;

/// What a hosted tool does, which says what it leaves in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Tool {
    /// Searches the web.
    Search,
    /// Fetches pages.
    Fetch,
    /// Runs the model's code.
    Execution,
}

/// Every tool that can be let through: its name in a dialect, which may be followed by a version in digits.
const KNOWN: [(Dialect, &str, Tool); 10] = [
    (Dialect::Chat, "web_search_options", Tool::Search),
    (Dialect::Messages, "web_search", Tool::Search),
    (Dialect::Messages, "web_fetch", Tool::Fetch),
    (Dialect::Messages, "code_execution", Tool::Execution),
    (Dialect::Responses, "web_search", Tool::Search),
    (Dialect::Responses, "web_search_preview", Tool::Search),
    (Dialect::Responses, "code_interpreter", Tool::Execution),
    (Dialect::Gemini, "googleSearch", Tool::Search),
    (Dialect::Gemini, "urlContext", Tool::Fetch),
    (Dialect::Gemini, "codeExecution", Tool::Execution),
];

/// The tool of this name; `None` where none can be let through.
pub(in crate::gateway) fn known(dialect: Dialect, name: &str) -> Option<Tool> {
    let is = |stem: &str| name.strip_prefix(stem).is_some_and(is_version);
    KNOWN.into_iter().find(|(of, stem, _)| *of == dialect && is(stem)).map(|(_, _, tool)| tool)
}

/// Nothing, or such as `_20250305`.
fn is_version(rest: &str) -> bool {
    rest.is_empty() || (rest.starts_with('_') && rest.bytes().all(|b| b == b'_' || b.is_ascii_digit()))
}

/// Names that an agent's hosted tools may have, as its table lists them: those are put to the policies, no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostedTools(Vec<String>);

impl HostedTools {
    /// Reads a list. `Err`: an entry and what is wrong with it.
    pub fn parse(entries: &[String]) -> Result<Self, (String, String)> {
        if let Some(beyond) = entries.get(MAX_ENTRIES) {
            return Err((beyond.clone(), format!("a list has at most {MAX_ENTRIES} entries")));
        }
        match entries.iter().find_map(|entry| Some((entry.clone(), fault(entry)?))) {
            Some(bad) => Err(bad),
            None => Ok(Self(entries.to_vec())),
        }
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a search of the web is among them.
    #[must_use]
    pub fn has_search(&self) -> bool {
        let searches = KNOWN.iter().filter(|(_, _, tool)| *tool == Tool::Search);
        searches.into_iter().any(|(_, stem, _)| self.0.iter().any(|entry| entry.starts_with(stem)))
    }

    /// Whether a declaration of this name may be put to the policies.
    fn lists(&self, name: &str) -> bool {
        self.0.iter().any(|entry| match entry.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == entry,
        })
    }
}

/// Why an entry can't be used.
fn fault(entry: &str) -> Option<String> {
    let names = || {
        let names: BTreeSet<&str> = KNOWN.iter().map(|(_, stem, _)| *stem).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    let begin = entry.strip_suffix('*');
    let name = begin.unwrap_or(entry);
    if name.starts_with("mcp") {
        return Some("connectors to MCP servers are never let through: give the agent the server itself".into());
    }
    if begin.is_some_and(|begin| !KNOWN.iter().any(|(_, stem, _)| begin.starts_with(stem))) {
        return Some(format!("'*' stands for a version behind a whole name, as in web_search*; known names: {}", names()));
    }
    let is_known = Dialect::ALL.into_iter().any(|dialect| known(dialect, name.trim_end_matches('_')).is_some());
    (!is_known).then(|| format!("no hosted tool of such a name can be let through; known names: {}", names()))
}

/// A hosted tool as an agent's request declares it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::gateway) struct Declaration {
    /// The provider's name of it.
    pub(in crate::gateway) name: String,
    /// What it does.
    pub(in crate::gateway) tool: Tool,
    /// As it stands in the request.
    pub(in crate::gateway) value: Value,
}

/// The hosted tools that may show in an answer and in a history, by what they do: those that are offered, no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Expected(Vec<(Tool, String)>);

impl Expected {
    /// All of these: for a record, from which everything else was stripped before.
    pub(in crate::gateway) fn all(declarations: &[Declaration]) -> Self {
        Self(declarations.iter().map(|declared| (declared.tool, declared.name.clone())).collect())
    }

    /// What the gates call this tool's work, if it is offered.
    pub(in crate::gateway) fn name(&self, tool: Tool) -> Option<String> {
        self.0.iter().find(|(offered, _)| *offered == tool).map(|(_, name)| judged_name(name))
    }

    /// The first that is offered, where something can be of any of them.
    pub(in crate::gateway) fn any(&self) -> Option<String> {
        self.0.first().map(|(_, name)| judged_name(name))
    }
}

/// The hosted tools of one request that may be offered to its model.
#[derive(Debug, Clone, Default)]
pub(in crate::gateway) struct Offered {
    declarations: Vec<Cleared<Value>>,
    /// What of them may show.
    pub(in crate::gateway) expected: Expected,
}

impl Offered {
    /// Asks the gates about those that are listed.
    pub(in crate::gateway) async fn judge(
        gates: &dyn ToolGates,
        task: &TaskId,
        listed: &HostedTools,
        declared: &[Declaration],
    ) -> Self {
        let mut offered = Self::default();
        for declaration in declared.iter().take(MAX_DECLARATIONS).filter(|declared| listed.lists(&declared.name)) {
            let name = judged_name(&declaration.name);
            if let Some(cleared) = gates.judge_hosted(task, &name, &declaration.value).await {
                offered.declarations.push(cleared);
                offered.expected.0.push((declaration.tool, declaration.name.clone()));
            }
        }
        offered
    }

    /// The declarations, in the order of the request.
    pub(in crate::gateway) fn declarations(&self) -> impl Iterator<Item = &Value> {
        self.declarations.iter().map(Cleared::get)
    }
}

/// A hosted tool's name at the gates: no tool of an agent's has one of this form.
fn judged_name(name: &str) -> String {
    format!("hosted:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Result<HostedTools, (String, String)> {
        HostedTools::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_list_says_whole_names_and_versions() {
        let listed = list(&["web_search_20250305", "code_execution*"]).expect("right");
        assert!(listed.lists("web_search_20250305") && listed.lists("code_execution_20250825"));
        assert!(!listed.lists("web_search_20260209") && !listed.lists("web_search") && !listed.lists("web_fetch_20250910"));
        assert!(!HostedTools::default().lists("web_search_20250305"));
        for (entry, word) in [
            ("*", "'*'"),
            ("web*", "'*'"),
            ("mcp", "never"),
            ("mcp*", "never"),
            ("mcp_toolset", "never"),
            ("web_serch", "known names"),
            ("bash_20250124", "known names"),
            ("", "known names"),
        ] {
            let (bad, why) = list(&[entry]).expect_err("wrong");
            assert!(bad == entry && why.contains(word), "{entry}: {why}");
        }
        assert!(list(&["web_search"; MAX_ENTRIES + 1]).is_err());
    }

    #[test]
    fn a_tool_is_known_by_its_whole_name_in_its_dialect() {
        assert_eq!(known(Dialect::Messages, "web_search_20250305"), Some(Tool::Search));
        for name in ["web_search_tool", "web_searches", "web_search-1", "mcp_toolset", "bash_20250124", "WEB_SEARCH", ""] {
            assert_eq!(known(Dialect::Messages, name), None, "{name}");
        }
        assert_eq!(known(Dialect::Chat, "code_execution"), None);
    }
}
