//! `policies.toml`: which policies judge, where, in which order and how. Text in, checked entries out; reads no component.
//!
//! Unknown keys are refused with the nearest known one: a misspelt `mode` must not silently mean `enforce`, nor a
//! misspelt `closed` something weaker than what was meant.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use toml::{Table, Value};

use super::contract::Gate;
use super::judgment::Mode;

/// Where a policy takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The gate `prompt`.
    Prompt,
    /// The gate `tool-call`.
    ToolCall,
    /// The gate `tool-result`.
    ToolResult,
    /// The gate `output`.
    Output,
    /// Answers to clients are worded.
    Shape,
}

impl Place {
    const WORDS: [(&'static str, Place); 5] = [
        ("prompt", Place::Prompt),
        ("tool-call", Place::ToolCall),
        ("tool-result", Place::ToolResult),
        ("output", Place::Output),
        ("shape", Place::Shape),
    ];
}

impl From<Gate> for Place {
    fn from(gate: Gate) -> Self {
        match gate {
            Gate::Prompt => Place::Prompt,
            Gate::ToolCall => Place::ToolCall,
            Gate::ToolResult => Place::ToolResult,
            Gate::Output => Place::Output,
        }
    }
}

/// What a guard's fault means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closed {
    /// Refused.
    #[default]
    Deny,
    /// People decide, told of the fault.
    NeedsApproval,
}

/// Whether a filter may change the arguments of a tool call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewriting {
    /// It may mark and withhold; what it would put in place is shown to people, not run.
    #[default]
    Forbidden,
    /// It may.
    Allowed,
}

/// What happens with a set that loads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// It is promoted at once.
    #[default]
    Auto,
    /// It becomes the candidate and waits for `promote`.
    Staged,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentRef {
    /// A file, relative to the policy folder.
    File(String),
    /// One that came with this coda.
    Bundled(String),
}

/// One `[[policy]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Unique name.
    pub name: String,
    /// Which component.
    pub component: ComponentRef,
    /// What its SHA-256 must be.
    pub sha256: Option<String>,
    /// Handed to `configure`.
    pub settings: Json,
    /// Where it takes part; `None` = where it says itself that it has something to say.
    pub places: Option<Vec<Place>>,
    /// Whether it counts.
    pub mode: Mode,
    /// Fuel, where given.
    pub fuel: Option<u64>,
    /// Wall time, where given.
    pub timeout_ms: Option<u64>,
    /// Memory, where given.
    pub memory_bytes: Option<u64>,
    /// A directory whose files are handed to `configure`; relative to the policy folder, or absolute.
    pub directory: Option<String>,
    /// What a guard's fault means.
    pub closed: Closed,
    /// Whether a filter may change arguments.
    pub rewriting: Rewriting,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What happens with a set that loads; none = as coda.toml says.
    pub activation: Option<Activation>,
    /// In order.
    pub policies: Vec<Entry>,
}

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML.
    #[error("policies.toml is not TOML: {0}")]
    Syntax(String),
    /// It lists nothing: a file that is just being written, or one that would let everything pass.
    #[error(
        "policies.toml lists no policy, so everything would pass: list one at least, in the mode \"warn\" where it is to stop nothing"
    )]
    Empty,
    /// A key that is not known.
    #[error("policies.toml: unknown key '{key}' in {place}{}", suggestion.as_ref().map(|s| format!("; did you mean '{s}'?")).unwrap_or_default())]
    UnknownKey {
        /// The key.
        key: String,
        /// Where.
        place: String,
        /// The nearest known key.
        suggestion: Option<String>,
    },
    /// A value that does not fit.
    #[error("policies.toml: {place}: {problem}")]
    Value {
        /// Where.
        place: String,
        /// What.
        problem: String,
    },
}

const TOP: &[&str] = &["activation", "policy"];
const POLICY: &[&str] =
    &["name", "component", "sha256", "settings", "gates", "mode", "limits", "grants", "closed", "may_rewrite"];
