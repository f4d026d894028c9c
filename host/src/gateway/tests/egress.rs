//! Tunnels to allowed hosts, through the listener as programs ask it: by `CONNECT`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::stand::{DEADLINE, Stand, envelope};
use crate::gates::egress::{Step, TunnelNote};
use crate::gateway::egress::hello::tests::hello;
use crate::gateway::egress::{Bounds, Private};
use crate::gateway::{Access, Egress, Settings};
use crate::id::TaskId;

/// A gateway, a task that may reach a few hosts, and a server that says everything twice.
struct Way {
    stand: Stand,
    access: Option<Access>,
    secret: String,
    port: u16,
}

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, event).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// Answers each piece with the same piece.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    port
}

impl Way {
    /// To the echo, whose port stands for `PORT` in the list.
    async fn to(hosts: &[&str], private: Private, bounds: Bounds) -> Self {
        let stand = Stand::with(Settings { egress: bounds, ..Settings::default() }).await;
        let port = echo().await;
        let hosts: Vec<String> = hosts.iter().map(|host| host.replace("PORT", &port.to_string())).collect();
        let mut access = stand.gateway.open(TaskId::new(), envelope(), stand.upstream(), Vec::new());
        let way = access.let_out(Egress::parse("tester", &hosts, private).expect("a list"));
        let secret = way.secret.expect("a secret");
        assert_eq!(way.environment["HTTPS_PROXY"], stand.gateway.url().replace("://", &format!("://task:{secret}@")));
        Self { stand, access: Some(access), secret, port }
    }

    async fn connect(&self, target: &str) -> (String, TcpStream) {
        self.connect_with(target, &self.secret).await
    }

    /// The first line of the answer, and the connection.
    async fn connect_with(&self, target: &str, secret: &str) -> (String, TcpStream) {
        let target = target.replace("PORT", &self.port.to_string());
        let authorization = base64::engine::general_purpose::STANDARD.encode(format!("task:{secret}"));
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {authorization}\r\n\r\n");
        let address = self.stand.gateway.url();
        let mut stream = TcpStream::connect(address.strip_prefix("http://").expect("HTTP")).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = soon("an answer", stream.read_u8()).await.expect("an answer");
            answer.push(byte);
        }
        let answer = String::from_utf8(answer).expect("text");
        (answer.lines().next().unwrap_or_default().to_owned(), stream)
    }

    /// The notes, once there is a last one like this.
    async fn notes(&self, is_last: impl Fn(&Step) -> bool) -> Vec<TunnelNote> {
        let mut notes = self.stand.gates.tunnels.subscribe();
        let notes = soon("a note", notes.wait_for(|notes| notes.last().is_some_and(|note| is_last(&note.step)))).await;
        notes.expect("the sender lives").clone()
    }

    async fn end(&self) -> Step {
        self.notes(|step| matches!(step, Step::Closed { .. })).await.pop().expect("a note").step
    }
}

async fn says_twice(stream: &mut TcpStream, words: &[u8]) {
    stream.write_all(words).await.expect("writes");
    let mut heard = vec![0; words.len()];
    soon("an echo", stream.read_exact(&mut heard)).await.expect("an echo");
    assert_eq!(heard, words);
}

async fn is_over(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // Ended or broken off, it ends.
    let _ = soon("the end", stream.read_to_end(&mut rest)).await;
}

const CLOSED: fn(&Step) -> bool = |step| matches!(step, Step::Closed { .. });

#[tokio::test]
async fn a_listed_address_is_reached_and_what_was_carried_is_on_record() {
    let way = Way::to(&["127.0.0.1:PORT"], Private::Refused, Bounds::default()).await;
    let (answer, mut stream) = way.connect("127.0.0.1:PORT").await;
    assert_eq!(answer, "HTTP/1.1 200 OK");
    says_twice(&mut stream, b"hello").await;
    says_twice(&mut stream, b"world!").await;
    stream.shutdown().await.expect("shuts");
    is_over(&mut stream).await;
    let notes = way.notes(CLOSED).await;
    let rule = format!("127.0.0.1:{}", way.port);
    let opened = Step::Opened { rule, address: "127.0.0.1".into() };
    let closed = Step::Closed { why: "closed".into(), sent_bytes: 11, received_bytes: 11 };
    assert_eq!(notes.iter().map(|n| n.step.clone()).collect::<Vec<_>>(), [opened, closed]);
    assert!(notes.iter().all(|n| n.host == "127.0.0.1" && n.port == way.port));
    assert!(!notes.iter().any(|n| n.body().to_string().contains("hello")), "no content");
}

