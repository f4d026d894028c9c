//! Secrets in an answer that comes in pieces: a model streams a word in several events, and no piece holds it. What stands
//! at the same place of all events is put together, masked, and taken apart again.

use std::collections::HashMap;

use serde_json::Value;

/// The body of an answer, one document or a stream of events, without what the mask finds. Where it finds nothing, every
/// byte stays as it is.
pub(in crate::gateway) fn masked(body: &str, mask: &dyn Fn(&str) -> String) -> String {
    let mut lines: Vec<Line<'_>> = match serde_json::from_str(body) {
        Ok(document) => vec![Line::Data("", document)],
        Err(_) => body.split_inclusive('\n').map(Line::read).collect(),
    };
    let mut whole: HashMap<String, String> = HashMap::new();
    for line in &mut lines {
        line.texts(&mut |place, text| whole.entry(place.to_owned()).or_default().push_str(text));
    }
    let mut clean: HashMap<String, std::vec::IntoIter<char>> = HashMap::new();
    for (place, text) in whole {
        let hidden = mask(&text);
        if hidden != text {
            // A mask of another length can't be taken apart again: nothing of the text stays then.
            let same = hidden.chars().count() == text.chars().count();
            let hidden = if same { hidden } else { "*".repeat(text.chars().count()) };
            clean.insert(place, hidden.chars().collect::<Vec<char>>().into_iter());
        }
    }
    if clean.is_empty() {
        return lines_masked(body, mask);
    }
    for line in &mut lines {
        line.texts(&mut |place, text| {
            if let Some(rest) = clean.get_mut(place) {
                *text = rest.take(text.chars().count()).collect();
            }
        });
    }
    lines_masked(&lines.iter().map(Line::write).collect::<String>(), mask)
}

/// What is no event, such as a comment, may hold a secret too.
fn lines_masked(body: &str, mask: &dyn Fn(&str) -> String) -> String {
    body.split_inclusive('\n').map(mask).collect()
}

/// One line of a body.
enum Line<'a> {
    /// What stands before it, and the event.
    Data(&'a str, Value),
    /// Anything else.
    Other(&'a str),
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Self {
        let data = line.strip_prefix("data:").and_then(|data| serde_json::from_str(data).ok());
        data.map_or(Line::Other(line), |event| Line::Data("data: ", event))
    }

    fn texts(&mut self, visit: &mut dyn FnMut(&str, &mut String)) {
        if let Line::Data(_, event) = self {
            texts(event, &mut String::new(), visit);
        }
    }

    fn write(&self) -> String {
        match self {
            Line::Data("", document) => document.to_string(),
            Line::Data(before, event) => format!("{before}{event}\n"),
            Line::Other(line) => (*line).to_owned(),
        }
    }
}

/// Every text in a value, with its place.
fn texts(value: &mut Value, place: &mut String, visit: &mut dyn FnMut(&str, &mut String)) {
    let length = place.len();
    match value {
        Value::String(text) => visit(place, text),
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                place.push_str(&format!("/{at}"));
                texts(item, place, visit);
                place.truncate(length);
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                place.push('/');
                place.push_str(key);
                texts(item, place, visit);
                place.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stars(text: &str) -> String {
        text.replace("s3cret", "******")
    }

    #[test]
    fn a_secret_in_pieces_is_masked_in_each_of_them() {
        let body = ": hi\n\ndata: {\"d\":{\"text\":\"my s3\"},\"i\":0}\n\ndata: {\"d\":{\"text\":\"cr\"},\"i\":0}\n\ndata: {\"d\":{\"text\":\"et é!\"},\"i\":0}\n\ndata: [DONE]\n\n";
        let expected = ": hi\n\ndata: {\"d\":{\"text\":\"my **\"},\"i\":0}\n\ndata: {\"d\":{\"text\":\"**\"},\"i\":0}\n\ndata: {\"d\":{\"text\":\"** é!\"},\"i\":0}\n\ndata: [DONE]\n\n";
        assert_eq!(masked(body, &stars), expected);
        assert_eq!(masked("{\"a\": [\"x s3cret\", \"s3\", \"cret\"]}", &stars), "{\"a\":[\"x ******\",\"s3\",\"cret\"]}");
        assert_eq!(masked(": s3cret\ndata: not json s3cret\n", &stars), ": ******\ndata: not json ******\n");
    }

    #[test]
    fn what_holds_none_stays_as_it_came() {
        for body in ["", "data: {\"b\" : 1,  \"a\":\"s3cre\"}\r\n\r\n", "{\"b\": 1, \"a\": \"x\"}", "no json"] {
            assert_eq!(masked(body, &stars), body);
        }
    }

    #[test]
    fn of_a_text_whose_mask_has_another_length_nothing_stays() {
        let shorter = |text: &str| text.replace("s3cret", "*");
        assert_eq!(
            masked("data: {\"t\":\"a s3\"}\n\ndata: {\"t\":\"cret\"}\n\n", &shorter),
            "data: {\"t\":\"****\"}\n\ndata: {\"t\":\"****\"}\n\n"
        );
    }
}
