//! The site's checks, through the whole stack of layers, on routes that say who they think asks.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::accounts::{self, Accounts, Mode, Recorder};
use super::identify::{Person, Visitor, Who};
use super::perimeter::Peer;
use super::{Settings, guarded};
use crate::store::Store;

pub(super) struct Bed {
    pub(super) site: Router,
    pub(super) accounts: Accounts,
    pub(super) home: tempfile::TempDir,
}

fn bed(settings: accounts::Settings) -> Bed {
    bed_of(settings, Settings::default())
}

fn bed_of(settings: accounts::Settings, web: Settings) -> Bed {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("coda.db")).unwrap();
    let recorder: Recorder = Arc::new(|_| Box::pin(async { Ok(()) }));
    let accounts = Accounts::open(settings, home.path(), store, recorder).unwrap();
    let routes = Router::new()
        .route("/v1/who", get(async |Who(who): Who| who.name).post(async |Who(who): Who| who.name))
        .route("/v1/decide", post(async |Person(who): Person| who.name))
        .route("/page", get(async |Visitor(who): Visitor| who.name))
        .route("/mcp", post(async |Who(who): Who| who.name));
    Bed { site: guarded(routes, &web, &accounts), accounts, home }
}

fn local() -> accounts::Settings {
    accounts::Settings { local_name: Some("Ann".into()), ..accounts::Settings::default() }
}

fn proxied(peers: &[&str]) -> accounts::Settings {
    let proxy =
        accounts::proxy::Settings { trusted_peers: peers.iter().map(|p| (*p).to_owned()).collect(), ..Default::default() };
    accounts::Settings { mode: Mode::Proxy, proxy, default_roles: vec!["submitter".into()], ..accounts::Settings::default() }
}

/// One request: `METHOD PATH`, the peer, headers; the status and the body's text.
async fn ask(bed: &Bed, request: &str, peer: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        builder = builder.header("host", "127.0.0.1:8484");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut request = builder.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer(format!("{peer}:5000").parse().unwrap()));
    let response = bed.site.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

const ME: &str = "127.0.0.1";
const OWN: (&str, &str) = ("origin", "http://127.0.0.1:8484");