const LIMITS: &[&str] = &["fuel", "timeout_ms", "memory_bytes"];
const GRANTS: &[&str] = &["directory"];
const BUNDLED: &str = "bundled:";
const MAX_POLICIES: usize = 64;
const MAX_NAME_BYTES: usize = 64;
const MIN_SIMILARITY: f64 = 0.7;
/// Of a word that is quoted, and of what the parser says: enough to find the place.
const MAX_SHOWN_CHARS: usize = 80;
const MAX_SYNTAX_CHARS: usize = 600;

impl Manifest {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let table: Table = text.parse().map_err(|e: toml::de::Error| ManifestError::Syntax(syntax(&e)))?;
        let top = Section { table: &table, place: "the file".into() };
        top.only(TOP)?;
        let activation = top.word("activation", &[("auto", Activation::Auto), ("staged", Activation::Staged)])?;
        let entries = match table.get("policy") {
            // INVARIANT: no file, however it was cut short, opens every gate.
            None => return Err(ManifestError::Empty),
            Some(Value::Array(entries)) if entries.is_empty() => return Err(ManifestError::Empty),
            Some(Value::Array(entries)) if entries.len() <= MAX_POLICIES => entries,
            Some(Value::Array(_)) => return Err(top.wrong("policy", &format!("more than {MAX_POLICIES} policies"))),
            Some(_) => return Err(top.wrong("policy", "must be written as [[policy]]")),
        };
        let policies: Vec<Entry> = entries.iter().enumerate().map(|(at, value)| entry(at, value)).collect::<Result<_, _>>()?;
        for (at, entry) in policies.iter().enumerate() {
            if policies[..at].iter().any(|earlier| earlier.name == entry.name) {
                return Err(ManifestError::Value {
                    place: format!("[[policy]] {}", at + 1),
                    problem: format!("a second policy '{}'", entry.name),
                });
            }
        }
        Ok(Self { activation, policies })
    }
}

fn entry(at: usize, value: &Value) -> Result<Entry, ManifestError> {
    let place = format!("[[policy]] {}", at + 1);
    let Value::Table(table) = value else {
        return Err(ManifestError::Value { place, problem: "must be written as [[policy]]".into() });
    };
    let named = table.get("name").and_then(Value::as_str).map(|name| format!("[[policy]] '{}'", shown(name)));
    let section = Section { table, place: named.unwrap_or(place) };
    section.only(POLICY)?;
    let name = section.text("name")?.ok_or_else(|| section.wrong("name", "is missing"))?;
    let well_formed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(well_formed) {
        return Err(section.wrong("name", "must be lower-case words joined by '-'"));
    }
    let component =
        section.text("component")?.ok_or_else(|| section.wrong("component", "is missing: a file, or 'bundled:NAME'"))?;
    let limits = section.part("limits", LIMITS)?;
    let grants = section.part("grants", GRANTS)?;
    let settings = match table.get("settings") {
        None => Json::Object(serde_json::Map::new()),
        Some(value @ Value::Table(_)) => json(value),
        Some(_) => return Err(section.wrong("settings", "must be a table")),
    };
    Ok(Entry {
        component: match component.strip_prefix(BUNDLED) {
            Some(bundled) => ComponentRef::Bundled(bundled.to_owned()),
            None => ComponentRef::File(component),
        },
        sha256: section.text("sha256")?.map(|pin| pin.to_ascii_lowercase()),
        settings,
        places: section.words("gates", &Place::WORDS)?,
        mode: section
            .word("mode", &[("enforce", Mode::Enforce), ("warn", Mode::Warn), ("shadow", Mode::Shadow)])?
            .unwrap_or_default(),
        fuel: number(limits.as_ref(), "fuel")?,
        timeout_ms: number(limits.as_ref(), "timeout_ms")?,
        memory_bytes: number(limits.as_ref(), "memory_bytes")?,
        directory: match &grants {
            Some(grants) => grants.text("directory")?,
            None => None,
        },
        closed: section.word("closed", &[("deny", Closed::Deny), ("needs-approval", Closed::NeedsApproval)])?.unwrap_or_default(),
        rewriting: match table.get("may_rewrite") {
            None | Some(Value::Boolean(false)) => Rewriting::Forbidden,
            Some(Value::Boolean(true)) => Rewriting::Allowed,
            Some(_) => return Err(section.wrong("may_rewrite", "must be true or false")),
        },
        name,
    })
}

