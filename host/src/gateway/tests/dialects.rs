//! What holds in every dialect with units: calls that run, are refused, held, changed; streams of all kinds; results.

use axum::body::Bytes;
use axum::http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::speech::{Got, Speech, all};
use super::stand::{DEADLINE, Reply, Stand};
use crate::gateway::dialect::Intact;
use crate::gateway::{Repairs, Settings, sse};
use crate::task::envelope::STAND_IN;

impl Stand {
    fn will_say(&self, speech: Speech, text: &str, calls: &[(&str, &str)]) -> &Self {
        self.will(Reply::Stream(vec![(speech.streamed)(text, calls).into()]))
    }

    async fn turn(&self, speech: Speech, more: &[Value]) -> (StatusCode, String) {
        self.ask_at(speech.path, &(speech.asking)(true, more)).await
    }
}

fn ids(got: &Got) -> Vec<&str> {
    got.calls.iter().map(|(id, _)| id.as_str()).collect()
}

#[tokio::test]
async fn a_harmless_answer_passes_byte_for_byte() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        stand.will_say(speech, "I will look.", &[("c1", "ls"), ("c2", "pwd")]);
        let (status, body) = stand.turn(speech, &[]).await;
        assert_eq!((status, body), (StatusCode::OK, (speech.streamed)("I will look.", &[("c1", "ls"), ("c2", "pwd")])));
        let asked = stand.gates.asked.lock().expect("asked").clone();
        assert_eq!((asked.len(), asked[0].len()), (1, 2), "judged together");
        assert_eq!((asked[0][0].tool.as_str(), &asked[0][0].arguments), ("terminal", &json!({"command": "ls"})));
        assert_eq!(*stand.gates.usage.lock().expect("usage"), (10, 5));
        let whole = (speech.whole)("Done.", &[("c3", "ls")]);
        stand.will(Reply::Json(StatusCode::OK, whole.clone()));
        let (_, body) = stand.ask_at(speech.whole_path, &(speech.asking)(false, &[])).await;
        assert_eq!(body, whole.to_string());
        let sent = stand.script.requests.lock().expect("requests");
        assert!(!format!("{sent:?}").contains("coda_task_"), "the task's token stays here");
    }
}

#[tokio::test]
async fn a_refused_call_never_arrives_and_the_model_goes_on_in_the_same_answer() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        stand.will_say(speech, "I drop it.", &[("c1", "destroy db")]).will_say(speech, "Then I look.", &[("c2", "ls")]);
        let (_, body) = stand.turn(speech, &[]).await;
        assert!(!body.contains("destroy db"), "{body}");
        let got = (speech.heard)(&body);
        assert_eq!((got.text.as_str(), ids(&got), got.done), ("I drop it.Then I look.", vec!["c2"], true));
        assert_eq!(got.usage, (20, 10), "{body}");
        let told = stand.request(1).to_string();
        assert!(told.contains("destroy db") && told.contains("refused by test-rule: c1 destroys"), "{told}");
        // The agent goes on; the model sees its refused call where it made it, and its reasoning as it was.
        stand.will_say(speech, "Done.", &[]);
        let (status, body) = stand.turn(speech, &(speech.history)(&got, &[("c2", "files")])).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let third = stand.request(2).to_string();
        let at = |what: &str| third.find(what).unwrap_or_else(|| panic!("{what} in {third}"));
        assert!(at("I drop it.") < at("destroy db") && at("c1 destroys") < at("Then I look."), "{third}");
        assert_eq!(stand.gates.results.lock().expect("results").len(), 1, "coda's own words are not judged");
    }
}

#[tokio::test]
async fn of_mixed_calls_the_allowed_ones_arrive_and_the_refused_one_is_put_back() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        let calls = [("a", "ls"), ("b", "destroy db"), ("c", "pwd"), ("d", "rewrite me")];
        stand.will_say(speech, "", &calls);
        let got = (speech.heard)(&stand.turn(speech, &[]).await.1);
        assert_eq!((ids(&got), got.done), (vec!["a", "c", "d"], true));
        assert_eq!(got.calls[2].1, "echo rewritten");
        stand.will_say(speech, "Done.", &[]);
        // What a verdict rewrote is not what was signed: without it.
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        stand.will_say(speech, "", &calls[..3]);
        let got = (speech.heard)(&stand.turn(speech, &[]).await.1);
        stand.will_say(speech, "Done.", &[]);
        let (status, body) = stand.turn(speech, &(speech.history)(&got, &[("a", "files"), ("c", "/")])).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(stand.request(1).to_string().contains("destroy db"));
    }
}

