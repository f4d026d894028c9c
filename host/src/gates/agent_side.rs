//! The gates as the gateway calls them: `ToolGates` for the gatekeeper.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::ask::{Ask, ask_call, item_of, merge_demands, refusal};
use super::egress::TunnelNote;
use super::keeper::{Gatekeeper, Passed};
use super::running::Running;
use super::shown;
use super::{CallVerdict, PastCall, Pending, ResultVerdict, ToolCall, ToolGates};
use crate::approval::request::{Item, Standing, call_key};
use crate::env;
use crate::executor::StopReason;
use crate::id::TaskId;
use crate::policy::contract::{Demand, Gate, Subject, Verdict};
use crate::policy::{Cleared, Judgment};
use crate::store::StoreError;
use crate::store::calls::{Once, Release};
use crate::store::items::{MAX_ITEMS, Match};
use crate::usage::{Owed, Spent};

/// What a submitter is asked whose access token is gone.
#[must_use]
pub(crate) fn asking_for_credential(why: &str) -> String {
    format!(
        "This task acts with your own access token, and {why}. Answer it from where your token is forwarded (coda's pages, or an \
         MCP client behind the same proxy: coda_run with previous_session_id), and it goes on. It never acts with another identity."
    )
}

const NOT_RUNNING: &str = "refused: the task is not running any more";

impl ToolGates for Gatekeeper {
    fn judge_calls<'a>(
        &'a self,
        task: &'a TaskId,
        calls: Vec<ToolCall>,
        owed: &'a Owed,
    ) -> Pending<'a, Result<Vec<CallVerdict>, String>> {
        Box::pin(async move {
            let Some(running) = self.running(task) else {
                return Ok(calls.iter().map(|_| CallVerdict::Refuse { message: NOT_RUNNING.into() }).collect());
            };
            self.judge_together(&running, calls, owed).await
        })
    }

    fn judge_hooked<'a>(&'a self, task: &'a TaskId, call: ToolCall, wait: Duration) -> Pending<'a, CallVerdict> {
        Box::pin(async move {
            match self.running(task) {
                Some(running) => self.judge_hooked_call(&running, call, wait).await,
                None => CallVerdict::Refuse { message: NOT_RUNNING.into() },
            }
        })
    }

    fn workspace(&self, task: &TaskId) -> Option<PathBuf> {
        self.running(task).map(|running| running.workspace.clone())
    }

    fn note_activity(&self, task: &TaskId) {
        if let Some(control) = self.running(task).and_then(|running| running.control()) {
            control.note_activity();
        }
    }

    fn judge_plan<'a>(&'a self, task: &'a TaskId, calls: Vec<ToolCall>) -> Pending<'a, Result<(), String>> {
        Box::pin(async move {
            let running = self.running(task).ok_or_else(|| NOT_RUNNING.to_owned())?;
            self.plan(&running, &calls).await.unwrap_or_else(|e| {
                tracing::error!(task.id = %task, error = %e, "a plan could not be judged");
                Err("refused: coda could not record the decision; try again later".into())
            })
        })
    }

    fn judge_hosted<'a>(
        &'a self,
        task: &'a TaskId,
        tool: &'a str,
        declaration: &'a Value,
    ) -> Pending<'a, Option<Cleared<Value>>> {
        Box::pin(async move {
            let running = self.running(task)?;
            self.judge_declared_tool(&running, tool, declaration).await
        })
    }

    fn judge_result<'a>(
        &'a self,
        task: &'a TaskId,
        call_id: &'a str,
        tool: &'a str,
        content: String,
    ) -> Pending<'a, ResultVerdict> {
        Box::pin(async move {
            let Some(running) = self.running(task) else { return ResultVerdict::Withhold { message: NOT_RUNNING.into() } };
            let key = call_key(task, Gate::ToolResult, tool, &env::sha256_hex(content.as_bytes()), call_id);
            let subject = Subject::ToolResult { call_id: call_id.to_owned(), tool: tool.to_owned(), content };
            let ask = Ask {
                subject,
                working_directory: running.workspace.display().to_string(),
                key,
                title: format!("result of {tool}"),
                wait: None,
            };
            let passed = self.pass(&running, &ask).await;
            let (id, call) = (task.clone(), call_id.to_owned());
            if let Err(e) = self.store().call(move |s| s.finish_call(&id, &call)).await {
                tracing::error!(task.id = %task, error = %e, "a finished call could not be noted");
            }
            match passed {
                Passed::Cleared(text) => ResultVerdict::Deliver(text),
                Passed::Refused(message) | Passed::Parked(_, message) => ResultVerdict::Withhold { message },
            }
        })
    }

    fn calls_so_far<'a>(&'a self, task: &'a TaskId) -> Pending<'a, Result<Vec<PastCall>, String>> {
        Box::pin(async move {
            let id = task.clone();
            self.store().call(move |s| s.calls(&id)).await.map_err(|e| {
                tracing::error!(task.id = %task, error = %e, "the calls of a task could not be read");
                "the calls so far cannot be read now".to_owned()
            })
        })
    }

    fn note_tunnel<'a>(&'a self, task: &'a TaskId, note: TunnelNote) -> Pending<'a, Result<(), ()>> {
        Box::pin(async move {
            let id = task.clone();
            self.store().call(move |s| s.note_tunnel(&id, &note)).await.map_err(|e| {
                tracing::error!(task.id = %task, error = %e, "what happened to a tunnel could not be put on record");
            })
        })
    }

    fn credential_gone(&self, task: &TaskId, why: &str) {
        let Some(running) = self.running(task) else { return };
        tracing::info!(task.id = %task, "the submitter's access token is gone; the task waits for another");
        running.ask(asking_for_credential(why));
        // One that is still starting finds the question when it has its control.
        if let Some(control) = running.control() {
            control.stop(StopReason::Parked);
        }
    }

    fn may_spend<'a>(&'a self, task: &'a TaskId) -> Pending<'a, Result<(), String>> {
        Box::pin(async move {
            let running = self.running(task).ok_or_else(|| NOT_RUNNING.to_owned())?;
            if self.settings().budgets.are_none(&running.task.agent) { Ok(()) } else { Gatekeeper::spend(self, task, None).await }
        })
    }

    fn spend<'a>(&'a self, task: &'a TaskId, spent: Spent) -> Pending<'a, Result<(), String>> {
        Box::pin(Gatekeeper::spend(self, task, Some(spent)))
    }
}

