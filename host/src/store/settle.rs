//! A model's message, settled at once: what the answer used, the decision on each of its calls, and the release of those
//! that nothing else speaks about. One transaction, where several would reach the disk one after the other.

use std::collections::BTreeMap;

use super::calls::{Release, release};
use super::decisions::{DecisionRecord, record};
use super::items::speaking;
use super::usage::{Standing, spend};
use super::{Store, StoreError};
use crate::env::Millis;
use crate::id::TaskId;
use crate::usage::{Budgets, Spent};

/// One call of a message, judged.
#[derive(Debug)]
pub struct JudgedCall {
    /// The decision.
    pub record: DecisionRecord,
    /// Its release, where the policies allow it and ask nobody.
    pub release: Option<Release>,
}

/// What became of such a call.
#[derive(Debug)]
pub enum Fate {
    /// It may run: its release is on record.
    Released,
    /// It must not: it ran before, or its task has ended.
    Barred(StoreError),
    /// Not settled yet: people must be asked, or have spoken about it, or a policy refuses it.
    Open,
}

/// What became of a message.
#[derive(Debug)]
pub struct Settled {
    /// What the task has used now; `None` where nothing was to be added.
    pub standing: Option<Standing>,
    /// The task's marks now.
    pub marks: BTreeMap<String, String>,
    /// Of each call, in order.
    pub fates: Vec<Fate>,
}

impl Store {
    /// Settles a message. Where the answer uses up a budget the task ends here, before any of its calls is released.
    pub fn settle(
        &self,
        task: &TaskId,
        spent: Option<&Spent>,
        budgets: &Budgets,
        calls: &[JudgedCall],
        now: Millis,
    ) -> Result<Settled, StoreError> {
        self.write(|tx| {
            let standing = spent.map(|spent| spend(tx, task, Some(spent), budgets, now)).transpose()?;
            let mut settled = Settled { standing, marks: BTreeMap::new(), fates: Vec::with_capacity(calls.len()) };
            for JudgedCall { record: decision, release: wanted } in calls {
                settled.marks = record(tx, decision)?;
                settled.fates.push(match wanted {
                    Some(wanted) if speaking(tx, task, &wanted.call_key)?.is_empty() => match release(tx, task, wanted) {
                        Ok(()) => Fate::Released,
                        Err(e @ (StoreError::Conflict { .. } | StoreError::Ended { .. })) => Fate::Barred(e),
                        Err(e) => return Err(e),
                    },
                    Some(_) | None => Fate::Open,
                });
            }
            Ok(settled)
        })
    }
}
