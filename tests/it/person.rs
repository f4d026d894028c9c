//! A person with a login of the proxy: requests as an identity-aware proxy would pass them on.

use std::time::Duration;

use serde_json::Value;

use crate::server::Server;

pub const SECRET: &str = "the-proxy-and-coda-know-this";

/// A server behind an identity-aware proxy on this machine, with these roles.
pub fn behind_a_proxy(roles: &str) -> Server {
    behind_a_proxy_with(roles, "")
}

/// The same with more in its coda.toml.
pub fn behind_a_proxy_with(roles: &str, more: &str) -> Server {
    let mut server = prepared_behind_a_proxy(more, roles);
    server.run();
    server
}

/// The same, not started yet.
pub fn prepared_behind_a_proxy(config: &str, roles: &str) -> Server {
    let identity = "[identity]\nmode = \"proxy\"\ntrusted_peers = [\"127.0.0.1/32\"]\nsecret_header = \"x-proxy-secret\"\nsecret_file = \"keys/proxy.secret\"\nheaders = [\"x-forwarded-email\"]\n";
    let server = Server::with_config(&format!("{identity}\n{config}"));
    std::fs::write(server.path("keys/proxy.secret"), SECRET).expect("the secret");
    std::fs::write(server.path("roles.toml"), roles).expect("roles.toml");
    // Several people: whoever submits does not decide.
    let policies = std::fs::read_to_string(server.path("policies/policies.toml")).expect("policies.toml");
    let strict = policies.replace("allow_requester = true", "allow_requester = false");
    std::fs::write(server.path("policies/policies.toml"), strict).expect("policies.toml");
    server
}

/// A client as any program has one, without identity.
pub fn client() -> reqwest::blocking::Client {
    builder().build().expect("a client")
}

/// The same; it shows where it is sent and does not go there.
pub fn staying_client() -> reqwest::blocking::Client {
    builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

fn builder() -> reqwest::blocking::ClientBuilder {
    // Nothing here speaks TLS; the client asks for a provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(120))
}

pub struct Person<'a> {
    server: &'a Server,
    name: &'static str,
    /// Their own access token, as the proxy forwards it.
    token: Option<&'static str>,
    client: reqwest::blocking::Client,
}

impl<'a> Person<'a> {
    pub fn new(server: &'a Server, name: &'static str) -> Self {
        Self { server, name, token: None, client: client() }
    }

    /// The same; the proxy forwards this access token with what they ask.
    pub fn with_token(server: &'a Server, name: &'static str, token: &'static str) -> Self {
        Self { token: Some(token), ..Self::new(server, name) }
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let request = self.client.get(format!("{}{path}", self.server.url));
        self.send(request)
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.server.url)).header("origin", &self.server.url).json(body);
        self.send(request)
    }

    /// As `get`; none where the server went before its whole answer came.
    pub fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        self.try_send(self.client.get(format!("{}{path}", self.server.url)))
    }

    /// As `post`, in the same way.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.try_send(self.client.post(format!("{}{path}", self.server.url)).header("origin", &self.server.url).json(body))
    }

    fn send(&self, request: reqwest::blocking::RequestBuilder) -> (u16, Value) {
        self.try_send(request).expect("the server answers")
    }

    fn try_send(&self, request: reqwest::blocking::RequestBuilder) -> Option<(u16, Value)> {
        let request = request.header("x-forwarded-email", self.name).header("x-proxy-secret", SECRET);
        let request = self.token.into_iter().fold(request, |request, token| request.header("x-forwarded-access-token", token));
        let answer = request.send().ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Waits for a task's status by its event stream.
    pub fn wait_for(&self, task: &str, wanted: &[&str]) -> Value {
        self.wait_until(task, |view| view["status"].as_str().is_some_and(|s| wanted.contains(&s)))
    }

    /// Waits until a task looks so.
    pub fn wait_until(&self, task: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut after = 0;
        let deadline = std::time::Instant::now() + crate::server::DEADLINE;
        loop {
            let (_, now) = self.get(&format!("/v1/tasks/{task}"));
            if wanted(&now) {
                return now;
            }
            assert!(std::time::Instant::now() < deadline, "waited in vain, it is {now:#}");
            let (_, page) = self.get(&format!("/v1/tasks/{task}/events?after={after}&limit=100&wait_s=10"));
            after = page["next_after"].as_u64().unwrap_or(after);
        }
    }
}
