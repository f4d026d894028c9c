//! The envelope for an agent that takes its prompt on its command line, which every process of the same user can read: the
//! agent is told a stand-in, and the model reads the envelope in its place.
//!
//! One place in each request: the last in what the user says. An agent that shortens its history quotes the words earlier.

use serde_json::Value;

use crate::policy::Cleared;
use crate::task::envelope::STAND_IN;

/// Puts the envelope in the last place where the stand-in is, of all texts of the user in their order.
pub(in crate::gateway) fn put(said_by_user: Vec<&mut Value>, envelope: &Cleared<String>) {
    for text in said_by_user.into_iter().rev() {
        let Value::String(text) = text else { continue };
        if let Some(at) = text.rfind(STAND_IN) {
            text.replace_range(at..at + STAND_IN.len(), envelope.get());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_envelope_comes_into_the_last_place_and_is_not_read_again() {
        let envelope = format!("THE \"TASK\"\n{STAND_IN}");
        let check = |texts: Value, expected: Value| {
            let Value::Array(mut texts) = texts else { panic!("a list") };
            put(texts.iter_mut().collect(), &Cleared::for_test(envelope.clone()));
            assert_eq!(Value::Array(texts), expected);
        };
        check(json!([STAND_IN]), json!([envelope]));
        check(json!([STAND_IN, STAND_IN, 7, "more"]), json!([STAND_IN, envelope, 7, "more"]));
        let (before, after) = (format!("so far: {STAND_IN}\nnow: {STAND_IN}!"), format!("so far: {STAND_IN}\nnow: {envelope}!"));
        check(json!([before]), json!([after]));
        check(json!(["hands the text", 7, null, [STAND_IN]]), json!(["hands the text", 7, null, [STAND_IN]]));
    }
}
