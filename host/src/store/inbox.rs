//! Lists: tasks and requests, newest first, and only those that the reader may see. What may not be seen is left out here,
//! so that neither pages nor counts tell of it.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Transaction, params_from_iter};

use super::approvals::{read as read_approval, votes};
use super::row::{signed, unsigned};
use super::tasks::{COLUMNS, OPEN, get, read};
use super::{Store, StoreError};
use crate::approval::request::{Approval, Standing};
use crate::env::Millis;
use crate::task::{Status, Task};

/// Most requests that one listing looks at: a bound on the time it takes to pass over those of others.
const MAX_LOOKED_AT: usize = 10_000;

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
    /// The condition, and its parameters in order.
    fn condition(&self) -> (String, Vec<Value>) {
        let mut parameters = vec![Value::from(self.tenant.clone()), signed(self.since_ms).into()];
        let mut whose = vec!["principal = ?".to_owned()];
        parameters.push(self.principal.clone().into());
        for labels in &self.others {
            let mut all = vec!["1".to_owned()];
            for (name, value) in labels {
                all.push("EXISTS (SELECT 1 FROM json_each(task.labels) l WHERE l.key = ? AND l.value = ?)".to_owned());
                parameters.extend([Value::from(name.clone()), value.clone().into()]);
            }
            whose.push(format!("({})", all.join(" AND ")));
        }
        (format!("tenant = ? AND (created_ms >= ? OR {OPEN}) AND ({})", whose.join(" OR ")), parameters)
    }
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
            let wanted = if status.is_empty() { Status::ALL.to_vec() } else { status.to_vec() };
            let words: Vec<String> = wanted.iter().map(|s| format!("'{}'", s.as_str())).collect();
            let (before_ms, before_id) = before.unwrap_or((u64::MAX >> 1, "~"));
            let (condition, mut parameters) = scope.condition();
            let sql = format!(
                "SELECT {COLUMNS} FROM task WHERE {condition} AND status IN ({}) AND (created_ms, id) < (?, ?) \
                 ORDER BY created_ms DESC, id DESC LIMIT ?",
                words.join(", ")
            );
            parameters.extend([signed(before_ms).into(), before_id.to_owned().into(), i64::from(limit).into()]);
            let mut statement = tx.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), |row| Ok(read(row)))?;
            rows.map(|row| row?).collect()
        })
    }

    /// Every status with its count.
    pub fn counts(&self, scope: &Scope) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read(|tx| {
            let mut counts: BTreeMap<String, u64> = Status::ALL.iter().map(|s| (s.as_str().to_owned(), 0)).collect();
            let (condition, parameters) = scope.condition();
            let sql = format!("SELECT status, count(*) AS n FROM task WHERE {condition} GROUP BY status");
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
        approval.votes = votes(tx, &approval.id)?;
    }
    Ok(found)
}
