//! What must hold of every answer in each of the four dialects, as a stream and as one document, however it is made and
//! wherever it breaks off: what leaves is what came, but for what a verdict changed.

use axum::body::Bytes;
use axum::http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::speech::{Got, Speech, answering, four};
use super::stand::{Reply, Stand};
use crate::gateway::dialect::{Answer, Intact};
use crate::gateway::model::{Draft, Message};
use crate::gateway::{Dialect, Repairs, Settings, sse};

const TEXT: &str = "é, 世";
const CALLS: &[(&str, &str)] = &[("a", "\"é\""), ("b", "ls")];

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Run,
    Refuse,
    Change,
}

/// An answer in the making, to a request for a stream or for a document.
fn answer(speech: Speech, stream: bool) -> Box<dyn Answer> {
    // Gemini says in the path which it is; the others in the body.
    let path = if stream { speech.path } else { speech.whole_path };
    let target = path.rsplit('/').next().unwrap_or_default();
    answering(speech.dialect, (speech.asking)(stream, &[]), target, &Repairs::default())
}

/// Reads a stream as the gateway does: what goes on at once, and the message, if it is complete.
fn read(answer: &mut dyn Answer, pieces: &[&[u8]]) -> (String, Option<Message>) {
    let (mut parser, mut out) = (sse::Parser::default(), String::new());
    let mut events = Vec::new();
    answer.begin();
    for piece in pieces {
        let Ok(more) = parser.push(piece) else { return (out, None) };
        events.extend(more);
    }
    let Ok(last) = parser.finish() else { return (out, None) };
    for event in events.into_iter().chain(last) {
        if answer.is_done() {
            break;
        }
        let Ok(text) = answer.event(&event) else { return (out, None) };
        out.push_str(&text);
    }
    (out, answer.end().ok())
}

/// What may run of a message after these verdicts.
fn released(message: &Message, verdicts: &[Verdict]) -> (Vec<Draft>, Intact) {
    let judged = message.calls.iter().zip(verdicts).filter(|(_, verdict)| **verdict != Verdict::Refuse);
    let anew = |draft: &Draft| Draft { arguments: json!({"command": "changed"}).to_string(), ..draft.clone() };
    let calls = judged.map(|(draft, verdict)| if *verdict == Verdict::Change { anew(draft) } else { draft.clone() });
    let is_intact = verdicts.iter().all(|verdict| *verdict == Verdict::Run);
    (calls.collect(), if is_intact { Intact::Yes } else { Intact::No })
}

/// The calls of an answer after these verdicts, and the rest of it: reasoning and text, in order.
fn expected(mut came: Got, verdicts: &[Verdict]) -> (Got, Vec<Value>) {
    let judged = came.calls.into_iter().zip(verdicts).filter(|(_, verdict)| **verdict != Verdict::Refuse);
    came.calls = judged.map(|((id, c), v)| (id, if *v == Verdict::Change { "changed".to_owned() } else { c })).collect();
    let rest = beside_calls(&came);
    came.units.clear();
    (came, rest)
}

fn beside_calls(got: &Got) -> Vec<Value> {
    let is_call =
        |unit: &&Value| matches!(unit["type"].as_str(), Some("tool_use" | "function_call")) || unit["functionCall"].is_object();
    got.units.iter().filter(|unit| !is_call(unit)).cloned().collect()
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Run), Just(Verdict::Refuse), Just(Verdict::Change)]
}

/// The same stream as an upstream with other habits writes it.
fn in_other_words(stream: &str, habits: &[u8]) -> String {
    let mut out = String::new();
    for (n, event) in stream.split_terminator("\n\n").enumerate() {
        let habit = habits.get(n % habits.len().max(1)).copied().unwrap_or_default();
        let end = match habit % 3 {
            0 => "\n",
            1 => "\r\n",
            _ => "\r",
        };
        if habit & 4 != 0 {
            out.push_str(&format!(": data: {{}}{end}{end}"));
        }
        if habit & 8 != 0 {
            out.push_str(&format!("id: {n}{end}retry: 3000{end}unknown: field{end}"));
        }
        for line in event.lines() {
            let data = line.strip_prefix("data: ").map(|data| with_more(data, habit));
            match data {
                Some(data) if habit & 16 != 0 => out.push_str(&format!("data:{data}{end}")),
                Some(data) => out.push_str(&format!("data: {data}{end}")),
                None => out.push_str(&format!("{line}{end}")),
            }
        }
        out.push_str(end);
    }
    out
}