#[tokio::test]
async fn the_same_holds_without_a_stream() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        stand.will(Reply::Json(StatusCode::OK, (speech.whole)("First.", &[("c1", "destroy db")])));
        stand.will(Reply::Json(StatusCode::OK, (speech.whole)("Second.", &[("c2", "ls"), ("c3", "destroy x")])));
        let (_, body) = stand.ask_at(speech.whole_path, &(speech.asking)(false, &[])).await;
        let got = (speech.heard_whole)(&serde_json::from_str(&body).expect("JSON"));
        assert_eq!((got.text.as_str(), ids(&got), got.usage), ("First.Second.", vec!["c2"], (20, 10)), "{body}");
        assert!(!body.contains("destroy"), "{body}");
        stand.will(Reply::Json(StatusCode::OK, (speech.whole)("Done.", &[])));
        let history = (speech.history)(&got, &[("c2", "files")]);
        let (status, body) = stand.ask_at(speech.whole_path, &(speech.asking)(false, &history)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(stand.request(2).to_string().contains("destroy x"));
    }
}

#[tokio::test]
async fn a_model_that_only_makes_refused_calls_is_stopped() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        for round in 0..9 {
            stand.will_say(speech, "", &[(&format!("c{round}"), "destroy db")]);
        }
        let got = (speech.heard)(&stand.turn(speech, &[]).await.1);
        assert_eq!((got.calls.len(), got.done, stand.requests()), (0, true, 9));
        assert!(got.text.contains("ended by coda"), "{got:?}");
        stand.will_say(speech, "Fine.", &[]);
        let mut history = (speech.history)(&got, &[]);
        history.push((speech.said)("go on"));
        let (status, body) = stand.turn(speech, &history).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(stand.request(9).to_string().contains("c8 destroys"));
    }
}

#[tokio::test]
async fn a_repeated_request_attaches_to_the_held_turn() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings { keepalive_s: 1, ..Settings::default() }).await;
        stand.will_say(speech, "Let me.", &[("c1", "hold this")]);
        let mut first = stand.post(speech.path, &(speech.asking)(true, &[])).await;
        let mut seen = String::new();
        let keepalive = format!("\n\n{}", speech.dialect.keepalive());
        while !seen.contains(&keepalive) || !seen.contains("Let ") {
            let bytes = tokio::time::timeout(DEADLINE, first.chunk()).await.expect("in time").expect("read").expect("more");
            seen.push_str(str::from_utf8(&bytes).expect("text"));
        }
        assert!(!seen.contains("hold this"), "{seen}");
        drop(first);
        let (second, ()) = tokio::join!(stand.turn(speech, &[]), async { stand.gates.decided.notify_one() });
        assert_eq!(ids(&(speech.heard)(&second.1)), ["c1"]);
        assert_eq!(stand.turn(speech, &[]).await.1, (speech.streamed)("Let me.", &[("c1", "hold this")]));
        assert_eq!((stand.requests(), stand.gates.asked.lock().expect("asked").len()), (1, 1), "one request, one question");
    }
}

#[tokio::test]
async fn a_secret_in_a_result_never_reaches_the_upstream_and_is_judged_once() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        stand.will_say(speech, "", &[("c1", "cat .env"), ("c2", "x")]);
        let got = (speech.heard)(&stand.turn(speech, &[]).await.1);
        let history = (speech.history)(&got, &[("c1", "KEY=s3cret\n\"x\""), ("c2", "please withhold")]);
        for _ in 0..2 {
            stand.will_say(speech, "ok", &[]);
            let (status, body) = stand.turn(speech, &history).await;
            assert_eq!(status, StatusCode::OK, "{body}");
        }
        for number in 1..3 {
            let sent = stand.request(number).to_string();
            assert!(!sent.contains("s3cret") && !sent.contains("please") && sent.contains("withheld by test-rule"), "{sent}");
            assert!(sent.contains(r#"KEY=[masked]\n\"x\""#), "{sent}");
        }
        let judged = stand.gates.results.lock().expect("results").clone();
        assert_eq!(judged.len(), 2, "each once: {judged:?}");
        assert_eq!(judged[0], ("c1".into(), "terminal".into(), "KEY=s3cret\n\"x\"".into()));
    }
}

