//! The bundled shape: it words the answers of coda's tools for the client that reads them.
//!
//! Settings say for each shape whether structured content is sent, how long the text may be, and which fields of a tool a
//! list may carry. It leaves out and shortens; it never invents, and never drops a status, an id or an error.

use std::collections::BTreeMap;

use coda_policy::prelude::*;
use serde_json::{Map, Value};

/// Fields that lead the text, in this order, and are never shortened away.
const LEADING: &[&str] = &[
    "status",
    "waiting",
    "reason",
    "error",
    "errors",
    "task_id",
    "session_id",
    "approval_id",
    "id",
    "viewer_url",
    "next",
    "summary",
    "feedback",
];
/// Bytes of one of these that are shown at least.
const MIN_TEXT_BYTES: usize = 512;
const CUT: &str = "\n[shortened for this client; the whole is at viewer_url]";

/// See the schema for what each field means to an operator.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    shapes: BTreeMap<String, Form>,
}

/// How one kind of client takes answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Form {
    /// Whether structured content is sent beside the text.
    structured: bool,
    /// The longest text, in bytes.
    max_text_bytes: usize,
    /// The fields of a tool that a list carries; empty for all.
    tool_fields: Vec<String>,
    /// The longest description of a tool, in bytes; 0 for no limit.
    max_description_bytes: usize,
}

impl Default for Form {
    fn default() -> Self {
        Self { structured: true, max_text_bytes: 100_000, tool_fields: Vec::new(), max_description_bytes: 0 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let plain: Vec<String> = ["name", "description", "inputSchema"].map(str::to_owned).to_vec();
        // Genie Code refuses a server silently over an outputSchema or annotations. Claude Code cuts at 25,000 tokens.
        let shapes = [
            ("genie-code", Form { structured: false, max_text_bytes: 30_000, tool_fields: plain, max_description_bytes: 0 }),
            ("claude-code", Form { max_text_bytes: 60_000, ..Form::default() }),
            ("generic", Form::default()),
        ];
        Self { shapes: shapes.into_iter().map(|(name, form)| (name.to_owned(), form)).collect() }
    }
}

const SCHEMA: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"properties":{"shapes":{"type":"object","description":"By shape; a client whose shape is not here gets generic, and a shape that is left out keeps its default.","additionalProperties":{"type":"object","additionalProperties":false,"properties":{
"structured":{"type":"boolean","description":"Whether structured content is sent beside the text."},
"max_text_bytes":{"type":"integer","minimum":512,"description":"The longest text."},
"tool_fields":{"type":"array","items":{"type":"string"},"description":"The fields of a tool that a list carries; empty for all."},
"max_description_bytes":{"type":"integer","minimum":0,"description":"The longest description of a tool; 0 for no limit."}}}}}}"#;

/// The configured policy.
#[derive(Debug)]
pub struct ClientShapes {
    shapes: BTreeMap<String, Form>,
}

impl Policy for ClientShapes {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("client-shapes", env!("CARGO_PKG_VERSION")).settings_schema(SCHEMA)
    }

    fn configure(settings: Settings, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        let mut shapes = Settings::default().shapes;
        shapes.extend(settings.shapes);
        match shapes.iter().find(|(_, form)| form.max_text_bytes < MIN_TEXT_BYTES) {
            Some((name, form)) => Err(PolicyError::InvalidSettings(format!(
                "max_text_bytes of the shape {name} is {}; statuses and ids need {MIN_TEXT_BYTES}",
                form.max_text_bytes
            ))),
            None => Ok(Self { shapes }),
        }
    }
}

impl Shape for ClientShapes {
    fn output(&self, client: &ShapeClient, _tool: &str, output: &str) -> Result<Shaped, PolicyError> {
        let form = self.form(client);
        let value: Value =
            serde_json::from_str(output).map_err(|error| PolicyError::Failed(format!("the answer is not JSON: {error}")))?;
        let text = shortened(&worded(&value), form.max_text_bytes);
        Ok(Shaped { text, structured: form.structured.then(|| output.to_owned()) })
    }

    fn tools(&self, client: &ShapeClient, tools: &str) -> Result<String, PolicyError> {
        let form = self.form(client);
        let list: Vec<Value> = serde_json::from_str(tools)
            .map_err(|error| PolicyError::Failed(format!("the tools are not a JSON array: {error}")))?;
        let list: Vec<Value> = list.into_iter().map(|tool| tool_for(form, tool)).collect();
        Ok(Value::Array(list).to_string())
    }
}

impl ClientShapes {
    fn form(&self, client: &ShapeClient) -> &Form {
        // INVARIANT: `generic` is among the defaults, and settings only add to them.
        self.shapes.get(&client.shape).or_else(|| self.shapes.get("generic")).expect("the shape generic is always there")
    }
}

