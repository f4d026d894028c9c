//! What models were used for, per task and per principal and day, and the end of tasks whose budget that reaches.

use rusqlite::{Row, Transaction, params};

use super::row::{signed, text, unsigned};
use super::tasks::{Patch, advance, get};
use super::{Store, StoreError};
use crate::env::Millis;
use crate::id::TaskId;
use crate::policy::contract::Usage;
use crate::task::state::Happening;
use crate::task::{EndedBy, Reason, Status, Task};
use crate::usage::{Budgets, DayOfUse, Over, Spent, Sum, Window};

/// The code of a task that a budget ended.
const BUDGET: &str = "budget";

/// What a task has used, and whether a budget is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Of the task.
    pub usage: Usage,
    /// Then the task has ended.
    pub over: Option<Over>,
}

impl Store {
    /// Adds what a model's answer used, and ends the task, in the same transaction, where that uses up a budget. Without an
    /// answer it only looks.
    pub fn spend(&self, id: &TaskId, spent: Option<&Spent>, budgets: &Budgets, now: Millis) -> Result<Standing, StoreError> {
        self.write(|tx| self::spend(tx, id, spent, budgets, now))
    }

    /// What a principal used, or everybody of a tenant, from this day on: the newest day first, at most `limit` rows.
    pub fn usage(&self, tenant: &str, principal: Option<&str>, since: u64, limit: u32) -> Result<Vec<DayOfUse>, StoreError> {
        self.read(|tx| {
            let sql = "SELECT * FROM usage WHERE tenant = ?1 AND (?2 IS NULL OR principal = ?2) AND day >= ?3 \
                       ORDER BY day DESC, principal, model LIMIT ?4";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map(params![tenant, principal, signed(since), limit], |row| Ok(read(row)))?;
            rows.map(|row| row?).collect()
        })
    }
}

/// As the verb, inside another verb's transaction.
pub(super) fn spend(
    tx: &Transaction<'_>,
    id: &TaskId,
    spent: Option<&Spent>,
    budgets: &Budgets,
    now: Millis,
) -> Result<Standing, StoreError> {
    let task = get(tx, id)?;
    let window = Window::at(now);
    let usage = match spent {
        Some(spent) => add(tx, &task, spent, window)?,
        None => task.usage,
    };
    let over = match budgets.task_over(&task.agent, sum_of(usage)) {
        Some(over) => Some(over),
        None => principal_over(tx, &task, budgets, window)?,
    };
    if let (Some(Over(why)), false) = (&over, task.status.is_final()) {
        let reason = Reason { by: EndedBy::Limit, code: BUDGET.into(), text: why.clone() };
        advance(tx, id, "coda", &Happening::End(Status::Failed, reason), &Patch::default())?;
    }
    Ok(Standing { usage, over })
}

/// A principal whose budget is used up hands nothing over.
pub(super) fn check(tx: &Transaction<'_>, task: &Task, budgets: &Budgets) -> Result<(), StoreError> {
    match principal_over(tx, task, budgets, Window::at(task.created_ms))? {
        Some(Over(why)) => Err(StoreError::Budget(why)),
        None => Ok(()),
    }
}

fn add(tx: &Transaction<'_>, task: &Task, spent: &Spent, window: Window) -> Result<Usage, StoreError> {
    let (usage, cost) = (spent.added_to(task.usage), spent.cost_micro_usd.unwrap_or(0));
    tx.prepare_cached("UPDATE task SET usage = ?2 WHERE id = ?1")?.execute([task.id.as_str(), &text(&usage)])?;
    let sql = "INSERT INTO usage VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET answers = answers + 1, \
               input_tokens = min(input_tokens + ?5, ?10), output_tokens = min(output_tokens + ?6, ?10), \
               estimated_tokens = min(estimated_tokens + ?7, ?10), unpriced_tokens = min(unpriced_tokens + ?8, ?10), \
               cost_micro_usd = min(cost_micro_usd + ?9, ?10)";
    let [input, output, estimated, unpriced, cost] =
        [spent.input_tokens, spent.output_tokens, spent.estimated_tokens, spent.unpriced_tokens(), cost].map(bounded);
    tx.prepare_cached(sql)?.execute(params![
        task.tenant,
        task.principal,
        signed(window.day),
        spent.model,
        input,
        output,
        estimated,
        unpriced,
        cost,
        MAX_COUNT
    ])?;
    Ok(usage)
}

/// No counter grows beyond this: sums over a month of them stay whole numbers of the database.
const MAX_COUNT: i64 = 1 << 52;

/// An upstream may say anything.
fn bounded(count: u64) -> i64 {
    signed(count).min(MAX_COUNT)
}

fn principal_over(tx: &Transaction<'_>, task: &Task, budgets: &Budgets, window: Window) -> Result<Option<Over>, StoreError> {
    if budgets.is_none_for_principals() {
        return Ok(None);
    }
    let since = |day: u64| -> Result<Sum, StoreError> {
        let sql = "SELECT coalesce(sum(input_tokens + output_tokens), 0) AS tokens, coalesce(sum(cost_micro_usd), 0) AS cost \
                   FROM usage WHERE tenant = ?1 AND principal = ?2 AND day >= ?3";
        let mut statement = tx.prepare_cached(sql)?;
        let mut rows = statement.query(params![task.tenant, task.principal, signed(day)])?;
        let row = rows.next()?.ok_or_else(|| StoreError::NotFound { what: "sum of usage".into() })?;
        Ok(Sum { tokens: unsigned(row, "tokens")?, cost_micro_usd: unsigned(row, "cost")? })
    };
    Ok(budgets.principal_over(&task.principal, window, since(window.day)?, since(window.month)?))
}

fn sum_of(usage: Usage) -> Sum {
    Sum { tokens: usage.input_tokens.saturating_add(usage.output_tokens), cost_micro_usd: usage.cost_micro_usd }
}

fn read(row: &Row<'_>) -> Result<DayOfUse, StoreError> {
    Ok(DayOfUse {
        principal: row.get("principal")?,
        day: unsigned(row, "day")?,
        model: row.get("model")?,
        answers: unsigned(row, "answers")?,
        input_tokens: unsigned(row, "input_tokens")?,
        output_tokens: unsigned(row, "output_tokens")?,
        estimated_tokens: unsigned(row, "estimated_tokens")?,
        unpriced_tokens: unsigned(row, "unpriced_tokens")?,
        cost_micro_usd: unsigned(row, "cost_micro_usd")?,
    })
}
