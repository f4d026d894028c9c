//! The model gateway: the listener that stands between an agent and its model, and the authority over tool calls.
//!
//! ```text
//! agent ─ request ─► repair ─► screen results ─► upstream ─► read ─ text ──────────────► agent
//!                                  ▲                          └─ calls ─► judge ─ run ─► agent
//!                                  └──── refused call + refusal ◄──────────┘
//! ```
//! It listens on a loopback port of its own and serves whoever holds a task's token, until the task's `AccessGuard` is
//! dropped; a task with a network of its own is served on a listener inside of that, and there alone (`inside`). It decides
//! nothing: verdicts come from `ToolGates`. It never sends the agent's token upstream, nor the upstream's credential to the
//! agent. A call that nobody allowed never reaches the agent, whatever goes wrong.

mod agent;
mod chat;
mod credential;
mod dialect;
pub mod egress;
mod exchange;
mod failure;
mod forwarded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gemini;
mod hook;
mod hosted;
mod inside;
mod memory;
mod messages;
mod meter;
mod model;
mod outbound;
mod pieces;
mod record;
mod released;
pub mod replay;
mod responses;
mod results;
mod said;
mod server;
mod session;
mod sse;
mod stand_in;
#[cfg(test)]
mod tests;
mod transport;
mod turn;
mod units;
mod upstream;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use credential::Credential;
pub use dialect::{Auth, Dialect};
pub use egress::Egress;
pub use egress::way::WayOut;
pub use forwarded::{Forwarded, TooMany};
pub use hosted::HostedTools;
pub use record::Mask;
pub use said::Said;
pub use session::Heard;
pub use transport::HttpVersion;
pub use upstream::Upstream;

use tokio::sync::watch;

use crate::env;
use crate::gates::ToolGates;
use crate::id::TaskId;
use crate::task::envelope::Told;
use egress::way::{Way, Ways};
use record::Recorder;
use session::{Session, Sessions};

/// What can be configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Port on the loopback interface; 0 takes any free one.
    pub port: u16,
    /// A request of an agent may have this many bytes.
    pub max_body_bytes: usize,
    /// All that a model answers in one turn may have this many bytes.
    pub max_response_bytes: usize,
    /// Requests of one task at a time; more are answered with 429.
    pub max_requests: usize,
    /// How often one turn goes on after all its calls were refused.
    pub max_continuations: u32,
    /// Screened tool results that are remembered per task.
    pub max_remembered_results: usize,
    /// Refused calls that are remembered per task, and put back into its later requests.
    pub max_remembered_refusals: usize,
    /// Decided turns that a repeated request finds again, per task.
    pub max_remembered_turns: usize,
    /// All of them together have at most this many bytes.
    pub max_remembered_turn_bytes: usize,
    /// How long a released call is found again by the hook of its agent; 0 = never.
    pub hook_match_s: u64,
    /// A stream on which nothing happens gets a sign of life this often.
    pub keepalive_s: u64,
    /// A turn that nobody reads any more is ended after this time, unless people are deciding about it.
    pub linger_s: u64,
    /// Over which HTTP upstreams are asked.
    pub http_version: HttpVersion,
    /// Certificates in PEM of CAs that upstreams may have theirs from, besides those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Time to connect to the upstream.
    pub connect_timeout_s: u64,
    /// Time until the upstream's first byte.
    pub first_byte_timeout_s: u64,
    /// Longest silence within the upstream's answer.
    pub idle_timeout_s: u64,
    /// An HTTP/2 connection that is silent for this long while answers are open is asked for a sign of life, and given up
    /// when none comes in the same time; 0 = never.
    pub ping_s: u64,
    /// Repetitions of a request that got no byte of an answer.
    pub retries: u32,
    /// How long the output of a credential command is used again.
    pub credential_cache_s: u64,
    /// How long a credential command may take.
    pub credential_timeout_s: u64,
    /// At shutdown, how long open streams may take to end.
    pub drain_s: u64,
    /// What is mended in requests and answers.
    pub repairs: Repairs,
    /// Bytes of model traffic that are recorded per task; 0 = none.
    pub record_bytes: u64,
    /// Bounds of the tunnels to allowed hosts.
    pub egress: egress::Bounds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            max_body_bytes: 64 << 20,
            max_response_bytes: 64 << 20,
            max_requests: 32,
            max_continuations: 8,
            max_remembered_results: 4096,
            max_remembered_refusals: 1024,
            max_remembered_turns: 16,
            max_remembered_turn_bytes: 16 << 20,
            hook_match_s: 600,
            keepalive_s: 15,
            linger_s: 30,
            http_version: HttpVersion::default(),
            ca_file: None,
            connect_timeout_s: 10,
            first_byte_timeout_s: 300,
            idle_timeout_s: 300,
            ping_s: 20,
            retries: 2,
            credential_cache_s: 30,
            credential_timeout_s: 30,
            drain_s: 5,
            repairs: Repairs::default(),
            record_bytes: 0,
            egress: egress::Bounds::default(),
        }
    }
}

