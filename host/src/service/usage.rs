//! What models were used for: of one task, and of principals by day.

use super::views::{UsagePage, UsageQuery, UsageRow, UsageView};
use super::{Service, ServiceError};
use crate::env;
use crate::identity::{Principal, Role};
use crate::task::Task;
use crate::usage::{DayOfUse, Window, day_text, read_day};

/// Rows of one answer.
const MAX_ROWS: u32 = 1_000;

/// What a task used; `None` where it asked no model.
pub(super) fn of_task(task: &Task) -> Option<UsageView> {
    let used = task.usage;
    let asked = used.input_tokens > 0 || used.output_tokens > 0;
    let view = || {
        UsageView::new(used.input_tokens, used.output_tokens, used.estimated_tokens, used.unpriced_tokens, used.cost_micro_usd)
    };
    asked.then(view)
}

impl Service {
    /// One's own use of models by day; that of others needs the role viewer or operator for all tasks.
    pub async fn usage(&self, who: &Principal, query: UsageQuery) -> Result<UsagePage, ServiceError> {
        let since = match &query.since {
            None => Window::at(env::now_ms()).month,
            Some(text) => read_day(text).ok_or_else(|| ServiceError::Invalid("since must be a day such as 2026-11-01".into()))?,
        };
        let everywhere = std::collections::BTreeMap::new();
        let may_see_all = [Role::VIEWER, Role::OPERATOR].iter().any(|role| who.has_role(role, &everywhere));
        let others = query.all || query.principal.as_ref().is_some_and(|name| *name != who.name);
        if others && !may_see_all {
            return Err(ServiceError::Forbidden("what others use needs the role viewer or operator, for all tasks".into()));
        }
        let of = if query.all { None } else { Some(query.principal.unwrap_or_else(|| who.name.clone())) };
        let tenant = who.tenant.clone();
        let mut days = self.0.store.call(move |s| s.usage(&tenant, of.as_deref(), since, MAX_ROWS + 1)).await?;
        let more = days.len() > MAX_ROWS as usize;
        days.truncate(MAX_ROWS as usize);
        Ok(UsagePage { since: day_text(since), days: days.into_iter().map(row).collect(), more })
    }
}

fn row(day: DayOfUse) -> UsageRow {
    UsageRow {
        day: day_text(day.day),
        principal: day.principal,
        model: day.model,
        answers: day.answers,
        usage: UsageView::new(day.input_tokens, day.output_tokens, day.estimated_tokens, day.unpriced_tokens, day.cost_micro_usd),
    }
}
