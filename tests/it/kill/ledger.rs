//! What clients were told, and whether it is so.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::person::Person;
use crate::server::{Server, field};

/// What a task does; see `work::prompt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Plain,
    /// Its second step waits for people.
    Asks,
    /// Its plan waits for people.
    Plan,
    /// Runs until it is cancelled.
    Long,
    /// Continues the session before.
    Chained,
}

/// What one client was told in one round.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Id, kind, number of its canary, chain.
    pub(super) tasks: Vec<(String, Kind, u64, String)>,
    pub(super) decisions: Vec<(String, bool)>,
    /// Id and status in the answer.
    pub(super) cancels: Vec<(String, String)>,
    pub(super) generations: Vec<u64>,
    pub(super) session: Option<(String, String)>,
}

/// What clients of the next round know.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) session: Option<(String, String)>,
    pub(super) long: Vec<String>,
}

/// Everything that anybody was told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) tasks: BTreeMap<String, (Kind, u64, String)>,
    decisions: BTreeMap<String, bool>,
    cancels: BTreeMap<String, String>,
    generation: u64,
    loads: usize,
    known: Known,
    newest: Vec<String>,
    ended: BTreeMap<String, usize>,
}

impl Ledger {
    pub(super) fn clone_for_work(&self) -> Known {
        self.known.clone()
    }

    pub(super) fn take(&mut self, told: Told) {
        for (id, kind, number, chain) in told.tasks {
            if kind == Kind::Long {
                self.known.long.push(id.clone());
            }
            self.newest.push(id.clone());
            self.tasks.insert(id, (kind, number, chain));
        }
        self.decisions.extend(told.decisions);
        self.cancels.extend(told.cancels);
        self.loads += told.generations.len();
        self.generation = told.generations.into_iter().fold(self.generation, u64::max);
        if told.session.is_some() {
            self.known.session = told.session;
        }
        self.known.long.truncate(20);
    }

    /// Right after a start: what was told in the last round is there.
    pub(super) fn newest_are_there(&mut self, server: &Server) {
        let (sue, olga) = (Person::new(server, "sue@example.com"), Person::new(server, "olga@example.com"));
        for id in self.newest.drain(..) {
            let (status, task) = sue.get(&format!("/v1/tasks/{id}"));
            assert_eq!(status, 200, "{id} was acknowledged and is gone: {task:#}");
        }
        let (_, policies) = olga.get("/v1/policies");
        let live = policies["live"]["generation"].as_u64().unwrap_or(0);
        assert!(live >= self.generation, "generation {} was acknowledged, {live} is live", self.generation);
    }

    /// At the end, over the API.
    pub(super) fn hold_to(&mut self, server: &Server) {
        let (sue, ann) = (Person::new(server, "sue@example.com"), Person::new(server, "ann@example.com"));
        for (id, (kind, number, chain)) in &self.tasks {
            let (status, view) = sue.get(&format!("/v1/tasks/{id}"));
            assert_eq!(status, 200, "{id} was acknowledged and is gone");
            let word = field(&view, "status");
            let lines = lines_of(server, chain, *number);
            assert!(lines <= 1, "{id} ({kind:?}) ran its step {lines} times");
            let code = view["reason"]["code"].as_str().unwrap_or_default();
            match word.as_str() {
                "completed" => assert_eq!(lines, 1, "{id} ({kind:?}) completed without its step"),
                "cancelled" => assert!(*kind == Kind::Long || code == "superseded", "{id} ({kind:?}): {view:#}"),
                "denied" => assert_eq!((lines, code), (0, "approval-denied"), "{id} ({kind:?}): {view:#}"),
                "failed" => {
                    let known = ["interrupted", "request-lost", "failed"];
                    assert!(known.contains(&code), "{id} ({kind:?}): {view:#}");
                }
                other => panic!("{id} ({kind:?}) is {other}: {view:#}"),
            }
            *self.ended.entry(format!("{word} {code}").replace("completed completed", "completed")).or_insert(0) += 1;
        }
        for (id, told) in &self.cancels {
            let (_, view) = sue.get(&format!("/v1/tasks/{id}"));
            assert_eq!(&field(&view, "status"), told, "{id} was said to be {told}: {view:#}");
        }
        for (id, approve) in &self.decisions {
            let (_, view) = ann.get(&format!("/v1/approvals/{id}"));
            let word = field(&view, "status");
            let fits = if *approve { ["approved", "consumed", "withdrawn"].contains(&word.as_str()) } else { word == "denied" };
            assert!(fits, "{id} was decided ({approve}) and is {word}: {view:#}");
            assert_eq!(view["votes"][0]["approve"], Value::Bool(*approve), "{id}: {view:#}");
        }
    }

