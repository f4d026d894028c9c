//! What the gateway answers when it cannot answer: an HTTP status and, in words that each dialect shapes, why.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::dialect::Dialect;

/// The code of `Failure::credential_gone`.
const CREDENTIAL_GONE: &str = "credential_gone";

/// A failed request, in the words that the agent gets.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Failure {
    /// HTTP status.
    pub(in crate::gateway) status: StatusCode,
    /// A word for programs.
    pub(in crate::gateway) code: &'static str,
    /// A sentence for people.
    pub(in crate::gateway) message: String,
    /// The upstream's own words, where it is its refusal that is passed on.
    pub(in crate::gateway) said: Option<Said>,
}

/// What an upstream says of its error: a few fields that are text or a number. A body as it came could be anything, also what
/// a reader of a stream takes for a call.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::gateway) struct Said(Map<String, Value>);

impl Said {
    /// Of the body of an answer with an error status. `mask` takes out what must not show.
    pub(in crate::gateway) fn read(body: &[u8], mask: impl Fn(&str) -> String) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        // Gemini wraps it in a list.
        let body = body.get(0).unwrap_or(&body);
        let error = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
        // Databricks has a name of its own for the code.
        let names = [
            ("message", "message"),
            ("type", "type"),
            ("code", "code"),
            ("error_code", "code"),
            ("param", "param"),
            ("status", "status"),
        ];
        let mut said = Map::new();
        for (from, to) in names {
            match error.get(from) {
                Some(Value::String(text)) => said.insert(to.to_owned(), mask(text).into()),
                Some(Value::Number(number)) => said.insert(to.to_owned(), number.clone().into()),
                _ => None,
            };
        }
        said.get("message").is_some_and(Value::is_string).then_some(Self(said))
    }

    /// The error with these fields where it has none of its own.
    fn or(&self, own: Value) -> Value {
        let mut error = own;
        if let Value::Object(fields) = &mut error {
            fields.extend(self.0.clone());
        }
        error
    }
}

impl Failure {
    /// A failure of the gateway's own finding.
    pub(in crate::gateway) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), said: None }
    }

    /// The request is not what it must be.
    pub(in crate::gateway) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// No task has this token, or its access is closed.
    pub(in crate::gateway) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "no task has this token, or its access is closed")
    }

    /// A budget is used up, or what is used cannot be kept. Forbidden: agents come back after 429 and 402 alike.
    pub(in crate::gateway) fn budget(why: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "budget", why)
    }

    /// The submitter's token is gone: the task waits for a new one, and nothing else is ever sent in its place.
    pub(in crate::gateway) fn credential_gone(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, CREDENTIAL_GONE, why)
    }

    /// The upstream did not keep to its protocol, or broke off.
    pub(in crate::gateway) fn upstream(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", message)
    }

    /// Whether the submitter's token is what lacks.
    pub(in crate::gateway) fn is_credential_gone(&self) -> bool {
        self.code == CREDENTIAL_GONE
    }

    /// The body as OpenAI's clients read it.
    pub(in crate::gateway) fn openai(&self) -> Value {
        json!({"error": self.words(json!({"message": self.message, "type": "coda_gateway", "code": self.code}))})
    }

    /// The error in the upstream's words, where it has some, else in `own`.
    pub(in crate::gateway) fn words(&self, own: Value) -> Value {
        match &self.said {
            Some(said) => said.or(own),
            None => own,
        }
    }

    /// The answer, as clients of this dialect read it.
    pub(in crate::gateway) fn respond(&self, dialect: Dialect) -> Response {
        (self.status, axum::Json(dialect.error(self))).into_response()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.respond(Dialect::Chat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> Option<Value> {
        let said = Said::read(body.as_bytes(), |text| text.replace("secret/key", "[secret]"))?;
        Some(Value::Object(said.0))
    }

    #[test]
    fn of_an_error_only_words_are_passed_on() {
        let call = r#""choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"bash","arguments":"{}"}}]}}]"#;
        assert_eq!(said(&format!("{{{call}}}")), None);
        let slow = json!({"message": "slow down", "code": 429});
        let body = format!(r#"{{"error":{{"message":"slow down","code":429,"param":{{"a":1}},{call}}},{call}}}"#);
        assert_eq!(said(&body), Some(slow.clone()));
        assert_eq!(said(r#"[{"error":{"message":"slow down","code":429,"details":[{"functionCall":{}}]}}]"#), Some(slow));
        assert_eq!(said(r#"{"error_code":"X","message":"no"}"#), Some(json!({"code": "X", "message": "no"})));
        assert_eq!(said(r#"{"error":{"message":"with secret\/key"}}"#), Some(json!({"message": "with [secret]"})));
        for nothing in ["", "[]", "7", r#"{"error":"text"}"#, r#"{"error":{"message":{"a":1}}}"#] {
            assert_eq!(said(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn an_error_event_of_no_dialect_holds_a_call() {
        let body = r#"{"error":{"message":"no","type":"response.output_item.done","item":{"type":"function_call"}},"candidates":[{"content":{"parts":[{"functionCall":{"name":"bash"}}]}}]}"#;
        let failure = Failure { said: Said::read(body.as_bytes(), str::to_owned), ..Failure::upstream("x") };
        for dialect in Dialect::ALL {
            let event = dialect.error_event(&failure);
            assert!(event.contains("\"no\"") && !event.contains("functionCall") && !event.contains("\"item\""), "{event}");
        }
    }
}