/// An event with a field that nobody knows.
fn with_more(data: &str, habit: u8) -> String {
    match serde_json::from_str::<Value>(data) {
        Ok(Value::Object(mut event)) if habit & 32 != 0 => {
            event.insert("x_new".into(), json!({"deep": [1, null, {"text": "words"}]}));
            Value::Object(event).to_string()
        }
        _ => data.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_leaves_is_what_came_but_for_what_a_verdict_changed(
        text in ".{0,40}",
        commands in prop::collection::vec((".{0,20}", verdicts()), 0..5),
        cuts in prop::collection::vec(0.0..1.0f64, 0..12),
        habits in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let ids: Vec<String> = (0..commands.len()).map(|n| format!("call_{n}")).collect();
        let calls: Vec<(&str, &str)> = ids.iter().zip(&commands).map(|(id, (command, _))| (id.as_str(), command.as_str())).collect();
        let mut verdicts: Vec<Verdict> = commands.iter().map(|(_, verdict)| *verdict).collect();
        // Where all are refused, the model goes on: that is another answer.
        if let Some(first) = verdicts.first_mut().filter(|_| commands.iter().all(|(_, v)| *v == Verdict::Refuse)) {
            *first = Verdict::Run;
        }
        for speech in four() {
            let stream = (speech.streamed)(&text, &calls);
            let (wanted, rest) = expected((speech.heard)(&stream), &verdicts);
            let sent = in_other_words(&stream, &habits);
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a short text")]
            let mut at: Vec<usize> = cuts.iter().map(|cut| (cut * sent.len() as f64) as usize).collect();
            at.extend([0, sent.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &sent.as_bytes()[w[0]..w[1]]).collect();
            let mut answer = self::answer(speech, true);
            let (mut out, message) = read(&mut *answer, &pieces);
            let message = message.unwrap_or_else(|| panic!("{} does not understand {sent}", speech.dialect.name()));
            prop_assert!((speech.heard)(&out).calls.is_empty(), "a call before its verdict: {}", out);
            let (calls_left, intact) = released(&message, &verdicts);
            out.push_str(&answer.finish(&message, &calls_left, intact));
            let got = (speech.heard)(&out);
            prop_assert_eq!(&beside_calls(&got), &rest, "{}", out);
            prop_assert_eq!(Got { units: Vec::new(), ..got }, wanted, "{}", out);

            let document = (speech.whole)(&text, &calls);
            let (wanted, rest) = expected((speech.heard_whole)(&document), &verdicts);
            let mut answer = self::answer(speech, false);
            let message = answer.whole(document.to_string().as_bytes()).expect("it is understood");
            let (calls_left, intact) = released(&message, &verdicts);
            let out: Value = serde_json::from_str(&answer.finish(&message, &calls_left, intact)).expect("JSON");
            let got = (speech.heard_whole)(&out);
            prop_assert_eq!(&beside_calls(&got), &rest, "{}", out);
            prop_assert_eq!(Got { units: Vec::new(), ..got }, wanted, "{}", out);
        }
    }
}

/// Wherever an upstream dies: nothing of a call has gone on, and what has no end is no message.
#[test]
fn an_answer_that_breaks_off_at_any_byte_is_whole_or_nothing() {
    for speech in four() {
        let stream = (speech.streamed)(TEXT, CALLS);
        let mut wholes = 0;
        for at in 0..stream.len() {
            let (out, message) = read(&mut *answer(speech, true), &[&stream.as_bytes()[..at]]);
            assert!((speech.heard)(&out).calls.is_empty(), "{} at {at}: {out}", speech.dialect.name());
            wholes += usize::from(message.is_some());
            assert!(message.is_none_or(|m| m.text == TEXT && m.calls.len() == CALLS.len()), "{} at {at}", speech.dialect.name());
        }
        assert!(wholes < stream.len() / 2, "{} takes a half for the whole", speech.dialect.name());
        let document = (speech.whole)(TEXT, CALLS).to_string();
        for at in 0..document.len() {
            let read = answer(speech, false).whole(&document.as_bytes()[..at]);
            assert!(read.is_err(), "{} at {at}", speech.dialect.name());
        }
    }
}

/// Events and documents with nothing in them.
fn empties(dialect: Dialect) -> (Vec<Value>, Value) {
    match dialect {
        Dialect::Chat => (
            [json!({}), json!({"content": ""}), json!({"content": null}), json!({"tool_calls": []}), json!({"tool_calls": null})]
                .map(|delta| json!({"id": "up", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
                .to_vec(),
            json!({"id": "up", "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": []},
                "finish_reason": "stop"}]}),
        ),
        Dialect::Messages => (
            vec![
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
                json!({"type": "content_block_stop", "index": 1}),
            ],
            json!({"id": "msg_up", "type": "message", "role": "assistant", "content": [], "stop_reason": "end_turn"}),
        ),
        Dialect::Responses => (
            vec![
                json!({"type": "response.output_item.added", "output_index": 0, "item":
                    {"id": "m", "type": "message", "role": "assistant", "status": "in_progress", "content": []}}),
                json!({"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": ""}),
                json!({"type": "response.output_item.done", "output_index": 0, "item":
                    {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": []}}),
            ],
            json!({"id": "resp_up", "object": "response", "status": "completed", "output": []}),
        ),
        Dialect::Gemini => (
            [json!({}), json!({"parts": []}), json!({"role": "model", "parts": [{"text": ""}]})]
                .map(|content| json!({"candidates": [{"content": content, "index": 0}]}))
                .to_vec(),
            json!({"candidates": [{"content": {"role": "model", "parts": []}, "finishReason": "STOP", "index": 0}]}),
        ),
    }
}

/// A stream of this dialect whose only content are these events.
fn stream_of(dialect: Dialect, events: &[Value]) -> String {
    let (before, after) = match dialect {
        Dialect::Chat => (vec![], vec![json!({"id": "up", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})]),
        Dialect::Messages => (
            vec![
                json!({"type": "message_start", "message": {"id": "msg_up", "type": "message", "role": "assistant", "content": [],
                "stop_reason": null}}),
            ],
            vec![json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}), json!({"type": "message_stop"})],
        ),
        Dialect::Responses => {
            let done: Vec<&Value> = events.iter().filter(|e| e["type"] == "response.output_item.done").collect();
            let output: Vec<&Value> = done.iter().map(|event| &event["item"]).collect();
            let response = json!({"id": "resp_up", "status": "completed", "output": output});
            (
                vec![json!({"type": "response.created", "response": {"id": "resp_up", "status": "in_progress", "output": []}})],
                vec![json!({"type": "response.completed", "response": response})],
            )
        }
        Dialect::Gemini => {
            (vec![], vec![json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP", "index": 0}]})])
        }
    };
    let event = |event: &Value| match event["type"].as_str() {
        Some(name) => sse::named_event(name, &event.to_string()),
        None => sse::event(&event.to_string()),
    };
    before.iter().chain(events).chain(&after).map(event).collect::<String>()
        + if dialect == Dialect::Chat { "data: [DONE]\n\n" } else { "" }
}

#[tokio::test]
async fn what_is_empty_passes_as_it_came() {
    for speech in four() {
        let (events, document) = empties(speech.dialect);
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        let stream = stream_of(speech.dialect, &events);
        stand.will(Reply::Stream(vec![stream.clone().into()]));
        let got = stand.ask_at(speech.path, &(speech.asking)(true, &[])).await;
        assert_eq!(got, (StatusCode::OK, stream), "{}", speech.dialect.name());
        stand.will(Reply::Json(StatusCode::OK, document.clone()));
        let (status, body) = stand.ask_at(speech.whole_path, &(speech.asking)(false, &[])).await;
        assert_eq!((status, body), (StatusCode::OK, document.to_string()), "{}", speech.dialect.name());
        assert!(stand.gates.asked.lock().expect("asked").iter().all(Vec::is_empty), "nothing was there to be judged");
    }
}

#[tokio::test]
async fn a_stream_that_is_none_releases_nothing() {
    for speech in four() {
        let stream = (speech.streamed)("Hi.", &[("c1", "destroy")]);
        let at = stream.find("c1").and_then(|at| stream[..at].rfind("\n\n")).expect("an event before the call") + 2;
        for bad in
            [&b"data: {not json\n\n"[..], b"data: {\"a\":\ndata: 1\n\n", b"data: \xff\xfe\n\n", b"data: 7\n\n", b"data: \n\n"]
        {
            let stand = Stand::speaking(speech.dialect, Settings::default()).await;
            let sent = [&stream.as_bytes()[..at], bad, &stream.as_bytes()[at..]].concat();
            stand.will(Reply::Stream(vec![Bytes::from(sent)]));
            let (status, body) = stand.ask_at(speech.path, &(speech.asking)(true, &[])).await;
            let got = (speech.heard)(&body);
            let bad = String::from_utf8_lossy(bad);
            // Before the first event is out, an error has a status of its own.
            let failed = got.error.is_some() || status == StatusCode::BAD_GATEWAY;
            assert!(failed && got.calls.is_empty(), "{} {bad}: {body}", speech.dialect.name());
            assert!(stand.gates.asked.lock().expect("asked").is_empty(), "{} {bad}", speech.dialect.name());
        }
    }
}

#[tokio::test]
async fn ten_megabytes_of_arguments_pass_as_a_document() {
    for speech in four() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        let document = (speech.whole)("", &[("c1", &"x".repeat(10 << 20))]);
        let sent = document.to_string();
        stand.will(Reply::Json(StatusCode::OK, document));
        let (_, body) = stand.ask_at(speech.whole_path, &(speech.asking)(false, &[])).await;
        assert!(body == sent, "{}", speech.dialect.name());
    }
}