    /// At the end, with no server: database and canary files, also those of tasks that nobody was told of.
    pub(super) fn hold_to_files(&self, server: &Server) {
        let none = |what: &str, sql: &str| {
            let rows = query(server, sql);
            assert!(rows.is_empty(), "{what}: {rows:#?}");
        };
        assert_eq!(query(server, "PRAGMA integrity_check")[0]["integrity_check"], "ok");
        none("a row without its parent", "PRAGMA foreign_key_check");
        none(
            "an attempt that was started twice",
            "SELECT task, attempt, count(*) n FROM event WHERE kind = 'started' GROUP BY task, attempt HAVING n > 1",
        );
        none("a step that was released twice", "SELECT task, call_id, count(*) n FROM call GROUP BY task, call_id HAVING n > 1");
        none("a task that did not end", "SELECT id, status FROM task WHERE ended_ms IS NULL");
        none(
            "a set that was promoted and is not on record",
            "SELECT generation FROM policy_set WHERE promoted_ms IS NOT NULL AND generation NOT IN \
             (SELECT json_extract(body, '$.generation') FROM audit_record WHERE kind IN ('policy.promote', 'policy.rollback'))",
        );
        none(
            "a task that was accepted and is not on record",
            "SELECT id FROM task WHERE id NOT IN (SELECT task FROM audit_record WHERE kind = 'task.accepted')",
        );
        none(
            "a vote that is not on record",
            "SELECT approval FROM vote WHERE approval NOT IN \
             (SELECT json_extract(body, '$.approval') FROM audit_record WHERE kind = 'approval.voted')",
        );
        let tasks = query(server, "SELECT id, prompt, chain FROM task");
        let tasks_of = |condition: &str| -> BTreeSet<String> {
            let sql = "SELECT DISTINCT i.task FROM approval_item i JOIN vote v ON v.approval = i.approval WHERE v.approve";
            query(server, &format!("{sql} {condition}")).iter().map(|row| field(row, "task")).collect()
        };
        // An approved plan lets its harmless steps run; what it was asked for is used up when that step comes.
        let (approved, used) = (tasks_of(""), tasks_of("AND i.consumed_ms IS NOT NULL"));
        for (path, number) in canaries(server) {
            let lines = std::fs::read_to_string(&path).unwrap_or_default().lines().count();
            assert!(lines <= 1, "{} has {lines} lines", path.display());
            let name = format!("ran-{number}.txt");
            let task = tasks.iter().find(|task| field(task, "prompt").contains(&name));
            let task = task.unwrap_or_else(|| panic!("{name} was written by a task that is not in the database"));
            let (id, prompt) = (field(task, "id"), field(task, "prompt"));
            let decided = match (prompt.contains("rm -rf"), prompt.starts_with("```sh plan")) {
                (true, true) => approved.contains(&id),
                (true, false) => used.contains(&id),
                (false, _) => true,
            };
            assert!(decided, "{name} was written before anybody approved it: {task:#}");
        }
    }

    pub(super) fn in_words(&self) -> String {
        format!(
            "{} tasks acknowledged {:?}, {} decisions, {} cancels, {} loads",
            self.tasks.len(),
            self.ended,
            self.decisions.len(),
            self.cancels.len(),
            self.loads
        )
    }
}

/// The bundled policies with these settings of `destructive-ops`, whole or not at all.
pub(super) fn write_policies(server: &Server, settings: &str) {
    let text = format!(
        "[[policy]]\nname = \"content-filter\"\ncomponent = \"bundled:content-filter\"\n\n[[policy]]\nname = \"destructive-ops\"\n\
         component = \"bundled:destructive-ops\"\n[policy.settings]\n{settings}\napprovals = [{{ role = \"approver\", count = 1 }}]\n"
    );
    let new = server.path("policies/new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, server.path("policies/policies.toml")))
        .expect("policies.toml");
}

fn lines_of(server: &Server, chain: &str, number: u64) -> usize {
    let path = server.path(&format!("workspaces/{chain}/ran-{number}.txt"));
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn canaries(server: &Server) -> Vec<(std::path::PathBuf, u64)> {
    let chains = std::fs::read_dir(server.path("workspaces")).expect("workspaces");
    let files = chains.flatten().filter_map(|chain| std::fs::read_dir(chain.path()).ok()).flat_map(Iterator::flatten);
    files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let number = name.strip_prefix("ran-")?.strip_suffix(".txt")?.parse().ok()?;
            Some((file.path(), number))
        })
        .collect()
}

/// Rows of the database, read by the sqlite3 program.
pub fn query(server: &Server, sql: &str) -> Vec<Value> {
    let output = Command::new("sqlite3").arg("-json").arg(server.path("coda.db")).arg(sql).output();
    let output = output.expect("the sqlite3 program is needed");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() { Vec::new() } else { serde_json::from_slice(&output.stdout).expect("rows") }
}
