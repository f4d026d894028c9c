//! Streams of all kinds: split anywhere, broken off, malformed, of unusual upstreams.

use axum::body::Bytes;
use axum::http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::stand::{DEADLINE, Heard, Reply, Stand, asking, heard, streamed};
use crate::gateway::chat::{Source, StreamReader, Writer};
use crate::gateway::dialect::Intact;
use crate::gateway::model::Draft;
use crate::gateway::{Repairs, sse};

/// What an agent hears of a stream that arrives in pieces, all calls allowed, or all but those named.
fn through(pieces: &[&[u8]], intact: Intact) -> String {
    let (mut parser, mut reader) = (sse::Parser::default(), StreamReader::default());
    let mut writer = Writer::new(true, true);
    let mut out = String::new();
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(parser.push(piece).expect("text"));
    }
    events.extend(parser.finish().expect("text"));
    for event in events {
        if let Some(chunk) = reader.event(&event).expect("well-formed") {
            out.push_str(&writer.through(chunk, &reader));
        }
    }
    let message = reader.message(&Repairs::default()).expect("complete");
    let released: Vec<Draft> = message.calls.clone();
    out.push_str(&writer.finish(&Source::Stream(reader), &message, &released, intact));
    out
}

#[test]
fn a_stream_split_at_every_byte_is_the_same_stream() {
    let stream = streamed("Grüße, 世界", &[("a", "echo \"é\""), ("b", "ls")]);
    let whole = through(&[stream.as_bytes()], Intact::Yes);
    for at in 0..stream.len() {
        let (left, right) = stream.as_bytes().split_at(at);
        assert_eq!(through(&[left, right], Intact::Yes), whole, "split at {at}");
    }
}

fn equal_but_for_ids(a: &Heard, b: &Heard) -> bool {
    a.text == b.text && a.calls == b.calls && a.finish == b.finish && a.usage == b.usage && a.done == b.done
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// What leaves is equivalent to what came, however it came and whether or not it had to be written anew.
    #[test]
    fn what_leaves_is_what_came(
        text in ".{0,40}",
        commands in prop::collection::vec(".{0,20}", 0..4),
        cuts in prop::collection::vec(0.0..1.0f64, 0..12),
    ) {
        let ids: Vec<String> = (0..commands.len()).map(|n| format!("call_{n}")).collect();
        let calls: Vec<(&str, &str)> = ids.iter().map(String::as_str).zip(commands.iter().map(String::as_str)).collect();
        let stream = streamed_at_char_boundaries(&text, &calls);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a short text")]
        let mut at: Vec<usize> = cuts.iter().map(|cut| (cut * stream.len() as f64) as usize).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &stream.as_bytes()[w[0]..w[1]]).collect();
        let came = heard(&stream);
        let as_it_came = through(&pieces, Intact::Yes);
        prop_assert_eq!(&as_it_came, &through(&[stream.as_bytes()], Intact::Yes));
        prop_assert!(equal_but_for_ids(&heard(&as_it_came), &came));
        prop_assert!(equal_but_for_ids(&heard(&through(&pieces, Intact::No)), &came));
    }
}

/// As `streamed`, for any text: arguments in pieces of whole characters.
fn streamed_at_char_boundaries(text: &str, calls: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut event = |delta: Value, reason: Value| {
        let chunk = json!({"id": "up", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        out.push_str(&sse::event(&chunk.to_string()));
    };
    for piece in text.chars().collect::<Vec<_>>().chunks(3) {
        event(json!({"content": piece.iter().collect::<String>()}), Value::Null);
    }
    for (index, (id, command)) in calls.iter().enumerate() {
        let arguments: Vec<char> = json!({"command": command}).to_string().chars().collect();
        let function = json!({"name": "terminal", "arguments": ""});
        event(json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}), Value::Null);
        for piece in arguments.chunks(5) {
            let piece = piece.iter().collect::<String>();
            event(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), Value::Null);
        }
    }
    event(json!({}), if calls.is_empty() { "stop".into() } else { "tool_calls".into() });
    out + "data: [DONE]\n\n"
}

#[tokio::test]
async fn an_upstream_that_dies_within_a_call_releases_nothing_and_is_asked_again() {
    let stand = Stand::new().await;
    let stream = streamed("Wait.", &[("c1", "ls")]);
    let end = stream.find("\"finish_reason\":\"tool_calls\"").and_then(|at| stream[..at].rfind("data: ")).expect("an end");
    for last_word in [None, Some(Err(std::io::Error::other("cut")))] {
        let (send, receive) = tokio::sync::mpsc::channel(2);
        stand.will(Reply::Live(receive));
        send.send(Ok(Bytes::from(stream[..end].to_owned()))).await.expect("sent");
        let mut response = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
        let mut body = String::new();
        while heard(&body).text != "Wait." {
            let bytes = tokio::time::timeout(DEADLINE, response.chunk()).await.expect("in time").expect("read");
            body.push_str(str::from_utf8(&bytes.expect("more")).expect("text"));
        }
        if let Some(error) = last_word {
            send.send(error).await.expect("sent");
        }
        drop(send);
        body.push_str(&response.text().await.expect("the rest"));
        let answer = heard(&body);
        assert_eq!((answer.text.as_str(), answer.calls.len(), answer.done), ("Wait.", 0, false));
        assert!(answer.error.expect("an error").contains("broke off"));
    }
    assert!(stand.gates.asked.lock().expect("asked").is_empty());
    stand.will_stream("Again.", &[("c1", "ls")]);
    assert_eq!(heard(&stand.ask(&asking(true, &[])).await.1).calls.len(), 1);
}