#[tokio::test]
async fn what_is_not_listed_is_refused_with_the_setting_that_would_allow_it() {
    let way = Way::to(&["127.0.0.1:PORT", "localhost:PORT"], Private::Refused, Bounds::default()).await;
    let (answer, _) = way.connect("169.254.169.254:80").await;
    let told = "HTTP/1.1 403 coda opens no tunnel to 169.254.169.254:80: it is not in allow_hosts of [agents.tester], where an operator can add it";
    assert_eq!(answer, told);
    for target in ["127.0.0.1:1", "127.0.0.2:PORT", "[::1]:PORT", "evil.example:443", "metadata.google.internal:80"] {
        let (answer, _) = way.connect(target).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("not in allow_hosts"), "{target}: {answer}");
    }
    // The name is listed, but it leads to this machine.
    let (answer, _) = way.connect("localhost:PORT").await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("allow_private = true"), "{answer}");
    // Written so that one reader sees an allowed host and another sees another.
    for target in ["127.0.0.1:PORT@evil.example:443", "user@127.0.0.1:PORT", "127.1:PORT", "127.0.0.1"] {
        let (answer, _) = way.connect(target).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    let notes = way.notes(|_| true).await;
    let refused: Vec<String> = notes.iter().map(|n| format!("{}:{} {:?}", n.host, n.port, n.step)).collect();
    assert_eq!(refused.len(), 7, "{refused:#?}");
    assert!(refused[0].starts_with("169.254.169.254:80 Refused") && refused[0].contains("not_listed"), "{refused:#?}");
    assert!(refused[6].starts_with("localhost:") && refused[6].contains("address"), "{refused:#?}");
    way.connect("evil.example:443").await;
    assert_eq!(way.stand.gates.tunnels.borrow().len(), 7, "the same refusal again says nothing new");
}

#[tokio::test]
async fn only_the_tasks_own_secret_opens_and_it_opens_nothing_else() {
    let way = Way::to(&["127.0.0.1:PORT"], Private::Refused, Bounds::default()).await;
    let token = way.access.as_ref().expect("open").token.clone();
    for wrong in ["", "x", way.stand.token(), token.as_str()] {
        let (answer, _) = way.connect_with("127.0.0.1:PORT", wrong).await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{wrong}: {answer}");
    }
    let models = way.stand.client.get(format!("{}/model/v1/models", way.stand.gateway.url())).bearer_auth(&way.secret);
    assert_eq!(models.send().await.expect("an answer").status().as_u16(), 401);
    assert!(way.stand.gates.tunnels.borrow().is_empty());
    // A task whose list is empty has no way out, and its environment names none.
    let mut other = way.stand.gateway.open(TaskId::new(), envelope(), way.stand.upstream(), Vec::new());
    let none = other.let_out(Egress::parse("other", &[], Private::Allowed).expect("a list"));
    assert!(none.secret.is_none() && none.environment.is_empty());
}

