//! Server-sent events, read and written. Only the `data` field matters to the dialects so far.

/// Longest name of an event.
const MAX_NAME_BYTES: usize = 128;

/// Reads events from bytes that may be split anywhere.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Parser {
    line: Vec<u8>,
    data: Option<String>,
    after_cr: bool,
}

/// The bytes are no UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct NotText;

impl Parser {
    /// Takes bytes and gives the data of the events that they complete.
    pub(in crate::gateway) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, NotText> {
        let mut events = Vec::new();
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&rest[..end]);
            events.extend(self.end_line()?);
            // Of a line end in two bytes, the second may be in the next piece.
            let (line_end, after) = rest[end..].split_at(1);
            self.after_cr = line_end == b"\r" && after.is_empty();
            rest = if line_end == b"\r" { after.strip_prefix(b"\n").unwrap_or(after) } else { after };
        }
        self.line.extend_from_slice(rest);
        Ok(events)
    }

    /// The stream has ended: an event that lacks its blank line counts all the same.
    pub(in crate::gateway) fn finish(&mut self) -> Result<Option<String>, NotText> {
        let before = if self.line.is_empty() { None } else { self.end_line()? };
        Ok(before.or_else(|| self.data.take()))
    }

    fn end_line(&mut self) -> Result<Option<String>, NotText> {
        let line = std::mem::take(&mut self.line);
        let line = str::from_utf8(&line).map_err(|_| NotText)?;
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            return Ok(self.data.take());
        }
        if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        Ok(None)
    }
}

/// What Python's `splitlines` takes for the end of a line, beside CR and LF and what JSON allows in no text.
const ODD_LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// One event.
pub(in crate::gateway) fn event(data: &str) -> String {
    // Each by itself is looked for in whole words of memory, several together in characters.
    let is_one_line = !data.contains('\n') && !data.contains('\r');
    debug_assert!(is_one_line, "an event's data is one line");
    let event = match is_one_line {
        true => format!("data: {data}\n\n"),
        // INVARIANT: one event leaves as one, whatever an upstream put into it; a line of its own could be another event.
        false => data.split(['\n', '\r']).fold(String::new(), |out, line| out + "data: " + line + "\n") + "\n",
    };
    // Some readers end lines at these, too. In JSON they can only stand within a text, where an escape means the same.
    let escape = |event: String, end: char| event.replace(end, &format!("\\u{:04x}", u32::from(end)));
    ODD_LINE_ENDS.into_iter().fold(event, |event, end| if event.contains(end) { escape(event, end) } else { event })
}

/// One event with a name. What is no name is left out: readers go by the data.
pub(in crate::gateway) fn named_event(name: &str, data: &str) -> String {
    if is_name(name) { format!("event: {name}\n{}", event(data)) } else { event(data) }
}

/// Whether an event can be called so: nothing that could end the line.
pub(in crate::gateway) fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A comment: says that the stream is alive, and is skipped by readers that keep to the standard.
pub(in crate::gateway) const COMMENT: &str = ": waiting\n\n";

/// The end of an event that never began: nothing, for readers that take comments for something.
pub(in crate::gateway) const BLANK: &str = "\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_to_every_reader() {
        let text = "a\u{2028}data: {}\u{85}b\u{2029}";
        let data = serde_json::json!({ "text": text }).to_string();
        let event = event(&data);
        assert!(!event.contains(ODD_LINE_ENDS), "{event}");
        let back: serde_json::Value = serde_json::from_str(event.trim_start_matches("data: ").trim_end()).expect("JSON");
        assert_eq!(back["text"], text, "it means the same");
    }

    const STREAM: &[u8] =
        b": hello\n\ndata: {\"a\":1}\n\nevent: x\r\ndata:b\r\ndata: c\xc3\xa9\r\n\r\nid: 7\rdata: d\r\rdata: [DONE]";

    #[test]
    fn events_are_the_same_however_the_bytes_are_split() {
        let expected = ["{\"a\":1}", "b\nc\u{e9}", "d", "[DONE]"];
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let mut parser = Parser::default();
                let mut events = Vec::new();
                for part in [&STREAM[..first], &STREAM[first..second], &STREAM[second..]] {
                    events.extend(parser.push(part).expect("text"));
                }
                events.extend(parser.finish().expect("text"));
                assert_eq!(events, expected, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_name_cannot_begin_another_event() {
        assert_eq!(named_event("content_block_start", "{}"), "event: content_block_start\ndata: {}\n\n");
        for bad in ["ping\ndata: {\"type\":\"tool_use\"}\n\nevent: x", "a\rb", "a b", &"a".repeat(200)] {
            assert_eq!(named_event(bad, "{}"), "data: {}\n\n", "{bad:?}");
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        assert_eq!(Parser::default().push(b"data: \xff\n"), Err(NotText));
    }
}
