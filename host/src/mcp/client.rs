//! Which client it is. Good for wording answers, never for rights: a client says of itself what it likes.

use rmcp::model::Implementation;

use crate::identity::ClientInfo;

/// The shape of clients that nobody knows.
pub(super) const GENERIC: &str = "generic";
/// The shape of Databricks Genie Code.
pub(super) const GENIE: &str = "genie-code";
/// Paths below /mcp that are no shapes.
const RESERVED: [&str; 2] = ["ops", "peer"];
const MAX_NAME_CHARS: usize = 80;
const MAX_SHAPE_BYTES: usize = 40;

/// A part of a client's name, in lower case, and the shape it stands for. The first that fits is taken.
const KNOWN: [(&str, &str); 14] = [
    ("claude-code", "claude-code"),
    ("claude code", "claude-code"),
    ("claude", "claude-desktop"),
    ("codex", "codex"),
    ("cursor", "cursor"),
    ("visual studio code", "vscode"),
    ("vscode", "vscode"),
    ("gemini", "gemini-cli"),
    ("goose", "goose"),
    ("opencode", "opencode"),
    ("windsurf", "windsurf"),
    ("zed", "zed"),
    ("genie", GENIE),
    ("databricks", GENIE),
];

/// What a request says about its client, but for its message.
#[derive(Debug, Clone, Default)]
pub(super) struct Hints {
    /// Named by the path.
    pub(super) shape: Option<String>,
    /// Header.
    pub(super) user_agent: String,
    /// From a configured workspace origin.
    pub(super) from_genie: bool,
}

/// Puts the hints together: the path wins, then the workspace origin, then the name in the message, then User-Agent.
/// Requests of the legacy era carry no name after `initialize`, and no session ties them to one.
pub(super) fn recognise(hints: &Hints, said: Option<&Implementation>) -> ClientInfo {
    let (agent_name, agent_version) = first_product(&hints.user_agent);
    let name = said.map_or(agent_name, |s| s.name.as_str());
    let version = said.map_or(agent_version, |s| s.version.as_str());
    let shape = match &hints.shape {
        Some(shape) => shape.clone(),
        None if hints.from_genie => GENIE.to_owned(),
        None => shape_of_name(name).to_owned(),
    };
    ClientInfo { shape, name: bounded(name), version: bounded(version) }
}

/// Whether a text could name a shape: short, lower case, nothing that needs escaping.
pub(super) fn is_shape_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= MAX_SHAPE_BYTES && text.bytes().all(plain) && !RESERVED.contains(&text)
}

fn shape_of_name(name: &str) -> &'static str {
    let name = name.to_lowercase();
    KNOWN.iter().find(|(part, _)| name.contains(part)).map_or(GENERIC, |(_, shape)| shape)
}

/// `name/version` at the start of a User-Agent.
fn first_product(user_agent: &str) -> (&str, &str) {
    let product = user_agent.split([' ', '(']).next().unwrap_or_default();
    product.split_once('/').unwrap_or((product, ""))
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: Option<&str>, user_agent: &str, from_genie: bool, said: Option<&str>, expected: (&str, &str, &str)) {
        let hints = Hints { shape: shape.map(str::to_owned), user_agent: user_agent.to_owned(), from_genie };
        let said = said.map(|name| Implementation::new(name, "9"));
        let client = recognise(&hints, said.as_ref());
        assert_eq!((client.shape.as_str(), client.name.as_str(), client.version.as_str()), expected);
    }

    #[test]
    fn the_strongest_hint_wins() {
        check(None, "", false, None, ("generic", "", ""));
        check(None, "claude-code/2.1.212 (cli)", false, None, ("claude-code", "claude-code", "2.1.212"));
        check(None, "python-httpx/1.0", false, Some("Cursor"), ("cursor", "Cursor", "9"));
        check(None, "Mozilla/5.0", true, None, ("genie-code", "Mozilla", "5.0"));
        check(Some("codex"), "Mozilla/5.0", true, Some("Claude"), ("codex", "Claude", "9"));
        check(None, "", false, Some("a\u{1b}[31m"), ("generic", "a[31m", "9"));
    }

    #[test]
    fn a_shape_name_is_a_plain_word() {
        assert!(is_shape_name("genie-code"));
        for bad in ["", "ops", "Genie", "../x", "a/b", &"x".repeat(41)] {
            assert!(!is_shape_name(bad), "{bad}");
        }
    }
}
