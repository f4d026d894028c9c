//! The access tokens of people whose tasks act with them: what a request carried when it handed the task over. In memory
//! alone, a token for a task, until the task has ended; a server that starts anew has none, and asks for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::TaskId;
use crate::identity::AccessToken;

/// Tasks whose token is kept at most, over everybody.
const MAX_TASKS: usize = 10_000;

/// The tokens. A handle; clones share them.
#[derive(Clone, Default)]
pub struct Forwarded(Arc<Mutex<HashMap<TaskId, AccessToken>>>);

impl std::fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forwarded")
    }
}

impl Forwarded {
    /// Keeps a task's token, in place of an older one. `Err` where there are too many.
    pub fn keep(&self, task: &TaskId, token: AccessToken) -> Result<(), TooMany> {
        let mut tokens = self.tokens();
        if tokens.len() >= MAX_TASKS && !tokens.contains_key(task) {
            return Err(TooMany);
        }
        tokens.insert(task.clone(), token);
        Ok(())
    }

    /// The token of a task, where there is one.
    #[must_use]
    pub fn of(&self, task: &TaskId) -> Option<AccessToken> {
        self.tokens().get(task).cloned()
    }

    /// The task needs none any more.
    pub fn forget(&self, task: &TaskId) {
        self.tokens().remove(task);
    }

    /// This token of a task is worth nothing; a newer one stays. Whether the task has none now.
    pub(in crate::gateway) fn refused(&self, task: &TaskId, token: &str) -> bool {
        let mut tokens = self.tokens();
        if tokens.get(task).is_some_and(|kept| kept.reveal() == token) {
            tokens.remove(task);
        }
        !tokens.contains_key(task)
    }

    /// Whose tokens are kept.
    #[must_use]
    pub fn tasks(&self) -> Vec<String> {
        self.tokens().keys().map(ToString::to_string).collect()
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, AccessToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More tasks act with people's own tokens than the server keeps.
#[derive(Debug, thiserror::Error)]
#[error("{MAX_TASKS} tasks that act with the tokens of people are the most; try again when some have ended")]
pub struct TooMany;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> AccessToken {
        AccessToken::parse(text).expect("a token")
    }

    #[test]
    fn a_token_that_was_refused_goes_and_a_newer_one_stays() {
        let (forwarded, task) = (Forwarded::default(), TaskId::new());
        forwarded.keep(&task, token("old")).expect("room");
        forwarded.keep(&task, token("new")).expect("room");
        assert!(!forwarded.refused(&task, "old"), "there is a newer one");
        assert_eq!(forwarded.of(&task), Some(token("new")));
        assert!(forwarded.refused(&task, "new") && forwarded.of(&task).is_none());
        assert!(forwarded.refused(&TaskId::new(), "any"), "another task has none");
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let (forwarded, first) = (Forwarded::default(), TaskId::new());
        forwarded.keep(&first, token("a")).expect("room");
        for _ in 1..MAX_TASKS {
            forwarded.keep(&TaskId::new(), token("b")).expect("room");
        }
        assert!(forwarded.keep(&TaskId::new(), token("c")).is_err());
        forwarded.keep(&first, token("c")).expect("its own place");
        forwarded.forget(&first);
        forwarded.keep(&TaskId::new(), token("c")).expect("room again");
        assert_eq!(format!("{forwarded:?} {:?}", token("secret")), "Forwarded AccessToken", "nothing shows it");
    }
}
