//! Clients that mean harm, on the wire: what they send is refused with a telling status, costs little, and takes nothing
//! away from the others.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::person::{Person, SECRET, behind_a_proxy, client};
use crate::server::{DEADLINE, Server, field};

const HUNDRED_MB: usize = 100 * 1024 * 1024;
/// What a refused body may have moved before the connection ends: the server's limit and what lies in the system's buffers.
const MOVED_AT_MOST: usize = 32 * 1024 * 1024;

fn with_server_settings(settings: &str) -> Server {
    let mut server = Server::with_config(&format!("[server]\n{settings}\n"));
    server.run();
    server
}

fn token(server: &Server) -> String {
    field(&server.json(&["token", "create", "--role", "submitter", "--expires", "1h"]), "secret")
}

/// A connection on which a test writes what no well-behaved client would.
struct Wire(TcpStream);

impl Wire {
    fn to(server: &Server) -> Self {
        let address = server.url.strip_prefix("http://").expect("an address");
        let stream = TcpStream::connect(address).expect("the server takes connections");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
        Self(stream)
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the server reads");
    }

    /// The status of the next answer, whose body is read to its end; `None` where the connection ended without one.
    fn status(&mut self) -> Option<u16> {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read(&mut byte) {
                Ok(0) => return None,
                Ok(_) => head.push(byte[0]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("no answer: {e}"),
            }
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        std::io::copy(&mut (&mut self.0).take(length.unwrap_or(0) as u64), &mut std::io::sink()).expect("the body");
        head.split(' ').nth(1)?.parse().ok()
    }

    /// Waits until the server has closed the connection.
    fn await_end(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "the connection stays open: {e}"),
        }
    }

    fn one_shot(server: &Server, text: &str) -> Option<u16> {
        let mut wire = Self::to(server);
        wire.say(text);
        wire.status()
    }
}

