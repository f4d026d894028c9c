//! The inbox of somebody who has very many tasks, and of somebody who plays with its cursors.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::person::{Person, behind_a_proxy};
use crate::server::{Server, field};

const MANY: usize = 10_000;
/// What a page holds at most, whatever is asked for.
const PAGE: usize = 200;

fn ids(page: &Value) -> Vec<String> {
    page["tasks"].as_array().expect("tasks").iter().map(|t| field(t, "task_id")).collect()
}

/// Copies a task so often, with ids of their own; many share a time, as tasks handed over at once do.
fn copy_task(server: &Server, task: &str) {
    let database = server.path("coda.db");
    let columns = sqlite(&database, "SELECT group_concat(name) FROM pragma_table_info('task')");
    let copied: Vec<&str> = columns
        .trim()
        .split(',')
        .map(|column| match column {
            "id" => "'task_' || lower(hex(randomblob(16)))",
            "session" => "'sess_' || lower(hex(randomblob(16)))",
            "created_ms" => "created_ms - n / 7",
            "idempotency_key" => "NULL",
            same => same,
        })
        .collect();
    let copies = MANY - 1;
    sqlite(
        &database,
        &format!(
            "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {copies}) \
             INSERT INTO task ({columns}) SELECT {} FROM task, counted WHERE id = '{task}'",
            copied.join(", ")
        ),
    );
}

fn sqlite(database: &std::path::Path, statement: &str) -> String {
    let output = std::process::Command::new("sqlite3").arg(database).arg(statement).output();
    let output = output.expect("the sqlite3 program is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ten_thousand_tasks_come_page_by_page_each_once() {
    let mut server = Server::start();
    let task = server.runbook("echo the first of many");
    server.stop();
    copy_task(&server, &field(&task, "task_id"));
    server.run();
    let client = crate::person::client();
    let token = field(&server.json(&["token", "create", "--role", "submitter", "--expires", "1h"]), "secret");
    let page_after = |cursor: &str| {
        let arguments = json!({"limit": PAGE, "cursor": cursor});
        let message =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "coda_inbox", "arguments": arguments}});
        let answer = client.post(format!("{}/mcp", server.url)).bearer_auth(&token).json(&message).send().expect("an answer");
        let answer: Value = answer.json().expect("json");
        answer["result"]["structuredContent"].clone()
    };
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = page_after(&cursor);
        assert_eq!(page["counts"]["completed"], json!(MANY), "the counts speak of all of them");
        let on_it = ids(&page);
        assert!(on_it.len() <= PAGE && !on_it.is_empty(), "{} on page {pages}", on_it.len());
        pages += 1;
        for id in on_it {
            assert!(seen.insert(id.clone()), "{id} came twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (MANY, MANY / PAGE));
    let greedy = page_after("")["tasks"].as_array().map_or(0, Vec::len);
    assert_eq!(greedy, PAGE);
}

#[test]
fn a_cursor_is_a_place_and_no_key() {
    let server = behind_a_proxy("[[role]]\nname = \"submitter\"\nprincipals = [\"ann@example.com\", \"eve@example.com\"]\n");
    let (ann, eve) = (Person::new(&server, "ann@example.com"), Person::new(&server, "eve@example.com"));
    let hand_over = |who: &Person| {
        let (status, task) = who.post("/v1/tasks", &json!({ "prompt": "```sh\necho hi\n```", "agent": "runbook" }));
        assert_eq!(status, 201, "{task:#}");
        field(&task, "task_id")
    };
    let of_ann: Vec<String> = (0..4).map(|_| hand_over(&ann)).collect();
    let of_eve: Vec<String> = (0..2).map(|_| hand_over(&eve)).collect();
    let (_, first) = ann.get("/v1/tasks?limit=1");
    let cursor = field(&first, "next_cursor");
    let (_, taken) = eve.get(&format!("/v1/tasks?cursor={cursor}"));
    assert!(ids(&taken).iter().all(|id| of_eve.contains(id)), "{taken:#}");
    // Each byte of it changed: either refused, or a place in the same person's own list.
    for at in 0..cursor.len() {
        for by in ["0", "9", "z", ".", "%27", "%00", "-"] {
            let tampered = format!("{}{by}{}", &cursor[..at], &cursor[at + 1..]);
            let (status, page) = ann.get(&format!("/v1/tasks?cursor={tampered}"));
            match status {
                200 => assert!(ids(&page).iter().all(|id| of_ann.contains(id)), "{tampered}: {page:#}"),
                other => assert_eq!(other, 400, "{tampered}: {page:#}"),
            }
        }
    }
    let task = cursor.split_once('.').expect("two parts").1;
    for place in ["18446744073709551615", "18446744073709551616", "-1", "", "1e9"] {
        let (status, page) = ann.get(&format!("/v1/tasks?cursor={place}.{task}"));
        assert!(status == 200 || status == 400, "{place}: {status} {page:#}");
    }
}