#[tokio::test]
async fn what_is_not_understood_is_an_error_and_not_passed_on() {
    let choice = |delta: Value| json!({"id": "x", "choices": [{"index": 0, "delta": delta}]}).to_string();
    let call = json!({"name": "terminal", "arguments": "{\"command\":\"destroy\"}"});
    for bad in [
        "{not json".to_owned(),
        "[]".to_owned(),
        json!({"choices": {"0": {}}}).to_string(),
        json!({"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {}}]}).to_string(),
        json!({"choices": [{"index": 1, "delta": {"tool_calls": [{"index": 0, "function": call}]}}]}).to_string(),
        json!({"choices": [{"index": 0, "message": {"tool_calls": [{"function": call}]}}]}).to_string(),
        choice(json!({"function_call": call})),
        choice(json!({"tool_calls": {"function": call}})),
        json!({"error": {"message": "overloaded"}}).to_string(),
    ] {
        let stand = Stand::new().await;
        let stream = format!("data: {}\n\ndata: {bad}\n\ndata: [DONE]\n\n", choice(json!({"content": "Hi."})));
        stand.will(Reply::Stream(vec![stream.into()]));
        let (status, body) = stand.ask(&asking(true, &[])).await;
        assert_eq!(status, StatusCode::OK);
        let answer = heard(&body);
        assert_eq!((answer.text.as_str(), answer.done), ("Hi.", false), "{bad}");
        assert!(answer.error.is_some() && !body.contains("destroy"), "{bad}: {body}");
    }
}

#[tokio::test]
async fn calls_of_unusual_upstreams_are_mended() {
    let stand = Stand::new().await;
    // Wrapped name, no id, no index, arguments as an object, everything in one chunk that ends with the wrong reason.
    let call = json!({"type": "function", "function": {"name": "databricks-tool-call", "arguments": {"name": "terminal", "command": "ls"}}});
    let delta = json!({"role": "assistant", "content": "Look.", "tool_calls": [call]});
    let chunk = json!({"id": "up", "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]});
    stand.will(Reply::Stream(vec![format!("data:{chunk}\r\n\r\n").into()]));
    let answer = heard(&stand.ask(&asking(true, &[])).await.1);
    assert_eq!((answer.text.as_str(), answer.finish.as_deref(), answer.done), ("Look.", Some("tool_calls"), true));
    assert_eq!((answer.calls[0].1.as_str(), answer.calls[0].2.as_str()), ("terminal", r#"{"command":"ls"}"#));
    assert!(answer.calls[0].0.starts_with("call_"));
    assert_eq!(stand.gates.asked.lock().expect("asked")[0][0].tool, "terminal");
}

#[tokio::test]
async fn a_whole_answer_serves_a_stream_and_a_stream_a_whole_answer() {
    let stand = Stand::new().await;
    let message = json!({"role": "assistant", "content": "Look.", "tool_calls": [super::stand::call("c1", "ls")]});
    let body = json!({"id": "up", "created": 1, "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    stand.will(Reply::Json(StatusCode::OK, body));
    let answer = heard(&stand.ask(&asking(true, &[])).await.1);
    assert_eq!((answer.text.as_str(), answer.calls.len(), answer.done), ("Look.", 1, true));
    stand.will_stream("Look.", &[("c1", "ls")]);
    let answer: Value = serde_json::from_str(&stand.ask(&asking(false, &[])).await.1).expect("JSON");
    assert_eq!(answer["choices"][0]["message"], message);
    assert_eq!(answer["usage"]["total_tokens"], 15);
}

#[tokio::test]
async fn ten_megabytes_of_arguments_pass_and_more_than_the_bound_does_not() {
    let stand = Stand::new().await;
    let long = "x".repeat(10 << 20);
    stand.will_stream("", &[("c1", &long)]);
    let answer = heard(&stand.ask(&asking(true, &[])).await.1);
    assert_eq!(answer.calls[0].2.len(), long.len() + r#"{"command":""}"#.len());
    let bounded = crate::gateway::Settings { max_response_bytes: 1000, ..Default::default() };
    let stand = Stand::with(bounded).await;
    stand.will_stream("", &[("c1", &long)]);
    let (status, body) = stand.ask(&asking(true, &[])).await;
    assert!(body.contains("longer than 1000 bytes") && !body.contains("xxxx"), "{status}");
}
