//! Hosted tools in an answer: a chunk with something of theirs waits for the verdict, and nothing after it goes on before.

use serde_json::Value;

use super::super::hosted::{BESIDE, as_left, found, found_beside};
use super::{Chunk, Reading};
use crate::gateway::dialect::{Malformed, malformed};
use crate::gateway::hosted::{Answered, Expected, put_back};
use crate::gateway::memory::Screened;

/// Something of a hosted tool in the chunk that waits.
#[derive(Debug)]
pub(super) enum Unjudged {
    /// A part: its place in the chunk, and among all.
    Part(usize, usize),
    /// What stands beside the content, by its key.
    Beside(&'static str),
}

impl Reading {
    /// Of an answer in which these hosted tools may show.
    pub(in crate::gateway::gemini) fn expecting(expected: Expected) -> Self {
        Self { expected, ..Self::default() }
    }

    pub(in crate::gateway::gemini) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// What a candidate says was searched and fetched.
    pub(super) fn beside(&mut self, candidate: &Value) -> Result<(), Malformed> {
        for key in BESIDE {
            let Some(beside) = candidate.get(key).filter(|beside| beside.as_object().is_none_or(|fields| !fields.is_empty()))
            else {
                continue;
            };
            if !beside.is_object() || !self.searches() {
                return malformed(format!("the upstream model used a tool that nobody offered: {key}"));
            }
            if found_beside(beside, &self.expected).is_some() {
                self.unjudged.push_back(Unjudged::Beside(key));
            }
        }
        Ok(())
    }

    fn searches(&self) -> bool {
        use crate::gateway::hosted::Tool;
        [Tool::Search, Tool::Fetch].into_iter().any(|tool| self.expected.name(tool).is_some())
    }

    /// What has no verdict yet, first come first.
    pub(in crate::gateway::gemini) fn unjudged(&self) -> Option<Answered> {
        match self.unjudged.front()? {
            Unjudged::Part(_, at) => found(self.parts.get(*at)?, &self.expected),
            Unjudged::Beside(key) => {
                let candidate = self.waiting.as_ref()?.value.pointer("/candidates/0")?;
                found_beside(candidate.get(*key)?, &self.expected)
            }
        }
    }

    /// Puts the verdict on it into effect; gives the chunk that goes on now.
    pub(in crate::gateway::gemini) fn judged(&mut self, verdict: &Screened) -> Option<Chunk> {
        let asked = self.unjudged()?.text;
        let left = match verdict {
            Screened::Deliver(cleared) => Some(cleared.get()),
            Screened::Withhold(_) => None,
        };
        let of = self.unjudged.pop_front()?;
        if left.is_none() || left != asked.as_ref() {
            self.leave_out(&of, left);
        }
        if !self.unjudged.is_empty() {
            return None;
        }
        let mut chunk = self.waiting.take()?;
        if std::mem::take(&mut self.altered) {
            chunk.data = chunk.value.to_string();
        }
        self.pass(chunk)
    }

    /// Takes out what may not be read.
    fn leave_out(&mut self, of: &Unjudged, left: Option<&String>) {
        (self.changed, self.altered) = (true, true);
        let Some(candidate) = self.waiting.as_mut().and_then(|chunk| chunk.value.pointer_mut("/candidates/0")) else { return };
        match of {
            Unjudged::Part(there, at) => {
                self.parts[*at] = as_left(&self.parts[*at], left);
                if let Some(part) = candidate.pointer_mut(&format!("/content/parts/{there}")) {
                    *part = self.parts[*at].clone();
                }
            }
            Unjudged::Beside(key) => {
                let anew = candidate.get(*key).zip(left).and_then(|(beside, left)| put_back(beside, left));
                match (anew, candidate.as_object_mut()) {
                    (Some(anew), Some(fields)) => drop(fields.insert((*key).to_owned(), anew)),
                    (None, Some(fields)) => drop(fields.remove(*key)),
                    (_, None) => {}
                }
            }
        }
    }
}
