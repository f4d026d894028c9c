//! What the tests stand on: verdicts by script, an upstream by script, and a client.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};

pub(super) use super::heard::{Heard, heard};
use crate::gates::egress::TunnelNote;
use crate::gates::{CallVerdict, PastCall, Pending, ResultVerdict, ToolCall, ToolGates};
use crate::gateway::{Access, Credential, Dialect, Gateway, Settings, Upstream};
use crate::id::{ApprovalId, TaskId};
use crate::policy::Cleared;
use crate::usage::{Owed, Prices, Spent, Usd};

/// A test waits this long for what must happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(180);

/// Refuses what holds `destroy`, parks `later`, holds `hold` until it is let go, and allows the rest. Masks `s3cret` in
/// results and withholds what holds `withhold`. Allows a hosted tool whose declaration does not hold `destroy`.
#[derive(Default)]
pub(super) struct Gates {
    /// All calls, in the groups that they were asked in.
    pub(super) asked: Mutex<Vec<Vec<ToolCall>>>,
    /// All results, as they came.
    pub(super) results: Mutex<Vec<(String, String, String)>>,
    /// Hosted tools, by their names at the gates and their declarations.
    pub(super) hosted: Mutex<Vec<(String, Value)>>,
    /// How long each hook could wait.
    pub(super) waits: Mutex<Vec<Duration>>,
    /// Tokens.
    pub(super) usage: Mutex<(u64, u64)>,
    /// The same, answer by answer.
    pub(super) spent: watch::Sender<Vec<Spent>>,
    /// Why tasks were said to have no credential any more.
    pub(super) gone: Mutex<Vec<String>>,
    /// Said of the budget before the model is asked.
    pub(super) over: Mutex<Option<String>>,
    /// Said of the budget after its answer.
    pub(super) over_after: Mutex<Option<String>>,
    /// How often the agent was said to be at work.
    pub(super) seen_at_work: AtomicU64,
    /// What happened to tunnels.
    pub(super) tunnels: watch::Sender<Vec<TunnelNote>>,
    /// Whether nothing can be put on record.
    pub(super) unwritable: AtomicBool,
    /// Signalled when a held call is asked about.
    pub(super) held: Notify,
    /// Lets a held call go.
    pub(super) decided: Notify,
}