#[tokio::test]
async fn a_name_is_reached_by_tls_that_asks_for_it_and_by_nothing_else() {
    let of = async |words: &[u8]| {
        let way = Way::to(&["localhost:PORT"], Private::Allowed, Bounds::default()).await;
        let (answer, mut stream) = way.connect("LocalHost.:PORT").await;
        assert_eq!(answer, "HTTP/1.1 200 OK");
        // Byte by byte, as far as it goes.
        for byte in words {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        let mut heard = vec![0; words.len()];
        let heard = soon("an echo or the end", stream.read_exact(&mut heard)).await.map(|_| heard);
        drop(stream);
        let Step::Closed { why, sent_bytes, received_bytes } = way.end().await else { panic!("closed") };
        assert_eq!(sent_bytes, received_bytes);
        (heard.ok(), why, sent_bytes)
    };
    let right = hello("localhost");
    assert_eq!(of(&right).await, (Some(right.clone()), "closed".into(), right.len() as u64));
    assert_eq!(of(&hello("other.example")).await, (None, "other_name".into(), 0), "another name behind the same address");
    assert_eq!(of(&hello("192.0.2.7")).await, (None, "other_name".into(), 0), "no name at all");
    assert_eq!(of(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await, (None, "no_tls".into(), 0));
}

#[tokio::test]
async fn the_end_of_the_task_ends_its_tunnels() {
    let mut way = Way::to(&["127.0.0.1:PORT"], Private::Refused, Bounds::default()).await;
    let (_, mut stream) = way.connect("127.0.0.1:PORT").await;
    says_twice(&mut stream, b"hello").await;
    way.access = None;
    is_over(&mut stream).await;
    assert_eq!(way.end().await, Step::Closed { why: "task_ended".into(), sent_bytes: 5, received_bytes: 5 });
    let (answer, _) = way.connect("127.0.0.1:PORT").await;
    assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
}

#[tokio::test]
async fn tunnels_are_bounded_in_number_bytes_and_silence() {
    let bounds = Bounds { max_tunnels: 2, max_tunnels_per_attempt: 3, max_tunnel_bytes: 60, ..Bounds::default() };
    let way = Way::to(&["127.0.0.1:PORT"], Private::Refused, bounds).await;
    let (_, mut first) = way.connect("127.0.0.1:PORT").await;
    let (_, second) = way.connect("127.0.0.1:PORT").await;
    let (answer, _) = way.connect("127.0.0.1:PORT").await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("gateway.max_tunnels:"), "{answer}");
    drop(second);
    assert_eq!(way.end().await, Step::Closed { why: "closed".into(), sent_bytes: 0, received_bytes: 0 });
    says_twice(&mut first, &[7; 20]).await;
    // Forty of sixty are used: twenty go out, and do not come back.
    first.write_all(&[7; 20]).await.expect("writes");
    is_over(&mut first).await;
    assert_eq!(way.end().await, Step::Closed { why: "max_tunnel_bytes".into(), sent_bytes: 40, received_bytes: 20 });
    let (answer, third) = way.connect("127.0.0.1:PORT").await;
    assert_eq!(answer, "HTTP/1.1 200 OK");
    drop(third);
    let (answer, _) = way.connect("127.0.0.1:PORT").await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("max_tunnels_per_attempt"), "{answer}");

    let silent = Way::to(&["127.0.0.1:PORT"], Private::Refused, Bounds { tunnel_idle_s: 1, ..Bounds::default() }).await;
    let (_, mut stream) = silent.connect("127.0.0.1:PORT").await;
    is_over(&mut stream).await;
    assert_eq!(silent.end().await, Step::Closed { why: "idle".into(), sent_bytes: 0, received_bytes: 0 });
}

#[tokio::test]
async fn what_cannot_be_put_on_record_is_not_opened() {
    let way = Way::to(&["127.0.0.1:PORT"], Private::Refused, Bounds::default()).await;
    way.stand.gates.unwritable.store(true, Ordering::Relaxed);
    let (answer, _) = way.connect("127.0.0.1:PORT").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_said_to_be() {
    let way = Way::to(&["127.0.0.1:1", "nothing.invalid"], Private::Refused, Bounds::default()).await;
    let (answer, _) = way.connect("127.0.0.1:1").await;
    assert_eq!(answer, "HTTP/1.1 502 127.0.0.1:1 cannot be connected to");
    let (answer, _) = way.connect("nothing.invalid:443").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") || answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test]
async fn plain_http_is_refused_but_for_the_gateway_itself() {
    let way = Way::to(&["127.0.0.1:PORT"], Private::Refused, Bounds::default()).await;
    let proxy = reqwest::Proxy::http(way.stand.gateway.url()).expect("a proxy").basic_auth("task", &way.secret);
    let client = reqwest::Client::builder().proxy(proxy).timeout(Duration::from_secs(60)).build().expect("a client");
    let answer = client.get(format!("http://127.0.0.1:{}/x", way.port)).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 403);
    let words = answer.text().await.expect("words");
    assert!(words.contains("no plain HTTP") && words.contains("https://"), "{words}");
    let models = client.get(format!("{}/model/v1/models", way.stand.gateway.url())).bearer_auth(way.stand.token());
    assert_eq!(models.send().await.expect("an answer").status().as_u16(), 200, "its own routes");
}

#[tokio::test]
async fn a_client_that_sends_everything_through_its_proxy_still_finds_its_model() {
    let way = Way::to(&["127.0.0.1:PORT"], Private::Refused, Bounds::default()).await;
    let gateway = way.stand.gateway.url().replace("http://", "");
    for own in [gateway.clone(), gateway.replace("127.0.0.1", "localhost")] {
        let (answer, mut stream) = way.connect(&own).await;
        assert_eq!(answer, "HTTP/1.1 200 OK", "{own}");
        let token = way.stand.token();
        let head =
            format!("GET /model/v1/models HTTP/1.1\r\nHost: {own}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("writes");
        let mut heard = String::new();
        soon("an answer", stream.read_to_string(&mut heard)).await.expect("an answer");
        assert!(heard.starts_with("HTTP/1.1 200 ") && heard.contains("real-model"), "{heard}");
    }
    assert!(way.stand.gates.tunnels.borrow().is_empty(), "it leads nowhere else");
}