#[test]
fn methods_types_and_texts_that_mean_nothing_are_refused_as_such() {
    let server = Server::start();
    let bearer = format!("Bearer {}", token(&server));
    let client = client();
    for path in ["/mcp", "/v1/tasks", "/v1/whoami", "/tasks", "/healthz"] {
        for method in ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
            let method = method.parse().expect("a method");
            let answer = client.request(method, format!("{}{path}", server.url)).bearer_auth(&bearer[7..]).send();
            assert_eq!(answer.expect("an answer").status().as_u16(), 405, "{path}");
        }
    }
    for (path, kind, body) in [
        ("/v1/tasks", "text/plain", r#"{"prompt": "x"}"#),
        ("/v1/tasks", "application/json", "{"),
        ("/v1/tasks", "application/json", r#"["prompt"]"#),
        ("/v1/tasks", "application/json", r#"{"prompt": "x", "promt": "y"}"#),
        ("/v1/tasks", "application/x-www-form-urlencoded", "prompt=x"),
        ("/mcp", "text/plain", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#),
        ("/mcp", "application/json", "{"),
        ("/mcp", "application/json", "[]"),
        ("/mcp", "application/json", r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#),
        ("/mcp", "multipart/form-data; boundary=x", "--x--"),
    ] {
        let request = client.post(format!("{}{path}", server.url)).header("authorization", &bearer);
        let answer = request.header("content-type", kind).body(body).send().expect("an answer");
        assert!((400..500).contains(&answer.status().as_u16()), "{path} {kind} {body}: {}", answer.status());
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = client.post(format!("{}/mcp", server.url)).header("authorization", &bearer);
    let answer = nested.header("content-type", "application/json").body(deep).send().expect("an answer");
    assert!(answer.status().is_client_error(), "{}", answer.status());
    assert_eq!(server.json(&["inbox"])["tasks"], json!([]), "none of it started anything");
}

#[test]
fn another_host_or_origin_is_refused_on_every_path() {
    let server = Server::start();
    let bearer = token(&server);
    let host = server.url.strip_prefix("http://").expect("an address");
    for path in ["/mcp", "/mcp/codex", "/v1/tasks", "/v1/whoami", "/tasks", "/metrics", "/assets/site.css", "/nothing"] {
        for (header, value) in [
            ("Host", "evil.example"),
            ("Host", "127.0.0.1.evil.example"),
            ("Host", "evil.example@127.0.0.1"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://127.0.0.1:1"),
            ("Origin", "file://"),
        ] {
            let named = if header == "Host" { String::new() } else { format!("Host: {host}\r\n") };
            let request = format!("GET {path} HTTP/1.1\r\n{named}{header}: {value}\r\nAuthorization: Bearer {bearer}\r\n\r\n");
            assert_eq!(Wire::one_shot(&server, &request), Some(403), "{path} {header}: {value}");
        }
    }
    let twice =
        format!("GET /v1/whoami HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nAuthorization: Bearer {bearer}\r\n\r\n");
    assert_eq!(Wire::one_shot(&server, &twice), Some(400), "two hosts");
    let none = format!("GET /v1/whoami HTTP/1.1\r\nAuthorization: Bearer {bearer}\r\n\r\n");
    assert_eq!(Wire::one_shot(&server, &none), Some(400), "no host");
}

#[test]
fn a_body_of_a_hundred_megabytes_is_refused_and_not_kept() {
    let server = Server::start();
    let bearer = token(&server);
    let host = server.url.strip_prefix("http://").expect("an address");
    let head = |path: &str, length: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\n\
             Content-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    for path in ["/mcp", "/v1/tasks"] {
        // Said: refused before a byte of it is sent.
        assert_eq!(Wire::one_shot(&server, &head(path, &format!("Content-Length: {HUNDRED_MB}"))), Some(413), "{path}");
        // Not said: cut while it comes.
        let mut wire = Wire::to(&server);
        wire.say(&head(path, "Transfer-Encoding: chunked"));
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let mut moved = 0;
        while moved < HUNDRED_MB && wire.0.write_all(chunk.as_bytes()).is_ok() {
            moved += chunk.len();
        }
        assert!(moved < MOVED_AT_MOST, "{path}: the server took {moved} bytes");
    }
    assert_eq!(server.json(&["inbox"])["tasks"], json!([]));
}

#[test]
fn who_is_refused_before_the_body_has_arrived_still_reads_why() {
    let server = Server::start();
    let host = server.url.strip_prefix("http://").expect("an address");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let mut wire = Wire::to(&server);
    for round in 0..2 {
        let length = body.len();
        wire.say(&format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ));
        // A server that answers now and closes would be seen here; a good one waits for the rest, so nothing comes.
        wire.0.set_read_timeout(Some(Duration::from_millis(300))).expect("a deadline");
        let early = wire.0.peek(&mut [0; 1]);
        assert!(early.is_err(), "round {round}: an answer before the body was there: {early:?}");
        wire.0.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        wire.say(&body);
        assert_eq!(wire.status(), Some(401), "round {round}");
    }
}

#[test]
fn slow_heads_and_slow_bodies_are_ended() {
    let server = with_server_settings("header_timeout_s = 1\nrequest_timeout_s = 2");
    let bearer = token(&server);
    let host = server.url.strip_prefix("http://").expect("an address");
    let mut head = Wire::to(&server);
    head.say(&format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nX-Slow: "));
    head.await_end();
    let mut nothing = Wire::to(&server);
    nothing.await_end();
    for path in ["/mcp", "/v1/tasks"] {
        let mut body = Wire::to(&server);
        body.say(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n\
             Content-Length: 100\r\n\r\n{{\"prompt\":"
        ));
        assert_eq!(body.status(), Some(408), "{path}");
    }
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    let server = Server::start();
    let host = server.url.strip_prefix("http://").expect("an address").to_owned();
    let mut idle: Vec<Wire> = (0..1_000).map(|_| Wire::to(&server)).collect();
    // Every other one has begun a request, and says no more.
    for wire in idle.iter_mut().step_by(2) {
        wire.say(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n"));
    }
    let task = server.runbook("echo among a thousand");
    assert_eq!(field(&task, "status"), "completed");
    drop(idle);
}

#[test]
fn more_connections_than_there_are_places_wait_and_are_served() {
    let server = with_server_settings("max_connections = 8\nheader_timeout_s = 2");
    let idle: Vec<Wire> = (0..32).map(|_| Wire::to(&server)).collect();
    assert_eq!(field(&server.runbook("echo after the idle ones"), "status"), "completed");
    drop(idle);
}

#[test]
fn headers_of_a_proxy_are_believed_from_the_proxy_only_and_only_where_they_say_one_thing() {
    let server = behind_a_proxy(
        "[[role]]\nname = \"operator\"\nprincipals = [\"root@example.com\"]\n\n[[role]]\nname = \"submitter\"\nprincipals = [\"ann@example.com\"]\n",
    );
    let host = server.url.strip_prefix("http://").expect("an address");
    let ask = |headers: &str| Wire::one_shot(&server, &format!("GET /v1/audit HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"));
    let secret = format!("X-Proxy-Secret: {SECRET}\r\n");
    assert_eq!(ask(&format!("{secret}X-Forwarded-Email: root@example.com\r\n")), Some(200), "the proxy itself");
    for (what, headers) in [
        ("no secret", "X-Forwarded-Email: root@example.com\r\n".to_owned()),
        ("a wrong secret", "X-Proxy-Secret: guess\r\nX-Forwarded-Email: root@example.com\r\n".to_owned()),
        ("an empty secret", "X-Proxy-Secret:\r\nX-Forwarded-Email: root@example.com\r\n".to_owned()),
        ("two secrets", format!("X-Proxy-Secret: guess\r\n{secret}X-Forwarded-Email: root@example.com\r\n")),
        ("two people", format!("{secret}X-Forwarded-Email: ann@example.com\r\nX-Forwarded-Email: root@example.com\r\n")),
        ("two in one", format!("{secret}X-Forwarded-Email: ann@example.com, root@example.com\r\n")),
        ("another header", format!("{secret}X-Forwarded-User: root@example.com\r\n")),
        ("an underscore", format!("{secret}X_Forwarded_Email: root@example.com\r\n")),
        ("a folded line", format!("{secret}X-Forwarded-Email: ann@example.com\r\n root@example.com\r\n")),
        ("nobody", format!("{secret}X-Forwarded-Email:\r\n")),
        ("a colon with space", format!("{secret}X-Forwarded-Email : root@example.com\r\n")),
        ("a control character", format!("{secret}X-Forwarded-Email: root@example.com\u{1}\r\n")),
    ] {
        let status = ask(&headers);
        assert!(status.is_none_or(|s| (400..500).contains(&s)), "{what}: {status:?}");
    }
    // What a stranger says of the host is not believed, and nobody's answers carry it.
    let forwarded = "X-Forwarded-Email: ann@example.com\r\nX-Forwarded-Host: evil.example\r\nOrigin: https://evil.example\r\n";
    assert_eq!(ask(forwarded), Some(403));
    let (_, task) = Person::new(&server, "ann@example.com")
        .post("/v1/tasks", &json!({ "prompt": "```sh\necho hi\n```", "agent": "runbook" }));
    assert!(field(&task, "viewer_url").starts_with(&server.url), "{task:#}");
}