fn tool_for(form: &Form, tool: Value) -> Value {
    let Value::Object(fields) = tool else { return tool };
    let kept = fields.into_iter().filter(|(name, _)| form.tool_fields.is_empty() || form.tool_fields.contains(name));
    let mut kept: Map<String, Value> = kept.collect();
    if let Some(Value::String(text)) = kept.get_mut("description")
        && form.max_description_bytes > 0
    {
        text.truncate(boundary(text, form.max_description_bytes));
    }
    Value::Object(kept)
}

/// An answer as lines of `name: value`, the leading fields first; what is nested follows as JSON.
fn worded(value: &Value) -> String {
    let Value::Object(fields) = value else { return plain(value) };
    let leading = LEADING.iter().filter_map(|name| fields.get(*name).map(|value| (*name, value)));
    let rest = fields.iter().filter(|(name, _)| !LEADING.contains(&name.as_str())).map(|(name, value)| (name.as_str(), value));
    let lines: Vec<String> = leading
        .chain(rest)
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| format!("{name}: {}", plain(value)))
        .collect();
    lines.join("\n")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A text within a limit. Lines of leading fields come first, and only the tail is cut; one long line never crowds out
/// the lines of ids after it, because each leading line is first held to its share.
fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let share = (limit - CUT.len()) / (LEADING.len() + 1);
    let mut out = String::with_capacity(limit);
    for line in text.split('\n') {
        let lead = LEADING.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
        let room = (limit - CUT.len()).saturating_sub(out.len() + 1);
        let take = if lead { line.len().min(share.max(room / 4)).min(room) } else { line.len().min(room) };
        out.push_str(&line[..boundary(line, take)]);
        out.push('\n');
        if out.len() + CUT.len() >= limit {
            break;
        }
    }
    out.truncate(boundary(&out, limit - CUT.len()));
    out + CUT
}

fn boundary(text: &str, limit: usize) -> usize {
    let mut at = limit.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

coda_policy::policy!(ClientShapes: shape);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shaped(shape: &str, output: &Value) -> Shaped {
        let policy: ClientShapes = coda_policy::configured("{}").expect("the defaults are valid");
        let client = ShapeClient { shape: shape.to_owned(), ..ShapeClient::default() };
        policy.output(&client, "coda_get_result", &output.to_string()).expect("it is JSON")
    }

    #[test]
    fn genie_code_takes_flat_text_and_a_plain_list_of_tools() {
        let answer =
            shaped("genie-code", &json!({"summary": "done", "task_id": "task_1", "status": "completed", "files": ["a"]}));
        assert_eq!(
            answer,
            Shaped { text: "status: completed\ntask_id: task_1\nsummary: done\nfiles: [\"a\"]".to_owned(), structured: None }
        );
        let policy: ClientShapes = coda_policy::configured("{}").expect("the defaults are valid");
        let tools = json!([{"name": "coda_run", "description": "d", "inputSchema": {}, "outputSchema": {}, "annotations": {}}])
            .to_string();
        let client = ShapeClient { shape: "genie-code".to_owned(), ..ShapeClient::default() };
        assert_eq!(
            policy.tools(&client, &tools).expect("it is an array"),
            json!([{"name": "coda_run", "description": "d", "inputSchema": {}}]).to_string()
        );
        let generic = ShapeClient { shape: "unheard-of".to_owned(), ..ShapeClient::default() };
        assert_eq!(policy.tools(&generic, &tools).expect("it is an array"), tools);
    }

    #[test]
    fn a_long_answer_keeps_status_ids_and_errors() {
        let long = "x".repeat(500_000);
        let output = json!({"summary": long, "log": long, "feedback": long, "status": "failed", "task_id": "task_1", "errors": ["disk full"], "viewer_url": "http://x"});
        for (shape, limit) in [("genie-code", 30_000), ("claude-code", 60_000), ("generic", 100_000)] {
            let text = shaped(shape, &output).text;
            assert!(text.len() <= limit, "{shape}: {}", text.len());
            for part in ["status: failed", "task_id: task_1", "disk full", "viewer_url: http://x", "feedback: ", "[shortened"] {
                assert!(text.contains(part), "{shape} lacks {part}");
            }
        }
    }

    #[test]
    fn settings_that_leave_no_room_are_refused() {
        let answer = coda_policy::configured::<ClientShapes>(r#"{"shapes":{"generic":{"max_text_bytes":10}}}"#);
        assert!(matches!(answer, Err(PolicyError::InvalidSettings(_))));
        assert!(coda_policy::configured::<ClientShapes>(r#"{"shape":{}}"#).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_invented_and_nothing_that_matters_is_dropped(summary in "\\PC{0,200}", times in 1_usize..2000, status in "[a-z]{4,10}") {
            let output = json!({"status": status, "session_id": "sess_1", "summary": summary.repeat(times), "error": {"code": "busy"}});
            let answer = shaped("genie-code", &output);
            prop_assert!(answer.text.len() <= 30_000);
            let (first, id) = (format!("status: {status}"), "session_id: sess_1");
            prop_assert!(answer.text.starts_with(&first) && answer.text.contains(id) && answer.text.contains("busy"));
            prop_assert_eq!(shaped("claude-code", &output).structured, Some(output.to_string()));
        }
    }
}