impl ToolGates for Gates {
    fn judge_calls<'a>(
        &'a self,
        task: &'a TaskId,
        calls: Vec<ToolCall>,
        owed: &'a Owed,
    ) -> Pending<'a, Result<Vec<CallVerdict>, String>> {
        Box::pin(async move {
            if let Some(spent) = owed.take() {
                self.spend(task, spent).await?;
            }
            self.asked.lock().expect("asked").push(calls.clone());
            let mut verdicts = Vec::new();
            for mut call in calls {
                let text = call.arguments.to_string();
                if text.contains("hold") {
                    self.held.notify_one();
                    self.decided.notified().await;
                }
                verdicts.push(if text.contains("destroy") {
                    CallVerdict::Refuse { message: format!("refused by test-rule: {} destroys", call.id) }
                } else if text.contains("later") {
                    CallVerdict::Park { approval: ApprovalId::new(), message: "parked: end your turn".into() }
                } else {
                    if text.contains("rewrite") {
                        call.arguments = json!({"command": "echo rewritten"});
                    }
                    CallVerdict::Run(Cleared::for_test(call))
                });
            }
            Ok(verdicts)
        })
    }

    fn judge_hooked<'a>(&'a self, task: &'a TaskId, call: ToolCall, wait: Duration) -> Pending<'a, CallVerdict> {
        self.waits.lock().expect("waits").push(wait);
        Box::pin(async move { self.judge_calls(task, vec![call], &Owed::default()).await.expect("no budget").remove(0) })
    }

    fn workspace(&self, _: &TaskId) -> Option<std::path::PathBuf> {
        None
    }

    fn note_activity(&self, _: &TaskId) {
        self.seen_at_work.fetch_add(1, Ordering::Relaxed);
    }

    fn note_tunnel<'a>(&'a self, _: &'a TaskId, note: TunnelNote) -> Pending<'a, Result<(), ()>> {
        self.tunnels.send_modify(|notes| notes.push(note));
        let noted = if self.unwritable.load(Ordering::Relaxed) { Err(()) } else { Ok(()) };
        Box::pin(async move { noted })
    }

    fn judge_plan<'a>(&'a self, _: &'a TaskId, calls: Vec<ToolCall>) -> Pending<'a, Result<(), String>> {
        let refused = calls.iter().any(|call| call.arguments.to_string().contains("destroy"));
        Box::pin(async move { if refused { Err("the plan destroys".into()) } else { Ok(()) } })
    }

    fn judge_hosted<'a>(&'a self, _: &'a TaskId, tool: &'a str, declaration: &'a Value) -> Pending<'a, Option<Cleared<Value>>> {
        self.hosted.lock().expect("hosted").push((tool.to_owned(), declaration.clone()));
        Box::pin(async { (!declaration.to_string().contains("destroy")).then(|| Cleared::for_test(declaration.clone())) })
    }

    fn judge_result<'a>(&'a self, _: &'a TaskId, id: &'a str, tool: &'a str, content: String) -> Pending<'a, ResultVerdict> {
        self.results.lock().expect("results").push((id.into(), tool.into(), content.clone()));
        Box::pin(async move {
            if content.contains("withhold") {
                return ResultVerdict::Withhold { message: "withheld by test-rule".into() };
            }
            ResultVerdict::Deliver(Cleared::for_test(content.replace("s3cret", "[masked]")))
        })
    }

    fn calls_so_far<'a>(&'a self, _: &'a TaskId) -> Pending<'a, Result<Vec<PastCall>, String>> {
        Box::pin(async { Ok(vec![PastCall { call_id: "step-1".into(), attempt: 1, state: "finished".into() }]) })
    }

    fn credential_gone(&self, _: &TaskId, why: &str) {
        self.gone.lock().expect("gone").push(why.to_owned());
    }

    fn may_spend<'a>(&'a self, _: &'a TaskId) -> Pending<'a, Result<(), String>> {
        Box::pin(std::future::ready(self.over.lock().expect("over").clone().map_or(Ok(()), Err)))
    }

    fn spend<'a>(&'a self, _: &'a TaskId, spent: Spent) -> Pending<'a, Result<(), String>> {
        let mut usage = self.usage.lock().expect("usage");
        usage.0 += spent.input_tokens;
        usage.1 += spent.output_tokens;
        self.spent.send_modify(|all| all.push(spent));
        Box::pin(std::future::ready(self.over_after.lock().expect("over").clone().map_or(Ok(()), Err)))
    }
}

/// One answer of the upstream.
pub(super) enum Reply {
    /// An event stream in these pieces.
    Stream(Vec<Bytes>),
    /// A JSON document.
    Json(StatusCode, Value),
    /// An event stream that the test writes; an error breaks the connection.
    Live(mpsc::Receiver<std::io::Result<Bytes>>),
}

/// What the upstream got and will answer.
#[derive(Default)]
pub(super) struct Script {
    pub(super) replies: Mutex<VecDeque<Reply>>,
    pub(super) requests: Mutex<Vec<(Value, HeaderMap)>>,
    /// Over which HTTP each of them came.
    pub(super) versions: Mutex<Vec<Version>>,
}

impl Script {
    /// The upstream's paths.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new().route("/v1/{*path}", axum::routing::post(scripted)).with_state(Arc::clone(self))
    }
}

