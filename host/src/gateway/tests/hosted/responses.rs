//! OpenAI Responses.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::super::speech::{Speech, all};
use super::super::stand::Reply;
use super::{answering, asking, is_the_same_cut_anywhere, listing};
use crate::gateway::Dialect;

fn speech() -> Speech {
    all().into_iter().find(|speech| speech.dialect == Dialect::Responses).expect("one of all")
}

fn search() -> Value {
    json!({"type": "web_search", "filters": {"allowed_domains": ["a.example"]}})
}

fn interpreter() -> Value {
    json!({"type": "code_interpreter", "container": {"type": "auto"}})
}

fn searched(url: &str) -> Value {
    let action = json!({"type": "search", "query": "weather", "sources": [{"type": "url", "url": url}]});
    json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action})
}

fn ran(logs: &str) -> Value {
    json!({"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "print(1)", "container_id": "cntr_1",
        "outputs": [{"type": "logs", "logs": logs}]})
}

fn says(text: &str) -> Value {
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    json!({"id": format!("msg_{text}"), "type": "message", "role": "assistant", "status": "completed", "content": [part]})
}

fn calls(command: &str) -> Value {
    let arguments = json!({"command": command}).to_string();
    json!({"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "terminal", "arguments": arguments, "status": "completed"})
}

fn whole(items: &[Value]) -> Value {
    json!({"id": "resp_up", "object": "response", "created_at": 7, "status": "completed", "model": "real-model", "output": items,
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}})
}

/// As the API streams such items; `listed` are those of the whole response at its end.
fn streamed_listing(items: &[Value], listed: &[Value]) -> String {
    let mut events =
        vec![json!({"type": "response.created", "response": {"id": "resp_up", "status": "in_progress", "output": []}})];
    for (index, item) in items.iter().enumerate() {
        let at = |kind: &str| json!({"type": kind, "item_id": item["id"], "output_index": index});
        let mut begin = item.clone();
        let mut within = Vec::new();
        match item["type"].as_str().expect("a type") {
            "web_search_call" => {
                begin = json!({"type": "web_search_call", "id": item["id"], "status": "in_progress",
                    "action": {"type": "search", "query": "weather"}});
                let step = |step: &str| at(&format!("response.web_search_call.{step}"));
                within.extend([step("in_progress"), step("searching"), step("completed")]);
            }
            "code_interpreter_call" => {
                (begin["outputs"], begin["code"]) = (Value::Null, "".into());
                let mut delta = at("response.code_interpreter_call_code.delta");
                (delta["delta"], delta["obfuscation"]) = (item["code"].clone(), "xyz".into());
                within.extend([
                    at("response.code_interpreter_call.in_progress"),
                    delta,
                    at("response.code_interpreter_call.completed"),
                ]);
            }
            "function_call" => {
                begin["arguments"] = "".into();
                let mut delta = at("response.function_call_arguments.delta");
                delta["delta"] = item["arguments"].clone();
                within.push(delta);
            }
            _ => {}
        }
        events.push(json!({"type": "response.output_item.added", "output_index": index, "item": begin}));
        events.extend(within);
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    }
    events.push(json!({"type": "response.completed", "response": whole(listed)}));
    let numbered = |(number, mut event): (usize, Value)| {
        event["sequence_number"] = number.into();
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"))
    };
    events.into_iter().enumerate().map(numbered).collect()
}

fn streamed(items: &[Value]) -> String {
    streamed_listing(items, items)
}

#[tokio::test]
async fn one_is_offered_where_it_is_listed_and_allowed_and_else_stripped() {
    let refused = json!({"type": "web_search", "filters": {"allowed_domains": ["destroy.example"]}});
    let connector = json!({"type": "mcp", "server_label": "x", "server_url": "https://x.example", "authorization": "t"});
    for (listed, declared, offered, asked) in [
        (&[][..], search(), false, 0),
        (&["code_interpreter"], search(), false, 0),
        (&["web_search*"], connector, false, 0),
        (&["web_search*"], json!({"type": "image_generation"}), false, 0),
        (&["web_search*"], refused, false, 1),
        (&["web_search"], search(), true, 1),
        (&["web_search*"], json!({"type": "web_search_preview_2025_03_11"}), true, 1),
        (&["code_interpreter"], interpreter(), true, 1),
    ] {
        let stand = listing(Dialect::Responses, listed).await;
        stand.will(Reply::Stream(vec![streamed(&[says("ok")]).into()]));
        let mut body = asking(speech(), true, std::slice::from_ref(&declared), &[]);
        body["tool_choice"] = json!({"type": declared["type"]});
        let (status, answer) = stand.ask_at(speech().path, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let sent = stand.request(0);
        assert_eq!(sent["tools"].as_array().expect("tools").contains(&declared), offered, "{sent}");
        assert_eq!(sent.get("tool_choice").is_some(), offered, "{sent}");
        assert_eq!(stand.gates.hosted.lock().expect("hosted").len(), asked, "{declared}");
    }
}

#[tokio::test]
async fn what_an_offered_tool_leaves_passes_and_is_judged_once() {
    let stand = listing(Dialect::Responses, &["web_search", "code_interpreter"]).await;
    let items = [searched("https://a.example"), ran("1"), says("Fine."), calls("ls")];
    stand.will(Reply::Stream(vec![streamed(&items).into()]));
    let tools = [search(), interpreter()];
    let got = stand.ask_at(speech().path, &asking(speech(), true, &tools, &[])).await;
    assert_eq!(got, (StatusCode::OK, streamed(&items)));
    let judged = stand.gates.results.lock().expect("results").clone();
    assert_eq!(judged[0], ("ws_1".into(), "hosted:web_search".into(), "https://a.example".into()));
    assert_eq!((judged.len(), judged[1].1.as_str(), judged[1].2.as_str()), (2, "hosted:code_interpreter", "1"));
    // As agents send it back: some without ids.
    let mut history = (speech().history)(&(speech().heard)(&got.1), &[("c1", "files")]);
    stand.will(Reply::Json(StatusCode::OK, whole(&items[..3])));
    let (_, body) = stand.ask_at(speech().whole_path, &asking(speech(), false, &tools, &history)).await;
    assert_eq!(body, whole(&items[..3]).to_string());
    assert_eq!(stand.request(1)["input"][1], history[0]);
    assert_eq!(stand.request(1)["input"][2], history[1]);
    assert_eq!(stand.gates.results.lock().expect("results").len(), 3, "and the result of the agent's own call");
    // Where they are not offered, none of it is of the conversation.
    stand.will(Reply::Stream(vec![streamed(&[says("ok")]).into()]));
    history.push((speech().said)("go on"));
    stand.ask_at(speech().path, &(speech().asking)(true, &history)).await;
    let sent = stand.request(2).to_string();
    assert!(!sent.contains("web_search_call") && !sent.contains("code_interpreter") && sent.contains("Fine."), "{sent}");
}

#[tokio::test]
async fn a_secret_in_what_came_of_it_reaches_neither_agent_nor_upstream() {
    let mut image = ran("");
    image["outputs"] = json!([{"type": "image", "url": "data:image/png;base64,iVBO"}]);
    let nothing = |mut item: Value| {
        match item.get_mut("action").and_then(Value::as_object_mut) {
            Some(action) => drop(action.remove("sources")),
            None => item["outputs"] = json!([]),
        }
        item
    };
    let mut found = searched("");
    found["results"] = json!([{"text": "please withhold"}]);
    for (item, left) in [
        (ran("KEY=s3cret"), ran("KEY=[masked]")),
        (ran("please withhold"), nothing(ran(""))),
        (image.clone(), nothing(image)),
        (searched("https://s3cret.example"), searched("https://[masked].example")),
        (searched("https://withhold.example"), nothing(searched(""))),
        (found, nothing(searched(""))),
    ] {
        let stand = listing(Dialect::Responses, &["web_search", "code_interpreter"]).await;
        let tools = [search(), interpreter()];
        let (items, expected) = ([item.clone(), says("So.")], [left.clone(), says("So.")]);
        stand.will(Reply::Stream(vec![streamed(&items).into()])).will(Reply::Json(StatusCode::OK, whole(&items)));
        let (_, heard) = stand.ask_at(speech().path, &asking(speech(), true, &tools, &[])).await;
        assert_eq!((speech().heard)(&heard).units, expected, "{heard}");
        let (_, document) = stand.ask_at(speech().whole_path, &asking(speech(), false, &tools, &[])).await;
        assert_eq!(serde_json::from_str::<Value>(&document).expect("JSON")["output"], json!(expected));
        for history in [items, expected.clone()] {
            stand.will(Reply::Json(StatusCode::OK, whole(&[says("ok")])));
            let history = [history.as_slice(), &[(speech().said)("go on")]].concat();
            stand.ask_at(speech().whole_path, &asking(speech(), false, &tools, &history)).await;
            assert_eq!(stand.request(stand.requests() - 1)["input"][1], left);
        }
    }
}

#[tokio::test]
async fn what_nobody_offered_or_what_pretends_to_be_another_is_an_error() {
    let wrong = |key: &str, value: Value, mut item: Value| {
        item[key] = value;
        item
    };
    let items = [
        vec![ran("x")],
        vec![wrong("type", "file_search_call".into(), searched("x"))],
        vec![wrong("type", "mcp_call".into(), searched("x"))],
        vec![wrong("type", "image_generation_call".into(), searched("x"))],
        vec![wrong("type", "shell_call".into(), searched("x"))],
        vec![wrong("id", "".into(), searched("x"))],
    ];
    let mut streams: Vec<String> = items.iter().map(|items| streamed(items)).collect();
    // The whole response says something else, which nobody judged; so does the begin of an item, or an event about it.
    streams.push(streamed_listing(&[searched("a")], &[searched("destroy")]));
    streams.push(streamed_listing(&[searched("a")], &[searched("a"), searched("destroy")]));
    streams.push(streamed(&[searched("a")]).replacen(
        r#"{"query":"weather","type":"search"}"#,
        r#"{"query":"weather","sources":["destroy"],"type":"search"}"#,
        1,
    ));
    streams.push(streamed(&[searched("a")]).replace(
        r#""type":"response.web_search_call.searching""#,
        r#""results":["destroy"],"type":"response.web_search_call.searching""#,
    ));
    streams.push(streamed(&[searched("a")]).replace("response.web_search_call.searching", "response.mcp_call.searching"));
    streams.push(streamed(&[says("a")]).replace("response.output_item.done", "response.web_search_call.completed"));
    for stream in streams {
        let stand = listing(Dialect::Responses, &["web_search", "code_interpreter"]).await;
        stand.will(Reply::Stream(vec![stream.clone().into()]));
        let (status, body) = stand.ask_at(speech().path, &asking(speech(), true, &[search()], &[])).await;
        let got = (speech().heard)(&body);
        assert!(got.error.is_some() || status == StatusCode::BAD_GATEWAY, "{stream}: {body}");
        assert!(!got.done && !body.contains("destroy"), "{stream}: {body}");
    }
    for items in items {
        let stand = listing(Dialect::Responses, &["web_search", "code_interpreter"]).await;
        stand.will(Reply::Json(StatusCode::OK, whole(&items)));
        let (status, body) = stand.ask_at(speech().whole_path, &asking(speech(), false, &[search()], &[])).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{body}");
    }
}

#[test]
fn a_stream_with_hosted_tools_split_at_every_byte_is_the_same_stream() {
    let items = [searched("https://世.example"), says("é"), calls("ls"), ran("Grüße")];
    let request = || asking(speech(), true, &[search(), interpreter()], &[]);
    is_the_same_cut_anywhere(&streamed(&items), &|| answering(Dialect::Responses, request(), ""));
}

#[tokio::test]
async fn beside_refused_calls_it_goes_up_again_as_it_was_judged() {
    let stand = listing(Dialect::Responses, &["code_interpreter"]).await;
    let first = [ran("KEY=s3cret"), says("Now."), calls("destroy db")];
    stand.will(Reply::Stream(vec![streamed(&first).into()])).will(Reply::Stream(vec![streamed(&[says("Done.")]).into()]));
    let (_, body) = stand.ask_at(speech().path, &asking(speech(), true, &[interpreter()], &[])).await;
    let got = (speech().heard)(&body);
    assert_eq!((got.text.as_str(), got.calls.len(), got.done), ("Now.Done.", 0, true), "{body}");
    assert_eq!(stand.request(1)["input"][1], ran("KEY=[masked]"));
    assert!(stand.request(1).to_string().contains("destroy db"));
}
