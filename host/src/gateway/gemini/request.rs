//! What the agent asks, parsed as far as the gateway must know it. Keys may come in either of the spellings that the API
//! takes; everything else in here relies on one.

use serde_json::{Map, Value};

use super::hosted::is_known;
use super::{Writer, history, parts};
use crate::gates::Pending;
use crate::gateway::Repairs;
use crate::gateway::dialect::{Answer, Clearing, Dialect, Incoming, Question};
use crate::gateway::hosted::{self, Declaration, Expected, Offered};
use crate::gateway::memory::Round;
use crate::gateway::outbound::{Outbound, Passage};

/// Fields of a part that may pass.
const PART: [&str; 9] = [
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "fileData",
    "videoMetadata",
    "mediaResolution",
    "functionCall",
    "functionResponse",
];
/// Parts of tools that run at the provider.
const HOSTED: [&str; 4] = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"];

/// A request of an agent.
#[derive(Debug)]
pub(in crate::gateway) struct Request {
    /// Everything but the contents, without hosted tools.
    frame: Map<String, Value>,
    /// As the agent wrote them, in one spelling.
    pub(super) contents: Vec<Value>,
    pub(super) repairs: Repairs,
    hosted: Vec<Declaration>,
    model: String,
    stream: bool,
}

impl Request {
    /// Reads and mends a request. `Err` is for the agent.
    pub(in crate::gateway) fn parse(incoming: Incoming<'_>) -> Result<Self, String> {
        let (model, stream) = target(incoming.target)?;
        let Value::Object(frame) = incoming.body else {
            return Err("the body is no JSON object".into());
        };
        let mut frame = camel(frame);
        let Some(Value::Array(contents)) = frame.remove("contents") else {
            return Err("contents is missing or no list".into());
        };
        if frame.get("cachedContent").is_some_and(|cached| !cached.is_null()) {
            return Err("cachedContent is not served: what is kept upstream passed no gate; send the contents".into());
        }
        let generation = frame.get("generationConfig").and_then(Value::as_object).cloned().map(camel).unwrap_or_default();
        if generation.get("candidateCount").is_some_and(|count| count.as_u64() != Some(1)) {
            return Err("candidateCount must be 1: the gateway follows one answer at a time".into());
        }
        let contents = contents.into_iter().map(content).collect::<Result<Vec<Value>, String>>()?;
        let hosted = take_hosted_tools(&mut frame);
        Ok(Self { frame, contents, repairs: incoming.repairs, hosted, model, stream })
    }

    /// Everything but the contents, as it may leave.
    pub(super) fn frame(&self, offered: &Offered) -> Map<String, Value> {
        let mut frame = self.frame.clone();
        let own = frame.remove("tools").and_then(|tools| tools.as_array().cloned()).unwrap_or_default();
        let tools: Vec<Value> = own.into_iter().chain(offered.declarations().cloned()).collect();
        if !tools.is_empty() {
            frame.insert("tools".into(), tools.into());
        }
        frame
    }
}

impl Question for Request {
    fn stream(&self) -> bool {
        self.stream
    }

    fn path(&self, model: Option<&str>) -> String {
        let model = model.unwrap_or(&self.model);
        match self.stream {
            true => format!("/models/{model}:streamGenerateContent?alt=sse"),
            false => format!("/models/{model}:generateContent"),
        }
    }

    fn hosted(&self) -> &[Declaration] {
        &self.hosted
    }

    fn compose<'a>(&'a self, by: Clearing<'a>) -> Pending<'a, Outbound> {
        Box::pin(history::compose(self, by))
    }

    fn round<'a>(&'a self, round: &'a Round, by: Clearing<'a>) -> Pending<'a, Vec<Passage>> {
        Box::pin(history::round(round, by))
    }

    fn answer(&self, _: &Repairs, expected: &Expected) -> Box<dyn Answer> {
        Box::new(Writer::new(self.stream, expected.clone()))
    }
}