#[tokio::test]
async fn hosted_tools_and_foreign_dialects_do_not_reach_the_upstream() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        let mut body = (speech.asking)(true, &[(speech.said)(STAND_IN)]);
        body["tools"].as_array_mut().expect("tools").push((speech.hosted_tool)());
        stand.will_say(speech, "ok", &[]);
        let (status, answer) = stand.ask_at(speech.path, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let sent = stand.request(0);
        assert_eq!(sent["tools"].as_array().expect("tools").len(), 1);
        assert!(sent.to_string().contains("MY-WORDS") && !answer.contains("MY-WORDS"), "the envelope in its place: {sent}");
        let (status, answer) = stand.ask(&super::stand::asking(true, &[])).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer.contains("the agent speaks the dialect") && answer.contains(speech.dialect.name()), "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_an_error_and_not_passed_on() {
    for speech in all() {
        let stream = (speech.streamed)("Hi.", &[]);
        let at = stream.find(speech.last).and_then(|last| Some(stream[..last].rfind("\n\n")? + 2)).expect("an end");
        for bad in (speech.bad_events)() {
            let stand = Stand::speaking(speech.dialect, Settings::default()).await;
            let name = bad["type"].as_str().unwrap_or("x").to_owned();
            let stream = format!("{}event: {name}\ndata: {bad}\n\n{}", &stream[..at], &stream[at..]);
            stand.will(Reply::Stream(vec![stream.into()]));
            let got_body = stand.turn(speech, &[]).await.1;
            let got = (speech.heard)(&got_body);
            assert!(got.error.is_some() && !got.done && !got_body.contains("destroy"), "{bad}: {got_body}");
            assert!(stand.gates.asked.lock().expect("asked").is_empty());
        }
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        let fine = (speech.unknown_event)();
        let name = fine["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
        let stream = format!("{}{name}data: {fine}\n\n{}", &stream[..at], &stream[at..]);
        stand.will(Reply::Stream(vec![stream.clone().into()]));
        assert_eq!(stand.turn(speech, &[]).await.1, stream);
        stand.will(Reply::Stream(vec!["data: {not json\n\n".into()]));
        assert!((speech.heard)(&stand.turn(speech, &[]).await.1).error.is_some() || stand.requests() == 2);
    }
}

#[tokio::test]
async fn an_upstream_that_dies_within_a_call_releases_nothing() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        let stream = (speech.streamed)("Wait.", &[("c1", "ls")]);
        let end = stream.find("\"c1\"").and_then(|at| Some(at + stream[at..].find("\n\n")? + 2)).expect("a call");
        stand.will(Reply::Stream(vec![Bytes::from(stream[..end].to_owned())]));
        let body = stand.turn(speech, &[]).await.1;
        let got = (speech.heard)(&body);
        assert_eq!((got.text.as_str(), got.calls.len(), got.done), ("Wait.", 0, false), "{body}");
        assert!(got.error.expect("an error").contains("broke off"));
        assert!(stand.gates.asked.lock().expect("asked").is_empty());
    }
}

#[tokio::test]
async fn ten_megabytes_of_arguments_pass() {
    for speech in all() {
        // No sign of life in between, however slow the machine is.
        let stand = Stand::speaking(speech.dialect, Settings { keepalive_s: 600, ..Settings::default() }).await;
        let stream = (speech.streamed)("", &[("c1", &"x".repeat(10 << 20))]);
        stand.will(Reply::Stream(vec![stream.clone().into()]));
        assert!(stand.turn(speech, &[]).await.1 == stream, "{}", speech.dialect.name());
    }
}

