//! What is checked of a shaper's answer, and what a client gets when there is none to trust: the same form, bare of
//! content. A shape words differently; ids, status and errors it must keep.

use serde_json::{Map, Value};

/// An answer in a client's form.
#[derive(Debug, Clone, PartialEq)]
pub struct Shaped {
    /// The text block.
    pub text: String,
    /// The structured content; none where this client takes only text.
    pub structured: Option<Value>,
}

/// Fields that must come through a shape as they are, and that a bare answer keeps.
const KEPT: &[&str] = &["task_id", "session_id", "approval_id", "status", "error"];
/// Fields without content that a bare answer keeps too: it must stay valid where a schema lists their values.
const HARMLESS: &[&str] = &[
    "code",
    "kind",
    "by",
    "waiting",
    "attempt",
    "agent",
    "principal",
    "created_at",
    "expires_at",
    "elapsed_s",
    "previous_session_id",
    "viewer_url",
    "url",
    "counts",
    "next_cursor",
    "requirements",
    "role",
    "count",
];
const WITHHELD: &str =
    "The content is withheld: the policy that words answers failed. Ask an operator to look at the policy status.";

/// The answer as it is, where no policy words it.
pub(super) fn plain(output: &Value) -> Shaped {
    Shaped { text: output.to_string(), structured: Some(output.clone()) }
}

/// A valid answer without content.
pub(super) fn bare(output: &Value) -> Shaped {
    let mut structured = blank(output);
    if let Some(fields) = structured.as_object_mut().filter(|fields| fields.contains_key("next")) {
        fields.insert("next".into(), WITHHELD.into());
    }
    let ids: Vec<String> = (KEPT.iter())
        .filter_map(|name| structured.get(*name).and_then(Value::as_str).map(|value| format!("{name} {value}")))
        .collect();
    let text = if ids.is_empty() { WITHHELD.to_owned() } else { format!("{}. {WITHHELD}", ids.join(", ")) };
    Shaped { text, structured: Some(structured) }
}

/// The same form: texts empty, numbers and lists of objects kept.
fn blank(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(_) => Value::String(String::new()),
        Value::Array(items) => Value::Array(items.iter().filter(|item| item.is_object()).map(blank).collect()),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), field(name, value))).collect()),
    }
}

fn field(name: &str, value: &Value) -> Value {
    if KEPT.contains(&name) || HARMLESS.contains(&name) {
        return value.clone();
    }
    match name {
        // Anything may lie in a result, so nothing of its form is kept.
        "result" => Value::Object(Map::new()),
        _ => blank(value),
    }
}

/// Whether a shape kept what it must.
pub(super) fn check(output: &Value, text: String, structured: Option<String>) -> Result<Shaped, String> {
    let structured: Option<Value> = match structured.map(|json| serde_json::from_str(&json)).transpose() {
        Ok(structured) => structured,
        Err(error) => return Err(format!("its structured content is not JSON: {error}")),
    };
    for name in KEPT {
        let Some(wanted) = output.get(*name) else { continue };
        let kept = match (&structured, wanted.as_str()) {
            (Some(structured), _) => structured.get(*name) == Some(wanted),
            (None, Some(wanted)) if *name != "status" => text.contains(wanted),
            (None, _) => true,
        };
        if !kept {
            return Err(format!("it dropped or changed '{name}'"));
        }
    }
    Ok(Shaped { text, structured })
}

/// Whether a shaped list of tools is still the list of those tools.
pub(super) fn check_tools(tools: &Value, shaped: &str) -> Result<Value, String> {
    let shaped: Value = serde_json::from_str(shaped).map_err(|e| format!("its list of tools is not JSON: {e}"))?;
    let names = |list: &Value| -> Option<Vec<String>> {
        list.as_array()?.iter().map(|tool| tool.get("name")?.as_str().map(str::to_owned)).collect()
    };
    match (names(tools), names(&shaped)) {
        (Some(before), Some(after)) if before == after => Ok(shaped),
        _ => Err("its list of tools does not name the same tools".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bare_answer_keeps_the_form_and_no_content() {
        let output = json!({
            "task_id": "task_1", "status": "completed", "summary": "SECRET", "next": "SECRET", "attempt": 1,
            "result": { "summary": "SECRET" }, "files_changed": ["SECRET"], "reason": { "by": "policy", "text": "SECRET" },
            "tasks": [{ "task_id": "task_2", "status": "failed", "prompt_summary": "SECRET" }],
        });
        let bare = bare(&output);
        let structured = bare.structured.unwrap();
        assert!(!structured.to_string().contains("SECRET") && !bare.text.contains("SECRET"));
        assert_eq!(structured["task_id"], "task_1");
        assert_eq!(structured["tasks"][0]["status"], "failed");
        assert_eq!(structured["reason"]["by"], "policy");
        assert!(bare.text.contains("task_1"));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&structured), keys(&output));
    }

    #[test]
    fn a_shape_that_drops_an_id_is_refused() {
        let output = json!({ "task_id": "task_1", "status": "running" });
        assert!(check(&output, "t".into(), Some("{}".into())).is_err());
        assert!(check(&output, "t".into(), Some("{".into())).is_err());
        assert!(check(&output, "no id".into(), None).is_err());
        assert!(check(&output, "task_1 runs".into(), None).is_ok());
        assert!(check(&output, "t".into(), Some(r#"{"task_id":"task_1","status":"running"}"#.into())).is_ok());
        assert!(check(&output, "t".into(), Some(r#"{"task_id":"task_1","status":"done"}"#.into())).is_err());
    }

    #[test]
    fn a_list_of_tools_keeps_its_tools() {
        let tools = json!([{ "name": "coda_run", "description": "x" }, { "name": "coda_inbox" }]);
        assert!(check_tools(&tools, r#"[{"name":"coda_run"},{"name":"coda_inbox"}]"#).is_ok());
        for bad in ["{", "{}", "[]", r#"[{"name":"coda_run"}]"#, r#"[{"name":"coda_inbox"},{"name":"coda_run"}]"#] {
            assert!(check_tools(&tools, bad).is_err(), "{bad}");
        }
    }
}
