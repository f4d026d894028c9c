//! Arguments of the three tools: read by hand, so that each mistake gets a sentence that a model can act on.
//!
//! More is accepted than is listed: `email` (older clients send it; ignored, identity comes from the transport),
//! `workflow_protocol` and `idempotency_key`, `context` as text or as any JSON value, numbers and booleans as text.
//! An argument that nobody knows is an error, not a shrug: `previous_session` instead of `previous_session_id` would
//! silently run something else than was meant.

use rmcp::model::JsonObject;
use serde_json::Value;

use crate::id::{SessionId, TaskId};
use crate::policy::contract::Permissions;
use crate::service::{InboxQuery, ServiceError, Submission};
use crate::task::Status;

const EMAIL_IGNORED: &str = "email was ignored: who you are comes from the login or token of the connection";
/// How alike an unknown name must be to a known one to be suggested.
const ALIKE: f64 = 0.75;

/// A submission and what its sender should know of it.
pub(super) fn submission(arguments: JsonObject) -> Result<(Submission, Vec<String>), ServiceError> {
    let mut read = Reader::new(arguments);
    let prompt = read.text("prompt")?.ok_or_else(|| invalid("prompt is missing: say in plain words what to do"))?;
    let permissions = match read.word("permissions")?.as_deref() {
        None | Some("smart") => Permissions::Smart,
        Some("yolo") => Permissions::Yolo,
        Some(other) => return Err(invalid(&format!("permissions '{}' is neither smart nor yolo", shown(other)))),
    };
    let submission = Submission {
        prompt,
        context: read.context()?,
        previous_session_id: read.id("previous_session_id", SessionId::parse)?,
        agent: read.word("agent")?,
        workspace: read.word("workspace")?,
        permissions,
        timeout_s: read.number("timeout_s")?,
        workflow_protocol: read.boolean("workflow_protocol")?.unwrap_or(true),
        idempotency_key: read.word("idempotency_key")?,
    };
    let warnings = read.email();
    read.finish(&[
        "prompt",
        "context",
        "previous_session_id",
        "agent",
        "workspace",
        "permissions",
        "timeout_s",
        "workflow_protocol",
        "idempotency_key",
    ])?;
    Ok((submission, warnings))
}

/// An inbox query and what its sender should know of it.
pub(super) fn inbox(arguments: JsonObject) -> Result<(InboxQuery, Vec<String>), ServiceError> {
    let mut read = Reader::new(arguments);
    let limit = match read.number("limit")? {
        None => None,
        Some(n) => Some(u32::try_from(n).map_err(|_| invalid("limit is too large: at most 200"))?),
    };
    let query =
        InboxQuery { status: read.statuses()?, cursor: read.word("cursor")?, limit, all: read.boolean("all")?.unwrap_or(false) };
    let warnings = read.email();
    read.finish(&["status", "cursor", "limit", "all"])?;
    Ok((query, warnings))
}

/// Which task, and the session that the caller takes it to have.
pub(super) fn get_result(arguments: JsonObject) -> Result<(TaskId, Option<SessionId>, Vec<String>), ServiceError> {
    let mut read = Reader::new(arguments);
    let task = read.id("task_id", TaskId::parse)?.ok_or_else(|| invalid("task_id is missing: coda_inbox lists your tasks"))?;
    let session = read.id("session_id", SessionId::parse)?;
    let warnings = read.email();
    read.finish(&["task_id", "session_id"])?;
    Ok((task, session, warnings))
}

/// Takes arguments out of their object one by one; what is left over is unknown.
struct Reader(JsonObject);

impl Reader {
    fn new(arguments: JsonObject) -> Self {
        Self(arguments)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Text as it is; blank is none.
    fn text(&mut self, name: &str) -> Result<Option<String>, ServiceError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(&format!("{name} must be text"))),
        }
    }

    /// A short text without the space around it.
    fn word(&mut self, name: &str) -> Result<Option<String>, ServiceError> {
        Ok(self.text(name)?.map(|text| text.trim().to_owned()))
    }

    fn id<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ServiceError> {
        let Some(text) = self.word(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|e| invalid(&format!("{name}: {e}; coda_inbox lists your tasks with their ids")))
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, ServiceError> {
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            // 3600.0 is how some clients write an integer.
            Some(Value::Number(n)) => n.as_u64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0).and_then(whole)),
            Some(_) => None,
        };
        let number = number.filter(|n| *n > 0);
        number.map(Some).ok_or_else(|| invalid(&format!("{name} must be a whole number of at least 1")))
    }

    fn boolean(&mut self, name: &str) -> Result<Option<bool>, ServiceError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(b)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(invalid(&format!("{name} must be true or false"))),
        }
    }

    /// JSON text, or any JSON value itself; empty text and an empty object are none.
    fn context(&mut self) -> Result<Option<Value>, ServiceError> {
        let value = match self.take("context") {
            None => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => serde_json::from_str(&text).map_err(|e| {
                invalid(&format!("context is not JSON text ({e}): send JSON such as {{\"table\": \"main.sales\"}}, and put plain words into prompt"))
            })?,
            Some(value) => value,
        };
        Ok(Some(value).filter(|v| !v.is_null() && v.as_object().is_none_or(|o| !o.is_empty())))
    }

    /// One status word, several with commas, or a list of words.
    fn statuses(&mut self) -> Result<Vec<Status>, ServiceError> {
        let words = match self.take("status") {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => text,
            Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            Some(_) => return Err(invalid("status must be text")),
        };
        let read = |word: &str| Status::parse(word).ok_or_else(|| unknown_status(word));
        words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(read).collect()
    }

    fn email(&mut self) -> Vec<String> {
        match self.take("email") {
            None => Vec::new(),
            Some(Value::String(text)) if text.trim().is_empty() => Vec::new(),
            Some(_) => vec![EMAIL_IGNORED.to_owned()],
        }
    }

    fn finish(self, known: &[&str]) -> Result<(), ServiceError> {
        let Some(unknown) = self.0.into_iter().map(|(name, _)| name).find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(a, &unknown).total_cmp(&strsim::jaro_winkler(b, &unknown)));
        let way_out = match nearest.filter(|n| strsim::jaro_winkler(n, &unknown) >= ALIKE) {
            Some(nearest) => format!("did you mean '{nearest}'?"),
            None => format!("known are {}", known.join(", ")),
        };
        Err(invalid(&format!("there is no argument '{}': {way_out}", shown(&unknown))))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn whole(f: f64) -> Option<u64> {
    (0.0..=9_007_199_254_740_992.0).contains(&f).then_some(f as u64)
}

