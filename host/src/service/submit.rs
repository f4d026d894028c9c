//! Handing a task over: checked, judged, made durable, answered.

use std::collections::BTreeMap;

use serde_json::Value;

use super::views::{Submission, TaskView};
use super::{Service, ServiceError, whole};
use crate::approval::request::{Approval, Item, Standing, call_key, grounds};
use crate::env;
use crate::gates::running::event_of;
use crate::id::{ApprovalId, SessionId, TaskId};
use crate::identity::{AccessToken, ClientInfo, Principal, Role};
use crate::policy::contract::{Demand, Finding, Gate, Subject, Usage, Verdict};
use crate::policy::{Judgment, Stopped};
use crate::store::accept::{Accepted, Bounds};
use crate::store::decisions::{DecisionRecord, merge_marks};
use crate::task::{EndedBy, Reason, Status, Task, Waiting};

impl Service {
    /// Judges the prompt, accepts the task durably and answers at once. A prompt that a policy denies is an accepted
    /// task with status `denied`: it has an id, a reason and a place in the inbox.
    pub async fn submit(&self, who: &Principal, client: &ClientInfo, submission: Submission) -> Result<TaskView, ServiceError> {
        let mut warnings = Vec::new();
        let mut task = self.draft(who, client, &submission, &mut warnings).await?;
        let mut records = Vec::from_iter(self.judge_context(&mut task).await?);
        let subject = Subject::Prompt { text: task.prompt.clone(), context: task.context.clone() };
        let judgment = self.0.policies.judge(event_of(&task, task.marks.clone(), 0, subject, "")).await;
        task.marks = merge_marks(task.marks, &judgment.marks);
        let screened = judgment.screened().to_owned();
        records.push(DecisionRecord::of(&judgment, &task.tenant, &task.id, task.created_ms, screened.clone()));
        task.prompt.clone_from(&screened);
        let approval = self.settle(&mut task, judgment);
        let settings = &self.0.settings;
        let budgets = self.0.gates.settings().budgets.clone();
        let bounds = Bounds { queued: settings.max_queued, per_principal: settings.max_open_per_principal, budgets };
        let key = submission.idempotency_key.clone();
        let (this, access) = (self.clone(), self.access_for(&task, who));
        let (task, existed) = whole(async move {
            let id = task.id.clone();
            // Before the task can start.
            this.keep_access(&id, access.clone())?;
            let accepted = this.0.store.call(move |s| s.accept(&task, key.as_deref(), &records, approval.as_ref(), bounds)).await;
            if !matches!(accepted, Ok(Accepted::New(_))) {
                this.0.pipeline.forget_credential(&id);
            }
            let (task, existed) = match accepted? {
                Accepted::New(task) => (task, false),
                Accepted::Existing(task) => (task, true),
            };
            if existed && !task.status.is_final() {
                this.keep_access(&task.id, access)?;
            }
            this.0.pipeline.look_for_work();
            Ok((task, existed))
        })
        .await?;
        if existed {
            warnings.push("a task with this idempotency_key exists already; this is it".into());
        }
        let mut view = self.view(&task).await?;
        view.warnings = warnings;
        Ok(view)
    }

    /// The task that a submission describes, everything in it checked.
    async fn draft(
        &self,
        who: &Principal,
        client: &ClientInfo,
        asked: &Submission,
        warnings: &mut Vec<String>,
    ) -> Result<Task, ServiceError> {
        let settings = &self.0.settings;
        let agent = asked.agent.clone().filter(|a| !a.is_empty()).unwrap_or_else(|| settings.default_agent.clone());
        if !settings.agents.contains(&agent) {
            let known: Vec<&str> = settings.agents.iter().map(String::as_str).collect();
            return Err(ServiceError::Invalid(format!("unknown agent '{}': known are {}", printable(&agent), known.join(", "))));
        }
        let workspace = asked.workspace.clone().filter(|w| !w.is_empty());
        if let Some(name) = &workspace {
            let allowed = settings.workspaces.get(name).is_some_and(|p| p.is_empty() || p.contains(&who.name));
            if !allowed {
                return Err(ServiceError::Invalid(format!(
                    "unknown workspace '{}': name one that the operator configured for you, or none",
                    printable(name)
                )));
            }
        }
        let labels = settings.labels_for(&who.name, &agent, workspace.as_deref());
        if !who.has_role(Role::SUBMITTER, &labels) {
            return Err(ServiceError::Forbidden(format!("handing a task over needs the role {}", Role::SUBMITTER)));
        }
        self.check_access(&agent, who)?;
        let previous = self.previous(who, asked.previous_session_id.as_ref()).await?;
        let session = SessionId::new();
        let acting_as = settings.services.get(&agent).unwrap_or(&who.name).clone();
        Ok(Task {
            id: TaskId::new(),
            chain: previous.as_ref().map_or_else(|| session.clone(), |p| p.chain.clone()),
            previous: previous.map(|p| p.session),
            session,
            tenant: who.tenant.clone(),
            principal: who.name.clone(),
            roles: who.roles_for(&labels).into_iter().map(|r| r.0).collect(),
            client: client.clone(),
            prompt: self.prompt(&asked.prompt, warnings)?,
            context: self.context(asked.context.as_ref())?,
            workflow_protocol: asked.workflow_protocol,
            agent,
            workspace,
            permissions: asked.permissions,
            labels,
            marks: BTreeMap::new(),
            usage: Usage::default(),
            timeout_s: self.timeout(asked.timeout_s)?,
            status: Status::Queued,
            waiting: None,
            attempt: 0,
            acting_as,
            created_ms: env::now_ms(),
            started_ms: None,
            ended_ms: None,
            reason: None,
            result: None,
            progress: None,
            version: 0,
        })
    }

