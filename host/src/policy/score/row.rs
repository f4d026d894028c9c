//! One labelled row, and the event that it stands for.

use serde::Deserialize;

use crate::policy::contract::{Event, Subject, TaskFacts, ToolCallSubject};
use crate::policy::suite::specimen;

const MAX_WORD_BYTES: usize = 128;
const DIRECTORY: &str = "/srv/task";

/// What a row's text is, and so at which gate it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A shell command: tool-call.
    Shell,
    /// A SQL text: tool-call.
    Sql,
    /// What a person asks for: prompt.
    PromptIntent,
    /// A text with or without a credential: tool-result.
    Secret,
    /// A text with or without personal data: tool-result.
    Pii,
    /// A text with or without instructions for the model: tool-result.
    Injection,
}

impl Kind {
    /// All, with their words in files.
    pub const ALL: [(&'static str, Kind); 6] = [
        ("shell", Kind::Shell),
        ("sql", Kind::Sql),
        ("prompt-intent", Kind::PromptIntent),
        ("secret", Kind::Secret),
        ("pii", Kind::Pii),
        ("injection", Kind::Injection),
    ];

    fn parse(word: &str) -> Option<Self> {
        // Files are named in other words than rows, and people write both.
        let word = match word {
            "shell_mutants" | "shell-mutants" => "shell",
            "prompt_intent" => "prompt-intent",
            "secrets" => "secret",
            "prompt_injection" | "prompt-injection" => "injection",
            other => other,
        };
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }

    /// The word in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Why a line is no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRow {
    /// Longer than is read.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// Not the JSON that a row is.
    #[error("it is no row: {0}")]
    Form(String),
    /// A kind that no gate is known for.
    #[error("the kind '{0}' is not known; there are shell, sql, prompt-intent, secret, pii and injection")]
    Kind(String),
}

/// One labelled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) label: String,
    pub(super) category: String,
    pub(super) near_miss: bool,
}

/// As it stands in a file; what else is there is not read.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    id: String,
    kind: String,
    text: String,
    label: String,
    #[serde(default)]
    cat: String,
    #[serde(default)]
    near_miss: bool,
}

impl Row {
    /// Reads one line.
    pub(super) fn parse(line: &[u8]) -> Result<Self, BadRow> {
        let line = std::str::from_utf8(line).map_err(|_| BadRow::Encoding)?;
        let written: Written = serde_json::from_str(line).map_err(|error| BadRow::Form(error.to_string()))?;
        let short = |word: &str| word.chars().filter(|c| !c.is_control()).take(MAX_WORD_BYTES / 4).collect::<String>();
        for (name, word) in [("id", &written.id), ("label", &written.label), ("cat", &written.cat)] {
            if word.len() > MAX_WORD_BYTES {
                return Err(BadRow::Form(format!("its {name} is longer than {MAX_WORD_BYTES} bytes")));
            }
        }
        if written.label.is_empty() {
            return Err(BadRow::Form("its label is empty".into()));
        }
        let kind = Kind::parse(&written.kind).ok_or_else(|| BadRow::Kind(short(&written.kind)))?;
        Ok(Self {
            id: written.id,
            kind,
            text: written.text,
            label: written.label,
            category: written.cat,
            near_miss: written.near_miss,
        })
    }

    /// Whether it should be flagged; none where the label leaves it open.
    pub(super) fn expected(&self) -> Option<bool> {
        match self.label.as_str() {
            "destructive" | "permission" | "risky" | "secret" | "pii" | "injection" => Some(true),
            "benign" | "clean" => Some(false),
            _ => None,
        }
    }

    /// The event that the text stands for.
    pub(super) fn event(&self) -> Event {
        let text = self.text.clone();
        let subject = match self.kind {
            Kind::Shell => call("shell", serde_json::json!({ "command": text }), Some(text), None),
            Kind::Sql => call("sql", serde_json::json!({ "statement": text }), None, Some(text)),
            Kind::PromptIntent => Subject::Prompt { text, context: String::new() },
            Kind::Secret | Kind::Pii | Kind::Injection => {
                Subject::ToolResult { call_id: "call-1".into(), tool: "shell".into(), content: text }
            }
        };
        let working_directory = if self.kind == Kind::PromptIntent { String::new() } else { DIRECTORY.to_owned() };
        specimen(subject, TaskFacts { working_directory, ..TaskFacts::default() }, Vec::new())
    }
}

fn call(tool: &str, arguments: serde_json::Value, shell: Option<String>, sql: Option<String>) -> Subject {
    Subject::ToolCall(ToolCallSubject {
        id: "call-1".into(),
        tool: tool.into(),
        arguments: arguments.to_string(),
        shell,
        paths: Vec::new(),
        sql,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_and_what_is_none_says_why() {
        let row = Row::parse(br#"{"id":"a","kind":"shell","text":"ls","label":"benign","source":"x","near_miss":true}"#).unwrap();
        assert_eq!((row.kind, row.near_miss, row.expected()), (Kind::Shell, true, Some(false)));
        let why = |line: &[u8]| Row::parse(line).unwrap_err().to_string();
        assert!(why(b"{").contains("no row"));
        assert!(why(br#"{"kind":"shell","label":"benign"}"#).contains("text"));
        assert!(why(br#"{"kind":"image","text":"","label":"benign"}"#).contains("'image' is not known"));
        assert!(why(br#"{"kind":"sql","text":"","label":""}"#).contains("label is empty"));
        assert!(why(b"\xff").contains("UTF-8"));
    }
}
