//! The runbook agent's way to the gates: a few requests to the loopback listener. No answer is never a permission.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::steps::Step;

/// Tool name under which steps are judged.
const TOOL: &str = "shell";
/// How often a question that the server cannot answer now is asked again, and after what pause.
const MAX_TRIES: u32 = 30;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    #[error("this is no task of coda's: {0} is not set")]
    Environment(&'static str),
    #[error("the gateway cannot be asked: {0}")]
    Unreachable(String),
    #[error("the gateway answers {status}: {said}")]
    Refused { status: u16, said: String },
    #[error("the gateway's answer makes no sense: {0}")]
    Nonsense(String),
}

/// Whether a step may run.
pub(super) enum Verdict {
    Run,
    Refuse(String),
    Park(String),
}

/// What may be kept of an output.
pub(super) enum Screened {
    Deliver(String),
    Withhold(String),
}

/// A call of this task, of any attempt.
#[derive(Debug, Deserialize)]
pub(super) struct Earlier {
    pub(super) call_id: String,
    state: String,
    pub(super) attempt: u32,
}

impl Earlier {
    pub(super) fn is_finished(&self) -> bool {
        self.state == "finished"
    }
}

pub(super) struct Gateway {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Gateway {
    pub(super) fn from_environment() -> Result<Self, GatewayError> {
        let get = |name| std::env::var(name).map_err(|_| GatewayError::Environment(name));
        // The HTTP client wants to know whose cryptography it would use, also where it uses none. Another's choice stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The listener is on this machine: a proxy from the environment must not come between. No time limit: an answer
        // may wait for people, and the task has a limit of its own.
        let client = reqwest::Client::builder().no_proxy().build().map_err(|e| GatewayError::Unreachable(e.to_string()))?;
        let url = get("CODA_GATEWAY_URL")?.trim_end_matches('/').to_owned();
        Ok(Self { client, url, token: get("CODA_GATEWAY_TOKEN")? })
    }

    /// The calls of all attempts so far; asked again while the server says that it cannot tell now.
    pub(super) async fn calls(&self) -> Result<Vec<Earlier>, GatewayError> {
        let mut tries = 0;
        let mut answer = loop {
            match self.send(self.client.get(format!("{}/agent/calls", self.url))).await {
                Err(GatewayError::Refused { status: 503, .. }) if tries < MAX_TRIES => {
                    tries += 1;
                    tokio::time::sleep(TRY_PAUSE).await;
                }
                answered => break answered?,
            }
        };
        serde_json::from_value(answer["calls"].take()).map_err(|e| GatewayError::Nonsense(e.to_string()))
    }

    /// Declares steps; `Err` inside is a refusal.
    pub(super) async fn plan(&self, steps: &[(&Step, PathBuf)]) -> Result<Result<(), String>, GatewayError> {
        let calls: Vec<Value> = steps.iter().map(|(step, cwd)| call(step, cwd)).collect();
        let answer = self.post("plan", &json!({"calls": calls})).await?;
        match answer["ok"].as_bool() {
            Some(true) => Ok(Ok(())),
            Some(false) => Ok(Err(message_of(&answer))),
            None => Err(GatewayError::Nonsense("no `ok` in the answer about the plan".into())),
        }
    }

    /// Asks whether a step may run; answers when that is decided.
    pub(super) async fn ask(&self, step: &Step, cwd: &Path) -> Result<Verdict, GatewayError> {
        let answer = self.post("calls", &json!({"calls": [call(step, cwd)]})).await?;
        let verdict = &answer["verdicts"][0];
        match verdict["verdict"].as_str() {
            Some("run") => Ok(Verdict::Run),
            Some("refuse") => Ok(Verdict::Refuse(message_of(verdict))),
            Some("park") => Ok(Verdict::Park(message_of(verdict))),
            _ => Err(GatewayError::Nonsense("no verdict on the step".into())),
        }
    }

    /// Asks what may be kept of an output.
    pub(super) async fn screen(&self, step: &Step, content: &str) -> Result<Screened, GatewayError> {
        let answer = self.post("results", &json!({"call_id": step.id, "tool": TOOL, "content": content})).await?;
        match (answer["verdict"].as_str(), answer["content"].as_str()) {
            (Some("deliver"), Some(content)) => Ok(Screened::Deliver(content.to_owned())),
            (Some("withhold"), _) => Ok(Screened::Withhold(message_of(&answer))),
            _ => Err(GatewayError::Nonsense("no verdict on the output".into())),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, GatewayError> {
        self.send(self.client.post(format!("{}/agent/{path}", self.url)).json(body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, GatewayError> {
        let unreachable = |e: reqwest::Error| GatewayError::Unreachable(e.to_string());
        let answer = request.bearer_auth(&self.token).send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        if !status.is_success() {
            let said = serde_json::from_str::<Value>(&text).ok().and_then(|v| v["error"]["message"].as_str().map(str::to_owned));
            let said = said.unwrap_or_else(|| "no reason given".into()).chars().take(500).collect();
            return Err(GatewayError::Refused { status: status.as_u16(), said });
        }
        serde_json::from_str(&text).map_err(|e| GatewayError::Nonsense(e.to_string()))
    }
}

fn call(step: &Step, cwd: &Path) -> Value {
    json!({"id": step.id, "tool": TOOL, "arguments": {"command": step.command}, "working_directory": cwd})
}

fn message_of(answer: &Value) -> String {
    answer["message"].as_str().unwrap_or("no reason given.").to_owned()
}
