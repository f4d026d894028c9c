//! What the dialects have in common: a model's message is text and tool calls.

use serde_json::{Map, Value};

use super::dialect::{Malformed, malformed};
use super::sse;
use crate::gates::ToolCall;

/// Keys of arguments by which agents name the directory that a call runs in.
const DIRECTORY_KEYS: [&str; 5] = ["workdir", "cwd", "working_directory", "directory", "dir_path"];

/// A tool call as a model wrote it, complete.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::gateway) struct Draft {
    /// The upstream's id of it.
    pub(in crate::gateway) id: String,
    /// Tool name.
    pub(in crate::gateway) name: String,
    /// Arguments as text.
    pub(in crate::gateway) arguments: String,
    /// Fields that the dialect does not know, such as signatures; never edited.
    pub(in crate::gateway) extra: Map<String, Value>,
}

/// Tokens of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Tokens {
    /// Read.
    pub(in crate::gateway) input: u64,
    /// Written.
    pub(in crate::gateway) output: u64,
}

/// A model's message, complete.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Message {
    /// All of its text.
    pub(in crate::gateway) text: String,
    /// Its calls, in order.
    pub(in crate::gateway) calls: Vec<Draft>,
    /// The whole of it, reasoning included, as its dialect's history has it; never edited.
    pub(in crate::gateway) wire: Value,
    /// What it cost, if the upstream says so.
    pub(in crate::gateway) tokens: Option<Tokens>,
}

impl Draft {
    /// The call as the gates see it. `Err` says why it can't be judged: then it can't run either.
    pub(in crate::gateway) fn to_call(&self) -> Result<ToolCall, String> {
        if self.name.is_empty() {
            return Err("it names no tool".into());
        }
        let arguments = parse_arguments(&self.arguments)?;
        let working_directory = named_directory(&arguments).map(str::to_owned);
        Ok(ToolCall { id: self.id.clone(), tool: self.name.clone(), arguments, working_directory })
    }
}

/// Whether an argument of this name says where a call runs.
pub(in crate::gateway) fn names_directory(key: &str) -> bool {
    DIRECTORY_KEYS.contains(&key)
}

/// The directory that arguments name.
pub(in crate::gateway) fn named_directory(arguments: &Value) -> Option<&str> {
    DIRECTORY_KEYS.iter().find_map(|key| arguments.get(key)?.as_str())
}

/// Arguments as JSON. Stricter than agents are: what two parsers may read differently is refused.
pub(in crate::gateway) fn parse_arguments(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let unique: Unique = serde_json::from_str(text).map_err(|e| format!("its arguments are no valid JSON ({e})"))?;
    if unique.has_wide_number {
        return Err("its arguments hold a number beyond 64 bits, which readers take for different numbers".into());
    }
    if let Some(key) = unique.twice {
        return Err(format!("its arguments hold the key '{}' twice", key.chars().take(80).collect::<String>()));
    }
    let value: Value = serde_json::from_str(text).map_err(|e| format!("its arguments are no valid JSON ({e})"))?;
    match value {
        Value::Object(_) => Ok(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err("its arguments are no JSON object".into())
        }
    }
}

/// What stands in a history for arguments that are no JSON object, as upstreams refuse those; `None` where they are one.
pub(in crate::gateway) fn readable_arguments(text: &str) -> Option<Value> {
    match text.trim() {
        "" => Some(Value::Object(Map::new())),
        raw if parse_arguments(raw).is_err() => Some(serde_json::json!({"unreadable": raw})),
        _ => None,
    }
}

/// A JSON object in which no object holds a key twice: every reader reads it alike.
pub(in crate::gateway) fn unique_object(text: &str) -> Option<Map<String, Value>> {
    let read: Unique = serde_json::from_str(text).ok()?;
    if read.twice.is_some() { None } else { serde_json::from_str(text).ok() }
}

/// One event of a dialect whose events say their type: that, its data on one line, and what it says.
pub(in crate::gateway) fn typed_event(data: &str) -> Result<(String, String, Value), Malformed> {
    let Some(fields) = unique_object(data) else {
        return malformed("the upstream model sent an event that is no JSON object, or holds a key twice");
    };
    let kind = match fields.get("type").and_then(Value::as_str) {
        None | Some("") => return malformed("the upstream model sent an event without a type"),
        Some(kind) if !sse::is_name(kind) => return malformed("the upstream model sent an event whose type is no name"),
        Some(kind) => kind.to_owned(),
    };
    let value = Value::Object(fields);
    let data = if data.contains(['\n', '\r']) { value.to_string() } else { data.to_owned() };
    Ok((kind, data, value))
}

