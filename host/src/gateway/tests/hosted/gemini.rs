//! Gemini generateContent.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::super::speech::{Speech, all, signature};
use super::super::stand::{Reply, Stand};
use super::{answering, asking, is_the_same_cut_anywhere, listing};
use crate::gateway::Dialect;

const ALL: [&str; 3] = ["googleSearch", "urlContext", "codeExecution"];

fn speech() -> Speech {
    all().into_iter().find(|speech| speech.dialect == Dialect::Gemini).expect("one of all")
}

fn tools() -> [Value; 3] {
    ALL.map(|name| json!({name: {}}))
}

fn code() -> Value {
    json!({"executableCode": {"language": "PYTHON", "code": "print(1)"}})
}

fn printed(output: &str) -> Value {
    json!({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": output}})
}

fn says(text: &str) -> Value {
    json!({"text": text})
}

fn calls(command: &str) -> Value {
    let call = json!({"id": "c1", "name": "terminal", "args": {"command": command}});
    json!({"functionCall": call, "thoughtSignature": signature("", &[("c1", command)])})
}

fn found(title: &str) -> Value {
    json!({"webSearchQueries": ["weather"], "groundingChunks": [{"web": {"uri": "https://a.example", "title": title}}]})
}

fn chunk(parts: &[Value], beside: Option<Value>) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(beside) = beside {
        candidate["groundingMetadata"] = beside;
    }
    json!({"candidates": [candidate], "modelVersion": "real-model", "responseId": "up"})
}

/// The last chunk of an answer, or all of it.
fn last(parts: &[Value], beside: Option<Value>) -> Value {
    let mut last = chunk(parts, beside);
    last["candidates"][0]["finishReason"] = "STOP".into();
    last["usageMetadata"] = json!({"promptTokenCount": 10, "candidatesTokenCount": 5});
    last
}

fn stream(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

fn by_model(parts: &[Value]) -> Vec<Value> {
    vec![json!({"role": "model", "parts": parts}), (speech().said)("go on")]
}

async fn heard(stand: &Stand, more: &[Value]) -> String {
    stand.ask_at(speech().path, &asking(speech(), true, &tools(), more)).await.1
}

#[tokio::test]
async fn one_is_offered_where_it_is_listed_and_allowed_and_else_stripped() {
    for (listed, declared, offered, asked) in [
        (&[][..], json!({"googleSearch": {}}), None, 0),
        (&["codeExecution"], json!({"googleSearch": {}}), None, 0),
        (&ALL, json!({"googleMaps": {}}), None, 0),
        (&ALL, json!({"googleSearch": {"excludeDomains": ["destroy.example"]}}), None, 1),
        (&ALL, json!({"google_search": {}}), Some(json!({"googleSearch": {}})), 1),
        (&["urlContext"], json!({"urlContext": {}, "codeExecution": {}}), Some(json!({"urlContext": {}})), 1),
    ] {
        let stand = listing(Dialect::Gemini, listed).await;
        stand.will(Reply::Stream(vec![stream(&[last(&[says("ok")], None)]).into()]));
        let (status, answer) = stand.ask_at(speech().path, &asking(speech(), true, std::slice::from_ref(&declared), &[])).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let sent = stand.request(0)["tools"].as_array().expect("tools").clone();
        assert_eq!((sent.len(), sent.get(1)), (1 + usize::from(offered.is_some()), offered.as_ref()), "{declared}");
        assert_eq!(stand.gates.hosted.lock().expect("hosted").len(), asked, "{declared}");
    }
}

#[tokio::test]
async fn what_offered_tools_leave_passes_and_is_judged_once() {
    let stand = listing(Dialect::Gemini, &ALL).await;
    let parts = [says("I look."), code(), printed("1"), says("Fine."), calls("ls")];
    let sent = stream(&[chunk(&parts[..2], None), chunk(&parts[2..4], None), last(&parts[4..], Some(found("Fine")))]);
    stand.will(Reply::Stream(vec![sent.clone().into()]));
    assert_eq!(heard(&stand, &[]).await, sent);
    let judged = stand.gates.results.lock().expect("results").clone();
    assert_eq!((judged[0].1.as_str(), judged[0].2.as_str()), ("hosted:codeExecution", "1"));
    assert_eq!((judged.len(), judged[1].1.as_str()), (2, "hosted:googleSearch"));
    assert!(judged[1].2.contains("Fine"), "{judged:?}");
    let answered =
        json!({"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "terminal", "response": {"output": "x"}}}]});
    let history = [json!({"role": "model", "parts": parts}), answered];
    let document = last(&parts[..4], None);
    stand.will(Reply::Json(StatusCode::OK, document.clone()));
    let (_, body) = stand.ask_at(speech().whole_path, &asking(speech(), false, &tools(), &history)).await;
    assert_eq!(body, document.to_string());
    assert_eq!(stand.request(1)["contents"][1]["parts"], json!(parts));
    assert_eq!(stand.gates.results.lock().expect("results").len(), 3, "and the response to the agent's own call");
    stand.will(Reply::Stream(vec![stream(&[last(&[says("ok")], None)]).into()]));
    stand.ask_at(speech().path, &(speech().asking)(true, &history)).await;
    let sent = stand.request(2).to_string();
    assert!(!sent.contains("executableCode") && !sent.contains("codeExecution") && sent.contains("I look."), "{sent}");
}

#[tokio::test]
async fn a_secret_in_what_came_of_it_reaches_neither_agent_nor_upstream() {
    for (output, left) in [("KEY=s3cret", "KEY=[masked]"), ("please withhold", "[withheld by policy]")] {
        let stand = listing(Dialect::Gemini, &ALL).await;
        let parts = [code(), printed(output), says("So.")];
        let expected = [code(), printed(left), says("So.")];
        stand.will(Reply::Stream(vec![stream(&[chunk(&parts[..2], None), last(&parts[2..], Some(found(output)))]).into()]));
        let body = heard(&stand, &[]).await;
        let beside = if left.contains("masked") { Some(found(left)) } else { None };
        assert_eq!(body, stream(&[chunk(&expected[..2], None), last(&expected[2..], beside.clone())]));
        stand.will(Reply::Json(StatusCode::OK, last(&parts, Some(found(output)))));
        let (_, body) = stand.ask_at(speech().whole_path, &asking(speech(), false, &tools(), &[])).await;
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), last(&expected, beside));
        for history in [&parts, &expected] {
            stand.will(Reply::Stream(vec![stream(&[last(&[says("ok")], None)]).into()]));
            heard(&stand, &by_model(history)).await;
            assert_eq!(stand.request(stand.requests() - 1)["contents"][1]["parts"], json!(expected));
        }
    }
}

#[tokio::test]
async fn what_nobody_offered_or_what_pretends_to_be_another_is_an_error() {
    let mut with_call = printed("x");
    with_call["functionCall"] = calls("destroy")["functionCall"].clone();
    let mut more = printed("x");
    more["codeExecutionResult"]["args"] = json!({"command": "destroy"});
    let both = json!({"executableCode": {"code": "x"}, "codeExecutionResult": {"output": "destroy"}});
    for (tool, bad, beside) in [
        ("googleSearch", vec![code()], None),
        ("googleSearch", vec![printed("destroy")], None),
        ("codeExecution", vec![says("x")], Some(found("destroy"))),
        ("codeExecution", vec![with_call], None),
        ("codeExecution", vec![more], None),
        ("codeExecution", vec![both], None),
        ("codeExecution", vec![json!({"toolCall": {"name": "destroy"}})], None),
        ("codeExecution", vec![json!({"executableCode": "destroy"})], None),
    ] {
        let stand = listing(Dialect::Gemini, &ALL).await;
        let answer = last(&bad, beside);
        stand.will(Reply::Stream(vec![stream(&[chunk(&[says("Hi.")], None), answer.clone()]).into()]));
        stand.will(Reply::Json(StatusCode::OK, answer));
        let request = |stream: bool| asking(speech(), stream, &[json!({tool: {}})], &[]);
        let (_, body) = stand.ask_at(speech().path, &request(true)).await;
        let got = (speech().heard)(&body);
        assert!(got.error.is_some() && !got.done && !body.contains("destroy"), "{bad:?}: {body}");
        let (status, body) = stand.ask_at(speech().whole_path, &request(false)).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{body}");
    }
}

#[test]
fn a_stream_with_hosted_tools_split_at_every_byte_is_the_same_stream() {
    let sent = stream(&[
        chunk(&[code(), printed("Grüße"), says("é")], Some(found("世界"))),
        chunk(&[calls("ls"), printed("zwei")], None),
        last(&[says("")], Some(found("x"))),
    ]);
    let target = "agent-model:streamGenerateContent?alt=sse";
    is_the_same_cut_anywhere(&sent, &|| answering(Dialect::Gemini, asking(speech(), true, &tools(), &[]), target));
}

#[tokio::test]
async fn beside_refused_calls_it_goes_up_again_as_it_was_judged() {
    let stand = listing(Dialect::Gemini, &ALL).await;
    let first = [code(), printed("KEY=s3cret"), says("Now."), calls("destroy db")];
    stand.will(Reply::Stream(vec![stream(&[last(&first, None)]).into()]));
    stand.will(Reply::Stream(vec![stream(&[last(&[says("Done.")], None)]).into()]));
    let got = (speech().heard)(&heard(&stand, &[]).await);
    assert_eq!((got.text.as_str(), got.calls.len(), got.done), ("Now.Done.", 0, true));
    let sent = stand.request(1)["contents"][1]["parts"].clone();
    assert_eq!((&sent[1], &sent[3]), (&printed("KEY=[masked]"), &calls("destroy db")));
}
