//! A record of model traffic, read: what was asked and said, and a model that says it again. Requests must come in the
//! order of the record and have its shape; texts may differ, because folders, times and ids in them do.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::record::VERSION;

/// Strings that are part of a message's shape.
const SHAPE: [&str; 8] = ["role", "type", "name", "id", "call_id", "tool_call_id", "tool_use_id", "tool"];
/// Where the dialects have their messages.
pub(in crate::gateway) const MESSAGES: [&str; 3] = ["messages", "input", "contents"];

/// Why a record can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A line is none of a record's.
    #[error("line {line} is no line of a record of model traffic: {why}")]
    Line {
        /// Which.
        line: usize,
        /// Why.
        why: String,
    },
    /// Another version wrote it.
    #[error("the record has version {found}, this coda reads {VERSION}")]
    Version {
        /// Its.
        found: u32,
    },
    /// It has no request of this attempt.
    #[error("the record has no request of attempt {attempt}")]
    Nothing {
        /// Which.
        attempt: u32,
    },
}

/// A request that is not the record's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Diverged {
    /// All of the record was asked already.
    #[error("the record ends after {requests} requests; this is one more")]
    Over {
        /// How many it has.
        requests: usize,
    },
    /// The next request of the record is another one.
    #[error("request {number} of this run is not request {recorded} of the record: {why}")]
    Other {
        /// Counted from 1.
        number: usize,
        /// The one that was to come.
        recorded: usize,
        /// What is different.
        why: String,
    },
    /// The record breaks off before the answer.
    #[error("the record has no answer to request {recorded}: its task ended, or the record was cut")]
    Unanswered {
        /// Which.
        recorded: usize,
    },
}

/// One request of a record, with its answer and verdicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// During which attempt.
    pub attempt: u32,
    /// Counted from 1 in its attempt.
    pub number: u64,
    /// When, in milliseconds since the epoch.
    pub time_ms: u64,
    /// Dialect.
    pub dialect: String,
    /// Path below the upstream's base address.
    pub path: String,
    /// Everything but the messages.
    pub frame: Value,
    /// They.
    pub messages: Vec<Value>,
    /// What was said.
    pub answer: Option<Answer>,
    /// What became of the answer's calls.
    pub verdicts: Vec<Value>,
    /// Positions of its line and of its answer's.
    asked_at: usize,
    answered_at: usize,
}

/// An answer of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its bytes, as text.
    pub body: String,
    /// Whether they are a stream of events.
    pub stream: bool,
    /// Status and words, where it failed.
    pub failed: Option<(u16, String)>,
}

/// What a record holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// Requests in their order.
    pub requests: Vec<Recorded>,
    /// The bound at which it was cut.
    pub cut_at_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Attempt { v: u32, attempt: u32 },
    Part { part: String, value: Value },
    Request { n: u64, time_ms: u64, dialect: String, path: String, frame: String, messages: Vec<String> },
    Answer { n: u64, stream: bool, body: String, failed: Option<Failed> },
    Verdicts { n: u64, calls: Vec<Value> },
    Cut { limit_bytes: u64 },
}

#[derive(Deserialize)]
struct Failed {
    status: u16,
    message: String,
}

impl Traffic {
    /// Reads the lines of a record. The last one may be half a line: the server was killed.
    pub fn read(text: &str) -> Result<Self, RecordError> {
        let mut traffic = Self::default();
        let mut parts: HashMap<String, Value> = HashMap::new();
        let mut attempt = 0;
        for (at, line) in text.lines().enumerate() {
            let wrong = |why: String| RecordError::Line { line: at + 1, why };
            let line = match serde_json::from_str(line) {
                Ok(line) => line,
                Err(e) if e.is_eof() && !text.ends_with('\n') && at + 1 == text.lines().count() => break,
                Err(e) => return Err(wrong(e.to_string())),
            };
            match line {
                Line::Attempt { v, .. } if v != VERSION => return Err(RecordError::Version { found: v }),
                Line::Attempt { attempt: next, .. } => attempt = next,
                Line::Part { part, value } => drop(parts.insert(part, value)),
                Line::Request { n, time_ms, dialect, path, frame, messages } => {
                    let part = |name: &String| parts.get(name).cloned().ok_or_else(|| wrong(format!("no part {name} before it")));
                    traffic.requests.push(Recorded {
                        attempt,
                        number: n,
                        time_ms,
                        dialect,
                        path,
                        frame: part(&frame)?,
                        messages: messages.iter().map(part).collect::<Result<_, _>>()?,
                        answer: None,
                        verdicts: Vec::new(),
                        asked_at: at,
                        answered_at: usize::MAX,
                    });
                }
                Line::Answer { n, stream, body, failed } => {
                    let request = traffic.of(attempt, n).ok_or_else(|| wrong(format!("no request {n} before it")))?;
                    let failed = failed.map(|f| (f.status, f.message));
                    (request.answer, request.answered_at) = (Some(Answer { body, stream, failed }), at);
                }
                Line::Verdicts { n, calls } => {
                    let request = traffic.of(attempt, n).ok_or_else(|| wrong(format!("no request {n} before it")))?;
                    request.verdicts.extend(calls);
                }
                Line::Cut { limit_bytes } => traffic.cut_at_bytes = Some(limit_bytes),
            }
        }
        Ok(traffic)
    }

