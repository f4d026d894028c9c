//! A server on a loopback port, scripted verbs, and a client that sends raw messages.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::id::{ApprovalId, SessionId, TaskId, TokenId};
use crate::identity::{ClientInfo, Principal, Proof};
use crate::mcp::{Later, Settings, Shaped, Shaper, Verbs, router};
use crate::policy::contract::Requirement;
use crate::service::{ApprovalSummary, InboxPage, InboxQuery, ServiceError, Submission, TaskView};
use crate::task::{Status, Waiting};

pub(super) const TOKEN: &str = "Bearer coda_tok_test";
pub(super) const WORKSPACE: &str = "https://ws.example.com";
pub(super) const ORIGIN: &str = "http://localhost:6274";

pub(super) fn settings() -> Settings {
    Settings { allowed_origins: vec![ORIGIN.into()], genie_origins: vec!["ws.example.com/".into()], ..Settings::default() }
}

/// What the verbs were asked.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) principal: String,
    pub(super) client: ClientInfo,
}

/// Verbs that answer by the words of the prompt.
#[derive(Clone, Default)]
pub(super) struct Script {
    tasks: Arc<Mutex<Vec<TaskView>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// For the prompt `slow`: begun, may go on, done.
    pub(super) steps: Arc<[tokio::sync::Notify; 3]>,
}

impl Verbs for Script {
    async fn submit(&self, who: &Principal, client: &ClientInfo, submission: Submission) -> Result<TaskView, ServiceError> {
        self.seen.lock().expect("no panic").push(Seen { principal: who.name.clone(), client: client.clone() });
        match submission.prompt.as_str() {
            text if text.contains('\0') => return Err(ServiceError::Invalid("the prompt contains a NUL character".into())),
            "busy" => return Err(ServiceError::Busy("the queue is full (5 running, 20 queued): try again in a minute".into())),
            _ => {}
        }
        if submission.agent.as_deref().is_some_and(|a| a != "hermes") {
            return Err(ServiceError::Invalid("there is no agent of that name: known are hermes, runbook".into()));
        }
        if submission.workspace.is_some() {
            return Err(ServiceError::NotFound("workspace".into()));
        }
        let view = view(who, &submission.prompt);
        if submission.prompt == "slow" {
            self.steps[0].notify_one();
            self.steps[1].notified().await;
            self.steps[2].notify_one();
        }
        self.tasks.lock().expect("no panic").push(view.clone());
        Ok(view)
    }

    async fn inbox(&self, _who: &Principal, query: InboxQuery) -> Result<InboxPage, ServiceError> {
        let all = self.tasks.lock().expect("no panic").clone();
        let mut counts: std::collections::BTreeMap<String, u64> = Status::ALL.map(|s| (s.to_string(), 0)).into();
        for task in &all {
            *counts.entry(task.status.to_string()).or_default() += 1;
        }
        let wanted = |t: &TaskView| query.status.is_empty() || query.status.contains(&t.status);
        Ok(InboxPage { tasks: all.into_iter().filter(wanted).collect(), counts, next_cursor: None })
    }

    async fn task(&self, _who: &Principal, task: &TaskId) -> Result<TaskView, ServiceError> {
        let tasks = self.tasks.lock().expect("no panic");
        tasks.iter().find(|t| t.task_id == *task).cloned().ok_or_else(|| ServiceError::NotFound(format!("task {task}")))
    }
}

