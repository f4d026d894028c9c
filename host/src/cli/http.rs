//! Requests to the server, with the right credential.
//!
//! A login is made once from `keys/local.key`, kept in `cli/login` and made anew when the server no longer takes it.
//! INVARIANT: the key goes to the server that holds the lock of this CODA_HOME, or to a loopback address that the user
//! named, and nowhere else.

use std::time::Duration;

pub(super) use reqwest::Method;
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::context::{CliError, Context};
use crate::home::{self, ServerState};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that has been started may take until it listens: the first start compiles the policies.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_LOOK: Duration = Duration::from_millis(100);
/// How long none may be there at all: `coda serve &` in the line before has not got to its lock yet.
const ABSENT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
const MAX_ANSWER_BYTES: usize = 64 << 20;
const MAX_SECRET_BYTES: u64 = 4_096;

/// A kept login and the server that it is for.
#[derive(Serialize, Deserialize)]
struct KeptLogin {
    address: String,
    secret: String,
}

/// One request and its JSON answer; `null` where the answer has no body.
pub(super) async fn json(context: &Context, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
    let response = send(context, method, path, body).await?;
    let bytes = whole(response).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|e| CliError::Failed(format!("the server's answer is not JSON: {e}")))
}

/// One GET, its body handed over as it comes.
pub(super) async fn stream(
    context: &Context,
    path: &str,
    take: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
) -> Result<(), CliError> {
    let mut response = send(context, Method::GET, path, None).await?;
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        take(&piece).map_err(|e| CliError::Failed(format!("cannot write: {e}")))?;
    }
    Ok(())
}

/// Where requests go.
pub(super) async fn address(context: &Context) -> Result<String, CliError> {
    Ok(Server::find(context).await?.address)
}

async fn send(context: &Context, method: Method, path: &str, body: Option<&Value>) -> Result<Response, CliError> {
    let server = Server::find(context).await?;
    if let Some(token) = context.token.as_deref().filter(|_| !needs_a_person(&method, path)) {
        return accepted(server.send(&method, path, body, token).await?).await;
    }
    if let Some(secret) = server.kept_login(context) {
        let response = server.send(&method, path, body, &secret).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return accepted(response).await;
        }
    }
    let secret = match (server.log_in(context).await?, &context.token) {
        (Some(secret), _) => secret,
        (None, Some(token)) => token.clone(),
        (None, None) => return Err(nobody(context)),
    };
    accepted(server.send(&method, path, body, &secret).await?).await
}

/// What the server does only for a person who is logged in: a token would be refused.
fn needs_a_person(method: &Method, path: &str) -> bool {
    let changes = *method != Method::GET;
    changes && ["/v1/approvals/", "/v1/tokens", "/v1/login/", "/v1/policies"].iter().any(|p| path.starts_with(p))
}

fn nobody(context: &Context) -> CliError {
    let key = context.home.join("keys/local.key");
    let message = format!(
        "there is nothing to log in with: {} is not readable; set CODA_TOKEN, or work as the user who runs the server",
        key.display()
    );
    CliError::Refused { code: "unauthenticated".into(), message }
}

struct Server {
    client: Client,
    address: String,
    /// Whether this user's key may be shown to it.
    trusted: bool,
}

impl Server {
    async fn find(context: &Context) -> Result<Self, CliError> {
        // Loopback needs no TLS; other addresses may. A second installation in one process is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("coda-cli/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|e| CliError::Failed(format!("cannot make requests: {e}")))?;
        if let Some(given) = &context.server {
            let url = Url::parse(given).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
            let url = url.ok_or_else(|| CliError::Usage(format!("'{given}' is not an address such as http://127.0.0.1:8484")))?;
            let address = given.trim_end_matches('/').trim_end_matches("/mcp").to_owned();
            return Ok(Self { client, address, trusted: is_loopback(&url) });
        }
        let address = Self::started(&context.home).await?;
        Ok(Self { client, address, trusted: true })
    }