    /// An agent that acts as its submitter needs their token from the start.
    fn check_access(&self, agent: &str, who: &Principal) -> Result<(), ServiceError> {
        if who.access.is_some() || !self.0.pipeline.acts_as_submitter(agent) {
            return Ok(());
        }
        Err(ServiceError::Forbidden(format!(
            "tasks of '{agent}' act with your own access token, and this request carried none: hand it over through the proxy that \
             forwards it (identity.access_token_header), not with an API token"
        )))
    }

    /// The access token that a task needs, where whoever asks is its submitter and brought one.
    pub(super) fn access_for(&self, task: &Task, who: &Principal) -> Option<AccessToken> {
        let needed = self.0.pipeline.acts_as_submitter(&task.agent) && task.principal == who.name && task.tenant == who.tenant;
        who.access.clone().filter(|_| needed)
    }

    pub(super) fn keep_access(&self, task: &TaskId, access: Option<AccessToken>) -> Result<(), ServiceError> {
        let kept = access.map_or(Ok(()), |token| self.0.pipeline.keep_credential(task, token));
        kept.map_err(|too_many| ServiceError::Busy(too_many.to_string()))
    }

    /// The task that is continued; it must be the principal's own.
    async fn previous(&self, who: &Principal, session: Option<&SessionId>) -> Result<Option<Task>, ServiceError> {
        let Some(session) = session else { return Ok(None) };
        let unknown = || ServiceError::NotFound(format!("session {session}"));
        let wanted = session.clone();
        let task = self.0.store.call(move |s| s.task_by_session(&wanted)).await.map_err(|_| unknown())?;
        if task.tenant == who.tenant && task.principal == who.name { Ok(Some(task)) } else { Err(unknown()) }
    }

    fn prompt(&self, text: &str, warnings: &mut Vec<String>) -> Result<String, ServiceError> {
        let limit = self.0.settings.max_prompt_bytes;
        if text.trim().is_empty() {
            return Err(ServiceError::Invalid("prompt is empty: say what to do".into()));
        }
        if text.len() > limit {
            return Err(ServiceError::Invalid(format!(
                "prompt has {} bytes, the limit is {limit}: put long material into a file of the workspace",
                text.len()
            )));
        }
        if let Some(at) = text.find('\0') {
            return Err(ServiceError::Invalid(format!("prompt holds a NUL character at byte {at}: remove it")));
        }
        let clean = without_controls(text);
        if clean.len() != text.len() {
            warnings
                .push(format!("{} bytes of terminal control sequences were removed from the prompt", text.len() - clean.len()));
        }
        Ok(clean)
    }

    fn context(&self, context: Option<&Value>) -> Result<String, ServiceError> {
        let limit = self.0.settings.max_context_bytes;
        let text = match context {
            None | Some(Value::Null) => return Ok(String::new()),
            Some(Value::Object(map)) if map.is_empty() => return Ok(String::new()),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(String::new()),
            Some(value) => serde_json::to_string_pretty(value).map_err(|e| ServiceError::Invalid(format!("context: {e}")))?,
        };
        if text.len() > limit {
            return Err(ServiceError::Invalid(format!("context has {} bytes, the limit is {limit}", text.len())));
        }
        Ok(without_controls(&text))
    }

    fn timeout(&self, asked: Option<u64>) -> Result<u64, ServiceError> {
        let settings = &self.0.settings;
        let timeout = asked.unwrap_or(settings.timeout_s);
        if timeout == 0 || timeout > settings.max_timeout_s {
            return Err(ServiceError::Invalid(format!(
                "timeout_s is {timeout}: it must be from 1 to {}",
                settings.max_timeout_s
            )));
        }
        Ok(timeout)
    }

