//! Whether the policies let whoever hands a task over decide on it too: right for the one person of a machine, wrong as
//! soon as there are others.

use serde_json::Value;

use super::source::SetSpec;

/// The setting by which the bundled policies say so, at any depth.
const KEY: &str = "allow_requester";

/// Names of the policies in this text of a `policies.toml` that let the requester decide. A text that does not parse has
/// none: it does not load either.
#[must_use]
pub fn lets_requester_decide(policies: &str) -> Vec<String> {
    let Ok(table) = policies.parse::<toml::Table>() else { return Vec::new() };
    let listed = table.get("policy").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let lets = |policy: &&toml::Value| {
        let settings = policy.get("settings").and_then(|s| serde_json::to_value(s).ok());
        settings.is_some_and(|settings| says_so(&settings))
    };
    let name = |policy: &toml::Value| policy.get("name").and_then(toml::Value::as_str).unwrap_or("?").to_owned();
    listed.iter().filter(lets).map(name).collect()
}

/// The same of a set.
pub(super) fn of_set(spec: &SetSpec) -> Vec<String> {
    spec.policies.iter().filter(|policy| says_so(&policy.settings)).map(|policy| policy.name.clone()).collect()
}

fn says_so(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| (key == KEY && *value == Value::Bool(true)) || says_so(value)),
        Value::Array(list) => list.iter().any(says_so),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_lets_the_requester_decide_is_named() {
        let bundled = include_str!("../../../guest-policy/policies.toml");
        assert_eq!(lets_requester_decide(bundled), [""; 0]);
        let one_person = bundled.replace("allow_requester = false", "allow_requester = true");
        assert_eq!(lets_requester_decide(&one_person), ["destructive-ops"]);
        let in_a_rule = "[[policy]]\nname = \"x\"\n[[policy.settings.rule]]\nallow_requester = true\n";
        assert_eq!(lets_requester_decide(in_a_rule), ["x"]);
        assert_eq!(lets_requester_decide("not toml ["), [""; 0]);
    }
}