    fn of(&mut self, attempt: u32, number: u64) -> Option<&mut Recorded> {
        self.requests.iter_mut().rev().find(|r| r.attempt == attempt && r.number == number)
    }
}

/// A model that says again what one attempt heard.
#[derive(Debug)]
pub struct Replay {
    requests: Vec<Recorded>,
    /// Which of them were asked.
    asked: Vec<bool>,
    /// How many requests came, those that diverged included.
    came: usize,
}

impl Replay {
    /// Of one attempt.
    pub fn new(traffic: Traffic, attempt: u32) -> Result<Self, RecordError> {
        let requests: Vec<Recorded> = traffic.requests.into_iter().filter(|r| r.attempt == attempt).collect();
        if requests.is_empty() {
            return Err(RecordError::Nothing { attempt });
        }
        Ok(Self { asked: vec![false; requests.len()], requests, came: 0 })
    }

    /// How many requests it knows, and how many of them were asked.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.requests.len(), self.asked.iter().filter(|asked| **asked).count())
    }

    /// What is said to this request, which must be the record's next: exactly, but that requests which were under way at
    /// the same time may come in any order.
    pub fn answer(&mut self, path: &str, body: &Value) -> Result<Answer, Diverged> {
        self.came += 1;
        let Some(next) = self.asked.iter().position(|asked| !asked) else {
            return Err(Diverged::Over { requests: self.requests.len() });
        };
        let answered = self.requests[next].answered_at;
        let open = (next..self.requests.len()).filter(|at| !self.asked[*at] && self.requests[*at].asked_at < answered);
        let mut before = usize::MAX;
        let mut together = Vec::new();
        for at in open {
            // Whoever was asked after an answer to one that is still to come, comes after that one.
            if self.requests[at].asked_at < before {
                together.push(at);
                before = before.min(self.requests[at].answered_at);
            }
        }
        let found = together.into_iter().find(|at| difference(&self.requests[*at], path, body).is_none());
        let Some(at) = found else {
            let why = difference(&self.requests[next], path, body).unwrap_or_default();
            return Err(Diverged::Other { number: self.came, recorded: next + 1, why });
        };
        self.asked[at] = true;
        self.requests[at].answer.clone().ok_or(Diverged::Unanswered { recorded: at + 1 })
    }
}

/// What is not as in the record.
fn difference(recorded: &Recorded, path: &str, body: &Value) -> Option<String> {
    if !path.ends_with(&recorded.path) {
        return Some(format!("it goes to {path}, that one went to {}", recorded.path));
    }
    let messages = MESSAGES.iter().find_map(|key| body.get(key)?.as_array());
    let Some(messages) = messages else { return Some("it has no messages".into()) };
    if messages.len() != recorded.messages.len() {
        return Some(format!("it has {} messages, that one had {}", messages.len(), recorded.messages.len()));
    }
    if body.get("stream") != recorded.frame.get("stream") {
        return Some("one of them asks for a stream, the other does not".into());
    }
    let pairs = messages.iter().map(shape).zip(recorded.messages.iter().map(shape)).enumerate();
    let mut differing = pairs.filter(|(_, (now, then))| now != then);
    differing.next().map(|(at, (now, then))| format!("message {} is {now}, in the record it is {then}", at + 1))
}

