//! What the use of models costs, and how much of it is allowed: counts, prices, budgets. Computes; `store` keeps it, `gates`
//! ends what is over.
//!
//! Days and months are those of UTC: a budget of a person begins anew with each.

mod money;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use money::{Prices, Usd};

use crate::env::{self, Millis};
use crate::policy::contract::Usage;

const DAY_MS: Millis = 86_400_000;

/// What one answer of a model used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// As coda.toml names the model.
    pub model: String,
    /// Tokens that it read.
    pub input_tokens: u64,
    /// Tokens that it wrote.
    pub output_tokens: u64,
    /// How many of these are coda's estimate, because the upstream did not say.
    pub estimated_tokens: u64,
    /// Millionths of a US dollar; `None` where the model has no price.
    pub cost_micro_usd: Option<u64>,
}

impl Spent {
    /// Read and written together.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// A task's use with this.
    #[must_use]
    pub fn added_to(&self, before: Usage) -> Usage {
        Usage {
            tool_calls: before.tool_calls,
            input_tokens: before.input_tokens.saturating_add(self.input_tokens),
            output_tokens: before.output_tokens.saturating_add(self.output_tokens),
            cost_micro_usd: before.cost_micro_usd.saturating_add(self.cost_micro_usd.unwrap_or(0)),
            estimated_tokens: before.estimated_tokens.saturating_add(self.estimated_tokens),
            unpriced_tokens: before.unpriced_tokens.saturating_add(self.unpriced_tokens()),
        }
    }

    /// How many of them nobody has a price for.
    #[must_use]
    pub fn unpriced_tokens(&self) -> u64 {
        if self.cost_micro_usd.is_none() { self.tokens() } else { 0 }
    }
}

/// What an answer used and nobody has kept yet. Whoever keeps it takes it; so it is kept once, whoever that is.
#[derive(Debug, Default)]
pub struct Owed(Mutex<Option<Spent>>);

impl Owed {
    /// So much is to be kept.
    pub fn set(&self, spent: Spent) {
        *self.lock() = Some(spent);
    }

    /// What is to be kept, to look at.
    #[must_use]
    pub fn look(&self) -> Option<Spent> {
        self.lock().clone()
    }

    /// What is to be kept, to keep it.
    #[must_use]
    pub fn take(&self) -> Option<Spent> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Spent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was used of one model on one day by one principal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayOfUse {
    /// Who.
    pub principal: String,
    /// Which day, counted from the Unix epoch.
    pub day: u64,
    /// As coda.toml names the model.
    pub model: String,
    /// Answers.
    pub answers: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of all of them, coda's estimate.
    pub estimated_tokens: u64,
    /// Of all of them, those without a price.
    pub unpriced_tokens: u64,
    /// Millionths of a US dollar, of those with a price.
    pub cost_micro_usd: u64,
}

/// Tokens and cost that are held against a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Read and written together.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// A bound on tokens and on cost; 0 means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Read and written together.
    pub tokens: u64,
    /// What they cost.
    pub cost: Usd,
}

impl Limit {
    /// No bound.
    pub const NONE: Self = Self { tokens: 0, cost: Usd::ZERO };

    /// Whether it limits nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Which of the two bounds is reached, as the end of its setting's name, and by what.
    fn reached(&self, sum: Sum) -> Option<(&'static str, String)> {
        if self.tokens > 0 && sum.tokens >= self.tokens {
            return Some(("tokens", format!("{} of {} tokens", sum.tokens, self.tokens)));
        }
        let cost = Usd::from_micros(sum.cost_micro_usd);
        (self.cost > Usd::ZERO && cost >= self.cost).then(|| ("cost_usd", format!("{cost} of {} US dollars", self.cost)))
    }
}

/// How much may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budgets {
    /// By one task, over all attempts.
    pub task: Limit,
    /// By one task of these agents, in place of that.
    pub agents: BTreeMap<String, Limit>,
    /// By all tasks of one principal, in a day.
    pub day: Limit,
    /// By all tasks of one principal, in a month.
    pub month: Limit,
}

/// A budget that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over(pub String);

impl Budgets {
    /// No bounds.
    pub const NONE: Self = Self { task: Limit::NONE, agents: BTreeMap::new(), day: Limit::NONE, month: Limit::NONE };

    /// Whether nothing is limited for tasks of this agent.
    #[must_use]
    pub fn are_none(&self, agent: &str) -> bool {
        self.for_task(agent).1.is_none() && self.is_none_for_principals()
    }

    /// Whether principals are limited in nothing.
    #[must_use]
    pub fn is_none_for_principals(&self) -> bool {
        self.day.is_none() && self.month.is_none()
    }

    /// The limit of a task, and what its settings' names begin with.
    fn for_task(&self, agent: &str) -> (String, Limit) {
        match self.agents.get(agent) {
            Some(own) => (format!("agents.{agent}.task"), *own),
            None => ("budget.task".to_owned(), self.task),
        }
    }