/// Adds counters to counters of the same shape.
pub(in crate::gateway) fn add_counts(sum: &mut Value, more: &Value) {
    match (sum, more) {
        (Value::Object(sum), Value::Object(more)) => {
            for (key, more) in more {
                add_counts(sum.entry(key.clone()).or_insert(Value::Null), more);
            }
        }
        (sum, more) => match (sum.as_u64(), more.as_u64()) {
            (Some(before), Some(more)) => *sum = before.saturating_add(more).into(),
            _ => *sum = more.clone(),
        },
    }
}

/// Whether a client might take something of an unknown kind for a call, or a part of one.
pub(in crate::gateway) fn resembles_call(value: &Value) -> bool {
    const KEYS: [&str; 6] = ["arguments", "partial_json", "functionCall", "function_call", "tool_calls", "partialArgs"];
    const WORDS: [&str; 3] = ["tool", "call", "function"];
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let is_kind = key == "type" && value.as_str().is_some_and(|kind| WORDS.iter().any(|word| kind.contains(word)));
            is_kind || KEYS.contains(&key.as_str()) || resembles_call(value)
        }),
        Value::Array(items) => items.iter().any(resembles_call),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What a reading of any JSON finds that readers may take differently.
#[derive(Default)]
struct Unique {
    /// A key that an object holds twice.
    twice: Option<String>,
    /// Whether it holds a number that no 64-bit integer is and no fraction: some keep its digits, others round it.
    has_wide_number: bool,
}

impl Unique {
    fn add(&mut self, more: Self) {
        self.twice = self.twice.take().or(more.twice);
        self.has_wide_number |= more.has_wide_number;
    }
}

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> serde::de::Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique::default())
    }
    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique::default())
    }
    fn visit_f64<E>(self, number: f64) -> Result<Unique, E> {
        // Integers of 64 bits come as such.
        const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
        Ok(Unique { has_wide_number: number.abs() >= TWO_TO_63, ..Unique::default() })
    }
    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique::default())
    }
    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique::default())
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        let mut all = Unique::default();
        while let Some(found) = items.next_element()? {
            all.add(found);
        }
        Ok(all)
    }
    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
        let (mut seen, mut all) = (std::collections::HashSet::new(), Unique::default());
        while let Some((key, found)) = entries.next_entry::<String, Unique>()? {
            all.add(found);
            if !seen.insert(key.clone()) {
                all.twice.get_or_insert(key);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_parsers_may_read_differently_are_refused() {
        assert_eq!(parse_arguments(" "), Ok(serde_json::json!({})));
        for good in
            [r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":1.5e3,"d":"100000000000000000001 \\"}"#, r#"{"a\\":1}"#]
        {
            assert!(parse_arguments(good).is_ok(), "{good}");
        }
        assert_eq!(parse_arguments(r#"{"a":[{"b":1},{"b":2.5}]}"#), Ok(serde_json::json!({"a": [{"b": 1}, {"b": 2.5}]})));
        for bad in [
            r#"{"command":"ls","command":"rm -rf /"}"#,
            r#"{"a":[{"b":1,"\u0062":2}]}"#,
            r#"{"command":"ls""#,
            r#"{"a":NaN}"#,
            r#""ls""#,
            r#"{"a":"\ud800"}"#,
            "{} {}",
            r#"{"account":100000000000000000001}"#,
            r#"{"a":"\"","b":[-99999999999999999999]}"#,
            r#"{"a":1e30}"#,
        ] {
            assert!(parse_arguments(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_taken_as_it_is_named() {
        let draft = |text: &str| Draft { id: "1".into(), name: "t".into(), arguments: text.into(), extra: Map::new() };
        let directory = |text| draft(text).to_call().expect("valid").working_directory;
        assert_eq!(directory(r#"{"workdir":"/srv"}"#).as_deref(), Some("/srv"));
        assert_eq!(directory(r#"{"workdir":"../srv"}"#).as_deref(), Some("../srv"));
        assert_eq!(directory(r#"{"workdir":7}"#), None);
    }
}
