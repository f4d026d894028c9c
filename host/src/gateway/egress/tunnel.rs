//! One tunnel: who asks, whether it is on the list, where it leads, the bytes, and what is put on record of it.
//!
//! INVARIANT: the address that was checked is the one that is connected to: a name is looked up once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::way::Way;
use super::{Destination, Host, pump};
use crate::gates::egress::{Step, TunnelNote};
use crate::gateway::Shared;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Why there is no tunnel.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    /// A word for the record.
    code: &'static str,
    /// A sentence for the agent.
    message: String,
}

fn refused(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refused {
    Refused { status, code, message: message.into() }
}

impl Refused {
    /// The sentence is also the reason phrase: most clients show that and not the body.
    fn respond(self) -> Response {
        let mut response = (self.status, [(header::CONTENT_TYPE, "text/plain")], format!("{}\n", self.message)).into_response();
        if let Ok(reason) = hyper::ext::ReasonPhrase::try_from(self.message.into_bytes()) {
            response.extensions_mut().insert(reason);
        }
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            response.headers_mut().insert(header::PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"coda\""));
        }
        response
    }
}

/// A tunnel that is open at the other end.
struct Tunnel {
    shared: Arc<Shared>,
    way: Arc<Way>,
    wanted: Destination,
    server: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// Answers a `CONNECT`.
pub(in crate::gateway) async fn connect(shared: &Arc<Shared>, mut request: Request) -> Response {
    match open(shared, request.headers(), request.uri()).await {
        Ok(tunnel) => {
            let client = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                // It fails where the client is gone.
                match client.await {
                    Ok(client) => tunnel.carry(TokioIo::new(client)).await,
                    Err(_) => tunnel.note_end("closed", &pump::Counters::default()).await,
                }
            });
            Response::new(Body::empty())
        }
        Err(refused) => refused.respond(),
    }
}

/// Answers a request that takes the gateway for a proxy of plain HTTP.
pub(in crate::gateway) fn plain(authority: &str) -> Response {
    let host: String = authority.chars().filter(char::is_ascii_graphic).take(100).collect();
    let message = format!("coda passes no plain HTTP on, such as to {host}: ask for it with https://");
    refused(StatusCode::FORBIDDEN, "plain_http", message).respond()
}

async fn open(shared: &Arc<Shared>, headers: &HeaderMap, uri: &Uri) -> Result<Tunnel, Refused> {
    let way = secret(headers).and_then(|secret| shared.ways.find(&secret)).ok_or_else(|| {
        let message = "no task with a way out has this secret: use the address in HTTPS_PROXY as it is";
        refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "unauthenticated", message)
    })?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let wanted = Destination::parse(authority).map_err(|e| refused(StatusCode::BAD_REQUEST, "malformed", e.to_string()))?;
    match reach(shared, &way, &wanted).await {
        Ok((server, place)) => Ok(Tunnel { shared: Arc::clone(shared), way, wanted, server, _place: place }),
        Err(refusal) => {
            if way.is_new_refusal(format!("{} {}:{}", refusal.code, wanted.host, wanted.port)) {
                let step = Step::Refused { why: refusal.code.into() };
                let _ = note(shared, &way, &wanted, step).await;
            }
            Err(refusal)
        }
    }
}

/// The password of `Proxy-Authorization: Basic`.
fn secret(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::PROXY_AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some(pair.split_once(':')?.1.to_owned())
}

/// Connects, where the list and the bounds allow it, and puts that on record first of all.
async fn reach(shared: &Shared, way: &Way, wanted: &Destination) -> Result<(TcpStream, OwnedSemaphorePermit), Refused> {
    let (host, port, bounds) = (&wanted.host, wanted.port, &shared.settings.egress);
    let Some(rule) = way.egress.rule_for(wanted) else {
        let setting = way.egress.setting("allow_hosts");
        let message = format!("coda opens no tunnel to {host}:{port}: it is not in {setting}, where an operator can add it");
        return Err(refused(StatusCode::FORBIDDEN, "not_listed", message));
    };
    let many = |what: String| refused(StatusCode::TOO_MANY_REQUESTS, "too_many", what);
    let place = Arc::clone(&way.tunnels).try_acquire_owned().map_err(|_| {
        many(format!(
            "the task has {} tunnels open, gateway.max_tunnels: close one before {host} is asked for",
            bounds.max_tunnels
        ))
    })?;
    if !way.count_tunnel(bounds.max_tunnels_per_attempt) {
        let most = bounds.max_tunnels_per_attempt;
        return Err(many(format!("the task has opened {most} tunnels, gateway.max_tunnels_per_attempt: no more to {host}")));
    }
    let limit = Duration::from_secs(bounds.tunnel_connect_timeout_s);
    let server = timeout(limit, connect_to(way, wanted)).await.unwrap_or_else(|_| {
        let message = format!("{host}:{port} does not answer within {} s, gateway.tunnel_connect_timeout_s", limit.as_secs());
        Err(refused(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
    })?;
    let address = server.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
    note(shared, way, wanted, Step::Opened { rule: rule.written.clone(), address }).await.map_err(|()| {
        refused(StatusCode::SERVICE_UNAVAILABLE, "unrecorded", "the tunnel could not be put on record; try again later")
    })?;
    Ok((server, place))
}

/// Looks up, checks, connects: to an address that was checked, and to no other.
async fn connect_to(way: &Way, wanted: &Destination) -> Result<TcpStream, Refused> {
    let (host, port) = (&wanted.host, wanted.port);
    let unreachable = |why: &str| refused(StatusCode::BAD_GATEWAY, "unreachable", format!("{host}:{port} {why}"));
    let addresses: Vec<SocketAddr> = match host {
        Host::Address(address) => vec![SocketAddr::new(*address, port)],
        Host::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), port)).await.map_err(|_| unreachable("has no address"))?;
            permitted(way, wanted, found)?
        }
    };
    for address in addresses {
        if let Ok(server) = TcpStream::connect(address).await {
            let _ = server.set_nodelay(true);
            return Ok(server);
        }
    }
    Err(unreachable("cannot be connected to"))
}