    /// Whether a task has used up its own.
    #[must_use]
    pub fn task_over(&self, agent: &str, used: Sum) -> Option<Over> {
        let (name, limit) = self.for_task(agent);
        let (which, figure) = limit.reached(used)?;
        Some(Over(format!(
            "the budget {name}_{which} is used up: {figure}; hand over a smaller task, or ask an operator to raise it in coda.toml"
        )))
    }

    /// Whether a principal has used up one of theirs.
    #[must_use]
    pub fn principal_over(&self, principal: &str, at: Window, day: Sum, month: Sum) -> Option<Over> {
        let over = |word: &str, limit: Limit, used: Sum, begins: u64| {
            let (which, figure) = limit.reached(used)?;
            Some(Over(format!(
                "the budget budget.principal_{word}_{which} of {principal} is used up: {figure} this {word}; it begins anew at {}, \
                 or ask an operator to raise it in coda.toml",
                env::rfc3339(begins * DAY_MS)
            )))
        };
        over("day", self.day, day, at.day + 1).or_else(|| over("month", self.month, month, at.next_month))
    }
}

/// The day and the month of a moment, as days since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The day itself.
    pub day: u64,
    /// The month's first day.
    pub month: u64,
    /// The next month's first day.
    pub next_month: u64,
}

impl Window {
    /// Those of this moment.
    #[must_use]
    pub fn at(now: Millis) -> Self {
        let day = now / DAY_MS;
        let date = date_of(day);
        let first = date.replace_day(1).unwrap_or(date);
        let last = first.month().length(first.year());
        let month = day_of(first);
        Self { day, month, next_month: month + u64::from(last) }
    }
}

/// A day as people write it: `2026-11-21`.
#[must_use]
pub fn day_text(day: u64) -> String {
    let date = date_of(day);
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// Reads such a day.
#[must_use]
pub fn read_day(text: &str) -> Option<u64> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    time::Date::parse(text, &format).ok().filter(|date| date.year() >= 1970).map(day_of)
}

fn epoch() -> time::Date {
    time::OffsetDateTime::UNIX_EPOCH.date()
}

fn date_of(day: u64) -> time::Date {
    i64::try_from(day).ok().and_then(|days| epoch().checked_add(time::Duration::days(days))).unwrap_or(time::Date::MAX)
}

fn day_of(date: time::Date) -> u64 {
    u64::try_from((date - epoch()).whole_days()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(tokens: u64, micros: u64) -> Sum {
        Sum { tokens, cost_micro_usd: micros }
    }

    fn limit(tokens: u64, cost: &str) -> Limit {
        Limit { tokens, cost: Usd::parse(cost).expect("a sum") }
    }

    #[test]
    fn months_end_where_calendars_say() {
        let at = |text: &str| Window::at(read_day(text).expect("a day") * DAY_MS + DAY_MS - 1);
        for (day, first, next) in [
            ("2026-11-21", "2026-11-01", "2026-12-01"),
            ("2026-12-31", "2026-12-01", "2027-01-01"),
            ("2028-02-29", "2028-02-01", "2028-03-01"),
            ("1970-01-01", "1970-01-01", "1970-02-01"),
        ] {
            let window = at(day);
            assert_eq!([window.day, window.month, window.next_month].map(day_text), [day, first, next]);
        }
        assert_eq!(read_day("2026-02-30"), None);
        assert_eq!(read_day("1969-12-31"), None);
    }

    #[test]
    fn what_is_reached_is_named_with_its_figure_and_the_way_out() {
        let own = BTreeMap::from([("codex".to_owned(), limit(0, "2.5"))]);
        let budgets = Budgets { task: limit(1_000, "0"), agents: own, day: limit(0, "0"), month: limit(0, "20") };
        assert_eq!(budgets.task_over("hermes", sum(999, u64::MAX)), None);
        let Over(text) = budgets.task_over("hermes", sum(1_000, 0)).expect("reached");
        assert!(text.contains("budget.task_tokens is used up: 1000 of 1000 tokens") && text.contains("coda.toml"), "{text}");
        assert_eq!(budgets.task_over("codex", sum(5_000, 2_499_999)), None, "its own limit is in place of the other");
        let Over(text) = budgets.task_over("codex", sum(0, 2_500_000)).expect("reached");
        assert!(text.contains("agents.codex.task_cost_usd is used up: 2.5 of 2.5 US dollars"), "{text}");
        let window = Window::at(read_day("2026-11-21").expect("a day") * DAY_MS);
        assert_eq!(budgets.principal_over("ann", window, sum(u64::MAX, u64::MAX), sum(0, 19_999_999)), None);
        let Over(text) = budgets.principal_over("ann", window, sum(0, 0), sum(0, 20_000_001)).expect("reached");
        assert!(text.contains("budget.principal_month_cost_usd of ann") && text.contains("2026-12-01T00:00:00"), "{text}");
        assert!(Budgets::default().are_none("codex") && !budgets.are_none("codex"));
    }
}