#[tokio::test]
async fn nobody_is_let_in_without_identity() {
    let bed = bed(local());
    let (status, body) = ask(&bed, "GET /v1/who", ME, &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.starts_with(r#"{"error":{"code":"unauthenticated","message":"#), "{body}");
    assert_eq!(ask(&bed, "GET /page?x=1", ME, &[]).await.0, StatusCode::SEE_OTHER);
    let (status, body) = ask(&bed, "GET /page", ME, &[("sec-fetch-site", "cross-site")]).await;
    assert!(status == StatusCode::OK && body.contains("http-equiv=\"refresh\""), "{body}");
    assert_eq!(ask(&bed, "GET /healthz", ME, &[("host", "10.1.2.3")]).await.0, StatusCode::OK);
    assert_eq!(ask(&bed, "GET /nowhere", ME, &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&bed, "DELETE /v1/who", ME, &[]).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_an_agent_can_send_does_not_identify() {
    let bed = bed(local());
    for bearer in [
        "Bearer ",
        "Bearer coda_task_00112233445566778899aabbccddeeff00112233445",
        "Bearer coda_tok_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Bearer coda_login_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Basic YW5uOmFubg==",
        "nonsense",
    ] {
        assert_eq!(ask(&bed, "GET /v1/who", ME, &[("authorization", bearer)]).await.0, StatusCode::UNAUTHORIZED, "{bearer}");
    }
    for header in ["x-forwarded-email", "x-forwarded-user", "x-forwarded-preferred-username", "remote-user"] {
        assert_eq!(ask(&bed, "GET /v1/who", ME, &[(header, "ann")]).await.0, StatusCode::UNAUTHORIZED, "{header}");
    }
    assert!(bed.accounts.log_in("not-the-key", accounts::logins::Place::Terminal).await.is_err());
}

#[tokio::test]
async fn a_browser_login_works_on_our_own_pages_only() {
    let bed = bed(local());
    let link = bed.accounts.login_link().await.unwrap();
    let code = link.strip_prefix("/login?code=").unwrap();
    let login = bed.accounts.log_in(code, accounts::logins::Place::Browser).await.unwrap();
    assert!(bed.accounts.log_in(code, accounts::logins::Place::Browser).await.is_err(), "a link works once");
    let cookie = format!("theme=dark; coda_login={}", login.secret);
    let cookie = ("cookie", cookie.as_str());
    assert_eq!(ask(&bed, "GET /page", ME, &[cookie]).await, (StatusCode::OK, "ann".into()));
    assert_eq!(ask(&bed, "POST /v1/who", ME, &[cookie, OWN]).await.0, StatusCode::OK);
    assert_eq!(ask(&bed, "POST /v1/decide", ME, &[cookie, OWN]).await.0, StatusCode::OK);
    for origin in [&[][..], &[("origin", "null")], &[("origin", "https://evil.example")], &[("origin", "http://127.0.0.1:9999")]]
    {
        let headers: Vec<_> = origin.iter().copied().chain([cookie]).collect();
        assert_eq!(ask(&bed, "POST /v1/decide", ME, &headers).await.0, StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(ask(&bed, "POST /v1/who", ME, &headers).await.0, StatusCode::FORBIDDEN, "{origin:?}");
    }
    let twice = format!("coda_login={0}; coda_login={0}", login.secret);
    assert_eq!(ask(&bed, "GET /v1/who", ME, &[("cookie", &twice)]).await.0, StatusCode::UNAUTHORIZED);
    let who = bed.accounts.identify(None, &[("cookie".parse().unwrap(), cookie.1.parse().unwrap())].into_iter().collect()).await;
    let (who, _) = who.unwrap().unwrap();
    bed.accounts.log_out(&who).await.unwrap();
    assert_eq!(ask(&bed, "GET /v1/who", ME, &[cookie]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(bed.accounts.refresh(&who).await.unwrap(), None);
}

#[tokio::test]
async fn the_key_file_logs_the_command_line_in() {
    let bed = bed(local());
    let key = std::fs::read_to_string(bed.home.path().join("keys/local.key")).unwrap();
    let login = bed.accounts.log_in(&format!("{key}\n"), accounts::logins::Place::Terminal).await.unwrap();
    let bearer = format!("Bearer {}", login.secret);
    assert_eq!(ask(&bed, "POST /v1/decide", ME, &[("authorization", &bearer)]).await, (StatusCode::OK, "ann".into()));
}

#[tokio::test]
async fn a_token_reads_but_never_decides() {
    let bed = bed(local());
    let token = token(&bed).await;
    let bearer = ("authorization", token.as_str());
    assert_eq!(ask(&bed, "POST /v1/who", ME, &[bearer]).await, (StatusCode::OK, "ann".into()));
    assert_eq!(ask(&bed, "POST /v1/decide", ME, &[bearer]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&bed, "POST /v1/decide", ME, &[bearer, OWN]).await.0, StatusCode::FORBIDDEN);
}

/// A token of Ann's, as the header's value.
async fn token(bed: &Bed) -> String {
    let key = std::fs::read_to_string(bed.home.path().join("keys/local.key")).unwrap();
    let login = bed.accounts.log_in(&key, accounts::logins::Place::Terminal).await.unwrap();
    let headers = [("authorization".parse().unwrap(), format!("Bearer {}", login.secret).parse().unwrap())].into_iter().collect();
    let (who, _) = bed.accounts.identify(None, &headers).await.unwrap().unwrap();
    let request = accounts::tokens::TokenRequest { roles: vec!["submitter".into()], ..Default::default() };
    format!("Bearer {}", bed.accounts.create_token(&who, request).await.unwrap().0)
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let web = Settings {
        public_url: Some("https://coda.example.com".into()),
        allowed_hosts: vec!["inner:8080".into(), "box".into()],
        allowed_origins: vec!["https://workspace.example.com".into()],
        ..Settings::default()
    };
    let bed = bed_of(local(), web);
    let token = token(&bed).await;
    let bearer = ("authorization", token.as_str());
    for host in ["localhost:1", "[::1]:8484", "coda.example.com", "inner:8080", "box:99", "Localhost"] {
        assert_eq!(ask(&bed, "GET /v1/who", ME, &[bearer, ("host", host)]).await.0, StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "inner:8081", "localhost.evil.example:8484", "10.0.0.1"] {
        assert_eq!(ask(&bed, "GET /v1/who", ME, &[bearer, ("host", host)]).await.0, StatusCode::FORBIDDEN, "{host}");
    }
    let forwarded = [bearer, ("host", "evil.example"), ("x-forwarded-host", "localhost")];
    assert_eq!(ask(&bed, "GET /v1/who", ME, &forwarded).await.0, StatusCode::FORBIDDEN, "no peer is trusted here");
    for (path, origin, expected) in [
        ("POST /mcp", "https://workspace.example.com", StatusCode::OK),
        ("POST /v1/who", "https://workspace.example.com", StatusCode::FORBIDDEN),
        ("POST /mcp", "https://evil.example", StatusCode::FORBIDDEN),
        ("POST /v1/who", "https://coda.example.com", StatusCode::OK),
        ("POST /v1/who", "http://coda.example.com", StatusCode::FORBIDDEN),
    ] {
        let status = ask(&bed, path, ME, &[bearer, ("host", "coda.example.com"), ("origin", origin)]).await.0;
        assert_eq!(status, expected, "{path} {origin}");
    }
}

#[tokio::test]
async fn the_proxy_is_believed_from_its_own_address_only() {
    let bed = bed(proxied(&["203.0.113.0/24", "127.0.0.0/8"]));
    let ann = ("x-forwarded-email", "Ann@Example.com");
    let peer = "203.0.113.5";
    assert_eq!(ask(&bed, "GET /v1/who", peer, &[ann]).await, (StatusCode::OK, "ann@example.com".into()));
    for other in ["127.0.0.1", "127.9.9.9", "198.51.100.1"] {
        assert_eq!(ask(&bed, "GET /v1/who", other, &[ann]).await.0, StatusCode::UNAUTHORIZED, "{other}");
    }
    assert_eq!(ask(&bed, "GET /v1/who", peer, &[]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        ask(&bed, "GET /v1/who", peer, &[ann, ("x-forwarded-email", "ben@example.com")]).await.0,
        StatusCode::UNAUTHORIZED
    );
    let forwarded = ("x-forwarded-host", "app.example.com");
    let origin = ("origin", "https://app.example.com");
    assert_eq!(ask(&bed, "POST /v1/decide", peer, &[ann, forwarded, origin]).await.0, StatusCode::OK);
    assert_eq!(ask(&bed, "POST /v1/decide", peer, &[ann, forwarded]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&bed, "POST /v1/who", peer, &[ann, ("sec-fetch-site", "cross-site")]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&bed, "POST /v1/who", peer, &[ann]).await.0, StatusCode::OK, "a program behind the proxy");
    let bearer = ("authorization", "Bearer eyJhbGciOi.the.proxy-consumed-it");
    assert_eq!(ask(&bed, "GET /v1/who", peer, &[ann, bearer]).await.0, StatusCode::OK);
    assert_eq!(ask(&bed, "GET /v1/who", "127.0.0.1", &[ann, bearer]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn answers_tell_browsers_what_not_to_do_and_large_bodies_are_refused() {
    let bed = bed_of(local(), Settings { body_limit_bytes: 10, ..Settings::default() });
    let request = Request::get("/v1/who").header("host", "localhost").body(Body::empty()).unwrap();
    let response = bed.site.clone().oneshot(request).await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["referrer-policy"], "same-origin");
    let (status, body) = ask(&bed, "POST /v1/who", ME, &[("content-length", "11")]).await;
    assert!(status == StatusCode::PAYLOAD_TOO_LARGE && body.contains("larger than 10 bytes"), "{body}");
}