    /// The context is text that the agent reads: judged like the prompt, and refused where it does not pass as it is. Both
    /// are on record: what passes with its task, what does not by itself.
    async fn judge_context(&self, task: &mut Task) -> Result<Option<DecisionRecord>, ServiceError> {
        if task.context.is_empty() {
            return Ok(None);
        }
        let subject = Subject::Prompt { text: task.context.clone(), context: String::new() };
        let judgment = self.0.policies.judge(event_of(task, BTreeMap::new(), 0, subject, "")).await;
        let screened = judgment.screened().to_owned();
        let record = DecisionRecord::of(&judgment, &task.tenant, &task.id, task.created_ms, screened);
        task.marks = merge_marks(BTreeMap::new(), &judgment.marks);
        let refused = |findings: &[Finding]| format!("the context was refused: {}", why(findings));
        let message = match judgment.cleared().map_err(|stopped| stopped.1) {
            Ok(cleared) if *cleared.get() == task.context => return Ok(Some(record)),
            Ok(_) => "the context holds text that must not reach an agent, such as a secret: remove it".into(),
            Err(Stopped::Deny(findings)) => refused(&findings),
            Err(Stopped::NeedsApproval(demand)) => refused(&demand.findings),
        };
        let principal = task.principal.clone();
        self.0.store.call(move |s| s.refuse_context(&record, &principal)).await?;
        Err(ServiceError::Invalid(message))
    }

    /// Gives the draft the state that the verdict on its prompt asks for.
    fn settle(&self, task: &mut Task, judgment: Judgment) -> Option<Approval> {
        match judgment.verdict.clone() {
            Verdict::Allow { .. } => None,
            Verdict::Deny { findings } => {
                task.status = Status::Denied;
                task.ended_ms = Some(task.created_ms);
                let code = findings.first().map_or_else(|| "policy".into(), |f| f.code.clone());
                task.reason = Some(Reason { by: EndedBy::Policy, code, text: why(&findings) });
                None
            }
            Verdict::NeedsApproval(demand) => {
                task.status = Status::NeedsApproval;
                task.waiting = Some(Waiting::Parked);
                Some(self.prompt_request(task, &judgment, &demand))
            }
        }
    }

    /// The request to start a task: bound to its prompt, authorising no call.
    pub(super) fn prompt_request(&self, task: &Task, judgment: &Judgment, demand: &Demand) -> Approval {
        let gates = self.0.gates.settings();
        let content = judgment.screened().to_owned();
        let marked = demand.findings.iter().flat_map(|f| f.spans.iter().map(|(a, b)| (*a, *b, f.code.clone()))).collect();
        let item = Item {
            call_key: call_key(&task.id, Gate::Prompt, "prompt", &content, ""),
            title: "prompt".into(),
            instead_of: None,
            content_sha256: env::sha256_hex(content.as_bytes()),
            content,
            arguments: String::new(),
            working_directory: String::new(),
            marked,
            grounds: grounds(&demand.findings),
        };
        let expires_s =
            if demand.expires_after_s == 0 { gates.expires_s } else { gates.expires_s.min(u64::from(demand.expires_after_s)) };
        let now = env::now_ms();
        Approval {
            id: ApprovalId::new(),
            tenant: task.tenant.clone(),
            task: task.id.clone(),
            gate: Gate::Prompt,
            standing: Standing::Open,
            items: vec![item],
            demand: demand.clone(),
            decision: judgment.decision.clone(),
            generation: judgment.generation,
            set_digest: judgment.set_digest.clone(),
            requester: task.principal.clone(),
            requirements: self.0.gates.requirements(demand),
            allow_requester: demand.allow_requester,
            created_ms: now,
            expires_ms: now + expires_s * 1000,
            decided_ms: None,
            reason: None,
            votes: Vec::new(),
            withdrawn: std::collections::BTreeSet::new(),
        }
    }
}

/// A reason for a person, out of findings.
pub(super) fn why(findings: &[Finding]) -> String {
    let messages: Vec<String> = findings.iter().take(3).map(|f| format!("{} ({})", f.message, f.code)).collect();
    if messages.is_empty() { "refused by policy".into() } else { messages.join("; ") }
}

fn printable(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

/// Without escape sequences and other control characters; line breaks and tabs stay.
pub(super) fn without_controls(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\n' | '\t' | '\r' => clean.push(c),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// After ESC: a control sequence up to its final byte, a string up to its terminator, else one character.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.peek() {
        Some('[') => {
            rest.next();
            for c in rest.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    return;
                }
            }
        }
        Some(']' | 'P' | '_' | '^' | 'X') => {
            rest.next();
            while let Some(c) = rest.next() {
                if c == '\u{7}' {
                    return;
                }
                if c == '\u{1b}' {
                    rest.next_if_eq(&'\\');
                    return;
                }
            }
        }
        Some(_) => {
            rest.next();
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::without_controls;

    #[test]
    fn escape_sequences_go_and_text_stays() {
        assert_eq!(without_controls("a\u{1b}[31mred\u{1b}[0m b\n\tc"), "ared b\n\tc");
        assert_eq!(without_controls("x\u{1b}]0;title\u{7}y\u{1b}]52;c;aGk=\u{1b}\\z"), "xyz");
        assert_eq!(without_controls("plain ü 漢字 🦀"), "plain ü 漢字 🦀");
    }
}