fn unknown_status(word: &str) -> ServiceError {
    let known = Status::ALL.map(Status::as_str).join(", ");
    invalid(&format!("there is no status '{}': known are {known}", shown(word)))
}

fn invalid(text: &str) -> ServiceError {
    ServiceError::Invalid(text.to_owned())
}

/// A caller's word, short and harmless to print.
fn shown(word: &str) -> String {
    word.chars().take(60).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> JsonObject {
        value.as_object().cloned().unwrap_or_default()
    }

    fn refused(arguments: Value, part: &str) {
        let error = submission(object(arguments.clone())).expect_err("it is refused");
        assert!(matches!(error, ServiceError::Invalid(_)) && error.to_string().contains(part), "{arguments}: {error}");
    }

    #[test]
    fn what_older_clients_send_is_understood() {
        let session = SessionId::new();
        let (read, warnings) = submission(object(json!({
            "prompt": "  tidy up\n", "email": "a@example.com", "context": "{\"table\": \"t\"}", "previous_session_id": session.as_str(),
            "permissions": "yolo", "timeout_s": "60", "workflow_protocol": "false", "idempotency_key": "k", "agent": "", "workspace": null,
        })))
        .expect("it reads");
        assert_eq!(read.prompt, "  tidy up\n", "verbatim");
        assert_eq!(read.context, Some(json!({"table": "t"})));
        assert_eq!((read.previous_session_id, read.timeout_s), (Some(session), Some(60)));
        assert_eq!((read.permissions, read.workflow_protocol), (Permissions::Yolo, false));
        assert_eq!((read.agent, read.workspace, read.idempotency_key.as_deref()), (None, None, Some("k")));
        assert_eq!(warnings, [EMAIL_IGNORED]);
    }

    #[test]
    fn context_is_text_or_value_and_empty_is_none() {
        for (given, read) in [
            (json!(""), None),
            (json!("{}"), None),
            (json!({}), None),
            (json!("null"), None),
            (json!({"a": 1}), Some(json!({"a": 1}))),
            (json!("[1]"), Some(json!([1]))),
        ] {
            let (submission, _) = submission(object(json!({"prompt": "x", "context": given}))).expect("it reads");
            assert_eq!(submission.context, read, "{given}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_a_way_out() {
        refused(json!({}), "prompt is missing");
        refused(json!({"prompt": " \n"}), "prompt is missing");
        refused(json!({"prompt": 7}), "prompt must be text");
        refused(json!({"prompt": "x", "context": "catalog main"}), "put plain words into prompt");
        refused(json!({"prompt": "x", "permissions": "root"}), "neither smart nor yolo");
        refused(json!({"prompt": "x", "timeout_s": 0}), "at least 1");
        refused(json!({"prompt": "x", "timeout_s": -5}), "at least 1");
        refused(json!({"prompt": "x", "timeout_s": 1.5}), "whole number");
        refused(json!({"prompt": "x", "previous_session_id": "../../etc"}), "not a session id");
        refused(json!({"prompt": "x", "previous_session": "y"}), "did you mean 'previous_session_id'?");
        refused(json!({"prompt": "x", "qqq\u{1b}": 1}), "known are prompt");
    }

    #[test]
    fn status_words_of_both_times_filter() {
        let read = |given: Value| inbox(object(json!({ "status": given }))).map(|(query, _)| query.status);
        assert_eq!(read(json!("done")).expect("it reads"), [Status::Completed]);
        assert_eq!(read(json!("timeout, failed")).expect("it reads"), [Status::TimedOut, Status::Failed]);
        assert_eq!(read(json!("")).expect("it reads"), []);
        assert!(read(json!("finished")).expect_err("unknown").to_string().contains("known are queued"));
    }
}
