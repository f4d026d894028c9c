//! Lists: tasks and requests, newest first, and only those that the reader may see. What may not be seen is left out here,
//! so that neither pages nor counts tell of it.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Transaction, params_from_iter};

use super::approvals::{complete, read as read_approval};
use super::row::{signed, unsigned};
use super::tasks::{COLUMNS, get, read};
use super::{Store, StoreError};
use crate::approval::request::{Approval, Standing};
use crate::env::Millis;
use crate::task::{Status, Task};

/// Most requests that one listing looks at: a bound on the time it takes to pass over those of others.
const MAX_LOOKED_AT: usize = 10_000;

/// The condition on whose tasks they are where they are everybody's.
const EVERYBODYS: &str = "tenant = ?";

/// Which tasks an inbox holds.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Tenant.
    pub tenant: String,
    /// Who looks; own tasks are always in scope.
    pub principal: String,
    /// Others' tasks that carry all labels of one of these; no labels = everybody's.
    pub others: Vec<BTreeMap<String, String>>,
    /// Accepted at or after; tasks that still wait or run are in scope however old.
    pub since_ms: Millis,
}

impl Scope {
    /// The condition on whose tasks they are, and its parameters in order. Indices can follow it, but where labels are asked
    /// for: those are read off each task of the window.
    fn whose(&self) -> (String, Vec<Value>) {
        let mut parameters = vec![Value::from(self.tenant.clone())];
        if self.others.iter().any(BTreeMap::is_empty) {
            return (EVERYBODYS.to_owned(), parameters);
        }
        let mut whose = vec!["principal = ?".to_owned()];
        parameters.push(self.principal.clone().into());
        for labels in &self.others {
            let mut all = vec!["1"];
            for (name, value) in labels {
                all.push("EXISTS (SELECT 1 FROM json_each(task.labels) l WHERE l.key = ? AND l.value = ?)");
                parameters.extend([Value::from(name.clone()), value.clone().into()]);
            }
            whose.push(format!("({})", all.join(" AND ")));
        }
        (format!("tenant = ? AND ({})", whose.join(" OR ")), parameters)
    }

    /// One page. The tasks of the window, and the open ones that are older, are two ranges of two indices: one condition
    /// for both would have to look at every task there ever was. The `+` keeps the second from any index but the status'.
    fn page(&self, status: &[Status], before: Option<(Millis, &str)>, limit: u32) -> (String, Vec<Value>) {
        let wanted = if status.is_empty() { &Status::ALL } else { status };
        let (whose, who) = self.whose();
        let before = before.unwrap_or((u64::MAX >> 1, "~"));
        // One upper bound: of two, an index would follow either.
        let older = before.min((self.since_ms, ""));
        let bound = |(ms, id): (Millis, &str)| [Value::from(signed(ms)), id.to_owned().into()];
        let mut parameters = who.clone();
        parameters.extend(bound(before));
        parameters.push(signed(self.since_ms).into());
        parameters.extend(who);
        parameters.extend(bound(older));
        let order = format!("ORDER BY created_ms DESC, id DESC LIMIT {limit}");
        let select = format!("SELECT {COLUMNS} FROM task WHERE");
        let sql = format!(
            "SELECT * FROM ({select} {whose} AND (created_ms, id) < (?, ?) AND created_ms >= ? AND {} {order}) UNION ALL \
             SELECT * FROM ({select} +{whose} AND (created_ms, id) < (?, ?) AND {} {order}) {order}",
            one_of(wanted),
            one_of(&open(wanted))
        );
        (sql, parameters)
    }

    /// A count for each status, each one range of an index that begins with it: open tasks are in scope however old.
    fn counts(&self) -> (String, Vec<Value>) {
        let (whose, who) = self.whose();
        let plus = if whose == EVERYBODYS { "+" } else { "" };
        let (mut counts, mut parameters) = (Vec::new(), Vec::new());
        for status in Status::ALL {
            parameters.extend_from_slice(&who);
            let word = status.as_str();
            let mut count =
                format!("SELECT '{word}' AS status, count(*) AS n FROM task WHERE {plus}{whose} AND status = '{word}'");
            if status.is_final() {
                count += " AND created_ms >= ?";
                parameters.push(signed(self.since_ms).into());
            }
            counts.push(count);
        }
        (counts.join(" UNION ALL "), parameters)
    }
}

