//! A model's server that answers as the test says and forgets nothing, and an agent that asks it through the gateway.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The CA of an upstream behind TLS.
pub const CA: &str = include_str!("../../host/src/gateway/tests/tls/ca.pem");

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    /// The bearer token, or nothing.
    pub token: String,
    /// The body as text.
    pub said: String,
}

type Answers = dyn Fn(&Seen) -> (u16, Value) + Send + Sync;

/// The server. It lives as long as the tests.
pub struct Upstream {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    /// `answer` gives a status and a body.
    pub fn start(answer: impl Fn(&Seen) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self::listening(None, answer)
    }

    /// The same over TLS, with a certificate for 127.0.0.1.
    pub fn behind_tls(answer: impl Fn(&Seen) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let own = CertificateDer::from_pem_slice(include_bytes!("../../host/src/gateway/tests/tls/server.pem")).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../host/src/gateway/tests/tls/server.key")).expect("PEM");
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        Self::listening(Some(Arc::new(builder.with_single_cert(vec![own], key).expect("a certificate"))), answer)
    }

    fn listening(tls: Option<Arc<ServerConfig>>, answer: impl Fn(&Seen) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("bound"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer): (_, Arc<Answers>) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer, tls) = (Arc::clone(&kept), Arc::clone(&answer), tls.clone());
                // One that breaks off is no request.
                std::thread::spawn(move || match tls {
                    None => serve(stream, &kept, &*answer),
                    Some(tls) => {
                        let tls = ServerConnection::new(tls).expect("a connection");
                        serve(StreamOwned::new(tls, stream), &kept, &*answer)
                    }
                });
            }
        });
        Self { url, seen }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("seen").clone()
    }
}

fn serve(stream: impl Read + Write, kept: &Mutex<Vec<Seen>>, answer: &Answers) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let length = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let token = header("authorization").and_then(|text| Some(text.strip_prefix("Bearer ")?.to_owned())).unwrap_or_default();
    let seen = Seen {
        path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        token,
        said: String::from_utf8_lossy(&body).into_owned(),
    };
    kept.lock().expect("seen").push(seen.clone());
    let (status, body) = answer(&seen);
    let body = body.to_string();
    let stream = reader.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}

/// An answer in Chat Completions: these words, 100 tokens read and 20 written.
pub fn words(text: &str) -> Value {
    json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}})
}

/// A shell function `ask WORDS`: asks the model by way of the gateway and prints its whole answer.
pub const ASK: &str = r#"ask() {
at=${CODA_GATEWAY_URL#http://}; exec 3<>/dev/tcp/${at%:*}/${at#*:}
body='{"model":"m","messages":[{"role":"user","content":"'"$1"'"}]}'
printf 'POST /model/v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' "$at" "$CODA_GATEWAY_TOKEN" "${#body}" "$body" >&3
cat <&3
}
"#;

/// Ends an agent's task as completed.
pub const DONE: &str = "printf '{\"status\":\"completed\",\"summary\":\"done\"}' > \"$CODA_TASK_DIR/r\"; mv \"$CODA_TASK_DIR/r\" \"$CODA_TASK_DIR/result.json\"\n";

/// The tables of an agent `own` that is this script, with a model at `base_url` and more of its settings.
pub fn agent(script: &str, base_url: &str, model: &str) -> String {
    format!(
        "[agents.own]\nkind = \"custom\"\ncommand = \"/bin/bash\"\narguments = [\"-c\", {}]\nmodel = \"main\"\n\
         [models.main]\nbase_url = \"{base_url}\"\nmodel = \"m\"\n{model}\n",
        json!(format!("{ASK}{script}"))
    )
}