    /// The address of this CODA_HOME's server, waiting for one that is just starting.
    async fn started(home: &std::path::Path) -> Result<String, CliError> {
        let asked = tokio::time::Instant::now();
        loop {
            match home::server(home) {
                ServerState::Running(server) => return Ok(server.address),
                ServerState::Starting if asked.elapsed() < START_TIMEOUT => tokio::time::sleep(START_LOOK).await,
                ServerState::Starting => {
                    let limit = START_TIMEOUT.as_secs();
                    let why = format!("the server on {} is starting for {limit} s already: see its log", home.display());
                    return Err(CliError::Unreachable(why));
                }
                ServerState::Absent if asked.elapsed() < ABSENT_TIMEOUT => tokio::time::sleep(START_LOOK).await,
                ServerState::Absent => {
                    return Err(CliError::Unreachable(format!(
                        "no server runs on {}: start it with `coda serve`, or name another with --server or CODA_SERVER",
                        home.display()
                    )));
                }
            }
        }
    }

    async fn send(&self, method: &Method, path: &str, body: Option<&Value>, secret: &str) -> Result<Response, CliError> {
        let mut request =
            self.client.request(method.clone(), format!("{}{path}", self.address)).timeout(ANSWER_TIMEOUT).bearer_auth(secret);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.map_err(|e| self.unreachable(&e))
    }

    fn unreachable(&self, e: &reqwest::Error) -> CliError {
        let why = if e.is_timeout() { "it did not answer in time".to_owned() } else { innermost(e) };
        CliError::Unreachable(format!("no answer from {}: {why}; is it running? start it with `coda serve`", self.address))
    }

    fn kept_login(&self, context: &Context) -> Option<String> {
        let text = read_small(&context.home.join("cli/login"))?;
        let kept: KeptLogin = serde_json::from_str(&text).ok()?;
        (kept.address == self.address).then_some(kept.secret)
    }

    /// A new login from the key of this CODA_HOME; `None` where there is no key, or the server must not see it.
    async fn log_in(&self, context: &Context) -> Result<Option<String>, CliError> {
        if !self.trusted {
            return Ok(None);
        }
        let Some(key) = read_small(&context.home.join("keys/local.key")) else { return Ok(None) };
        let request = self.client.post(format!("{}/v1/login/local", self.address)).timeout(ANSWER_TIMEOUT);
        let response = request.json(&json!({ "key": key.trim() })).send().await.map_err(|e| self.unreachable(&e))?;
        let bytes = whole(accepted(response).await?).await?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let Some(secret) = answer["secret"].as_str() else {
            return Err(CliError::Failed("the server answered a login without a secret: are both of the same version?".into()));
        };
        let kept = KeptLogin { address: self.address.clone(), secret: secret.to_owned() };
        let text = serde_json::to_vec(&kept).expect("two plain fields become JSON");
        home::prepare(&context.home)
            .and_then(|()| home::write_private(&context.home.join("cli/login"), &text))
            .map_err(|e| CliError::Failed(e.to_string()))?;
        Ok(Some(secret.to_owned()))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

fn read_small(path: &std::path::Path) -> Option<String> {
    let found = std::fs::metadata(path).ok().filter(|m| m.is_file() && m.len() <= MAX_SECRET_BYTES)?;
    let _ = found;
    std::fs::read_to_string(path).ok().filter(|text| !text.trim().is_empty())
}

/// The response, if the server did what was asked; else what it said.
async fn accepted(response: Response) -> Result<Response, CliError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let answer: Value = serde_json::from_slice(&whole(response).await?).unwrap_or_default();
    let by_status = match status {
        StatusCode::UNAUTHORIZED => "unauthenticated",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        _ => "failed",
    };
    let code = answer["error"]["code"].as_str().unwrap_or(by_status).to_owned();
    let message = answer["error"]["message"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
    Err(CliError::Refused { code, message })
}

async fn whole(mut response: Response) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if bytes.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(CliError::Failed(format!("the server's answer is larger than {MAX_ANSWER_BYTES} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn broken(e: reqwest::Error) -> CliError {
    CliError::Unreachable(format!("the server's answer broke off: {}", innermost(&e)))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests;