/// A message without its texts.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(map) => {
            let one = |(key, item): (&String, &Value)| {
                let kept = SHAPE.contains(&key.as_str()) && item.is_string();
                (key.clone(), if kept { item.clone() } else { shape(item) })
            };
            let sorted: BTreeMap<String, Value> = map.iter().map(one).collect();
            Value::Object(sorted.into_iter().collect::<Map<_, _>>())
        }
        Value::String(_) => "…".into(),
        Value::Number(_) => 0.into(),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A record with these lines after the attempt's; `m1` to `m3` are messages.
    fn record(lines: &[Value]) -> Traffic {
        let mut all = vec![json!({"kind": "attempt", "v": 1, "task": "t", "attempt": 1, "time_ms": 1})];
        all.push(json!({"kind": "part", "part": "f", "value": {"stream": true}}));
        for (name, role) in [("m1", "user"), ("m2", "assistant"), ("m3", "tool")] {
            let value = json!({"role": role, "content": "words"});
            all.push(json!({"kind": "part", "part": name, "value": value}));
        }
        all.extend_from_slice(lines);
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        Traffic::read(&(text.join("\n") + "\n")).expect("a record")
    }

    fn request(n: u64, messages: &[&str]) -> Value {
        json!({"kind": "request", "n": n, "time_ms": 1, "dialect": "chat", "path": "/chat/completions", "frame": "f", "messages": messages})
    }

    fn answer(n: u64) -> Value {
        json!({"kind": "answer", "n": n, "time_ms": 1, "stream": true, "body": format!("answer {n}")})
    }

    fn ask(replay: &mut Replay, roles: &[&str]) -> Result<String, Diverged> {
        let messages: Vec<Value> = roles.iter().map(|role| json!({"role": role, "content": "other words"})).collect();
        let body = json!({"stream": true, "model": "m", "messages": messages});
        replay.answer("/v1/chat/completions", &body).map(|answer| answer.body)
    }

    #[test]
    fn a_run_that_goes_as_the_record_hears_the_same() {
        let lines = [request(1, &["m1"]), answer(1), request(2, &["m1", "m2", "m3"]), answer(2)];
        let mut replay = Replay::new(record(&lines), 1).expect("a replay");
        assert_eq!(ask(&mut replay, &["user"]).as_deref(), Ok("answer 1"));
        assert_eq!(ask(&mut replay, &["user", "assistant", "tool"]).as_deref(), Ok("answer 2"));
        assert_eq!(ask(&mut replay, &["user"]), Err(Diverged::Over { requests: 2 }));
        assert_eq!(replay.counts(), (2, 2));
    }

    #[test]
    fn a_run_that_goes_another_way_is_told_where() {
        let lines = [request(1, &["m1"]), answer(1), request(2, &["m1", "m2", "m3"]), answer(2)];
        let mut replay = Replay::new(record(&lines), 1).expect("a replay");
        let told = ask(&mut replay, &["user", "assistant", "tool"]).expect_err("not yet").to_string();
        assert_eq!(told, "request 1 of this run is not request 1 of the record: it has 3 messages, that one had 1");
        assert_eq!(ask(&mut replay, &["user"]).as_deref(), Ok("answer 1"), "the record waits for it");
        let told = ask(&mut replay, &["user", "assistant", "user"]).expect_err("another role").to_string();
        assert!(told.contains("request 3 of this run is not request 2 of the record: message 3 is {"), "{told}");
        assert!(told.contains("\"role\":\"user\"") && !told.contains("words"), "{told}");
        let whole = json!({"messages": [{"role": "user", "content": "x"}]});
        assert!(replay.answer("/v1/messages", &whole).expect_err("elsewhere").to_string().contains("it goes to /v1/messages"));
    }

    #[test]
    fn requests_that_were_under_way_together_may_come_in_any_order_and_no_others() {
        let together =
            [request(1, &["m1"]), request(2, &["m1", "m2"]), answer(2), answer(1), request(3, &["m1", "m2", "m3"]), answer(3)];
        let mut replay = Replay::new(record(&together), 1).expect("a replay");
        assert!(ask(&mut replay, &["user", "assistant", "tool"]).is_err(), "it came after the answers");
        assert_eq!(ask(&mut replay, &["user", "assistant"]).as_deref(), Ok("answer 2"));
        assert_eq!(ask(&mut replay, &["user"]).as_deref(), Ok("answer 1"));
        assert_eq!(ask(&mut replay, &["user", "assistant", "tool"]).as_deref(), Ok("answer 3"));
        // The third was asked because of the second's answer, while the first went on.
        let chained =
            [request(1, &["m1"]), request(2, &["m1", "m2"]), answer(2), request(3, &["m1", "m2", "m3"]), answer(3), answer(1)];
        let mut replay = Replay::new(record(&chained), 1).expect("a replay");
        assert!(ask(&mut replay, &["user", "assistant", "tool"]).is_err(), "its cause has not come");
        assert_eq!(ask(&mut replay, &["user", "assistant"]).as_deref(), Ok("answer 2"));
        assert_eq!(ask(&mut replay, &["user", "assistant", "tool"]).as_deref(), Ok("answer 3"));
        assert_eq!(ask(&mut replay, &["user"]).as_deref(), Ok("answer 1"));
    }

    #[test]
    fn a_record_that_breaks_off_says_so() {
        let mut replay =
            Replay::new(record(&[request(1, &["m1"]), json!({"kind": "cut", "limit_bytes": 7})]), 1).expect("a replay");
        assert_eq!(ask(&mut replay, &["user"]), Err(Diverged::Unanswered { recorded: 1 }));
        let half = "{\"kind\":\"attempt\",\"v\":1,\"task\":\"t\",\"attempt\":1}\n{\"kind\":\"pa";
        assert_eq!(Traffic::read(half).expect("killed while it wrote"), Traffic::default());
        assert!(matches!(
            Traffic::read("{\"kind\":\"attempt\",\"v\":2,\"attempt\":1}\n"),
            Err(RecordError::Version { found: 2 })
        ));
        assert!(matches!(Traffic::read("nonsense\n"), Err(RecordError::Line { line: 1, .. })));
        assert!(matches!(Replay::new(record(&[]), 1), Err(RecordError::Nothing { attempt: 1 })));
    }
}