pub(super) const NOT_JSON: &str = "refused: a policy rewrote the arguments into something that is not JSON";

/// The call that runs: where a policy rewrote the arguments, the rewritten ones.
pub(super) fn as_cleared(call: &ToolCall, cleared: &Cleared<String>) -> serde_json::Result<ToolCall> {
    Ok(ToolCall { arguments: serde_json::from_str(cleared.get())?, ..call.clone() })
}

/// How the release of a call is noted.
pub(super) fn release_of(running: &Running, call: &ToolCall, ask: &Ask) -> Release {
    let once = if running.task.agent == "runbook" { Once::PerTask } else { Once::PerAttempt };
    Release { call_id: call.id.clone(), call_key: ask.key.clone(), tool: call.tool.clone(), once }
}

impl Gatekeeper {
    async fn judge_hooked_call(&self, running: &Arc<Running>, call: ToolCall, wait: Duration) -> CallVerdict {
        let ask = Ask { wait: Some(wait), ..ask_call(running, &call) };
        let passed = self.pass(running, &ask).await;
        self.release(running, call, &ask, passed).await
    }

    /// What becomes of a call that passed, or did not.
    pub(super) async fn release(&self, running: &Running, call: ToolCall, ask: &Ask, passed: Passed) -> CallVerdict {
        let cleared = match passed {
            Passed::Cleared(cleared) => cleared,
            Passed::Refused(message) => return CallVerdict::Refuse { message },
            Passed::Parked(approval, message) => return CallVerdict::Park { approval, message },
        };
        let Ok(rewritten) = as_cleared(&call, &cleared) else { return CallVerdict::Refuse { message: NOT_JSON.into() } };
        let (task, wanted) = (running.task.id.clone(), release_of(running, &call, ask));
        match self.store().call(move |s| s.release_call(&task, &wanted)).await {
            Ok(()) => {
                running.count_call();
                CallVerdict::Run(cleared.wrap(|_| rewritten))
            }
            Err(e @ (StoreError::Conflict { .. } | StoreError::Ended { .. })) => {
                CallVerdict::Refuse { message: format!("refused: {e}") }
            }
            Err(e) => {
                tracing::error!(task.id = %running.task.id, error = %e, "a release could not be noted");
                CallVerdict::Refuse { message: "refused: coda could not record the release; try again later".into() }
            }
        }
    }

