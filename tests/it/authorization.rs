//! Who may do what, as a table: every route and every tool, for everybody who could ask, about a task, an approval and a
//! token of Ann's. The routes come from the sources, so a new one without a row fails.
//!
//! Whoever may not see an object gets the very answer that an object which does not exist gets.

mod local;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::person::{Person, SECRET, behind_a_proxy, staying_client};
use crate::server::{Server, field};

const ROLES: &str = r#"
[[role]]
name = "submitter"
principals = ["ann@example.com", "eve@example.com"]

[[role]]
name = "viewer"
principals = ["vic@example.com"]

[[role]]
name = "operator"
principals = ["olga@example.com"]

[[role]]
name = "approver"
principals = ["ben@example.com"]
"#;

/// Nobody; somebody known without a role; another submitter; a viewer; an operator; another submitter's token; Ann's token;
/// Ann, whose everything is; an approver. Who may change something comes after those who may not.
const CALLERS: [&str; 9] = ["nobody", "ned", "eve", "vic", "olga", "eve's token", "ann's token", "ann", "ben"];

const TABLE: &str = include_str!("authorization.txt");

/// Routes that change something get objects of their own: what one caller does must not answer another's question.
const FRESH: [&str; 6] = [
    "POST /v1/tasks/{id}/cancel",
    "POST /tasks/{id}/cancel",
    "POST /v1/approvals/{id}/decision",
    "POST /approvals/{id}/decision",
    "POST /v1/tasks/{id}/answer",
    "POST /tasks/{id}/answer",
];

/// What a browser sends to open a live terminal.
const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

const TASK: &str = "```sh\necho alive > canary\nrm -rf canary\n```";

/// Who may see nothing of Ann's, whatever the route.
const BLIND: [&str; 4] = ["nobody", "ned", "eve", "eve's token"];

/// What the table speaks about. The task is held; the ended one is there for what only an ended task has.
struct Things {
    task: String,
    ended: String,
    approval: String,
    token: String,
}

struct Bench {
    server: Server,
    client: reqwest::blocking::Client,
    anns_token: String,
    eves_token: String,
}

impl Bench {
    fn start() -> Self {
        let server = behind_a_proxy(ROLES);
        let mut bench = Self { server, client: staying_client(), anns_token: String::new(), eves_token: String::new() };
        bench.anns_token = field(&bench.new_token("ann"), "secret");
        bench.eves_token = field(&bench.new_token("eve"), "secret");
        bench
    }

    fn new_token(&self, who: &str) -> Value {
        let (status, token) = self.ask(who, "POST", "/v1/tokens", Some(&json!({"roles": ["submitter"], "expires_s": 3600})));
        assert_eq!(status, 201, "{token:#}");
        token
    }

    /// A task of Ann's that waits for approval.
    fn held(&self) -> (String, String) {
        let body = json!({"prompt": TASK, "agent": "runbook"});
        let (status, task) = self.ask("ann", "POST", "/v1/tasks", Some(&body));
        assert_eq!(status, 201, "{task:#}");
        let id = field(&task, "task_id");
        let waiting = Person::new(&self.server, "ann@example.com").wait_for(&id, &["needs_approval"]);
        (id, field(&waiting["approval"], "approval_id"))
    }

    fn things(&self) -> Things {
        let (task, approval) = self.held();
        let body = json!({"prompt": "```sh\necho new > file\n```", "agent": "runbook"});
        let (_, short) = self.ask("ann", "POST", "/v1/tasks", Some(&body));
        let ended = field(&short, "task_id");
        Person::new(&self.server, "ann@example.com").wait_for(&ended, &["completed"]);
        Things { task, ended, approval, token: field(&self.new_token("ann"), "token_id") }
    }
}

impl Asks for Bench {
    /// As one of the callers; a page's answer is its status and nothing else.
    fn ask(&self, who: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let request = self.client.request(method.parse().expect("a method"), format!("{}{path}", self.server.url));
        let request = match who {
            "nobody" => request,
            "ann's token" => request.bearer_auth(&self.anns_token),
            "eve's token" => request.bearer_auth(&self.eves_token),
            person => request
                .header("x-forwarded-email", format!("{person}@example.com"))
                .header("x-proxy-secret", SECRET)
                .header("origin", &self.server.url),
        };
        sent(request, path, body)
    }
}

/// Sends it: its status and its body, JSON or text.
fn sent(mut request: reqwest::blocking::RequestBuilder, path: &str, body: Option<&Value>) -> (u16, Value) {
    if path.ends_with("/stream") {
        for (name, value) in UPGRADE {
            request = request.header(name, value);
        }
    }
    if let Some(body) = body {
        request = if let Some(form) = body.as_str() {
            request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned())
        } else {
            request.header("content-type", "application/json").body(body.to_string())
        };
    }
    let answer = request.send().expect("an answer");
    let status = answer.status().as_u16();
    // What an open terminal says has no end.
    let text = if status == 101 { String::new() } else { answer.text().expect("a body") };
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Callers of a server.
trait Asks {
    /// As one of them.
    fn ask(&self, who: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value);

