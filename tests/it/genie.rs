//! Databricks Genie Code saves a server only if its browser may ask it, and if it lists nothing but what Genie knows. Each
//! of these gates is one on which a server "lists but will not save".

use std::time::Duration;

use serde_json::{Value, json};

use crate::person::client;
use crate::server::{Server, field};

/// As an operator copies it from DATABRICKS_HOST, which may lack its scheme.
const CONFIGURED: &str = "ws.example.com";
const WORKSPACE: &str = "https://ws.example.com";

struct Genie {
    server: Server,
    token: String,
    client: reqwest::blocking::Client,
}

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

impl Genie {
    fn start() -> Self {
        let mut server = Server::with_config(&format!("[mcp]\ngenie_origins = [\"{CONFIGURED}\"]\n"));
        server.run();
        let token = field(&server.json(&["token", "create", "--role", "submitter", "--expires", "1h"]), "secret");
        Self { server, token, client: client() }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Reply {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.server.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.timeout(Duration::from_secs(30)).send().expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().expect("a body");
        Reply { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// A message from the workspace's pages.
    fn ask(&self, path: &str, accept: &str, method: &str, params: &Value) -> Reply {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let bearer = format!("Bearer {}", self.token);
        self.send("POST", path, &[("origin", WORKSPACE), ("authorization", &bearer), ("accept", accept)], Some(&message))
    }
}

#[test]
fn the_preflight_of_the_workspace_is_answered_and_no_other() {
    let genie = Genie::start();
    let asked = "authorization,content-type,mcp-protocol-version,mcp-session-id";
    let preflight = |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", asked)];
        genie.send("OPTIONS", "/mcp", &headers, None)
    };
    let reply = preflight(WORKSPACE);
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), WORKSPACE);
    assert_eq!(reply.header("access-control-allow-credentials"), "true");
    assert_eq!(reply.header("access-control-allow-headers"), asked);
    for exposed in ["mcp-session-id", "mcp-protocol-version"] {
        assert!(reply.header("access-control-expose-headers").contains(exposed), "{exposed}");
    }
    for other in ["https://ws.example.com.evil.example", "http://ws.example.com", "https://evil.example", "null"] {
        let reply = preflight(other);
        assert_eq!(reply.status, 403, "{other}");
        assert_eq!(reply.header("access-control-allow-origin"), "", "{other}");
    }
}

#[test]
fn a_page_of_the_workspace_gets_json_whatever_it_accepts_and_can_read_a_refusal() {
    let genie = Genie::start();
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "genie", "version": "1"}});
    for path in ["/mcp", "/mcp/"] {
        for accept in ["application/json", "*/*", "application/json, text/event-stream"] {
            let reply = genie.ask(path, accept, "initialize", &hello);
            assert_eq!(reply.status, 200, "{path} {accept}: {}", reply.body);
            assert_eq!(reply.header("content-type"), "application/json", "{path} {accept}");
            assert_eq!(reply.header("access-control-allow-origin"), WORKSPACE);
            assert_eq!(reply.body["result"]["protocolVersion"], "2025-11-25");
            assert_eq!(reply.header("mcp-session-id"), "", "no session that could be lost");
        }
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let refused = genie.send("POST", "/mcp", &[("origin", WORKSPACE)], Some(&message));
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, WORKSPACE));
    assert!(refused.body["error"]["message"].as_str().is_some_and(|m| m.contains("coda token create")), "{}", refused.body);
}

#[test]
fn no_method_leaves_a_stream_open() {
    let genie = Genie::start();
    for method in ["GET", "DELETE", "PUT"] {
        let bearer = format!("Bearer {}", genie.token);
        let headers = [("origin", WORKSPACE), ("authorization", bearer.as_str()), ("accept", "text/event-stream")];
        let reply = genie.send(method, "/mcp", &headers, None);
        assert_eq!((reply.status, reply.header("allow")), (405, "POST, OPTIONS"), "{method}");
    }
}

#[test]
fn the_list_says_nothing_that_genie_refuses_to_save_and_the_tools_work() {
    let genie = Genie::start();
    let list = genie.ask("/mcp", "application/json", "tools/list", &json!({}));
    let tools = list.body["result"]["tools"].as_array().expect("tools");
    assert_eq!(tools.len(), 3, "of twenty that Genie takes from all servers together");
    for tool in tools {
        let keys: Vec<&String> = tool.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["description", "inputSchema", "name"]);
        assert!((200..=400).contains(&tool["description"].as_str().map_or(0, str::len)), "{tool:#}");
        assert!(tool["inputSchema"]["properties"].as_object().is_some_and(|p| p.len() < 8), "{tool:#}");
    }
    let call = json!({"name": "coda_run", "arguments": {"prompt": "```sh\necho hello\n```", "agent": "runbook"}});
    let ran = genie.ask("/mcp", "application/json", "tools/call", &call);
    assert_eq!(ran.body["result"]["isError"], false, "{}", ran.body);
    let task = genie.server.json(&["inbox"]);
    assert_eq!(genie.server.watch(&field(&task["tasks"][0], "task_id"))["status"], "completed");
    // Through the managed proxy, without Origin, the path says which client it is.
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let bearer = format!("Bearer {}", genie.token);
    let by_path = genie.send("POST", "/mcp/genie-code", &[("authorization", &bearer)], Some(&message));
    assert_eq!(by_path.body["result"]["tools"][0].as_object().map(serde_json::Map::len), Some(3), "{}", by_path.body);
}
