//! Gemini generateContent.

use serde_json::{Value, json};

use super::{Got, Speech, events, pieces, signature};
use crate::gateway::Dialect;
use crate::gateway::gemini::Writer;
use crate::gateway::hosted::Expected;

pub(super) fn speech() -> Speech {
    Speech {
        dialect: Dialect::Gemini,
        list: "contents",
        path: "/model/gemini/v1beta/models/agent-model:streamGenerateContent?alt=sse",
        whole_path: "/model/gemini/v1beta/models/agent-model:generateContent",
        asking,
        streamed,
        whole,
        heard,
        heard_whole: |body| gathered(std::slice::from_ref(body)),
        answer: |_| Box::new(Writer::new(true, Expected::default())),
        history,
        said: |text| json!({"role": "user", "parts": [{"text": text}]}),
        broken_rule,
        last: "\"finishReason\"",
        bad_events,
        unknown_event: || json!({"weather": "fine"}),
        hosted_tool: || json!({"googleSearch": {}}),
    }
}

fn asking(_: bool, more: &[Value]) -> Value {
    let mut contents = vec![json!({"role": "user", "parts": [{"text": "go"}]})];
    contents.extend_from_slice(more);
    let tool = json!({"functionDeclarations": [{"name": "terminal", "parameters": {"type": "object"}}]});
    json!({"systemInstruction": {"parts": [{"text": "be good"}]}, "contents": contents, "tools": [tool]})
}

fn calls_of(calls: &[(&str, &str)]) -> impl Iterator<Item = Value> {
    // The first of them is signed, as this API does.
    let signed = signature("", calls);
    calls.iter().enumerate().map(move |(at, (id, command))| {
        let mut part = json!({"functionCall": {"id": id, "name": "terminal", "args": {"command": command}}});
        if at == 0 {
            part["thoughtSignature"] = signed.clone().into();
        }
        part
    })
}

fn chunk(parts: Vec<Value>, finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    let usage = json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15});
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "real-model", "responseId": "up"})
}

fn streamed(text: &str, calls: &[(&str, &str)]) -> String {
    let mut chunks = vec![chunk(vec![json!({"text": "so, so", "thought": true})], None)];
    chunks.extend(pieces(text, 4).iter().map(|piece| chunk(vec![json!({"text": piece})], None)));
    let calls: Vec<Value> = calls_of(calls).collect();
    chunks.extend(calls.chunks(2).map(|two| chunk(two.to_vec(), None)));
    chunks.push(chunk(vec![json!({"text": ""})], Some("STOP")));
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

fn whole(text: &str, calls: &[(&str, &str)]) -> Value {
    let text = Some(json!({"text": text})).filter(|_| !text.is_empty());
    chunk(text.into_iter().chain(calls_of(calls)).collect(), Some("STOP"))
}

fn heard(body: &str) -> Got {
    let chunks: Vec<Value> = events(body).into_iter().map(|(_, chunk)| chunk).collect();
    gathered(&chunks)
}

/// Texts in a row are one part, as Gemini's own client keeps them; thoughts are not kept.
fn gathered(chunks: &[Value]) -> Got {
    let mut got = Got::default();
    for chunk in chunks {
        if let Some(error) = chunk["error"]["message"].as_str() {
            got.error = Some(error.to_owned());
        }
        if let Some(id) = chunk["responseId"].as_str() {
            assert_eq!(id, "up");
        }
        got.done |= chunk["candidates"][0]["finishReason"] == "STOP";
        if let (Some(input), Some(output)) =
            (chunk["usageMetadata"]["promptTokenCount"].as_u64(), chunk["usageMetadata"]["candidatesTokenCount"].as_u64())
        {
            got.usage = (input, output);
        }
        for part in chunk["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
            if let Some(text) = part["text"].as_str().filter(|_| part["thought"] != true) {
                got.text.push_str(text);
                match got.units.last_mut().filter(|last| last["text"].is_string()) {
                    Some(last) => last["text"] = format!("{}{text}", last["text"].as_str().unwrap_or_default()).into(),
                    None if text.is_empty() => {}
                    None => got.units.push(part.clone()),
                }
            }
            if let Some(call) = part.get("functionCall") {
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                got.calls.push((text(&call["id"]), text(&call["args"]["command"])));
                got.units.push(part.clone());
            }
        }
    }
    got
}

fn history(got: &Got, results: &[(&str, &str)]) -> Vec<Value> {
    let mut contents = vec![json!({"role": "model", "parts": got.units})];
    let result =
        |(id, text): &(&str, &str)| json!({"functionResponse": {"id": id, "name": "terminal", "response": {"output": text}}});
    if !results.is_empty() {
        contents.push(json!({"role": "user", "parts": results.iter().map(result).collect::<Vec<_>>()}));
    }
    contents
}

/// A content with calls is followed by one with their responses; the calls are those that were signed.
fn broken_rule(body: &Value) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    for content in body["contents"].as_array()? {
        let parts = content["parts"].as_array()?;
        if parts.is_empty() {
            return Some("no parts".into());
        }
        let ids =
            |key: &str| -> Vec<String> { parts.iter().filter_map(|part| Some(part[key]["id"].as_str()?.to_owned())).collect() };
        let (mut given, mut asked) = (ids("functionResponse"), std::mem::take(&mut open));
        given.sort();
        asked.sort();
        if given != asked {
            return Some(format!("responses {given:?} for calls {asked:?}"));
        }
        open = ids("functionCall");
        let calls = parts.iter().filter_map(|part| part.get("functionCall"));
        let calls: Vec<(&str, &str)> = calls.filter_map(|c| Some((c["id"].as_str()?, c["args"]["command"].as_str()?))).collect();
        let signed = parts.iter().find_map(|part| part["thoughtSignature"].as_str());
        if !calls.is_empty() && signed != Some(signature("", &calls).as_str()) {
            return Some(format!("signed calls were changed: {content}"));
        }
    }
    (!open.is_empty()).then(|| format!("no response for {open:?}"))
}

fn bad_events() -> Vec<Value> {
    let part = |part: Value| json!({"candidates": [{"content": {"role": "model", "parts": [part]}}]});
    vec![
        json!([]),
        part(json!({"executableCode": {"language": "PYTHON", "code": "destroy"}})),
        part(json!({"codeExecutionResult": {"output": "destroy"}})),
        part(json!({"function_call": {"name": "terminal", "args": {"command": "destroy"}}})),
        part(json!({"functionCall": {"name": "terminal", "partialArgs": []}})),
        part(json!({"functionCall": "destroy"})),
        json!({"candidates": [{"index": 1, "content": {"parts": []}}]}),
        json!({"candidates": [{"content": {}}, {"content": {}}]}),
        json!({"candidates": [{"content": {"parts": {"functionCall": {}}}}]}),
        json!({"functionCall": {"name": "terminal"}}),
        json!({"error": {"code": 503, "message": "overloaded"}}),
    ]
}