/// What the gateway mends so that agents and upstreams of different making understand each other. Each can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in coda.toml")]
pub struct Repairs {
    /// Blank text blocks are dropped; a message left empty goes, an assistant message keeps a dot.
    pub drop_blank_text: bool,
    /// Tool results whose call is gone are dropped.
    pub drop_orphaned_results: bool,
    /// A call whose result is gone gets one that says so.
    pub complete_missing_results: bool,
    /// A call named `databricks-tool-call` gets the name that its arguments carry.
    pub unwrap_databricks_calls: bool,
    /// A message with tool calls ends with the reason `tool_calls`.
    pub fix_finish_reason: bool,
}

impl Default for Repairs {
    fn default() -> Self {
        Self {
            drop_blank_text: true,
            drop_orphaned_results: true,
            complete_missing_results: true,
            unwrap_databricks_calls: true,
            fix_finish_reason: true,
        }
    }
}

/// How many CAs a file for `Settings::ca_file` holds. `Err` says what is wrong with it.
pub fn authorities(file: &Path) -> Result<usize, String> {
    transport::authorities(file).map(|found| found.len())
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The port is taken, or may not be used.
    #[error("the gateway cannot listen on 127.0.0.1:{port}: {source}; set another gateway port, or 0 for any free one")]
    Listen {
        /// Which port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// The HTTP client for upstreams cannot be made.
    #[error("the gateway's client for upstream models: {0}")]
    Client(String),
}

/// The listener. A handle; clones share everything.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

/// What every request needs.
pub(in crate::gateway) struct Shared {
    settings: Settings,
    gates: Arc<dyn ToolGates>,
    sessions: Sessions,
    ways: Ways,
    client: Arc<upstream::Client>,
    forwarded: Forwarded,
    /// Its own port, on the shared loopback and in every task's network.
    port: u16,
}

impl Shared {
    /// Passes on what a question to an upstream came to. Where the submitter's token lacks, the task waits for a new one.
    fn heed<T>(&self, task: &TaskId, outcome: Result<T, failure::Failure>) -> Result<T, failure::Failure> {
        if let Err(failure) = &outcome
            && failure.is_credential_gone()
        {
            self.gates.credential_gone(task, &failure.message);
        }
        outcome
    }
}

impl Gateway {
    /// Takes the port. Nothing is answered before `run`.
    pub fn bind(settings: Settings, gates: Arc<dyn ToolGates>) -> Result<Self, GatewayError> {
        let port = settings.port;
        let listen = |source| GatewayError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let client = Arc::new(upstream::Client::new(&settings).map_err(GatewayError::Client)?);
        let forwarded = Forwarded::default();
        let (sessions, ways, port) = (Sessions::default(), Ways::default(), address.port());
        let shared = Arc::new(Shared { settings, gates, sessions, ways, client, forwarded, port });
        Ok(Self { shared, listener: Arc::new(listener), address })
    }

    /// Where agents find it, without a slash at the end. Model APIs lie below `/model`, coda's own below `/agent`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The access tokens of people whose tasks act with them.
    #[must_use]
    pub fn forwarded(&self) -> &Forwarded {
        &self.shared.forwarded
    }

    /// Lets one attempt of a task in. Its agent may tell the model a stand-in, and the model gets what is `told`. `secrets`
    /// are values that must not show in what the upstream says about errors.
    #[must_use]
    pub fn open(&self, task: TaskId, told: impl Into<Told>, upstream: Upstream, secrets: Vec<String>) -> Access {
        let token = format!("coda_task_{}", env::hex(&env::random_bytes::<32>()));
        let line = upstream::Line::new(&task, upstream, secrets, &self.shared.forwarded);
        let session = Arc::new(Session::new(task, told.into(), line, &self.shared.settings));
        let key = session::token_key(&token);
        self.shared.sessions.insert(key, session);
        Access { token, guard: AccessGuard { shared: Arc::clone(&self.shared), key, way: None } }
    }

    /// Serves until `shutdown` completes, then lets open streams end for at most `drain_s`.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone()?)?;
        server::serve(listener, Arc::clone(&self.shared), shutdown).await
    }
}

