//! The way to the model: one HTTP client (`transport`), a base address and a credential per task. Repeats a request only
//! while no byte of an answer has come, `gateway.retries` times and no more.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::Settings;
use super::credential::{Credential, Lack, Source};
use super::dialect::{Auth, Dialect, Question};
use super::failure::{Failure, Said};
use super::forwarded::Forwarded;
use super::outbound::Outbound;
use super::transport::{self, Again, Break};
use crate::id::TaskId;
use crate::usage::Prices;

/// An upstream's error answer is read up to this length.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A model API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// As coda.toml names it.
    pub name: String,
    /// Which API it is. Only agents that speak it are served.
    pub dialect: Dialect,
    /// Such as `https://api.example.com/v1`; the dialect's path, such as `/chat/completions`, is put behind it.
    pub base_url: String,
    /// Name of the model, in place of the one that the agent asks for.
    pub model: Option<String>,
    /// Its token or key; `None` sends none.
    pub credential: Option<Credential>,
    /// How that is presented.
    pub auth: Auth,
    /// What it costs; `None` where nobody said.
    pub prices: Option<Prices>,
}

/// An upstream as one task uses it.
#[derive(Debug)]
pub(in crate::gateway) struct Line {
    pub(in crate::gateway) name: String,
    pub(in crate::gateway) prices: Option<Prices>,
    pub(in crate::gateway) dialect: Dialect,
    base_url: String,
    pub(in crate::gateway) model: Option<String>,
    auth: Auth,
    source: Option<Source>,
    /// Exact values that must not show in error texts.
    secrets: Vec<String>,
}

impl Line {
    pub(in crate::gateway) fn new(task: &TaskId, upstream: Upstream, secrets: Vec<String>, forwarded: &Forwarded) -> Self {
        let base_url = upstream.base_url.trim_end_matches('/').to_owned();
        let source = |credential| Source::new(credential, task.clone(), forwarded.clone());
        let Upstream { name, dialect, model, auth, credential, prices, .. } = upstream;
        let source = credential.map(source);
        Self { name, prices, dialect, base_url, model, auth, source, secrets }
    }

    /// A text without what must not show in it.
    pub(in crate::gateway) fn mask(&self, text: &str) -> String {
        self.mask_with(text, None)
    }

    fn mask_with(&self, text: &str, token: Option<&str>) -> String {
        let known = self.secrets.iter().map(String::as_str).chain(token).filter(|s| !s.is_empty());
        known.fold(text.to_owned(), |text, secret| text.replace(secret, "[secret]"))
    }
}

/// The HTTP client.
pub(in crate::gateway) struct Client {
    http: reqwest::Client,
    first_byte: Duration,
    idle: Duration,
    retries: u32,
    credential_cache: Duration,
    credential_timeout: Duration,
}

/// An answer whose head has come, with a status of success.
pub(in crate::gateway) struct Reply {
    response: reqwest::Response,
    idle: Duration,
    /// Size of the request.
    pub(in crate::gateway) request_bytes: usize,
    /// Whether it is a stream of events.
    pub(in crate::gateway) is_stream: bool,
}

impl Reply {
    /// The next bytes; `None` at the end.
    pub(in crate::gateway) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.idle, self.response.chunk()).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => {
                let detail = transport::chain(&error.without_url());
                tracing::warn!(error = %detail, "the upstream model broke off its answer");
                Err(Failure::upstream("the upstream model broke off its answer"))
            }
            Err(_) => Err(silent(self.idle)),
        }
    }
}

