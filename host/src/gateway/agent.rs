//! The endpoints of coda's own programs inside a task, such as the runbook agent: plan, calls, results. The same gates
//! as for model traffic, asked directly.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::failure::Failure;
use super::memory::Screened;
use super::server::{Admitted, admit, json_body};
use crate::gates::{CallVerdict, ToolCall};
use crate::usage::Owed;

/// More calls in one request are refused.
const MAX_CALLS: usize = 1000;

pub(in crate::gateway) type Answer = Result<Json<Value>, Failure>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Calls {
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    id: String,
    tool: String,
    arguments: Value,
    #[serde(default)]
    working_directory: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolResult {
    call_id: String,
    tool: String,
    content: String,
}

pub(in crate::gateway) fn parse<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Failure> {
    serde_json::from_value(body).map_err(|e| Failure::invalid(format!("the body is not as it must be: {e}")))
}

fn parse_calls(body: Value) -> Result<Vec<ToolCall>, Failure> {
    let Calls { calls } = parse(body)?;
    if calls.len() > MAX_CALLS {
        return Err(Failure::invalid(format!("{} calls at once, {MAX_CALLS} is the most", calls.len())));
    }
    let call = |c: Call| ToolCall { id: c.id, tool: c.tool, arguments: c.arguments, working_directory: c.working_directory };
    Ok(calls.into_iter().map(call).collect())
}

/// Work for a task whose access stays open meanwhile.
pub(in crate::gateway) async fn while_open<T>(admitted: &Admitted, work: impl Future<Output = T>) -> Result<T, Failure> {
    admitted.session.asked(None);
    tokio::select! {
        done = work => Ok(done),
        () = admitted.session.closed.cancelled() => Err(Failure::unauthenticated()),
    }
}

/// Declares calls, so that what is held is held before the first one runs.
pub(in crate::gateway) async fn plan(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    let admitted = admit(&shared, &headers)?;
    let calls = parse_calls(json_body(&shared, body).await?)?;
    let task = &admitted.session.task;
    Ok(Json(match while_open(&admitted, shared.gates.judge_plan(task, calls)).await? {
        Ok(()) => json!({"ok": true}),
        Err(message) => json!({"ok": false, "message": message}),
    }))
}

/// Asks whether calls may run. Answers when it is decided.
pub(in crate::gateway) async fn calls(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    let admitted = admit(&shared, &headers)?;
    let asked = parse_calls(json_body(&shared, body).await?)?;
    // No answer of a model made these.
    let owed = Owed::default();
    let judged = while_open(&admitted, shared.gates.judge_calls(&admitted.session.task, asked.clone(), &owed)).await?;
    let verdicts = judged.map_err(Failure::budget)?;
    if verdicts.len() != asked.len() {
        tracing::error!(task.id = %admitted.session.task, "verdicts do not match the calls");
        let refusal = json!({"verdict": "refuse", "message": "the call could not be judged; the host's log says why"});
        return Ok(Json(json!({"verdicts": vec![refusal; asked.len()]})));
    }
    let verdicts: Vec<Value> = verdicts.into_iter().zip(&asked).map(|(verdict, asked)| verdict_value(verdict, asked)).collect();
    Ok(Json(json!({"verdicts": verdicts})))
}

fn verdict_value(verdict: CallVerdict, asked: &ToolCall) -> Value {
    match verdict {
        CallVerdict::Run(cleared) => {
            let call = cleared.into_inner();
            if call.id != asked.id || call.tool != asked.tool || call.arguments != asked.arguments {
                // These programs run what they asked about, so a changed call can't be granted to them.
                return json!({"verdict": "refuse", "message": "the verdict was about another call"});
            }
            json!({"verdict": "run"})
        }
        CallVerdict::Refuse { message } => json!({"verdict": "refuse", "message": message}),
        CallVerdict::Park { approval, message } => {
            json!({"verdict": "park", "message": message, "approval_id": approval.as_str()})
        }
    }
}

/// The calls of all attempts so far.
pub(in crate::gateway) async fn calls_so_far(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    let admitted = admit(&shared, &headers)?;
    let calls = while_open(&admitted, shared.gates.calls_so_far(&admitted.session.task)).await?;
    let calls = calls.map_err(|why| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why))?;
    Ok(Json(json!({"calls": calls})))
}

/// Asks what may be read of a call's result.
pub(in crate::gateway) async fn results(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    let admitted = admit(&shared, &headers)?;
    let result: ToolResult = parse(json_body(&shared, body).await?)?;
    let screening = admitted.session.screen(&*shared.gates, &result.call_id, &result.tool, &result.content);
    Ok(Json(match while_open(&admitted, screening).await? {
        Screened::Deliver(text) => json!({"verdict": "deliver", "content": text.into_inner()}),
        Screened::Withhold(message) => json!({"verdict": "withhold", "message": message}),
    }))
}
