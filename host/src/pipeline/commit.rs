//! The end of an attempt: the agent's result is input; it is checked, judged at the output gate, and committed. Where a
//! request is still open the task is parked instead.

use serde_json::{Map, Value, json};

use super::{Pipeline, limit, prepare};
use crate::approval::request::{Approval, Item, Standing, call_key, grounds};
use crate::approval::tally::covers;
use crate::env;
use crate::executor::workspace::Changes;
use crate::executor::{Ended, How, ResultFile, StopReason};
use crate::gates::ToolCall;
use crate::gates::running::Running;
use crate::gates::screen::Keep;
use crate::policy::contract::{Demand, Gate, Subject, Verdict};
use crate::policy::{Judgment, Stopped};
use crate::store::StoreError;
use crate::store::tasks::Patch;
use crate::task::state::Happening;
use crate::task::{EndedBy, Reason, Status, Task, shortened};

/// What of a result is kept; everything else that an agent writes is dropped.
const FIELDS: [&str; 7] = ["status", "summary", "feedback", "artifacts", "errors", "plan", "workflow"];
pub(super) const MAX_PLAN: usize = 100;
const WITHHELD: &str = "withheld.json";

impl Pipeline {
    /// Ends or parks the task by how its attempt ended.
    pub(super) async fn commit(
        &self,
        task: &Task,
        running: &Running,
        ended: &Ended,
        changes: &Changes,
    ) -> Result<(), StoreError> {
        let exit = wording(&ended.how);
        if let Some(approval) = self.open_request(running).await? {
            return self.park(task, approval, exit).await;
        }
        if let Some(question) = running.question() {
            return self.ask_submitter(&task.id, &question, Some(exit)).await;
        }
        if let Some(denied) = self.refused_request(running).await?
            && (ended.how == How::Stopped(StopReason::Parked)
                || matches!(&ended.result, ResultFile::Valid(r) if r.get("status").is_some_and(|s| s == "needs_approval")))
        {
            let reason = super::resume::denied(&denied);
            return self.finish(&task.id, Happening::End(Status::Denied, reason), patch(exit)).await;
        }
        let result = match (&ended.how, &ended.result) {
            (How::Stopped(_), _) => Err(limit("interrupted", format!("interrupted at {}: {exit}", env::rfc3339(env::now_ms())))),
            (How::TimedOut, ResultFile::Missing | ResultFile::Invalid { .. }) => {
                let reason = limit("deadline", format!("its {} s ran out", task.timeout_s));
                return self.finish(&task.id, Happening::End(Status::TimedOut, reason), patch(exit)).await;
            }
            (_, ResultFile::Valid(result)) => Ok(result),
            (_, ResultFile::Missing) => Err(agent("no-result", format!("the agent ended without a result ({exit})"))),
            (_, ResultFile::Invalid { why }) => {
                Err(agent("bad-result", format!("the agent's result.json cannot be taken: {why}")))
            }
        };
        match result {
            Ok(result) => self.commit_result(task, running, result, changes, exit).await,
            Err(reason) => self.finish(&task.id, Happening::End(Status::Failed, reason), patch(exit)).await,
        }
    }

    /// A request that was not decided while its call was held, and has not been refused since.
    async fn open_request(&self, running: &Running) -> Result<Option<Approval>, StoreError> {
        for id in running.parked() {
            let approval = self.0.parts.store.call(move |s| s.approval(&id)).await?;
            match approval.standing {
                Standing::Open | Standing::Approved => return Ok(Some(approval)),
                Standing::Denied | Standing::Expired | Standing::Consumed | Standing::Withdrawn => {}
            }
        }
        Ok(None)
    }

    /// A request that people refused after its call was parked.
    async fn refused_request(&self, running: &Running) -> Result<Option<Approval>, StoreError> {
        let Some(id) = running.parked().pop() else { return Ok(None) };
        let approval = self.0.parts.store.call(move |s| s.approval(&id)).await?;
        Ok((approval.standing == Standing::Denied).then_some(approval))
    }

    async fn park(&self, task: &Task, approval: Approval, exit: String) -> Result<(), StoreError> {
        let body = json!({ "approval": approval.id.as_str() });
        self.finish(&task.id, Happening::Park, Patch { exit: Some(exit), body: Some(body), result: None }).await?;
        // It may have been decided between the last look and the step.
        let id = approval.id.clone();
        let now = self.0.parts.store.call(move |s| s.approval(&id)).await?;
        self.decided(&now).await
    }

