//! Invariant 1 as types: what crosses a gate is `Cleared` (a chain judged it) or `Exempt` (for one of a closed list of
//! reasons). Functions that let text through take one of the two, so nothing else compiles.

use crate::id::DecisionId;

/// A value that a chain of policies, or an approval of exactly this value, let pass. Only `policy` and `approval` can make one.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleared<T> {
    value: T,
    decision: DecisionId,
}

impl Cleared<String> {
    /// A prompt that was cleared earlier and stored since.
    #[must_use]
    pub fn on_record(prompt: crate::store::decisions::OnRecord) -> Self {
        let (value, decision) = prompt.into_parts();
        Self { value, decision }
    }
}

impl<T> Cleared<T> {
    /// INVARIANT: called where a judgment allowed `value`, and nowhere else.
    pub(in crate::policy) fn by(decision: DecisionId, value: T) -> Self {
        Self { value, decision }
    }

    /// A cleared value for a test that needs one and no policy.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn for_test(value: T) -> Self {
        Self::by(DecisionId::new(), value)
    }

    /// What was cleared.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// What was cleared, out of its wrapper, at the very place where it crosses.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The decision that cleared it.
    pub fn decision(&self) -> &DecisionId {
        &self.decision
    }

    /// The same clearance for a value that holds nothing but the cleared one and text of coda's own.
    pub(crate) fn wrap<U>(self, wrap: impl FnOnce(T) -> U) -> Cleared<U> {
        Cleared { value: wrap(self.value), decision: self.decision }
    }
}

/// Why something crosses without a verdict. docs/security.md says for each what protects it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Text that the model writes to the user: the output gate judges what comes of it.
    ModelText,
    /// The agent's own system prompt, on its way to the model.
    SystemPrompt,
    /// The submitter's text in model traffic: it passed the prompt gate.
    UserText,
    /// What the terminal shows: masked on the byte stream, best effort.
    TerminalBytes,
}

/// A value that crosses without a verdict, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Exempt<T> {
    value: T,
    reason: Reason,
}

impl<T> Exempt<T> {
    /// Says why, at the place where it crosses.
    pub fn because(reason: Reason, value: T) -> Self {
        Self { value, reason }
    }

    /// What crosses.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}