async fn scripted(State(script): State<Arc<Script>>, version: Version, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).expect("the gateway sends JSON");
    let speech = super::speech::all().into_iter().find(|speech| body.get(speech.list).is_some());
    let broken_rule =
        if uri.path().ends_with("/chat/completions") { broken_rule } else { speech.expect("a dialect").broken_rule };
    if let Some(wrong) = broken_rule(&body) {
        return (StatusCode::BAD_REQUEST, axum::Json(json!({"error": {"message": wrong}}))).into_response();
    }
    script.versions.lock().expect("versions").push(version);
    script.requests.lock().expect("requests").push((body, headers));
    let reply = script.replies.lock().expect("replies").pop_front();
    let stream = [(header::CONTENT_TYPE, "text/event-stream")];
    match reply {
        Some(Reply::Stream(pieces)) => {
            let items = pieces.into_iter().map(Ok::<_, std::io::Error>);
            (stream, Body::from_stream(futures_util::stream::iter(items))).into_response()
        }
        Some(Reply::Json(status, body)) => (status, axum::Json(body)).into_response(),
        Some(Reply::Live(pieces)) => {
            let items = futures_util::stream::unfold(pieces, |mut pieces| async move {
                let piece = pieces.recv().await?;
                Some((piece, pieces))
            });
            (stream, Body::from_stream(items)).into_response()
        }
        None => (StatusCode::IM_A_TEAPOT, axum::Json(json!({"error": {"message": "the script is over"}}))).into_response(),
    }
}

/// The rule that strict upstreams hold a history to: calls and results go together.
pub(super) fn broken_rule(body: &Value) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    for message in body["messages"].as_array()? {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str()?.to_owned();
            let at = open.iter().position(|o| *o == id);
            let Some(at) = at else { return Some(format!("orphaned result {id}")) };
            open.remove(at);
            continue;
        }
        if !open.is_empty() {
            return Some(format!("no result for {open:?}"));
        }
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        open = calls.iter().filter_map(|c| Some(c["id"].as_str()?.to_owned())).collect();
    }
    (!open.is_empty()).then(|| format!("no result for {open:?}"))
}

/// A gateway that runs, its upstream, and a task's access.
pub(super) struct Stand {
    pub(super) gates: Arc<Gates>,
    pub(super) script: Arc<Script>,
    pub(super) gateway: Gateway,
    pub(super) access: Option<Access>,
    pub(super) client: reqwest::Client,
    base_url: String,
    dialect: Dialect,
}

impl Stand {
    pub(super) async fn new() -> Self {
        Self::with(Settings { retries: 1, ..Settings::default() }).await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        Self::speaking(Dialect::Chat, settings).await
    }

