//! `result.json`: what an agent writes is an object or nothing, reads back, and its plan is bounded.

use serde_json::Value;

use super::commit::{MAX_PLAN, plan_of};
use crate::executor::result::parse;
use crate::task::{MAX_WORDS_CHARS, shortened};

/// Longest explanation; it must not carry the content.
const WHY_BYTES: usize = 120;

/// The bytes of a result file.
pub fn result(data: &[u8]) {
    let result = match parse(data) {
        Ok(result) => result,
        Err(why) => {
            assert!(why.len() <= WHY_BYTES && !why.chars().any(char::is_control), "why: {why:?}");
            let again = serde_json::from_slice::<Value>(data);
            assert!(!matches!(again, Ok(Value::Object(_))), "an object was refused: {why}");
            return;
        }
    };
    let text = Value::Object(result.clone()).to_string();
    let again = parse(text.as_bytes()).expect("what was read reads back");
    assert!(same(&Value::Object(again), &Value::Object(result.clone())), "it reads back as the same: {text}");

    let plan = plan_of(&result);
    assert!(plan.len() <= MAX_PLAN);
    for (call, next) in plan.iter().zip(plan.iter().skip(1)) {
        assert_ne!(call.id, next.id, "two calls of a plan never share an id");
    }
    let given = result.get("plan").and_then(Value::as_array).map_or(0, Vec::len);
    assert!(plan.len() <= given, "no call is made up");
    for word in ["summary", "feedback"] {
        let said = result.get(word).and_then(Value::as_str).unwrap_or_default();
        let cut = shortened(said);
        assert!(cut.chars().count() <= MAX_WORDS_CHARS + 1 && said.starts_with(cut.trim_end_matches('…')));
    }
}

/// Equal, but for the last digit of floating-point numbers.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && same(left.1, right.1))
        }
        (Value::Number(left), Value::Number(right)) if left.is_f64() && right.is_f64() => {
            let (left, right) = (left.as_f64().unwrap_or(f64::NAN), right.as_f64().unwrap_or(f64::NAN));
            (left - right).abs() <= left.abs() * 1e-14
        }
        (left, right) => left == right,
    }
}
