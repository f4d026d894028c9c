//! What the gateway remembers of a task: screened tool results, so that each is judged once although agents send their
//! whole history each time; and refused calls, so that the history which the upstream sees stays whole although the
//! agent never saw them. Bounded: the oldest is forgotten first, and is then judged again, or told to nobody any more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::model::Draft;
use crate::policy::Cleared;

/// SHA-256.
pub(in crate::gateway) type Hash = [u8; 32];

/// SHA-256 over parts, each with its length before it.
pub(in crate::gateway) fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A tool result after its verdict.
#[derive(Debug, Clone)]
pub(in crate::gateway) enum Screened {
    /// The model may read this.
    Deliver(Cleared<String>),
    /// The model is told this instead.
    Withhold(String),
}

/// Screened results by call id and content.
#[derive(Debug)]
pub(in crate::gateway) struct Results {
    limit: usize,
    // A std mutex: held for a look-up, never across an await.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    cells: HashMap<Hash, Arc<OnceCell<Screened>>>,
    /// Oldest first.
    order: VecDeque<Hash>,
}

impl Results {
    pub(in crate::gateway) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), kept: Mutex::default() }
    }

    /// The cell of a result: empty until its first verdict, which all who ask meanwhile wait for.
    pub(in crate::gateway) fn cell(&self, call_id: &str, content: &str) -> Arc<OnceCell<Screened>> {
        let key = hash(&[call_id.as_bytes(), content.as_bytes()]);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { cells, order } = &mut *kept;
        if let Some(cell) = cells.get(&key) {
            return Arc::clone(cell);
        }
        if order.len() >= self.limit
            && let Some(oldest) = order.pop_front()
        {
            cells.remove(&oldest);
        }
        order.push_back(key);
        Arc::clone(cells.entry(key).or_default())
    }
}

/// A refused call and what the model was told.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Refused {
    /// The call as the model wrote it.
    pub(in crate::gateway) draft: Draft,
    /// Position among the calls of its message.
    pub(in crate::gateway) position: usize,
    /// The refusal.
    pub(in crate::gateway) message: String,
}

/// A message all of whose calls were refused: the agent saw its text only, as the beginning of another message.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Round {
    /// Its text.
    pub(in crate::gateway) text: String,
    /// The whole of it, as its dialect's history has it.
    pub(in crate::gateway) wire: Value,
    /// All of its calls.
    pub(in crate::gateway) refused: Vec<Refused>,
}

/// What has to be put back where the agent sends a certain message again.
#[derive(Debug, Clone, Default)]
pub(in crate::gateway) struct Splice {
    /// The message, known by the ids of its calls.
    pub(in crate::gateway) call_ids: Vec<String>,
    /// Or, where it has none, by its text.
    pub(in crate::gateway) text: String,
    /// Messages before it.
    pub(in crate::gateway) rounds: Vec<Round>,
    /// Calls beside its own.
    pub(in crate::gateway) beside: Vec<Refused>,
}

/// All splices of a task.
#[derive(Debug)]
pub(in crate::gateway) struct Splices {
    limit: usize,
    kept: Mutex<VecDeque<Arc<Splice>>>,
}

impl Splices {
    pub(in crate::gateway) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), kept: Mutex::default() }
    }

    /// Keeps one, if there is anything to put back.
    pub(in crate::gateway) fn keep(&self, splice: Splice) {
        if splice.rounds.is_empty() && splice.beside.is_empty() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.limit {
            kept.pop_front();
        }
        kept.push_back(Arc::new(splice));
    }

    /// The one that belongs to a message of the agent's history and is not among `used`: two messages can be alike,
    /// and each is put back once, the oldest first.
    pub(in crate::gateway) fn find(&self, call_ids: &[&str], text: &str, used: &[Arc<Splice>]) -> Option<Arc<Splice>> {
        // All of them: some upstreams count calls anew in each message, so that one id alone says little.
        self.found(call_ids, text, used, |kept, asked| kept == asked)
    }

    /// The same, where an agent may send a message in parts, with results between them: the first part is it.
    pub(in crate::gateway) fn find_first_part(&self, call_ids: &[&str], text: &str, used: &[Arc<Splice>]) -> Option<Arc<Splice>> {
        self.found(call_ids, text, used, |kept, asked| kept.iter().zip(asked).all(|(kept, asked)| kept == asked))
    }

    fn found(
        &self,
        call_ids: &[&str],
        text: &str,
        used: &[Arc<Splice>],
        alike: fn(&[String], &[&str]) -> bool,
    ) -> Option<Arc<Splice>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let belongs = |splice: &Arc<Splice>| match (splice.call_ids.is_empty(), call_ids.is_empty()) {
            (false, false) => alike(&splice.call_ids, call_ids),
            (true, true) => !text.trim().is_empty() && splice.text.trim() == text.trim(),
            (false, true) | (true, false) => false,
        };
        kept.iter().find(|splice| belongs(splice) && !used.iter().any(|u| Arc::ptr_eq(u, splice))).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_known_by_its_call_and_content_until_it_is_the_oldest() {
        let results = Results::new(2);
        let first = results.cell("a", "b");
        first.set(Screened::Withhold("no".into())).expect("was empty");
        assert!(results.cell("a", "b").initialized());
        assert!(!results.cell("ab", "").initialized(), "another call");
        assert!(results.cell("a", "b").initialized());
        results.cell("c", "");
        assert!(!results.cell("a", "b").initialized(), "forgotten");
    }
}