/// Those addresses that a name on the list may lead to.
fn permitted(way: &Way, wanted: &Destination, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
    let permitted: Vec<SocketAddr> = found.filter(|a| way.egress.may_reach(a.ip())).take(MAX_ADDRESSES).collect();
    if permitted.is_empty() {
        let (host, port, setting) = (&wanted.host, wanted.port, way.egress.setting("allow_private = true"));
        let message = format!(
            "coda opens no tunnel to {host}:{port}: its name leads to an address that is not on the internet; a private one takes {setting}, or the address itself on its list"
        );
        return Err(refused(StatusCode::FORBIDDEN, "address", message));
    }
    Ok(permitted)
}

async fn note(shared: &Shared, way: &Way, wanted: &Destination, step: Step) -> Result<(), ()> {
    let note = TunnelNote { host: wanted.host.to_string(), port: wanted.port, step };
    shared.gates.note_tunnel(&way.task, note).await
}

impl Tunnel {
    /// Carries bytes until somebody ends it.
    async fn carry(mut self, mut client: TokioIo<hyper::upgrade::Upgraded>) {
        let counters = pump::Counters::default();
        let (way, bounds) = (Arc::clone(&self.way), self.shared.settings.egress.clone());
        let name = match &self.wanted.host {
            Host::Name(name) => Some(name.clone()),
            Host::Address(_) => None,
        };
        let why = tokio::select! {
            why = pump::pass(&mut client, &mut self.server, name.as_deref(), &way, &bounds, &counters) => why,
            () = way.closed.cancelled() => "task_ended",
        };
        drop(client);
        self.note_end(why, &counters).await;
    }

    async fn note_end(self, why: &str, counters: &pump::Counters) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (sent_bytes, received_bytes) = (read(&counters.sent), read(&counters.received));
        let step = Step::Closed { why: why.into(), sent_bytes, received_bytes };
        let _ = note(&self.shared, &self.way, &self.wanted, step).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bounds, Egress, Private};
    use super::*;
    use crate::id::TaskId;

    #[test]
    fn of_all_addresses_of_a_name_those_remain_that_it_may_lead_to() {
        let of = |private: Private| {
            let egress = Egress::parse("a", &["mixed.example".into()], private).expect("a list");
            let way = Way::new(TaskId::new(), egress, &Bounds::default());
            let found = ["169.254.169.254:443", "10.0.0.1:443", "[::1]:443", "1.1.1.1:443", "[::ffff:127.0.0.1]:443"];
            let wanted = Destination::parse("mixed.example:443").expect("a host");
            let permitted = permitted(&way, &wanted, found.iter().map(|a| a.parse().expect("an address"))).expect("some");
            let none = self::permitted(&way, &wanted, found[..1].iter().map(|a| a.parse().expect("an address")));
            let refusal = none.expect_err("metadata");
            assert!(refusal.message.contains("allow_private = true of [agents.a]"), "{}", refusal.message);
            permitted.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(Private::Refused), ["1.1.1.1:443"]);
        assert_eq!(of(Private::Allowed), ["10.0.0.1:443", "[::1]:443", "1.1.1.1:443"]);
    }

    #[test]
    fn the_secret_is_the_password_whatever_the_user_is_called() {
        let of = |value: &str| secret(&HeaderMap::from_iter([(header::PROXY_AUTHORIZATION, value.parse().expect("a value"))]));
        assert_eq!(of("Basic dGFzazphOmI=").as_deref(), Some("a:b"));
        assert_eq!(of("basic dGFzazphOmI=").as_deref(), Some("a:b"));
        for wrong in ["Bearer dGFzazphOmI=", "Basic", "Basic !", "Basic dGFzaw=="] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
