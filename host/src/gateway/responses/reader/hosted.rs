//! Hosted tools in an answer: what came of them waits for its verdict, and nothing after it goes on before.

use serde_json::Value;

use super::super::hosted::{as_left, found, is_expected};
use super::super::kind;
use super::{Event, Reading};
use crate::gateway::dialect::{Malformed, malformed};
use crate::gateway::hosted::{Answered, Expected};
use crate::gateway::memory::Screened;

impl Reading {
    /// Of an answer in which these hosted tools may show.
    pub(in crate::gateway::responses) fn expecting(expected: Expected) -> Self {
        Self { expected, ..Self::default() }
    }

    pub(in crate::gateway::responses) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// An event about how far a hosted tool is, of this kind.
    pub(super) fn progressed(&self, of: &str, event: &Event) -> Result<(), Malformed> {
        let last = self.slots.len().checked_sub(1).filter(|last| event.at.is_none_or(|at| at == *last));
        let is_open = |at: usize| self.slots[at].kind == of && self.slots[at].item.is_none();
        if is_expected(of, &self.expected) && last.is_some_and(is_open) {
            return Ok(());
        }
        malformed("the upstream model used a tool that nobody offered, or not in this place")
    }

    /// The item in this slot is complete.
    pub(super) fn complete(&mut self, at: usize) {
        if self.slots[at].item.as_ref().is_some_and(|item| found(item, &self.expected).is_some()) {
            self.unjudged.push_back(at);
        }
    }

    /// What has no verdict yet, first come first.
    pub(in crate::gateway::responses) fn unjudged(&self) -> Option<Answered> {
        found(self.slots.get(*self.unjudged.front()?)?.item.as_ref()?, &self.expected)
    }

    /// Puts the verdict on it into effect; gives the event that goes on now.
    pub(in crate::gateway::responses) fn judged(&mut self, verdict: &Screened) -> Option<Event> {
        let asked = self.unjudged()?.text;
        let left = match verdict {
            Screened::Deliver(cleared) => Some(cleared.get()),
            Screened::Withhold(_) => None,
        };
        let slot = &mut self.slots[self.unjudged.pop_front()?];
        let mut event = self.waiting.take();
        if left.is_none() || left != asked.as_ref() {
            let anew = as_left(slot.item.as_ref()?, left);
            slot.came = slot.item.replace(anew.clone());
            self.changed = true;
            if let Some(event) = &mut event {
                event.value["item"] = anew;
                event.data = event.value.to_string();
            }
        }
        self.pass(event?)
    }

    /// Whether the whole response lists what came of hosted tools as their items had it: nothing else of it was judged.
    pub(super) fn lists_as_judged(&self, listed: &[&Value], came: &[Value]) -> bool {
        let of = |item: &&Value| is_expected(kind(item), &self.expected);
        let listed: Vec<&Value> = listed.iter().copied().filter(of).collect();
        listed.is_empty() || listed == came.iter().filter(of).collect::<Vec<_>>()
    }
}