    /// Whose task has a model of this dialect.
    pub(super) async fn speaking(dialect: Dialect, settings: Settings) -> Self {
        let script = Arc::new(Script::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("http://{}/v1/", listener.local_addr().expect("bound"));
        let app = script.router();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self::before(script, base_url, dialect, settings)
    }

    /// Whose upstream is there already.
    pub(super) fn before(script: Arc<Script>, base_url: String, dialect: Dialect, settings: Settings) -> Self {
        let gates = Arc::new(Gates::default());
        let gateway = Gateway::bind(settings, Arc::clone(&gates) as Arc<dyn ToolGates>).expect("a gateway");
        let running = gateway.clone();
        tokio::spawn(async move { running.run(std::future::pending()).await });
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut stand = Self { gates, script, gateway, access: None, client, base_url, dialect };
        stand.access = Some(stand.gateway.open(TaskId::new(), envelope(), stand.upstream(), vec!["exact-secret".into()]));
        stand
    }

    pub(super) fn upstream(&self) -> Upstream {
        let credential = Some(Credential::Command(vec!["echo".into(), "upstream-key".into()]));
        let price = |text: &str| Usd::parse(text).expect("a sum");
        Upstream {
            name: "main".into(),
            prices: Some(Prices { input: price("3"), output: price("15") }),
            dialect: self.dialect,
            base_url: self.base_url.clone(),
            model: Some("real-model".into()),
            credential,
            auth: self.dialect.auth(),
        }
    }

    pub(super) fn will(&self, reply: Reply) -> &Self {
        self.script.replies.lock().expect("replies").push_back(reply);
        self
    }

    /// The upstream will stream this text and these calls.
    pub(super) fn will_stream(&self, text: &str, calls: &[(&str, &str)]) -> &Self {
        self.will(Reply::Stream(vec![streamed(text, calls).into()]))
    }

    pub(super) fn token(&self) -> &str {
        &self.access.as_ref().expect("open").token
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.client.post(format!("{}{path}", self.gateway.url())).bearer_auth(self.token()).json(body);
        tokio::time::timeout(DEADLINE, request.send()).await.expect("in time").expect("an answer")
    }

    /// Asks for a turn and gives the whole body.
    pub(super) async fn ask(&self, body: &Value) -> (StatusCode, String) {
        self.ask_at("/model/v1/chat/completions", body).await
    }

    pub(super) async fn ask_at(&self, path: &str, body: &Value) -> (StatusCode, String) {
        let response = self.post(path, body).await;
        let status = StatusCode::from_u16(response.status().as_u16()).expect("a status");
        let text = tokio::time::timeout(DEADLINE, response.text()).await.expect("in time").expect("a body");
        (status, text)
    }

    pub(super) fn request(&self, number: usize) -> Value {
        self.script.requests.lock().expect("requests")[number].0.clone()
    }

    pub(super) fn requests(&self) -> usize {
        self.script.requests.lock().expect("requests").len()
    }
}

/// What the task's agent is to do.
pub(super) fn envelope() -> Cleared<String> {
    Cleared::for_test("---CODA-TASK---\nMY-WORDS\n".into())
}

/// A request with a user's message and more after it.
pub(super) fn asking(stream: bool, more: &[Value]) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "be good"}), json!({"role": "user", "content": "go"})];
    messages.extend_from_slice(more);
    let tool = json!({"type": "function", "function": {"name": "terminal", "parameters": {"type": "object"}}});
    json!({"model": "agent-model", "stream": stream, "messages": messages, "tools": [tool]})
}

/// A call as it stands in an assistant message.
pub(super) fn call(id: &str, command: &str) -> Value {
    let arguments = json!({"command": command}).to_string();
    json!({"id": id, "type": "function", "function": {"name": "terminal", "arguments": arguments}})
}

/// An upstream's stream: text in two pieces, each call's arguments in three.
pub(super) fn streamed(text: &str, calls: &[(&str, &str)]) -> String {
    let mut out = String::from(": comment of the upstream\n\n");
    let mut event = |delta: Value, reason: Value| {
        let choice = json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
        let chunk =
            json!({"id": "up-1", "object": "chat.completion.chunk", "created": 7, "model": "real-model", "choices": choice});
        out.push_str(&format!("data: {chunk}\n\n"));
    };
    event(json!({"role": "assistant", "content": ""}), Value::Null);
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    for piece in [&text[..middle], &text[middle..]].into_iter().filter(|p| !p.is_empty()) {
        event(json!({"content": piece}), Value::Null);
    }
    for (index, (id, command)) in calls.iter().enumerate() {
        let arguments = json!({"command": command}).to_string();
        let start = json!({"index": index, "id": id, "type": "function", "function": {"name": "terminal", "arguments": ""}});
        event(json!({"tool_calls": [start]}), Value::Null);
        for piece in [&arguments[..4], &arguments[4..9], &arguments[9..]] {
            event(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), Value::Null);
        }
    }
    event(json!({}), if calls.is_empty() { "stop".into() } else { "tool_calls".into() });
    let usage = json!({"id": "up-1", "object": "chat.completion.chunk", "created": 7, "model": "real-model", "choices": [],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
    out.push_str(&format!("data: {usage}\n\ndata: [DONE]\n\n"));
    out
}
