//! The envelope for an agent that takes its prompt on its command line, which every process of the same user can read: the
//! agent is told a stand-in, and the model reads the envelope in its place.
//!
//! One place in each request: the last in what the user says. An agent that shortens its history quotes the words earlier.

use serde_json::Value;

use crate::policy::Cleared;
use crate::task::envelope::STAND_IN;

/// Which message the envelope belongs into.
pub(super) fn place(messages: &[Value]) -> Option<usize> {
    let holds = |message: &Value| match message.get("content") {
        Some(Value::String(text)) => text.contains(STAND_IN),
        Some(Value::Array(parts)) => parts.iter().any(|part| part["text"].as_str().is_some_and(|text| text.contains(STAND_IN))),
        _ => false,
    };
    messages.iter().rposition(|message| message["role"] == "user" && holds(message))
}

/// The message with the envelope in the last place where the stand-in is.
pub(super) fn replaced(mut message: Value, envelope: &Cleared<String>) -> Value {
    let put = |text: &mut Value| {
        let Value::String(text) = text else { return false };
        let Some(at) = text.rfind(STAND_IN) else { return false };
        text.replace_range(at..at + STAND_IN.len(), envelope.get());
        true
    };
    match message.get_mut("content") {
        Some(Value::Array(parts)) => {
            let _ = parts.iter_mut().rev().filter_map(|part| part.get_mut("text")).any(put);
        }
        Some(content) => {
            put(content);
        }
        None => {}
    }
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(content: Value, expected: Value) {
        let message = json!({"role": "user", "content": content});
        let found = place(std::slice::from_ref(&message));
        let envelope = Cleared::for_test(format!("THE \"TASK\"\n{STAND_IN}"));
        assert_eq!(found.is_some(), content != expected, "{content}");
        assert_eq!(replaced(message, &envelope)["content"], expected);
    }

    #[test]
    fn the_envelope_comes_into_the_last_place_and_is_not_read_again() {
        let envelope = format!("THE \"TASK\"\n{STAND_IN}");
        check(STAND_IN.into(), envelope.clone().into());
        check(format!("so far: {STAND_IN}\nnow: {STAND_IN}!").into(), format!("so far: {STAND_IN}\nnow: {envelope}!").into());
        let (image, part) = (json!({"type": "image_url"}), |text: &str| json!({"type": "text", "text": text}));
        check(
            json!([part(STAND_IN), part(STAND_IN), image, part("more")]),
            json!([part(STAND_IN), part(&envelope), image, part("more")]),
        );
        for other in [json!("hands the text"), json!(7), json!([7, {"text": 7}]), Value::Null] {
            check(other.clone(), other);
        }
    }

    #[test]
    fn only_the_last_words_of_the_user_have_a_place() {
        let says = |role: &str| json!({"role": role, "content": STAND_IN});
        assert_eq!(place(&[says("user"), says("user"), says("assistant"), says("tool"), says("system")]), Some(1));
        assert_eq!(place(&[says("tool"), says("assistant"), says("system"), json!({}), json!(7)]), None);
    }
}
