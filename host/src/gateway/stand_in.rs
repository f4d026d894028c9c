//! The envelope for an agent that takes its prompt on its command line, which every process of the same user can read: the
//! agent is told a stand-in, and the model reads the envelope in its place.
//!
//! One place in each request: the last in what the user says. An agent that shortens its history quotes the words earlier.
//! In a conversation that goes on there are two: where it began, and where it goes on. An agent that was told to go on and
//! has nothing of the conversation any more tells no begin: then the model reads the whole envelope, as in a new one.

use serde_json::Value;

use crate::task::conversation::Conversation;
use crate::task::envelope::{STAND_IN, Told};

/// Puts into the texts of the user, in their order, what the model is told. Says which conversation it is, where a stand-in
/// was found.
pub(in crate::gateway) fn put(mut said_by_user: Vec<&mut Value>, told: &Told) -> Option<Conversation> {
    let words: &[&str] = match &told.resumed {
        Some(resumed) => &[STAND_IN, &resumed.stand_in],
        None => &[STAND_IN],
    };
    let now = last(&said_by_user, words, None)?;
    let begin = told.resumed.as_ref().and_then(|resumed| Some((resumed, last(&said_by_user, &[STAND_IN], Some(&now))?)));
    let Some((resumed, begin)) = begin else {
        now.replace(&mut said_by_user, told.envelope.get());
        return Some(Conversation::New);
    };
    // The later one first: what stands before it keeps its place.
    now.replace(&mut said_by_user, resumed.next.get());
    begin.replace(&mut said_by_user, resumed.begun.get());
    Some(Conversation::Resumed)
}

/// A stand-in in one of the texts.
struct Found {
    text: usize,
    at: usize,
    bytes: usize,
}

impl Found {
    fn replace(&self, texts: &mut [&mut Value], by: &str) {
        if let Some(Value::String(text)) = texts.get_mut(self.text).map(|text| &mut **text) {
            text.replace_range(self.at..self.at + self.bytes, by);
        }
    }
}

/// The last of these words, before a place.
fn last(texts: &[&mut Value], words: &[&str], before: Option<&Found>) -> Option<Found> {
    let end = before.map_or(texts.len(), |found| found.text + 1);
    texts[..end].iter().enumerate().rev().find_map(|(number, text)| {
        let text = text.as_str()?;
        let text = before.filter(|found| found.text == number).map_or(text, |found| &text[..found.at]);
        let found = words.iter().filter_map(|words| Some((text.rfind(words)?, words.len()))).max()?;
        Some(Found { text: number, at: found.0, bytes: found.1 })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::Cleared;
    use crate::task::envelope::Resumed;

    fn check(told: &Told, texts: Value, expected: Value, conversation: Option<Conversation>) {
        let Value::Array(mut texts) = texts else { panic!("a list") };
        assert_eq!(put(texts.iter_mut().collect(), told), conversation, "{expected}");
        assert_eq!(Value::Array(texts), expected);
    }

    #[test]
    fn the_envelope_comes_into_the_last_place_and_is_not_read_again() {
        let envelope = format!("THE \"TASK\"\n{STAND_IN}");
        let told = Told::from(Cleared::for_test(envelope.clone()));
        let check = |texts: Value, expected: Value| check(&told, texts, expected, Some(Conversation::New));
        check(json!([STAND_IN]), json!([envelope]));
        check(json!([STAND_IN, STAND_IN, 7, "more"]), json!([STAND_IN, envelope, 7, "more"]));
        let (before, after) = (format!("so far: {STAND_IN}\nnow: {STAND_IN}!"), format!("so far: {STAND_IN}\nnow: {envelope}!"));
        check(json!([before]), json!([after]));
    }

    #[test]
    fn texts_without_a_stand_in_stay_as_they_are() {
        let texts = json!(["hands the text", 7, null, [STAND_IN]]);
        check(&Told::from(Cleared::for_test("TASK".into())), texts.clone(), texts, None);
    }

    #[test]
    fn a_conversation_that_goes_on_has_its_begin_and_what_is_new() {
        let text = |words: &str| Cleared::for_test(words.to_owned());
        let now = Conversation::Resumed.stand_in(3);
        let resumed = Resumed { stand_in: now.clone(), begun: text("BEGUN"), next: text("NEXT") };
        let told = Told { envelope: text("WHOLE"), resumed: Some(resumed) };
        let second = Conversation::Resumed.stand_in(2);
        let goes_on = |texts: Value, expected: Value| check(&told, texts, expected, Some(Conversation::Resumed));
        goes_on(json!([STAND_IN, "x", second, now]), json!(["BEGUN", "x", second, "NEXT"]));
        goes_on(json!([format!("a {STAND_IN} b {now} c")]), json!(["a BEGUN b NEXT c"]));
        // A program that is told the same words in each attempt.
        goes_on(json!([STAND_IN, STAND_IN]), json!(["BEGUN", "NEXT"]));
        // Whatever is put there is not looked through.
        goes_on(json!([STAND_IN, now, "more"]), json!(["BEGUN", "NEXT", "more"]));
        // The agent has begun anew, or has shortened what it knew.
        check(&told, json!([now]), json!(["WHOLE"]), Some(Conversation::New));
        check(&told, json!(["so far", STAND_IN]), json!(["so far", "WHOLE"]), Some(Conversation::New));
    }
}