/// A task's way in.
pub struct Access {
    /// The task's own secret, for the agent's environment and configuration only.
    pub token: String,
    /// Dropping it closes: later requests are answered with 401, running ones end.
    pub guard: AccessGuard,
}

impl Access {
    /// What the task's model was asked; `None` once the access is closed.
    #[must_use]
    pub fn heard(&self) -> Option<watch::Receiver<Heard>> {
        Some(self.guard.shared.sessions.of(&self.guard.key)?.heard.subscribe())
    }

    /// Lets the task reach what its profile allows. To be called once, before the task has a network of its own.
    pub fn let_out(&mut self, egress: Egress) -> WayOut {
        if egress.is_empty() {
            return WayOut::default();
        }
        let shared = &self.guard.shared;
        let Some(task) = shared.sessions.of(&self.guard.key).map(|session| session.task.clone()) else {
            return WayOut::default();
        };
        let (secret, environment) = egress::way::way_out(shared.port);
        let key = session::token_key(&secret);
        shared.ways.insert(key, Arc::new(Way::new(task, egress, &shared.settings.egress)));
        self.guard.way = Some(key);
        WayOut { secret: Some(secret), environment }
    }

    /// Lets the task's agent ask for these hosted tools. To be called once, before the agent starts.
    pub fn let_ask_for(&self, hosted: HostedTools) {
        if let Some(session) = self.guard.shared.sessions.of(&self.guard.key) {
            drop(session.hosted.set(hosted));
        }
    }

    /// Records what the task and its model say to each other, where that is switched on. To be called once, before the
    /// agent starts.
    pub fn record(&self, path: &Path, attempt: u32, mask: Mask) {
        let limit = self.guard.shared.settings.record_bytes;
        let Some(session) = self.guard.shared.sessions.of(&self.guard.key).filter(|_| limit > 0) else { return };
        match Recorder::open(path, session.task.as_str(), attempt, limit, mask) {
            Ok(recorder) => drop(session.recorder.set(Arc::new(recorder))),
            Err(e) => tracing::warn!(task.id = %session.task, error = %e, "a task's model traffic is not recorded"),
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

/// Keeps a task's access open.
pub struct AccessGuard {
    shared: Arc<Shared>,
    key: session::TokenKey,
    way: Option<session::TokenKey>,
}

impl Drop for AccessGuard {
    fn drop(&mut self) {
        self.shared.sessions.close(&self.key);
        if let Some(way) = &self.way {
            self.shared.ways.close(way);
        }
    }
}