fn open(status: &[Status]) -> Vec<Status> {
    status.iter().copied().filter(|status| !status.is_final()).collect()
}

fn one_of(status: &[Status]) -> String {
    let words: Vec<String> = status.iter().map(|status| format!("'{}'", status.as_str())).collect();
    format!("status IN ({})", words.join(", "))
}

impl Store {
    /// Newest first; `before` is the last task of the page before.
    pub fn inbox(
        &self,
        scope: &Scope,
        status: &[Status],
        before: Option<(Millis, &str)>,
        limit: u32,
    ) -> Result<Vec<Task>, StoreError> {
        self.read(|tx| {
            let (sql, parameters) = scope.page(status, before, limit);
            let mut statement = tx.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), |row| Ok(read(row)))?;
            rows.map(|row| row?).collect()
        })
    }

    /// Every status with its count.
    pub fn counts(&self, scope: &Scope) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read(|tx| {
            let mut counts: BTreeMap<String, u64> = Status::ALL.iter().map(|s| (s.as_str().to_owned(), 0)).collect();
            let (sql, parameters) = scope.counts();
            let mut statement = tx.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(parameters))?;
            while let Some(row) = rows.next()? {
                counts.insert(row.get("status")?, unsigned(row, "n")?);
            }
            Ok(counts)
        })
    }

    /// The first `limit` requests of a tenant, each with its task, that `visible` lets through: open first, then newest
    /// first. Also whether there may be more.
    pub fn approvals(
        &self,
        tenant: &str,
        standing: Option<Standing>,
        limit: usize,
        visible: impl Fn(&Approval, &Task) -> bool,
    ) -> Result<(Vec<(Approval, Task)>, bool), StoreError> {
        self.read(|tx| {
            let only = standing.map(|s| format!("AND status = '{}'", s.as_str())).unwrap_or_default();
            let sql =
                format!("SELECT * FROM approval WHERE tenant = ?1 {only} ORDER BY status <> 'open', created_ms DESC, id DESC");
            let mut statement = tx.prepare_cached(&sql)?;
            let mut rows = statement.query([tenant])?;
            let (mut found, mut looked_at) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let approval = read_approval(row)?;
                let task = get(tx, &approval.task)?;
                if visible(&approval, &task) {
                    if found.len() == limit {
                        return Ok((with_votes(tx, found)?, true));
                    }
                    found.push((approval, task));
                }
                looked_at += 1;
                if looked_at == MAX_LOOKED_AT {
                    return Ok((with_votes(tx, found)?, true));
                }
            }
            Ok((with_votes(tx, found)?, false))
        })
    }
}

fn with_votes(tx: &Transaction<'_>, mut found: Vec<(Approval, Task)>) -> Result<Vec<(Approval, Task)>, StoreError> {
    for (approval, _) in &mut found {
        complete(tx, approval)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the database means to answer a question.
    fn plan(store: &Store, (sql, parameters): (String, Vec<Value>)) -> String {
        let steps = store.read(|tx| {
            let mut statement = tx.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let mut rows = statement.query(params_from_iter(parameters))?;
            let mut steps = String::new();
            while let Some(row) = rows.next()? {
                steps += &row.get::<_, String>("detail")?;
                steps.push('\n');
            }
            Ok(steps)
        });
        steps.expect("it is planned")
    }

    #[test]
    fn an_inbox_reads_no_more_tasks_than_it_shows_and_counts_by_an_index() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join("coda.db")).expect("it opens");
        let own = Scope { tenant: "default".into(), principal: "ann".into(), others: Vec::new(), since_ms: 1 };
        let everybodys = Scope { others: vec![BTreeMap::new()], ..own.clone() };
        for (scope, newest, count) in [(&own, "task_inbox", "task_count"), (&everybodys, "task_newest", "task_status")] {
            let counts = plan(&store, scope.counts());
            assert_eq!(counts.matches(&format!("COVERING INDEX {count} ")).count(), Status::ALL.len(), "{counts}");
            let page = plan(&store, scope.page(&[], None, 50));
            for step in [format!("INDEX {newest} "), "INDEX task_status (status=? AND created_ms<?)".to_owned()] {
                assert!(page.contains(&step), "{page}");
            }
            for plan in [counts, page] {
                assert!(!plan.contains("SCAN task"), "{plan}");
            }
        }
    }
}
