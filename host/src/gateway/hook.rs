//! What the agents' own hooks ask: the second lock. It sees calls that no model made, such as those of a script that an
//! agent runs with its own tools; what the gateway released moments ago passes without being asked about again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::agent::{Answer, parse, while_open};
use super::failure::Failure;
use super::memory::Screened;
use super::server::{admit, json_body};
use crate::env;
use crate::gates::{CallVerdict, ToolCall};

/// The longest that a hook may want to wait.
const MAX_WAIT_S: u64 = 3600;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Before,
    After,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    phase: Phase,
    /// The agent's id of the call, where its hooks carry one.
    #[serde(default)]
    call_id: Option<String>,
    tool: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    working_directory: Option<String>,
    /// What the tool answered: after it ran.
    #[serde(default)]
    content: Option<String>,
    /// How long the hook can wait for people.
    #[serde(default)]
    wait_s: u64,
}

/// Whether a call may run, and what may be read of its result.
pub(in crate::gateway) async fn ask(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    let admitted = admit(&shared, &headers)?;
    let asked: Asked = parse(json_body(&shared, body).await?)?;
    let session = &admitted.session;
    match asked.phase {
        Phase::Before => {
            let wait = Duration::from_secs(asked.wait_s.min(MAX_WAIT_S));
            let id = asked.call_id.unwrap_or_default();
            let call = ToolCall { id, tool: asked.tool, arguments: asked.arguments, working_directory: asked.working_directory };
            let workspace = shared.gates.workspace(&session.task).unwrap_or_default();
            if session.released.take(&call, &workspace) {
                return Ok(Json(json!({"verdict": "run"})));
            }
            // The gateway's release of the same id is on record already; this is another.
            let call = ToolCall { id: format!("hook_{}", env::hex(&env::random_bytes::<8>())), ..call };
            let verdict = while_open(&admitted, shared.gates.judge_hooked(&session.task, call.clone(), wait)).await?;
            Ok(Json(verdict_value(verdict, &call)))
        }
        Phase::After => {
            let content = asked.content.ok_or_else(|| Failure::invalid("a call that ran has content"))?;
            let id = asked.call_id.unwrap_or_default();
            let screening = session.screen(&*shared.gates, &id, &asked.tool, &content);
            Ok(Json(match while_open(&admitted, screening).await? {
                Screened::Deliver(text) => json!({"verdict": "deliver", "content": text.into_inner()}),
                Screened::Withhold(message) => json!({"verdict": "withhold", "message": message}),
            }))
        }
    }
}

fn verdict_value(verdict: CallVerdict, asked: &ToolCall) -> Value {
    match verdict {
        // A hook says yes or no: it has no way to change what runs.
        CallVerdict::Run(cleared) if *cleared.get() == *asked => json!({"verdict": "run"}),
        CallVerdict::Run(_) => json!({"verdict": "refuse", "message": "refused by coda: the verdict was about another call"}),
        CallVerdict::Refuse { message } => json!({"verdict": "refuse", "message": message}),
        CallVerdict::Park { approval, message } => json!({
            "verdict": "held", "approval_id": approval.as_str(), "message": format!("held as approval {}. {message}", approval.as_str()),
        }),
    }
}