    /// A call of a plan that an agent declared at its end. `Err` where a policy refuses it outright.
    pub(crate) async fn judge_declared(
        &self,
        running: &Running,
        call: &ToolCall,
    ) -> Result<Result<(Item, Option<Demand>, Judgment), String>, StoreError> {
        let ask = ask_call(running, call);
        if let Some(found) = self.found(running, &ask).await?.filter(Match::is_refused) {
            return Ok(Err(self.denial(&found.approval.id, Some(&ask.key)).await?));
        }
        let judgment = self.judge(running, ask.subject.clone(), &ask.working_directory).await?;
        Ok(match judgment.verdict.clone() {
            Verdict::Deny { findings } => Err(refusal(&findings)),
            Verdict::NeedsApproval(demand) => {
                let item = item_of(&ask, &judgment, &demand.findings);
                let seen = shown::demand(&demand, &ask.subject, &judgment.findings);
                Ok((item, Some(seen), judgment))
            }
            Verdict::Allow { findings } => Ok((item_of(&ask, &judgment, &findings), None, judgment)),
        })
    }

    /// One request for everything in a plan that people must decide, before any of it runs.
    async fn plan(&self, running: &Arc<Running>, calls: &[ToolCall]) -> Result<Result<(), String>, StoreError> {
        let began = Instant::now();
        let mut changes = self.subscribe();
        let (mut items, mut demands, mut last) = (Vec::new(), Vec::new(), None);
        for call in calls {
            let ask = ask_call(running, call);
            let judgment = self.judge(running, ask.subject.clone(), &ask.working_directory).await?;
            match judgment.verdict.clone() {
                Verdict::Allow { .. } => {}
                Verdict::Deny { findings } => return Ok(Err(format!("{} ({})", refusal(&findings), call.id))),
                Verdict::NeedsApproval(demand) => {
                    match self.found(running, &ask).await? {
                        Some(found) if found.is_refused() => {
                            let refused = self.denial(&found.approval.id, Some(&ask.key)).await?;
                            return Ok(Err(format!("{refused} ({})", call.id)));
                        }
                        Some(found) if found.approval.standing == Standing::Approved => continue,
                        _ => {}
                    }
                    if items.len() == MAX_ITEMS {
                        return Ok(Err(format!(
                            "refused: people decide on at most {MAX_ITEMS} steps of one plan; make it shorter"
                        )));
                    }
                    items.push(item_of(&ask, &judgment, &demand.findings));
                    demands.push(shown::demand(&demand, &ask.subject, &judgment.findings));
                    last = Some(judgment);
                }
            }
        }
        let Some(judgment) = last else { return Ok(Ok(())) };
        let request = self.request(running, &judgment, &merge_demands(&demands, self), items);
        let id = request.id.clone();
        self.store().call(move |s| s.request_approval(&request)).await?;
        let deadline = began + self.longest_hold(&running.task.agent, None).await;
        self.hold_for(running, &id, &mut changes, deadline).await
    }
}
