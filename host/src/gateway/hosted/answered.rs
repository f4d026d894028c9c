//! What a hosted tool answered, as policies can read it, and how what they left of it is put back.
//!
//! The texts of an answer are judged together. A policy may change them in their places; where they can't be told apart
//! afterwards, or where the answer also has a form that only the provider reads, nothing of a changed answer passes.

use serde_json::Value;

/// Stands between two texts of one answer.
const BETWEEN: &str = "\n\u{1e}\n";

/// An answer that has no verdict yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Answered {
    /// Which call it answers, as the provider names it.
    pub(in crate::gateway) id: String,
    /// The tool, as the gates know it.
    pub(in crate::gateway) tool: String,
    /// Its texts. `None`: it has a part that is no text and can't be judged.
    pub(in crate::gateway) text: Option<String>,
}

/// The texts of an answer as one; `None` where a part of it is no text. Empty where there is nothing to read.
pub(in crate::gateway) fn readable(answered: &Value) -> Option<String> {
    let (mut texts, mut whole) = (Vec::new(), true);
    visit(answered, &mut |leaf| match leaf {
        Leaf::Text(text) => texts.push(text.clone()),
        Leaf::Bytes => whole = false,
        Leaf::Sealed => {}
    });
    // A text that looks like two would be taken apart wrongly.
    let apart = !texts.iter().any(|text| text.contains(BETWEEN));
    (whole && apart).then(|| texts.join(BETWEEN))
}

/// The answer with what a policy left of its texts; `None` where that can't be.
pub(in crate::gateway) fn put_back(answered: &Value, left: &str) -> Option<Value> {
    let before = readable(answered)?;
    if before == left {
        return Some(answered.clone());
    }
    let mut sealed = false;
    visit(answered, &mut |leaf| sealed |= matches!(leaf, Leaf::Sealed));
    if sealed || before.matches(BETWEEN).count() != left.matches(BETWEEN).count() {
        return None;
    }
    let (mut texts, mut changed) = (left.split(BETWEEN), answered.clone());
    replace(&mut changed, &mut || texts.next().unwrap_or_default().to_owned());
    Some(changed)
}

enum Leaf<'a> {
    /// To be judged.
    Text(&'a String),
    /// Bytes in the form of a text.
    Bytes,
    /// What the provider alone can read.
    Sealed,
}

/// What stands in a field of this name beside these others.
fn leaf<'a>(key: &str, text: &'a String, beside: &serde_json::Map<String, Value>) -> Option<Leaf<'a>> {
    match key {
        // Words of the API, not of the answer.
        "type" => None,
        key if key.starts_with("encrypted_") => Some(Leaf::Sealed),
        "data" if beside.get("type").is_some_and(|kind| kind == "base64") => Some(Leaf::Bytes),
        _ if text.starts_with("data:") && text.contains(";base64,") => Some(Leaf::Bytes),
        _ => Some(Leaf::Text(text)),
    }
}

fn visit<'a>(value: &'a Value, to: &mut dyn FnMut(Leaf<'a>)) {
    match value {
        Value::String(text) => to(Leaf::Text(text)),
        Value::Array(items) => items.iter().for_each(|item| visit(item, to)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) => leaf(key, text, fields).into_iter().for_each(&mut *to),
                    other => visit(other, to),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Puts a text in the place of each that `visit` found, in the same order. Only where all leaves are texts.
fn replace(value: &mut Value, next: &mut dyn FnMut() -> String) {
    match value {
        Value::String(text) => *text = next(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, next)),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut().filter(|(key, value)| *key != "type" || !value.is_string()) {
                debug_assert!(!key.starts_with("encrypted_") || !value.is_string(), "nothing sealed is changed");
                replace(value, next);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_judged_together_and_put_back_in_their_places() {
        let ran = json!({"type": "code_execution_result", "stdout": "a s3cret", "stderr": "", "return_code": 0,
            "content": [{"type": "code_execution_output", "file_id": "file_1"}]});
        let text = readable(&ran).expect("text");
        assert!(text.contains("a s3cret") && !text.contains("code_execution_result"), "{text}");
        assert_eq!(put_back(&ran, &text), Some(ran.clone()));
        let changed = put_back(&ran, &text.replace("s3cret", "***")).expect("as many texts");
        assert_eq!(changed["stdout"], "a ***");
        assert_eq!((&changed["content"], &changed["return_code"]), (&ran["content"], &ran["return_code"]));
        assert_eq!(put_back(&ran, ""), None, "nothing was left of it");
        assert_eq!(put_back(&ran, &format!("{text}{BETWEEN}more")), None);
        assert_eq!(readable(&json!([])), Some(String::new()));
        assert_eq!(readable(&json!({"type": {"text": "no word of the API"}})), Some("no word of the API".into()));
    }

    #[test]
    fn what_can_not_be_read_is_not_changed_and_not_passed() {
        let page = json!([{"type": "web_search_result", "title": "a s3cret", "url": "u", "encrypted_content": "sealed"}]);
        let text = readable(&page).expect("text");
        assert!(!text.contains("sealed"), "{text}");
        assert_eq!(put_back(&page, &text), Some(page.clone()));
        assert_eq!(put_back(&page, &text.replace("s3cret", "***")), None, "the sealed form says it still");
        for bytes in [
            json!({"source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}),
            json!([{"type": "image", "url": "data:image/png;base64,iVBO"}]),
            json!({"stdout": format!("a{BETWEEN}b")}),
        ] {
            assert_eq!(readable(&bytes), None, "{bytes}");
        }
    }
}
