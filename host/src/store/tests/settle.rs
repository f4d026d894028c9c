//! A message settled at once: what people said about a call, what ran before, and a budget have the last word.

use super::spending::{spent, started};
use super::*;
use crate::store::settle::{Fate, JudgedCall, Settled};
use crate::usage::{Limit, Usd};

/// Settles calls by name, each bound to a key of the same name.
fn settle(stand: &Stand, id: &TaskId, budgets: &Budgets, allowed: &[&str], marks: &[(&str, &str)]) -> Settled {
    let task = stand.store.task(id).expect("there");
    let marks: BTreeMap<String, String> = marks.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let judged = |name: &&str| JudgedCall {
        record: DecisionRecord { gate: Gate::ToolCall, marks: marks.clone(), ..decision(&task) },
        release: Some(Release { call_key: (*name).into(), ..call(name) }),
    };
    let calls: Vec<JudgedCall> = allowed.iter().map(judged).collect();
    stand.store.settle(id, Some(&spent(60, Some(7))), budgets, &calls, env::now_ms()).expect("settled")
}

fn fates(settled: &Settled) -> String {
    let letter = |fate: &Fate| match fate {
        Fate::Released => 'r',
        Fate::Barred(StoreError::Conflict { .. }) => 'c',
        Fate::Barred(_) => 'e',
        Fate::Open => 'o',
    };
    settled.fates.iter().map(letter).collect()
}

#[test]
fn what_is_allowed_runs_once_unless_people_have_spoken_about_it() {
    let stand = Stand::new();
    let id = started(&stand, "ann");
    let task = stand.store.task(&id).expect("there");
    decided(&stand, &task, &["approved", "denied"], &[1]);
    let settled = settle(&stand, &id, &Budgets::NONE, &["one", "approved", "denied", "one"], &[("seen", "yes")]);
    assert_eq!(fates(&settled), "rooc", "released; two to be looked at; the same id again");
    assert_eq!(settled.marks["seen"], "yes");
    let usage = settled.standing.expect("it was counted").usage;
    assert_eq!((usage.input_tokens, usage.tool_calls), (59, 0), "as it stood before the release");
    let stored = stand.store.task(&id).expect("there");
    assert_eq!((stored.usage.input_tokens, stored.usage.tool_calls, stored.marks["seen"].as_str()), (59, 1, "yes"));
    assert_eq!(stand.store.calls(&id).expect("calls").len(), 1);
    assert_eq!(fates(&settle(&stand, &id, &Budgets::NONE, &["one", "two"], &[])), "cr", "nor in a later message");
}

#[test]
fn the_answer_that_uses_up_a_budget_releases_nothing() {
    let stand = Stand::new();
    let id = started(&stand, "ann");
    let budgets = Budgets { task: Limit { tokens: 100, cost: Usd::ZERO }, ..Budgets::NONE };
    assert_eq!(fates(&settle(&stand, &id, &budgets, &["one"], &[])), "r");
    let settled = settle(&stand, &id, &budgets, &["two", "three"], &[]);
    assert!(settled.standing.as_ref().is_some_and(|standing| standing.over.is_some()), "{settled:?}");
    assert_eq!(fates(&settled), "ee");
    assert_eq!(stand.store.task(&id).expect("there").status, Status::Failed);
    assert_eq!(stand.store.calls(&id).expect("calls").len(), 1);
}

#[test]
fn what_cannot_be_kept_whole_is_not_kept_at_all() {
    let stand = Stand::new();
    let (id, other) = (started(&stand, "ann"), task("ann"));
    let task = stand.store.task(&id).expect("there");
    let release = Some(call("one"));
    let calls = [JudgedCall { record: decision(&task), release }, JudgedCall { record: decision(&other), release: None }];
    let failed = stand.store.settle(&id, Some(&spent(60, None)), &Budgets::NONE, &calls, env::now_ms());
    assert!(failed.is_err(), "a decision on a task that is not there: {failed:?}");
    assert_eq!(stand.store.task(&id).expect("there").usage, Usage::default());
    assert!(stand.store.calls(&id).expect("calls").is_empty());
}
