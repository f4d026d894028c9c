//! Budgets: what is used is kept, what is used up ends a task and lets nobody hand over another.

use super::*;
use crate::usage::{Limit, Spent, Usd, day_text};

const DAY_MS: u64 = 86_400_000;

pub(super) fn spent(tokens: u64, cost_micro_usd: Option<u64>) -> Spent {
    Spent { model: "main".into(), input_tokens: tokens - 1, output_tokens: 1, estimated_tokens: 1, cost_micro_usd }
}

pub(super) fn started(stand: &Stand, principal: &str) -> TaskId {
    let task = task(principal);
    stand.accept(&task);
    stand.store.advance(&task.id, "coda", &Happening::Start, &Patch::default()).expect("started");
    task.id
}

#[test]
fn a_task_that_uses_up_its_budget_has_ended_and_releases_nothing() {
    let stand = Stand::new();
    let budgets = Budgets { task: Limit { tokens: 100, cost: Usd::ZERO }, ..Budgets::NONE };
    let (id, other) = (started(&stand, "ann"), started(&stand, "ann"));
    let now = env::now_ms();
    let one = stand.store.spend(&id, Some(&spent(60, Some(7))), &budgets, now).expect("kept");
    assert_eq!((one.over, one.usage.input_tokens, one.usage.cost_micro_usd), (None, 59, 7));
    let two = stand.store.spend(&id, Some(&spent(40, None)), &budgets, now).expect("kept");
    assert!(two.over.is_some_and(|over| over.0.contains("budget.task_tokens is used up: 100 of 100 tokens")));
    let ended = stand.store.task(&id).expect("there");
    let reason = ended.reason.expect("a reason");
    assert_eq!((ended.status, reason.by, reason.code.as_str()), (Status::Failed, EndedBy::Limit, "budget"));
    assert_eq!((ended.usage.estimated_tokens, ended.usage.unpriced_tokens), (2, 40));
    let released = stand.store.release_call(&id, &call("1"));
    assert!(matches!(released, Err(StoreError::Ended { .. })), "{released:?}");
    // The first end stays, whatever is counted after it.
    let late = stand.store.spend(&id, Some(&spent(5, None)), &budgets, now).expect("kept");
    assert!(late.over.is_some() && stand.store.task(&id).expect("there").usage.input_tokens == 102);
    assert_eq!(stand.store.spend(&other, None, &budgets, now).expect("looked at").over, None, "each task has its own");
}

#[test]
fn a_principal_over_budget_hands_nothing_over_until_it_begins_anew() {
    let stand = Stand::new();
    let cost = Usd::parse("0.01").expect("a sum");
    let budgets = Budgets { day: Limit { tokens: 0, cost }, month: Limit { tokens: 1_000, cost: Usd::ZERO }, ..Budgets::NONE };
    let bounds = Bounds { budgets: budgets.clone(), ..ROOMY };
    // The 10th of a month, so that the day before and the days after are in it.
    let now = crate::usage::read_day("2026-03-10").expect("a day") * DAY_MS;
    let id = started(&stand, "ann");
    stand.store.spend(&id, Some(&spent(500, Some(9_999))), &budgets, now - 1).expect("kept");
    assert_eq!(stand.store.spend(&id, Some(&spent(100, Some(9_999))), &budgets, now).expect("kept").over, None, "another day");
    let hand_over = |principal: &str, at: u64, key: Option<&str>| {
        let task = Task { created_ms: at, ..task(principal) };
        stand.store.accept(&task, key, &[decision(&task)], None, bounds.clone())
    };
    hand_over("ann", now, Some("before")).expect("room for one more");
    let over = stand.store.spend(&id, Some(&spent(10, Some(1))), &budgets, now).expect("kept").over.expect("used up");
    assert!(over.0.contains("principal_day_cost_usd of ann") && over.0.contains("2026-03-11T00:00:00"), "{}", over.0);
    assert_eq!(stand.store.task(&id).expect("there").status, Status::Failed);
    let refused = hand_over("ann", now, None);
    assert!(matches!(&refused, Err(StoreError::Budget(why)) if why.contains("principal_day_cost_usd")), "{refused:?}");
    hand_over("ann", now, Some("before")).expect("what was acknowledged is found again");
    hand_over("bob", now, None).expect("somebody else");
    hand_over("ann", now + DAY_MS, None).expect("the next day");
    let more = started(&stand, "ann");
    stand.store.spend(&more, Some(&spent(390, Some(0))), &budgets, now + 2 * DAY_MS).expect("kept");
    let refused = hand_over("ann", now + 3 * DAY_MS, None);
    assert!(matches!(&refused, Err(StoreError::Budget(why)) if why.contains("principal_month_tokens")), "{refused:?}");
    hand_over("ann", now + 30 * DAY_MS, None).expect("the next month");
}

#[test]
fn what_was_used_is_told_by_day_and_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("coda.db");
    let stand = Stand { store: Store::open(&path).expect("it opens"), _folder: tempfile::tempdir().expect("a folder") };
    let (ann, bob) = (started(&stand, "ann"), started(&stand, "bob"));
    let day = crate::usage::read_day("2026-03-10").expect("a day");
    for (task, tokens, at) in [(&ann, 10, day), (&ann, 20, day), (&bob, 30, day), (&ann, 40, day + 1), (&ann, u64::MAX, day + 2)]
    {
        stand.store.spend(task, Some(&spent(tokens, Some(3))), &Budgets::NONE, at * DAY_MS).expect("kept");
    }
    drop(stand);
    let store = Store::open(&path).expect("it opens again");
    let rows = |principal, since| store.usage(DEFAULT_TENANT, principal, since, 10).expect("rows");
    let first = &rows(Some("ann"), day)[2];
    assert_eq!((day_text(first.day).as_str(), first.answers, first.input_tokens, first.cost_micro_usd), ("2026-03-10", 2, 28, 6));
    assert_eq!((rows(None, day).len(), rows(Some("ann"), day + 1).len(), rows(Some("cy"), 0).len()), (4, 2, 0));
    assert_eq!(store.task(&bob).expect("there").usage.input_tokens, 29);
    store.forget(0, (day + 1) * DAY_MS).expect("old days go");
    assert_eq!(rows(None, 0).iter().map(|row| row.day - day).collect::<Vec<_>>(), [2, 1]);
    store.spend(&bob, Some(&spent(1, None)), &Budgets::NONE, env::now_ms()).expect("kept");
    store.forget(0, env::now_ms() + 400 * DAY_MS).expect("old days go");
    assert_eq!(rows(None, 0).len(), 1, "this month stays: budgets add it up");
}