    /// Judges the result as a whole and does what its status asks for.
    async fn commit_result(
        &self,
        task: &Task,
        running: &Running,
        raw: &Map<String, Value>,
        changes: &Changes,
        exit: String,
    ) -> Result<(), StoreError> {
        let mut result: Map<String, Value> =
            raw.iter().filter(|(name, _)| FIELDS.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect();
        result.insert("files_changed".into(), json!(changes.files));
        let content = Value::Object(result).to_string();
        let judgment =
            self.0.parts.gates.judge(running, Subject::Output { content }, &running.workspace.display().to_string()).await?;
        match judgment.cleared().map_err(|stopped| *stopped) {
            Ok(cleared) => match serde_json::from_str::<Value>(cleared.get()) {
                Ok(Value::Object(result)) => self.settle(task, running, result, exit).await,
                _ => {
                    self.finish(
                        &task.id,
                        Happening::End(Status::Failed, limit("bad-filter", "a policy left a result that is not an object")),
                        patch(exit),
                    )
                    .await
                }
            },
            Err((_, Stopped::Deny(findings))) => {
                let first = findings.first();
                let reason = Reason {
                    by: EndedBy::Policy,
                    code: first.map_or_else(|| "policy".into(), |f| f.code.clone()),
                    text: first.map_or_else(
                        || "the result was withheld by policy".into(),
                        |f| format!("the result was withheld: {}", f.message),
                    ),
                };
                self.finish(&task.id, Happening::End(Status::Failed, reason), patch(exit)).await
            }
            Err((judgment, Stopped::NeedsApproval(demand))) => self.withhold(task, running, &judgment, &demand, exit).await,
        }
    }

    /// Ends, asks or parks by the status that the agent gives.
    async fn settle(&self, task: &Task, running: &Running, result: Map<String, Value>, exit: String) -> Result<(), StoreError> {
        let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (status, summary, feedback) = (text("status"), shortened(&text("summary")), text("feedback"));
        let plan = plan_of(&result);
        let patch = Patch { result: Some(Value::Object(result)), exit: Some(exit), body: None };
        let end = |status, reason| Happening::End(status, reason);
        let happening = match status.as_str() {
            "completed" | "done" => end(Status::Completed, agent("completed", summary)),
            "info_needed" if !feedback.trim().is_empty() => Happening::Ask,
            "info_needed" => {
                end(Status::Failed, agent("no-feedback", "the agent needs information and did not say which".into()))
            }
            "needs_approval" => return self.declared(task, running, summary, plan, patch).await,
            "failed" => end(Status::Failed, agent("failed", summary)),
            other => end(
                Status::Failed,
                agent(
                    "bad-status",
                    format!(
                        "the agent's result has the unknown status '{}'",
                        other.chars().take(80).collect::<String>().escape_default()
                    ),
                ),
            ),
        };
        self.finish(&task.id, happening, patch).await
    }

    /// The agent declares what it would do and ends: people decide on it; approved calls can be made in the next attempt.
    async fn declared(
        &self,
        task: &Task,
        running: &Running,
        summary: String,
        plan: Vec<ToolCall>,
        patch: Patch,
    ) -> Result<(), StoreError> {
        let gates = &self.0.parts.gates;
        let (mut items, mut demands, mut last) = (Vec::new(), Vec::new(), None);
        for call in &plan {
            let (item, demand, judgment) = match gates.judge_declared(running, call).await? {
                Ok(judged) => judged,
                Err(message) => {
                    let reason = Reason { by: EndedBy::Policy, code: "plan-refused".into(), text: message };
                    return self.finish(&task.id, Happening::End(Status::Denied, reason), patch).await;
                }
            };
            items.push(item);
            demands.extend(demand);
            last = Some(judgment);
        }
        let judgment = match last {
            Some(judgment) => judgment,
            None => {
                // Nothing concrete: people can only say yes or no to going on.
                let screened = gates.screen(running, &summary, Keep::All).await?;
                items.push(words_item(task, screened.text.as_deref().unwrap_or("[withheld by policy]")));
                screened.judgment
            }
        };
        let mut demand = crate::gates::ask::merge_demands(&demands, gates);
        demand.reason = format!("The agent asks before it goes on: {summary}");
        let mut request = gates.request(running, &judgment, &demand, items);
        request.gate = Gate::ToolCall;
        self.park_asking(request, patch).await
    }

    /// Keeps a result that people must release, where no client can read it.
    async fn withhold(
        &self,
        task: &Task,
        running: &Running,
        judgment: &Judgment,
        demand: &Demand,
        exit: String,
    ) -> Result<(), StoreError> {
        let content = judgment.screened().to_owned();
        let path = self.0.parts.home.join("tasks").join(task.id.as_str()).join(WITHHELD);
        if let Err(e) = prepare::write_private(&path, content.as_bytes()).await {
            let reason = limit("disk", format!("the result could not be kept for approval: {e}"));
            return self.finish(&task.id, Happening::End(Status::Failed, reason), patch(exit)).await;
        }
        let item = Item {
            call_key: call_key(&task.id, Gate::Output, "output", &content, ""),
            title: "output".into(),
            instead_of: None,
            content_sha256: env::sha256_hex(content.as_bytes()),
            content: content.clone(),
            arguments: String::new(),
            working_directory: String::new(),
            marked: Vec::new(),
            grounds: grounds(&demand.findings),
        };
        let request = self.0.parts.gates.request(running, judgment, demand, vec![item]);
        let body = json!({ "approval": request.id.as_str() });
        self.park_asking(request, Patch { exit: Some(exit), body: Some(body), result: None }).await
    }

    /// Parks and asks in one step; a task that ended meanwhile asks nothing.
    async fn park_asking(&self, request: Approval, patch: Patch) -> Result<(), StoreError> {
        match self.0.parts.store.call(move |s| s.park_with_request(&request, &patch)).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// People released a withheld result: exactly those bytes, if the newest set does not refuse them.
    pub(super) async fn release_result(&self, task: &Task, approval: &Approval) -> Result<(), StoreError> {
        let path = self.0.parts.home.join("tasks").join(task.id.as_str()).join(WITHHELD);
        let content = tokio::fs::read_to_string(&path).await.unwrap_or_default();
        let same = approval.items.first().is_some_and(|i| i.content_sha256 == env::sha256_hex(content.as_bytes()));
        if !same {
            let reason = limit("withheld-lost", "the withheld result is not there any more as it was approved");
            return self.finish(&task.id, Happening::End(Status::Failed, reason), Patch::default()).await;
        };
        let running = Running::new(task.clone(), std::path::PathBuf::new());
        let judgment = self.0.parts.gates.judge(&running, Subject::Output { content }, "").await?;
        match judgment.verdict.clone() {
            Verdict::Allow { .. } => {}
            Verdict::Deny { .. } if judgment.steps.iter().any(|s| s.fault.is_some()) => return Ok(()),
            Verdict::Deny { findings } => {
                let text = findings.first().map_or_else(|| "refused by policy".into(), |f| f.message.clone());
                let reason = Reason { by: EndedBy::Policy, code: "output".into(), text };
                return self.finish(&task.id, Happening::End(Status::Failed, reason), Patch::default()).await;
            }
            Verdict::NeedsApproval(demand) => {
                let requirements = self.0.parts.gates.requirements(&demand);
                let now = grounds(&demand.findings);
                let covered =
                    covers(&approval.items[0], &approval.requirements, approval.allow_requester, &now, &requirements, &demand);
                if let Err(why) = covered {
                    return self.ask_again(approval, &judgment, &demand, &format!("asked again: {why:?}")).await;
                }
            }
        }
        let released = match crate::approval::consume(&self.0.parts.store, &approval.id, 0, judgment.decision.as_str()).await {
            Ok(consumed) => judgment.release(&consumed),
            Err(StoreError::Conflict { .. } | StoreError::Ended { .. }) => return Ok(()),
            Err(e) => return Err(e),
        };
        let Some(Value::Object(result)) = released.ok().and_then(|cleared| serde_json::from_str(cleared.get()).ok()) else {
            return self.lost(task).await;
        };
        let summary = result.get("summary").and_then(Value::as_str).unwrap_or_default().to_owned();
        let status =
            if result.get("status").and_then(Value::as_str) == Some("completed") { Status::Completed } else { Status::Failed };
        let patch = Patch { result: Some(Value::Object(result)), ..Patch::default() };
        self.finish(&task.id, Happening::End(status, agent(status.as_str(), summary)), patch).await
    }
}

/// How a run ended, in words.
fn wording(how: &How) -> String {
    match how {
        How::Exited { code } => format!("exit code {code}"),
        How::Signalled { signal } => format!("killed by signal {signal}"),
        How::ResultWritten => "its result was written and it did not exit by itself".into(),
        How::TimedOut => "its time ran out".into(),
        How::Idle => "nothing was seen of it for too long".into(),
        How::Stopped(_) => "it was stopped".into(),
        How::Lost { why } => why.clone(),
    }
}

fn patch(exit: String) -> Patch {
    Patch { exit: Some(exit), ..Patch::default() }
}

fn agent(code: &str, text: String) -> Reason {
    Reason { by: EndedBy::Agent, code: code.into(), text }
}

/// The calls of a declared plan; what is not a call is left out.
pub(super) fn plan_of(result: &Map<String, Value>) -> Vec<ToolCall> {
    let calls = result.get("plan").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    calls
        .iter()
        .take(MAX_PLAN)
        .enumerate()
        .filter_map(|(index, call)| {
            Some(ToolCall {
                id: format!("plan-{}", index + 1),
                tool: call.get("tool")?.as_str()?.to_owned(),
                arguments: call.get("arguments").cloned().unwrap_or_else(|| json!({})),
                working_directory: call.get("working_directory").and_then(Value::as_str).map(str::to_owned),
            })
        })
        .collect()
}

fn words_item(task: &Task, words: &str) -> Item {
    Item {
        call_key: call_key(&task.id, Gate::Output, "plan", words, ""),
        title: "plan".into(),
        content: words.to_owned(),
        arguments: String::new(),
        instead_of: None,
        content_sha256: env::sha256_hex(words.as_bytes()),
        working_directory: String::new(),
        marked: Vec::new(),
        grounds: std::collections::BTreeSet::new(),
    }
}