impl Client {
    pub(in crate::gateway) fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            http: transport::client(settings)?,
            first_byte: Duration::from_secs(settings.first_byte_timeout_s),
            idle: Duration::from_secs(settings.idle_timeout_s),
            retries: settings.retries,
            credential_cache: Duration::from_secs(settings.credential_cache_s),
            credential_timeout: Duration::from_secs(settings.credential_timeout_s),
        })
    }

    /// Sends a request for a turn.
    pub(in crate::gateway) async fn send(
        &self,
        line: &Line,
        question: &dyn Question,
        outbound: &Outbound,
    ) -> Result<Reply, Failure> {
        let model = line.model.as_deref();
        let address = format!("{}{}", line.base_url, question.path(model));
        let body = outbound.body(model);
        let request_bytes = body.len();
        let request = self.http.post(address).header(header::CONTENT_TYPE, "application/json").body(body);
        let with = |request: reqwest::RequestBuilder, (name, value): &(&'static str, String)| request.header(*name, value);
        let request = question.headers().iter().fold(request, with);
        let response = self.call(line, request).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is_stream = kind.starts_with("text/event-stream");
        Ok(Reply { response, idle: self.idle, request_bytes, is_stream })
    }

    /// Asks for a small JSON document, such as the list of models.
    pub(in crate::gateway) async fn get(&self, line: &Line, path: &str) -> Result<Value, Failure> {
        let response = self.call(line, self.http.get(format!("{}{path}", line.base_url))).await?;
        let body = bounded(response, self.idle).await;
        serde_json::from_slice(&body).map_err(|_| Failure::upstream(format!("the upstream's {path} is no JSON")))
    }

    async fn call(&self, line: &Line, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let token = match &line.source {
            Some(source) => Some(source.token(self.credential_cache, self.credential_timeout).await.map_err(lacking)?),
            None => None,
        };
        let request = match &token {
            Some(token) => {
                let (name, value) = presented(line.auth, token).map_err(lacking)?;
                request.header(name, value)
            }
            None => request,
        };
        let mut attempt = 0;
        loop {
            let again = request.try_clone().expect("a request with its body in memory can be cloned");
            let outcome = tokio::time::timeout(self.first_byte, again.send()).await;
            let failure = match outcome {
                Ok(Ok(response)) if response.status().is_success() => return Ok(response),
                Ok(Ok(response)) => {
                    let status = response.status();
                    let failure = refused(line, token.as_deref(), response, self.idle).await;
                    if !matches!(status.as_u16(), 502..=504) {
                        return Err(failure);
                    }
                    failure
                }
                Ok(Err(error)) => {
                    let Break { words, again, detail } = Break::of(error);
                    tracing::warn!(model = %line.name, error = %detail, "the upstream model failed");
                    let message = format!("the upstream model {words}");
                    let failure = Failure::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", message);
                    if again == Again::MustNot {
                        return Err(failure);
                    }
                    failure
                }
                Err(_) => return Err(silent(self.first_byte)),
            };
            if attempt >= self.retries {
                return Err(failure);
            }
            tokio::time::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }
}

/// A credential as its header. Marked as a secret: HTTP/2 then keeps it out of the tables that all requests of a connection
/// share.
fn presented(auth: Auth, token: &str) -> Result<(HeaderName, HeaderValue), Lack> {
    let (name, text) = match auth {
        Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {token}")),
        Auth::XApiKey => (HeaderName::from_static("x-api-key"), token.to_owned()),
        Auth::XGoogApiKey => (HeaderName::from_static("x-goog-api-key"), token.to_owned()),
    };
    let mut value =
        HeaderValue::try_from(text).map_err(|_| Lack::Broken("the upstream's credential is no single line of text".into()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn lacking(lack: Lack) -> Failure {
    match lack {
        Lack::Broken(why) => {
            tracing::warn!(error = %why, "no credential for the upstream model");
            Failure::new(StatusCode::BAD_GATEWAY, "upstream_credential", "coda has no credential for the upstream model")
        }
        Lack::Gone => Failure::credential_gone("the access token that came with the task is not there any more"),
    }
}

/// 0.2 s, 0.4 s, 0.8 s and so on.
fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(200 << attempt.min(6))
}

fn silent(limit: Duration) -> Failure {
    let message = format!("the upstream model was silent for {} s", limit.as_secs());
    Failure::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
}

/// What the agent is told when the upstream answers with an error: its own words where they are JSON, without secrets.
async fn refused(line: &Line, token: Option<&str>, response: reqwest::Response, idle: Duration) -> Failure {
    let status = response.status();
    let body = bounded(response, idle).await;
    tracing::warn!(status = status.as_u16(), "the upstream model refused a request");
    let is_gone = |token: &str| line.source.as_ref().is_some_and(|source| source.is_gone_after(token));
    if status == StatusCode::UNAUTHORIZED && token.is_some_and(is_gone) {
        return Failure::credential_gone("the upstream model refused the access token that came with the task, as expired");
    }
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        // Passed on as it is, the agent would take it for its own token's fault.
        let message = format!("the upstream model refused coda's credential ({})", status.as_u16());
        return Failure::new(StatusCode::BAD_GATEWAY, "upstream_credential", message);
    }
    if !status.is_client_error() && !status.is_server_error() {
        return Failure::upstream(format!("the upstream model answered with status {}", status.as_u16()));
    }
    let said = Said::read(&body, |text| line.mask_with(text, token));
    let message = format!("the upstream model answered with status {}", status.as_u16());
    Failure { said, ..Failure::new(status, "upstream_failed", message) }
}

async fn bounded(mut response: reqwest::Response, idle: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Ok(Some(bytes))) = tokio::time::timeout(idle, response.chunk()).await {
        let room = MAX_ERROR_BYTES - body.len();
        body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if body.len() == MAX_ERROR_BYTES {
            break;
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_marked_as_a_secret_in_every_form() {
        for (auth, name, text) in [
            (Auth::Bearer, "authorization", "Bearer key"),
            (Auth::XApiKey, "x-api-key", "key"),
            (Auth::XGoogApiKey, "x-goog-api-key", "key"),
        ] {
            let (header, value) = presented(auth, "key").expect("a header");
            assert_eq!((header.as_str(), value.as_bytes()), (name, text.as_bytes()));
            assert!(value.is_sensitive());
        }
        assert!(matches!(presented(Auth::Bearer, "two\nlines"), Err(Lack::Broken(_))));
    }
}
