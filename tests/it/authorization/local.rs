//! The same table for a server of one person, whose login everything is: what counts here is with what they come. A cookie
//! alone changes nothing, a token never decides, and headers that a proxy would set say nothing.

use serde_json::{Value, json};

use super::{Asks, FRESH, Things, rows, sent};
use crate::person::staying_client;
use crate::server::{Server, field};

const TABLE: &str = include_str!("../authorization_local.txt");

/// Nobody; somebody who forges a proxy's headers; tokens with one role each; the browser's cookie as another site would
/// have it sent; the browser on coda's own page; the login of a terminal.
const CALLERS: [&str; 7] = ["nobody", "forger", "submitter's token", "approver's token", "cookie alone", "page", "terminal"];

pub(super) fn table() -> Vec<(String, Vec<u16>)> {
    rows(TABLE, CALLERS.len())
}

struct Local {
    server: Server,
    client: reqwest::blocking::Client,
    key: String,
    submitter: String,
    approver: String,
    cookie: String,
    login: String,
}

impl Local {
    fn start() -> Self {
        let server = Server::start();
        let key = std::fs::read_to_string(server.path("keys/local.key")).expect("the key").trim().to_owned();
        let token = |role| field(&server.json(&["token", "create", "--role", role, "--expires", "1h"]), "secret");
        let (submitter, approver) = (token("submitter"), token("approver"));
        let client = staying_client();
        let mut local = Self { server, client, key, submitter, approver, cookie: String::new(), login: String::new() };
        (local.cookie, local.login) = (local.new_cookie(), local.new_login());
        local
    }

    fn new_login(&self) -> String {
        let (status, login) = self.ask("nobody", "POST", "/v1/login/local", Some(&json!({ "key": self.key })));
        assert_eq!(status, 200, "{login:#}");
        field(&login, "secret")
    }

    fn new_cookie(&self) -> String {
        let form = self.client.post(format!("{}/login", self.server.url)).header("origin", &self.server.url);
        let form = form.header("content-type", "application/x-www-form-urlencoded").body(format!("code={}", self.key));
        let answer = form.send().expect("an answer");
        let cookie = answer.headers().get("set-cookie").and_then(|c| c.to_str().ok()).expect("a cookie");
        cookie.split(';').next().expect("its value").to_owned()
    }

    /// Everything but the ended task is new.
    fn things(&self, ended: &str) -> Things {
        let held = self.server.runbook("echo alive > canary\nrm -rf canary");
        let token = self.server.json(&["token", "create", "--role", "submitter", "--expires", "1h"]);
        Things {
            task: field(&held, "task_id"),
            ended: ended.to_owned(),
            approval: field(&held["approval"], "approval_id"),
            token: field(&token, "token_id"),
        }
    }
}

impl Asks for Local {
    fn ask(&self, who: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let request = self.client.request(method.parse().expect("a method"), format!("{}{path}", self.server.url));
        // Whoever logs out is logged in for that.
        let leaves = path.ends_with("/logout");
        let cookie = || if leaves { self.new_cookie() } else { self.cookie.clone() };
        let request = match who {
            "nobody" => request,
            "forger" => request
                .header("x-forwarded-email", "local")
                .header("x-forwarded-user", "local")
                .header("origin", &self.server.url),
            "submitter's token" => request.bearer_auth(&self.submitter),
            "approver's token" => request.bearer_auth(&self.approver),
            "cookie alone" => request.header("cookie", cookie()),
            "page" => request.header("cookie", cookie()).header("origin", &self.server.url),
            _ => request.bearer_auth(if leaves { self.new_login() } else { self.login.clone() }),
        };
        sent(request, path, body)
    }
}

#[test]
fn everybody_gets_what_the_table_of_one_person_says() {
    let local = Local::start();
    let ended = field(&local.server.runbook("echo new > file"), "task_id");
    let shared = local.things(&ended);
    let mut wrong = Vec::new();
    for (route, wanted) in table() {
        let own = FRESH.contains(&route.as_str()) || route.starts_with("DELETE");
        let mut got = Vec::new();
        for who in CALLERS {
            // One person may do everything, so that each gets things of their own to do it with.
            let fresh = own.then(|| local.things(&ended));
            let things = fresh.as_ref().unwrap_or(&shared);
            got.push(local.cell(who, &route, things).0);
            if fresh.is_some() && !["page", "terminal"].contains(&who) {
                let (_, approval) = local.ask("terminal", "GET", &format!("/v1/approvals/{}", things.approval), None);
                let untouched = approval["status"] == "open" || route.ends_with("/cancel");
                assert!(untouched, "{route} as {who}: {approval:#}");
            }
        }
        if got != wanted {
            let shown: Vec<String> = got.iter().map(u16::to_string).collect();
            wrong.push(format!("{route:<40}| {}", shown.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "these are answered otherwise, in the order {CALLERS:?}:\n{}", wrong.join("\n"));
}