    /// A tool as a route: its error codes as the statuses that the REST API has for them.
    fn call(&self, who: &str, tool: &str, arguments: &Value) -> (u16, Value) {
        let message =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let (status, answer) = self.ask(who, "POST", "/mcp", Some(&message));
        let result = &answer["result"];
        if status != 200 || result["isError"] != json!(true) {
            return (status, answer);
        }
        let said: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap_or_default()).expect("JSON text");
        let status = match said["error"]["code"].as_str().unwrap_or_default() {
            "not_found" => 404,
            "forbidden" => 403,
            "conflict" => 409,
            "invalid" => 400,
            other => panic!("{tool}: {other}"),
        };
        (status, said)
    }

    /// One cell of the table.
    fn cell(&self, who: &str, route: &str, things: &Things) -> (u16, Value) {
        let (method, template) = route.split_once(' ').expect("a method and a path");
        if method == "TOOL" {
            let arguments = match template {
                "coda_run" => json!({"prompt": "```sh\necho hi\n```", "agent": "runbook"}),
                "coda_inbox all" => json!({"all": true}),
                "coda_get_result" => json!({"task_id": things.task}),
                _ => json!({}),
            };
            return self.call(who, template.split(' ').next().unwrap_or(template), &arguments);
        }
        let id = match template {
            t if t.ends_with("/diff") => &things.ended,
            t if t.contains("/tasks/") => &things.task,
            t if t.contains("/approvals/") => &things.approval,
            _ => &things.token,
        };
        let path = template.replace("{id}", id).replace("{name}", "site.css").replace("{shape}", "codex");
        self.ask(who, method, &path, body_of(route).as_ref())
    }
}

/// A body that is well formed, so that nothing but the caller decides.
fn body_of(route: &str) -> Option<Value> {
    Some(match route {
        "POST /v1/tasks" => json!({"prompt": "```sh\necho hi\n```", "agent": "runbook"}),
        "POST /v1/tasks/{id}/answer" => json!({"text": "yes"}),
        "POST /tasks/{id}/answer" => json!("text=yes"),
        "POST /v1/approvals/{id}/decision" => json!({"decision": "approve", "reason": ""}),
        "POST /approvals/{id}/decision" => json!("decision=approve&reason="),
        "POST /v1/tokens" => json!({"roles": ["submitter"], "expires_s": 60}),
        "POST /v1/policies/rollback" => json!({"generation": 999_999}),
        "POST /v1/login/local" => json!({"key": "guess"}),
        "POST /login" => json!("code=guess"),
        r if r.starts_with("POST /mcp") => json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        r if r.starts_with("POST /v1/") => json!({}),
        r if r.starts_with("POST /") => json!(""),
        _ => return None,
    })
}

/// Rows: the route, then a status for each caller.
fn table() -> Vec<(String, Vec<u16>)> {
    rows(TABLE, CALLERS.len())
}

fn rows(table: &str, callers: usize) -> Vec<(String, Vec<u16>)> {
    let rows = table.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
    rows.map(|line| {
        let (route, statuses) = line.split_once('|').unwrap_or_else(|| panic!("no | in '{line}'"));
        let statuses: Vec<u16> = statuses.split_whitespace().map(|s| s.parse().expect("a status")).collect();
        let route = route.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(statuses.len(), callers, "{route}");
        (route, statuses)
    })
    .collect()
}

/// Every `.route(…)` and `.route_service(…)` of the site, from its sources.
fn routes() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    for file in ["web.rs", "web/api.rs", "web/pages.rs", "app/faces.rs", "mcp.rs"] {
        let text = std::fs::read_to_string(source.join(file)).expect("a source");
        let pieces: Vec<&str> = text.split(".route").skip(1).collect();
        assert!(!pieces.is_empty(), "no routes in {file}: this reads its sources no longer");
        for piece in pieces {
            let (word, rest) = piece.split_once('(').expect("arguments");
            let path = rest.split('"').nth(1).expect("a path");
            match word {
                // Of the MCP endpoint: it takes one method.
                "_service" => _ = found.insert(format!("POST {path}")),
                "" => found.extend(outer_calls(rest).into_iter().map(|call| format!("{} {path}", call.to_uppercase()))),
                _ => {}
            }
        }
    }
    found
}

/// The names that are called among these arguments, up to the parenthesis that ends them, but not within their arguments.
fn outer_calls(arguments: &str) -> Vec<&str> {
    let (mut depth, mut calls) = (0, Vec::new());
    for (at, c) in arguments.char_indices() {
        match c {
            '(' => {
                if depth == 0 {
                    let start = arguments[..at].rfind(|c: char| !c.is_ascii_lowercase()).map_or(0, |before| before + 1);
                    calls.push(&arguments[start..at]);
                }
                depth += 1;
            }
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            _ => {}
        }
    }
    calls
}

