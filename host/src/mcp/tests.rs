//! The endpoint through real HTTP, with scripted verbs behind it. What a test sends is what clients send on the wire.

mod harness;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::harness::{ORIGIN, Reply, Server, TOKEN, TextOnly, WORKSPACE};
use super::{Settings, Shaped, ToolList};
use crate::id::TaskId;
use crate::service::ServiceError;

fn names(reply: &Reply) -> Vec<&str> {
    reply.json["result"]["tools"].as_array().map(|l| l.iter().filter_map(|t| t["name"].as_str()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn a_legacy_client_initializes_lists_and_calls_without_a_session() {
    let server = Server::start().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let hello = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}});
        let reply = server.legacy("initialize", hello).await;
        assert_eq!(reply.json["result"]["protocolVersion"], version);
        assert_eq!(reply.json["result"]["capabilities"], json!({"tools": {}}));
        assert_eq!(reply.json["result"]["serverInfo"]["name"], "coda");
        let instructions = reply.json["result"]["instructions"].as_str().unwrap_or_default();
        assert!(instructions.contains("Do not loop") && instructions.len() < 4000);
        assert!(!reply.headers.contains_key("mcp-session-id"));
    }
    let reply = server.legacy("tools/list", json!({})).await;
    assert_eq!(names(&reply), ["coda_run", "coda_inbox", "coda_get_result"]);
    assert_eq!(reply.headers["content-type"], "application/json");
    let reply = server.call("coda_run", json!({"prompt": "tidy up"})).await;
    assert_eq!(reply.json["result"]["isError"], false);
    let structured = &reply.json["result"]["structuredContent"];
    assert_eq!(structured["status"], "running");
    let text: Value = serde_json::from_str(reply.text()).expect("the text mirrors the structure");
    assert_eq!(&text, structured);
    assert_eq!(server.legacy("prompts/list", json!({})).await.json["error"]["code"], -32601);
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(server.post("/mcp", &[], note).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_modern_client_needs_no_handshake() {
    let server = Server::start().await;
    let reply = server.modern("server/discover", None, json!({})).await;
    let versions = reply.json["result"]["supportedVersions"].as_array().expect("versions");
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2025-11-25")), "{versions:?}");
    let reply = server.modern("tools/list", None, json!({})).await;
    assert_eq!(names(&reply).len(), 3);
    assert!(reply.json["result"]["ttlMs"].is_u64() && reply.json["result"]["cacheScope"].is_string());
    let call = json!({"name": "coda_run", "arguments": {"prompt": "tidy up"}});
    let reply = server.modern("tools/call", Some("coda_run"), call).await;
    assert_eq!(reply.json["result"]["resultType"], "complete");
    assert_eq!(reply.json["result"]["structuredContent"]["status"], "running");
    assert_eq!(server.seen().last().expect("a call").client.shape, "codex", "from clientInfo in the message");
    let reply = server.modern("no/such", None, json!({})).await;
    assert_eq!((reply.status, &reply.json["error"]["code"]), (StatusCode::NOT_FOUND, &json!(-32601)));
    let lying = server.modern("tools/call", Some("coda_inbox"), json!({"name": "coda_run", "arguments": {}})).await;
    assert_eq!((lying.status, &lying.json["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32020)));
}

#[tokio::test]
async fn genie_code_may_save_the_server() {
    let server = Server::start().await;
    // 1. The preflight, without credentials.
    let asked = [
        ("origin", WORKSPACE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,mcp-protocol-version"),
    ];
    let preflight = server.send(Method::OPTIONS, "/mcp", &asked, None).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.headers["access-control-allow-origin"], WORKSPACE);
    assert_eq!(preflight.headers["access-control-allow-credentials"], "true");
    assert_eq!(preflight.headers["access-control-allow-headers"], "authorization,content-type,mcp-protocol-version");
    assert_eq!(preflight.headers["access-control-expose-headers"], "mcp-session-id, mcp-protocol-version");
    // 2. and 3. From the workspace's origin, whatever it accepts, on both paths.
    for accept in [Some("application/json"), Some("*/*"), None] {
        for path in ["/mcp", "/mcp/"] {
            let mut headers = vec![("origin", WORKSPACE), ("authorization", TOKEN)];
            headers.extend(accept.map(|a| ("accept", a)));
            let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
            let reply = server.send(Method::POST, path, &headers, Some(list)).await;
            assert_eq!(reply.status, StatusCode::OK, "{accept:?} {path}");
            assert_eq!(reply.headers["content-type"], "application/json");
            assert_eq!(reply.headers["access-control-allow-origin"], WORKSPACE);
            // 5. Nothing but name, description and input schema.
            for tool in reply.json["result"]["tools"].as_array().expect("tools") {
                let keys: Vec<&String> = tool.as_object().expect("an object").keys().collect();
                assert_eq!(keys, ["description", "inputSchema", "name"]);
            }
        }
    }
    // 4. No stream to hang on.
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let reply = server.send(method, "/mcp", &[("accept", "text/event-stream")], None).await;
        assert_eq!(
            (reply.status, &reply.headers["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST, OPTIONS".parse().expect("a value"))
        );
    }
}

#[tokio::test]
async fn the_plain_list_also_comes_by_path_or_setting() {
    let keys = |reply: Reply| reply.json["result"]["tools"][0].as_object().map_or(0, serde_json::Map::len);
    let list = || json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let server = Server::start().await;
    assert_eq!(keys(server.post("/mcp/genie-code", &[], list()).await), 3);
    assert_eq!(keys(server.post("/mcp/cursor/", &[], list()).await), 6);
    assert_eq!(keys(server.post("/mcp", &[], list()).await), 6);
    let plain = Server::start_with(Settings { tool_list: ToolList::Plain, ..harness::settings() }, TextOnly::Never).await;
    assert_eq!(keys(plain.post("/mcp", &[], list()).await), 3);
    assert_eq!(server.post("/mcp/ops", &[], list()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.post("/mcp/a%2Fb", &[], list()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_may_not_call_is_told_before_anything_is_read() {
    let server = Server::start().await;
    let garbage = Some(json!("not even a message"));
    let reply = server.send(Method::POST, "/mcp", &[("origin", ORIGIN)], garbage.clone()).await;
    assert_eq!((reply.status, &reply.json["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!(-32600)), "a message's error");
    assert_eq!((&reply.json["jsonrpc"], &reply.json["error"]["data"]["code"]), (&json!("2.0"), &json!("unauthenticated")));
    assert!(reply.json["error"]["message"].as_str().is_some_and(|m| m.contains("coda token create")), "clients show this");
    assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"coda\"");
    assert_eq!(reply.headers["access-control-allow-origin"], ORIGIN, "a page can read why");
    for origin in ["https://evil.example", "null", "http://ws.example.com", "https://ws.example.com.evil.example"] {
        let reply = server.send(Method::POST, "/mcp", &[("origin", origin), ("authorization", TOKEN)], garbage.clone()).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{origin}");
        assert!(!reply.headers.contains_key("access-control-allow-origin"));
        let preflight = server.send(Method::OPTIONS, "/mcp", &[("origin", origin)], None).await;
        assert_eq!(preflight.status, StatusCode::FORBIDDEN, "{origin}");
    }
    let rebound = server.send(Method::POST, "/mcp", &[("host", "evil.example"), ("authorization", TOKEN)], garbage).await;
    assert_eq!(rebound.status, StatusCode::FORBIDDEN);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn identity_and_client_come_from_the_transport() {
    let server = Server::start().await;
    let agent = [("user-agent", "claude-code/2.1 (external)")];
    let params = json!({"name": "coda_run", "arguments": {"prompt": "x", "email": "boss@example.com"}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let reply = server.post("/mcp", &agent, message).await;
    assert!(reply.text().contains("email was ignored"), "{}", reply.text());
    let seen = server.seen();
    assert_eq!((seen[0].principal.as_str(), seen[0].client.shape.as_str()), ("ada@example.com", "claude-code"));
}

#[tokio::test]
async fn a_refusal_is_an_error_result_with_a_way_out() {
    let server = Server::start().await;
    let missing = TaskId::new();
    for (tool, arguments, code, part) in [
        ("coda_run", json!({}), "invalid", "prompt is missing"),
        ("coda_run", json!({"prompt": "x", "previous_session_id": "sess_../../x"}), "invalid", "not a session id"),
        ("coda_run", json!({"prompt": "x\u{0}"}), "invalid", "NUL"),
        ("coda_run", json!({"prompt": "x", "agent": "nobody"}), "invalid", "agent"),
        ("coda_run", json!({"prompt": "x", "workspace": "nowhere"}), "not_found", "workspace"),
        ("coda_run", json!({"prompt": "busy"}), "busy", "try again"),
        ("coda_get_result", json!({}), "invalid", "task_id is missing"),
        ("coda_get_result", json!({"task_id": "task_../../../etc/passwd"}), "invalid", "not a task id"),
        ("coda_get_result", json!({"task_id": missing.as_str()}), "not_found", missing.as_str()),
        ("coda_inbox", json!({"status": "finished"}), "invalid", "no status"),
    ] {
        let reply = server.call(tool, arguments.clone()).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.json["result"]["isError"], true, "{arguments}");
        assert!(reply.json["result"].get("structuredContent").is_none(), "errors are text: schemas do not fit them");
        let error: Value = serde_json::from_str(reply.text()).expect("JSON text");
        assert_eq!(error["error"]["code"], code, "{arguments}");
        assert!(error["error"]["message"].as_str().is_some_and(|m| m.contains(part)), "{arguments}: {error}");
        assert!(error["next"].as_str().is_some_and(|n| !n.is_empty()));
    }
    let reply = server.call("coda_rm", json!({})).await;
    assert_eq!(reply.json["error"]["code"], -32602);
}

#[tokio::test]
async fn results_lie_flat_and_waiting_names_people_and_time() {
    let server = Server::start().await;
    let run = server.call("coda_run", json!({"prompt": "needs approval"})).await;
    let waiting = &run.json["result"]["structuredContent"];
    assert_eq!(waiting["waiting_for"]["who"], "2 × prod-data");
    assert!(waiting["waiting_for"]["link"].as_str().is_some_and(|l| l.contains("/approvals/")));
    assert!(waiting["waiting_for"]["until"].is_string() && waiting["viewer_url"].is_string() && waiting["next"].is_string());
    let run = server.call("coda_run", json!({"prompt": "finish"})).await;
    let ids = run.json["result"]["structuredContent"].clone();
    let by = json!({"task_id": ids["task_id"], "session_id": ids["session_id"]});
    let reply = server.call("coda_get_result", by).await;
    let result = &reply.json["result"]["structuredContent"];
    assert_eq!((&result["status"], &result["summary"]), (&json!("completed"), &json!("done it")));
    assert_eq!((&result["artifacts"], &result["errors"]), (&json!({"n": 1}), &json!([])));
    assert_eq!(result["files_changed"], json!(["a.txt"]), "the host's list, not the agent's");
    assert_eq!(result["result"], json!({"extra": true}));
    let other = json!({"task_id": ids["task_id"], "session_id": crate::id::SessionId::new().as_str()});
    assert_eq!(server.call("coda_get_result", other).await.json["result"]["isError"], true);
    let inbox = server.call("coda_inbox", json!({"status": "done"})).await;
    let inbox = &inbox.json["result"]["structuredContent"];
    assert_eq!(inbox["tasks"].as_array().map(Vec::len), Some(1));
    assert!(inbox["next"].as_str().is_some_and(|n| n.contains("approval")), "{inbox}");
}

#[tokio::test]
async fn a_shape_that_fails_or_lies_leaves_a_bare_answer() {
    for (shaper, what) in [(TextOnly::Fault, "fault"), (TextOnly::Lie, "another status")] {
        let server = Server::start_with(harness::settings(), shaper).await;
        let reply = server.call("coda_run", json!({"prompt": "finish"})).await;
        let bare = &reply.json["result"]["structuredContent"];
        assert_eq!(bare["status"], "completed", "{what}");
        assert!(bare["task_id"].is_string() && bare["viewer_url"].is_string() && bare["next"].is_string());
        assert!(!reply.text().contains("done it"), "{what}: content stays behind");
    }
    let server = Server::start_with(harness::settings(), TextOnly::Always).await;
    let reply = server.call("coda_run", json!({"prompt": "finish"})).await;
    assert_eq!(reply.text(), "in words");
    assert!(reply.json["result"]["structuredContent"]["task_id"].is_string(), "owed to the output schema");
    let plain = server.post("/mcp/genie-code", &[], harness::tool_call("coda_run", json!({"prompt": "finish"}))).await;
    assert!(plain.json["result"].get("structuredContent").is_none(), "text only where no schema is declared");
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cut_a_submission() {
    let server = Server::start().await;
    let steps = server.script.steps.clone();
    let within = |step: usize| {
        let steps = steps.clone();
        async move { tokio::time::timeout(std::time::Duration::from_secs(10), steps[step].notified()).await.expect("in time") }
    };
    tokio::select! {
        _ = server.call("coda_run", json!({"prompt": "slow"})) => panic!("it answered before it was let"),
        () = within(0) => {}
    }
    steps[1].notify_one();
    within(2).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = Server::start_with(Settings { max_request_bytes: 2048, ..harness::settings() }, TextOnly::Never).await;
    let reply = server.call("coda_run", json!({"prompt": "x".repeat(4096)})).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn settings_that_do_not_read_are_refused() {
    let wrong = Settings { allowed_origins: vec!["*".into()], ..Settings::default() };
    let error = super::router(harness::Script::default(), std::sync::Arc::new(super::Unshaped), &wrong).expect_err("a wildcard");
    assert!(error.to_string().contains("'*' is not an origin"));
}

#[test]
fn a_shape_may_leave_out_but_not_change() {
    use super::answers::with_promises;
    use super::tools::ToolName::{Inbox, Run};
    let shaped = |structured: Value| Shaped { text: "in words".into(), structured: Some(structured) };
    let answer = json!({"task_id": "t", "session_id": "s", "status": "running", "viewer_url": "v", "next": "n", "agent": "a"});
    let whole = with_promises(Run, &answer, shaped(json!({"status": "running", "next": "in short"}))).expect("put back");
    let expected = json!({"task_id": "t", "session_id": "s", "status": "running", "viewer_url": "v", "next": "in short"});
    assert_eq!(whole.structured, Some(expected));
    for lie in [json!({"status": "completed"}), json!({"task_id": "u"}), json!({"viewer_url": "http://evil"}), json!([])] {
        assert_eq!(with_promises(Run, &answer, shaped(lie.clone())), None, "{lie}");
    }
    let inbox = json!({"tasks": [], "counts": {}, "next": "n"});
    assert_eq!(with_promises(Inbox, &inbox, shaped(json!({"counts": {}}))), None, "what was left out stays out");
    assert!(with_promises(Inbox, &inbox, shaped(json!({"tasks": []}))).is_some());
}

#[test]
fn a_refusal_is_marked_as_an_error() {
    let result = super::answers::error(&ServiceError::Forbidden("no".into()));
    assert_eq!(result.is_error, Some(true));
}