fn number(section: Option<&Section<'_>>, key: &str) -> Result<Option<u64>, ManifestError> {
    let Some(section) = section else { return Ok(None) };
    match section.table.get(key) {
        None => Ok(None),
        Some(Value::Integer(n)) if *n > 0 => Ok(u64::try_from(*n).ok()),
        Some(_) => Err(section.wrong(key, "must be a whole number above 0")),
    }
}

/// TOML as JSON: dates become text.
fn json(value: &Value) -> Json {
    match value {
        Value::String(text) => Json::String(text.clone()),
        Value::Integer(n) => Json::from(*n),
        Value::Float(n) => Json::from(*n),
        Value::Boolean(b) => Json::Bool(*b),
        Value::Datetime(at) => Json::String(at.to_string()),
        Value::Array(all) => Json::Array(all.iter().map(json).collect()),
        Value::Table(table) => Json::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect()),
    }
}

/// A table and the words for where it stands.
struct Section<'a> {
    table: &'a Table,
    place: String,
}

impl<'a> Section<'a> {
    fn only(&self, known: &[&str]) -> Result<(), ManifestError> {
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(ManifestError::UnknownKey {
                key: shown(key),
                place: self.place.clone(),
                suggestion: nearest(key, known.iter().copied()),
            }),
        }
    }

    fn part(&self, key: &str, known: &[&str]) -> Result<Option<Section<'a>>, ManifestError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Table(table)) => {
                let part = Section { table, place: format!("{} {key}", self.place) };
                part.only(known)?;
                Ok(Some(part))
            }
            Some(_) => Err(self.wrong(key, "must be a table")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, ManifestError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(key, "must be a text")),
        }
    }

    fn word<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Result<Option<T>, ManifestError> {
        self.text(key)?.map(|word| self.known(key, &word, known)).transpose()
    }

    fn words<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Result<Option<Vec<T>>, ManifestError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let Value::Array(items) = value else { return Err(self.wrong(key, "must be a list of words")) };
        let word = |item: &Value| match item.as_str() {
            Some(word) => self.known(key, word, known),
            None => Err(self.wrong(key, "must be a list of words")),
        };
        items.iter().map(word).collect::<Result<_, _>>().map(Some)
    }

    fn known<T: Copy>(&self, key: &str, word: &str, known: &[(&str, T)]) -> Result<T, ManifestError> {
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == word) {
            return Ok(*value);
        }
        let all: Vec<_> = known.iter().map(|(name, _)| format!("'{name}'")).collect();
        let hint =
            nearest(word, known.iter().map(|(name, _)| *name)).map(|s| format!("; did you mean '{s}'?")).unwrap_or_default();
        Err(self.wrong(key, &format!("'{}' is none of {}{hint}", shown(word), all.join(", "))))
    }

    fn wrong(&self, key: &str, problem: &str) -> ManifestError {
        ManifestError::Value { place: self.place.clone(), problem: format!("{key}: {problem}") }
    }
}

/// A word of the file, short and harmless to print.
fn shown(word: &str) -> String {
    word.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_default).collect()
}