/// Model and method, of `MODEL:METHOD?QUERY`.
fn target(target: &str) -> Result<(String, bool), String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (model, method) = path.rsplit_once(':').unwrap_or((path, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if model.is_empty() || !model.chars().all(is_plain) {
        return Err("the path names no model".into());
    }
    match method {
        "generateContent" => Ok((model.to_owned(), false)),
        "streamGenerateContent" if query.split('&').any(|pair| pair == "alt=sse") => Ok((model.to_owned(), true)),
        "streamGenerateContent" => Err("streams are served as events only: add ?alt=sse".into()),
        _ => Err("no such method: the gateway serves generateContent, streamGenerateContent and countTokens".into()),
    }
}

/// Keys in the spelling that answers have.
fn camel(fields: Map<String, Value>) -> Map<String, Value> {
    let rename = |(key, value): (String, Value)| {
        let mut parts = key.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        let upper = |part: &str| part[..1].to_uppercase() + &part[1..];
        let whole = parts.filter(|part| part.is_ascii() && !part.is_empty()).fold(first, |all, part| all + &upper(part));
        (whole, value)
    };
    fields.into_iter().map(rename).collect()
}

fn content(content: Value) -> Result<Value, String> {
    let Value::Object(content) = content else { return Err("a content is no object".into()) };
    let mut content = content;
    let role = content.get("role").and_then(Value::as_str).unwrap_or("user").to_owned();
    if !matches!(role.as_str(), "user" | "model" | "function") {
        return Err(format!("unknown role '{}'", role.chars().take(40).collect::<String>()));
    }
    let Some(Value::Array(parts)) = content.remove("parts") else { return Err("a content has no parts".into()) };
    let parts = parts.into_iter().map(|given| part(given, &role)).collect::<Result<Vec<_>, String>>()?;
    let role = if role == "model" { "model" } else { "user" };
    Ok(serde_json::json!({"role": role, "parts": parts.into_iter().flatten().collect::<Vec<_>>()}))
}

/// A part that may pass; `None` where it is of a hosted tool that can't be offered.
fn part(part: Value, role: &str) -> Result<Option<Value>, String> {
    let Value::Object(part) = part else { return Err("a part is no object".into()) };
    let part = camel(part);
    if part.keys().any(|key| HOSTED.contains(&key.as_str())) {
        // Never the user's to say. Whether its tool is offered is asked later.
        return Ok(Some(Value::Object(part)).filter(|part| role == "model" && is_known(part)));
    }
    if let Some(unknown) = part.keys().find(|key| !PART.contains(&key.as_str())) {
        return Err(format!("unknown part '{}'", unknown.chars().take(60).collect::<String>()));
    }
    for (key, wanted) in [("functionCall", true), ("functionResponse", false)] {
        let Some(of) = part.get(key) else { continue };
        if (role == "model") != wanted || !of.get("name").is_some_and(Value::is_string) || part.contains_key("text") {
            return Err(format!("a {key} is not whole, or in the wrong place"));
        }
    }
    Ok(Some(Value::Object(part)))
}

/// Hosted tools run at the provider, where no gate stands: they are taken out. Gives those that can be offered.
fn take_hosted_tools(frame: &mut Map<String, Value>) -> Vec<Declaration> {
    let (mut own, mut hosted) = (Vec::new(), Vec::new());
    if let Some(Value::Array(tools)) = frame.remove("tools") {
        let fields = |tool: Value| if let Value::Object(tool) = tool { camel(tool) } else { Map::new() };
        for (name, of) in tools.into_iter().flat_map(fields) {
            if name == "functionDeclarations" {
                own.push(serde_json::json!({name: of}));
            } else if let Some(tool) = hosted::known(Dialect::Gemini, &name) {
                hosted.push(Declaration { value: serde_json::json!({name.as_str(): of}), name, tool });
            }
        }
    }
    let has_own = !own.is_empty();
    if has_own {
        frame.insert("tools".into(), own.into());
    }
    if let Some(Value::Object(config)) = frame.remove("toolConfig") {
        let calling = camel(config).remove("functionCallingConfig").and_then(|calling| calling.as_object().cloned());
        if let (Some(calling), true) = (calling, has_own) {
            let mut calling = camel(calling);
            // Calls are judged whole.
            calling.remove("streamFunctionCallArguments");
            frame.insert("toolConfig".into(), serde_json::json!({"functionCallingConfig": calling}));
        }
    }
    hosted
}

/// Whether a content has nothing in it.
pub(super) fn is_empty(content: &Value) -> bool {
    parts(content).is_empty()
}