/// That the files above are all of them.
#[test]
fn routes_are_made_where_the_table_looks_for_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut makers) = (vec![source.clone()], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(&source).expect("below it").display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("tests") && std::fs::read_to_string(&path).is_ok_and(|text| text.contains(".route(")) {
                makers.insert(name);
            }
        }
    }
    // The gateway is another listener, inside a task's sandbox; it asks for the task's own token.
    let known = ["app/faces.rs", "gateway/server.rs", "web.rs", "web/api.rs", "web/pages.rs"];
    assert_eq!(makers, known.map(String::from).into(), "read by `routes` as well?");
}

#[test]
fn every_route_has_its_row() {
    for table in [table(), local::table()] {
        let rows: BTreeSet<String> = table.into_iter().map(|(route, _)| route).filter(|r| !r.starts_with("TOOL ")).collect();
        let routes = routes();
        let missing: Vec<_> = routes.difference(&rows).collect();
        let gone: Vec<_> = rows.difference(&routes).collect();
        assert!(missing.is_empty() && gone.is_empty(), "without a row: {missing:#?}; rows without a route: {gone:#?}");
    }
}

#[test]
fn everybody_gets_what_the_table_says() {
    let bench = Bench::start();
    let shared = bench.things();
    let mut wrong = Vec::new();
    for (route, wanted) in table() {
        let own = FRESH.contains(&route.as_str()) || route.starts_with("DELETE");
        let fresh = own.then(|| bench.things());
        let things = fresh.as_ref().unwrap_or(&shared);
        let got: Vec<u16> = CALLERS.iter().map(|who| bench.cell(who, &route, things).0).collect();
        if got != wanted {
            let shown: Vec<String> = got.iter().map(u16::to_string).collect();
            wrong.push(format!("{route:<40}| {}", shown.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "these are answered otherwise, in the order {CALLERS:?}:\n{}", wrong.join("\n"));
}

#[test]
fn what_one_may_not_see_looks_as_if_it_did_not_exist() {
    let bench = Bench::start();
    let there = bench.things();
    let nowhere = Things {
        task: format!("task_{}", "0".repeat(32)),
        ended: format!("task_{}", "0".repeat(32)),
        approval: format!("appr_{}", "0".repeat(32)),
        token: format!("tok_{}", "0".repeat(32)),
    };
    let mut compared = 0;
    for (route, wanted) in table().into_iter().filter(|(r, _)| r.contains("{id}") || r == "TOOL coda_get_result") {
        for (who, status) in CALLERS.iter().zip(wanted) {
            let unknown = bench.cell(who, &route, &nowhere);
            // What one caller may change, another may find changed: there only those are compared who see nothing ever.
            if BLIND.contains(who) || (status == 404 && !FRESH.contains(&route.as_str())) {
                let known = bench.cell(who, &route, &there);
                assert_eq!(without_ids(&known, &there), without_ids(&unknown, &nowhere), "{route} as {who}");
                compared += 1;
            } else {
                assert_ne!(unknown.0, 200, "{route} as {who}: there is no such thing");
            }
        }
    }
    assert!(compared > 40, "only {compared} answers were compared");
}

#[test]
fn another_tenants_task_does_not_exist_for_anybody() {
    let mut bench = Bench::start();
    let things = bench.things();
    bench.server.stop();
    let change = format!(
        "UPDATE task SET tenant = 'elsewhere' WHERE id IN ('{}', '{}'); UPDATE approval SET tenant = 'elsewhere'",
        things.task, things.ended
    );
    let status = std::process::Command::new("sqlite3").arg(bench.server.path("coda.db")).arg(change).status();
    assert!(status.is_ok_and(|s| s.success()), "the sqlite3 program is needed");
    bench.server.run();
    for route in [
        "GET /v1/tasks/{id}",
        "GET /v1/tasks/{id}/diff",
        "GET /v1/tasks/{id}/events",
        "GET /v1/approvals/{id}",
        "GET /tasks/{id}",
        "GET /tasks/{id}/transcript",
        "GET /approvals/{id}",
        "POST /v1/tasks/{id}/cancel",
        "POST /v1/tasks/{id}/answer",
        "TOOL coda_get_result",
    ] {
        for who in CALLERS.iter().skip(1) {
            let (status, answer) = bench.cell(who, route, &things);
            assert!(status == 404 || status == 403, "{route} as {who}: {status} {answer}");
        }
    }
    for who in ["ann", "ben", "olga", "vic"] {
        for path in ["/v1/tasks", "/v1/tasks?all=true", "/v1/approvals"] {
            let (_, list) = bench.ask(who, "GET", path, None);
            let text = list.to_string();
            assert!(!text.contains(&things.task) && !text.contains(&things.approval), "{path} as {who}: {text}");
        }
    }
}

/// An answer without what it repeats of the question.
fn without_ids(answer: &(u16, Value), things: &Things) -> (u16, String) {
    let text = answer.1.to_string();
    (
        answer.0,
        text.replace(&things.task, "TASK")
            .replace(&things.ended, "TASK")
            .replace(&things.approval, "APPROVAL")
            .replace(&things.token, "TOKEN"),
    )
}