/// What the parser says. It quotes the line, which may be as long as the file.
fn syntax(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let plain = |c: &char| *c == '\n' || !c.is_control();
    if text.chars().count() <= MAX_SYNTAX_CHARS {
        return text.trim_end().chars().filter(plain).collect();
    }
    let place: String = text.lines().next().unwrap_or_default().chars().filter(plain).take(MAX_SHOWN_CHARS).collect();
    let why: String = error.message().chars().filter(plain).take(MAX_SYNTAX_CHARS).collect();
    format!("{place}: {why}")
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_entry_reads_back() {
        let text = r#"
            activation = "staged"
            [[policy]]
            name = "ops"
            component = "ops.wasm"
            sha256 = "AB"
            gates = ["prompt", "tool-call"]
            mode = "warn"
            closed = "needs-approval"
            may_rewrite = true
            settings = { allow = ["x"], since = 2026-01-01 }
            limits = { fuel = 5, timeout_ms = 6, memory_bytes = 7 }
            grants = { directory = "/etc/catalogue" }
            [[policy]]
            name = "shapes"
            component = "bundled:client-shapes"
        "#;
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.activation, Some(Activation::Staged));
        let ops = &manifest.policies[0];
        assert_eq!(ops.places, Some(vec![Place::Prompt, Place::ToolCall]));
        assert_eq!((ops.mode, ops.closed, ops.rewriting), (Mode::Warn, Closed::NeedsApproval, Rewriting::Allowed));
        assert_eq!((ops.fuel, ops.timeout_ms, ops.memory_bytes), (Some(5), Some(6), Some(7)));
        assert_eq!(ops.settings, serde_json::json!({ "allow": ["x"], "since": "2026-01-01" }));
        assert_eq!((ops.sha256.as_deref(), ops.directory.as_deref()), (Some("ab"), Some("/etc/catalogue")));
        assert_eq!(manifest.policies[1].component, ComponentRef::Bundled("client-shapes".into()));
        assert_eq!(manifest.policies[1].closed, Closed::Deny);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        let check = |text: &str, expected: &str| {
            let error = Manifest::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let policy = |rest: &str| format!("[[policy]]\nname = \"a\"\ncomponent = \"a.wasm\"\n{rest}");
        check("polcy = []", "unknown key 'polcy' in the file; did you mean 'policy'?");
        check(&policy("clsed = \"deny\""), "unknown key 'clsed' in [[policy]] 'a'; did you mean 'closed'?");
        check(&policy("mode = \"enforced\""), "'enforced' is none of 'enforce', 'warn', 'shadow'; did you mean 'enforce'?");
        check(&policy("gates = [\"tool_call\"]"), "did you mean 'tool-call'?");
        check(&policy("limits = { fuel = 0 }"), "limits: fuel: must be a whole number above 0");
        check(&policy("limits = { timeout = 1 }"), "did you mean 'timeout_ms'?");
        check("[[policy]]\nname = \"A b\"", "name: must be lower-case words");
        check(&(policy("") + "[[policy]]\nname = \"a\"\ncomponent = \"b.wasm\""), "a second policy 'a'");
        check("[[policy]\n", "is not TOML");
    }

    #[test]
    fn an_error_quotes_little_and_nothing_that_acts_on_a_terminal() {
        let long = "k".repeat(100_000);
        for text in [
            format!("{long} = 1"),
            format!("\"{long}\" = {long}"),
            format!("[[policy]]\nname = \"{long}\"\n{long} = 1"),
            format!("[[policy]]\nname = \"a\"\ncomponent = \"a.wasm\"\nmode = \"{long}\""),
            "\"\\u001b]2;title\\u0007\" = 1".to_owned(),
            "[[policy]]\nname = \"a\\u001b[2J\"".to_owned(),
            "a = \u{1b}[2J".to_owned(),
        ] {
            let said = Manifest::parse(&text).unwrap_err().to_string();
            assert!(
                said.len() < 4_000 && !said.chars().any(|c| c != '\n' && c.is_control()),
                "{} bytes: {said:.200}",
                said.len()
            );
        }
    }
}