fn view(who: &Principal, prompt: &str) -> TaskView {
    let task_id = TaskId::new();
    let viewer_url = format!("http://127.0.0.1:8484/tasks/{task_id}");
    let (status, next) = match prompt {
        "finish" => (Status::Completed, "Read the result."),
        "needs approval" => (Status::NeedsApproval, "Ask the approvers."),
        _ => (Status::Running, "Tell the user that the task runs."),
    };
    let done = status == Status::Completed;
    let approval = (status == Status::NeedsApproval).then(|| ApprovalSummary {
        approval_id: ApprovalId::new(),
        url: "http://127.0.0.1:8484/approvals/appr_1".into(),
        requirements: vec![Requirement { role: "prod-data".into(), count: 2 }],
        expires_at: "2026-11-22T00:00:00Z".into(),
        reason: "drops a table".into(),
    });
    TaskView {
        session_id: SessionId::new(),
        waiting: approval.as_ref().map(|_| Waiting::Parked),
        principal: who.name.clone(),
        agent: "hermes".into(),
        attempt: 0,
            sandbox: None,
            resumed: None,
        acting_as: None,
        usage: None,
        prompt_summary: prompt.chars().take(100).collect(),
        summary: done.then(|| "done it".into()),
        progress: None,
        elapsed_s: 0.0,
        created_at: "2026-11-21T00:00:00Z".into(),
        previous_session_id: None,
        next: next.into(),
        reason: None,
        approval,
        feedback: None,
        result: done.then(|| {
            json!({"status": "failed", "summary": "done it", "files_changed": ["/etc/x"], "artifacts": {"n": 1}, "extra": true})
        }),
        files_changed: done.then(|| vec!["a.txt".into()]),
        warnings: Vec::new(),
        task_id,
        status,
        viewer_url,
    }
}

/// A shaper for a client that takes text only, and its ways to go wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum TextOnly {
    Never,
    Always,
    Fault,
    Lie,
}

impl Shaper for TextOnly {
    fn shape<'a>(&'a self, _client: &'a ClientInfo, _tool: &'a str, mut answer: Value) -> Later<'a, Option<Shaped>> {
        Box::pin(async move {
            match self {
                TextOnly::Never => Some(Shaped { text: answer.to_string(), structured: Some(answer) }),
                TextOnly::Always => Some(Shaped { text: "in words".into(), structured: None }),
                TextOnly::Fault => None,
                TextOnly::Lie => {
                    answer["status"] = json!("failed");
                    Some(Shaped { text: answer.to_string(), structured: Some(answer) })
                }
            }
        })
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) json: Value,
}

impl Reply {
    pub(super) fn text(&self) -> &str {
        self.json["result"]["content"][0]["text"].as_str().unwrap_or_default()
    }
}

/// A running server; it ends with the test's runtime.
pub(super) struct Server {
    pub(super) address: String,
    pub(super) script: Script,
    http: reqwest::Client,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(settings(), TextOnly::Never).await
    }

    pub(super) async fn start_with(settings: Settings, shaper: TextOnly) -> Self {
        // Whoever comes second finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let script = Script::default();
        let app = router(script.clone(), Arc::new(shaper), &settings).expect("good settings").layer(from_fn(identify));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        Self { address, script, http }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().expect("no panic").clone()
    }

    pub(super) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Reply {
        let mut request = self.http.request(method, format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        Reply { status, headers, json: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    pub(super) async fn post(&self, path: &str, headers: &[(&str, &str)], message: Value) -> Reply {
        let mut all = vec![("authorization", TOKEN)];
        all.extend_from_slice(headers);
        self.send(Method::POST, path, &all, Some(message)).await
    }

    pub(super) async fn legacy(&self, method: &str, params: Value) -> Reply {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.post("/mcp", &[], message).await
    }

    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Reply {
        self.post("/mcp", &[("mcp-protocol-version", "2025-11-25")], tool_call(tool, arguments)).await
    }

    pub(super) async fn modern(&self, method: &str, name: Option<&str>, mut params: Value) -> Reply {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "codex-mcp-client", "version": "1"},
        });
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        headers.extend(name.map(|n| ("mcp-name", n)));
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.post("/mcp", &headers, message).await
    }
}

pub(super) fn tool_call(tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

/// What the web part does: a principal where a token proves one, and no refusal.
async fn identify(mut request: Request, next: Next) -> Response {
    if request.headers().get("authorization").is_some_and(|v| v == TOKEN) {
        let principal = Principal {
            tenant: "default".into(),
            name: "ada@example.com".into(),
            grants: Vec::new(),
            proof: Proof::Token(TokenId::new()),
            access: None,
        };
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}