#[tokio::test]
async fn errors_have_the_shape_that_clients_read() {
    for speech in all() {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        for body in [json!([]), json!({}), json!({"messages": 7, "input": 7, "contents": 7})] {
            let (status, answer) = stand.ask_at(speech.path, &body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            assert!(answer["error"]["message"].is_string(), "{answer}");
        }
        let url = format!("{}{}", stand.gateway.url(), speech.path);
        let nobody = stand.client.post(&url).json(&(speech.asking)(true, &[])).send().await.expect("an answer");
        assert_eq!(nobody.status().as_u16(), 401);
    }
}

/// What an agent gets of a stream that arrives in pieces, all calls allowed; `Intact::No`: written anew as far as can be.
fn through(speech: Speech, pieces: &[&[u8]], intact: Intact) -> String {
    let mut answer = (speech.answer)(&Repairs::default());
    let (mut parser, mut out, mut events) = (sse::Parser::default(), String::new(), Vec::new());
    pieces.iter().for_each(|piece| events.extend(parser.push(piece).expect("text")));
    events.extend(parser.finish().expect("text"));
    answer.begin();
    for event in events {
        out.push_str(&answer.event(&event).expect("well-formed"));
    }
    let message = answer.end().expect("complete");
    let released = message.calls.clone();
    out + &answer.finish(&message, &released, intact)
}

#[test]
fn a_stream_split_at_every_byte_is_the_same_stream() {
    for speech in all() {
        let stream = (speech.streamed)("Grüße, 世界", &[("a", "echo \"é\""), ("b", "ls")]);
        let events = |pieces: [&[u8]; 2]| {
            let mut parser = sse::Parser::default();
            let mut events: Vec<String> = pieces.iter().flat_map(|piece| parser.push(piece).expect("text")).collect();
            events.extend(parser.finish().expect("text"));
            events
        };
        let whole = events([stream.as_bytes(), b""]);
        for at in 0..stream.len() {
            let (left, right) = stream.as_bytes().split_at(at);
            assert_eq!(events([left, right]), whole, "split at {at}");
        }
        assert_eq!(through(speech, &[stream.as_bytes()], Intact::Yes), stream);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// What leaves is what came, however it came and whether or not it had to be written anew.
    #[test]
    fn what_leaves_is_what_came(
        text in ".{0,40}",
        commands in prop::collection::vec(".{0,20}", 0..4),
        cuts in prop::collection::vec(0.0..1.0f64, 0..12),
    ) {
        for speech in all() {
            let ids: Vec<String> = (0..commands.len()).map(|n| format!("call_{n}")).collect();
            let calls: Vec<(&str, &str)> = ids.iter().map(String::as_str).zip(commands.iter().map(String::as_str)).collect();
            let stream = (speech.streamed)(&text, &calls);
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a short text")]
            let mut at: Vec<usize> = cuts.iter().map(|cut| (cut * stream.len() as f64) as usize).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &stream.as_bytes()[w[0]..w[1]]).collect();
            // Byte for byte, but for what some readers take for the end of a line.
            let one_line = |text: &str, end: char| text.replace(end, &format!("\\u{:04x}", u32::from(end)));
            let as_it_came = ['\u{85}', '\u{2028}', '\u{2029}'].into_iter().fold(stream.clone(), |text, end| one_line(&text, end));
            prop_assert_eq!(&through(speech, &pieces, Intact::Yes), &as_it_came);
            prop_assert_eq!((speech.heard)(&through(speech, &pieces, Intact::No)), (speech.heard)(&stream));
        }
    }
}

/// Small numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Whatever mixture of calls is refused, over however many turns: the upstream accepts every history, and its last one
/// holds every call that the model ever made.
#[tokio::test]
async fn every_history_is_whole_whatever_is_refused() {
    for (speech, seed) in all().into_iter().flat_map(|speech| (0..15).map(move |seed| (speech, seed))) {
        let stand = Stand::speaking(speech.dialect, Settings::default()).await;
        let (mut numbers, mut history, mut made) = (Numbers(seed), Vec::new(), Vec::new());
        for turn in 0..5 {
            for reply in 0..4 {
                let count = if reply == 3 { 0 } else { numbers.below(4) };
                let ids: Vec<String> = (0..count).map(|n| format!("s{turn}-{reply}-{n}")).collect();
                let commands: Vec<&str> = ids.iter().map(|_| if numbers.below(2) == 0 { "destroy" } else { "ls" }).collect();
                let calls: Vec<(&str, &str)> = ids.iter().map(String::as_str).zip(commands).collect();
                let text = if count > 0 && numbers.below(2) == 0 { String::new() } else { format!("words {turn} {reply}") };
                stand.will_say(speech, &text, &calls);
                made.extend(ids.iter().cloned());
                if calls.is_empty() || calls.iter().any(|(_, command)| *command == "ls") {
                    break;
                }
            }
            let (status, body) = stand.turn(speech, &history).await;
            assert_eq!(status, StatusCode::OK, "{} seed {seed}, turn {turn}: {body}", speech.dialect.name());
            let got = (speech.heard)(&body);
            assert!(got.error.is_none() && !body.contains("\"destroy\""), "seed {seed}, turn {turn}: {body}");
            let results: Vec<(&str, &str)> = got.calls.iter().map(|(id, _)| (id.as_str(), "done")).collect();
            history.extend((speech.history)(&got, &results));
            if results.is_empty() {
                history.push((speech.said)(&format!("go on {turn}")));
            }
        }
        stand.will_say(speech, "The end.", &[]);
        let (status, body) = stand.turn(speech, &history).await;
        assert_eq!(status, StatusCode::OK, "{} seed {seed}: {body}", speech.dialect.name());
        let last = stand.request(stand.requests() - 1).to_string();
        let forgotten: Vec<&String> = made.iter().filter(|id| !last.contains(id.as_str())).collect();
        assert!(forgotten.is_empty(), "{} seed {seed}: {forgotten:?}", speech.dialect.name());
    }
}
