//! Why a policy, or the engine, could not answer. A fault is never an allow: `chain` turns it into the closed verdict.

use super::contract::{Coverage, Effect, Finding, Reversible, Severity};

/// Prefix of the finding codes that the host itself reports.
pub const FAULT_CODE: &str = "policy-fault";
const MAX_DETAIL_BYTES: usize = 300;

/// The kinds of fault, each with its word in codes, logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped: a panic, an `unreachable`, an access out of bounds.
    Trap,
    /// Out of fuel.
    Fuel,
    /// Out of time, by the epoch.
    Timeout,
    /// Out of memory or of table elements.
    Memory,
    /// Out of stack.
    Stack,
    /// It called what an inert WASI does not have.
    Import,
    /// It handed over more than the host takes.
    AnswerTooLarge,
    /// Its answer breaks the contract.
    InvalidAnswer,
    /// It said that it could not decide.
    Undecided,
    /// `configure` failed in this instance.
    Configure,
    /// The event is larger than the host hands in.
    EventTooLarge,
    /// The marks of the task would exceed their bound.
    Marks,
    /// No worker was free in time.
    Busy,
    /// The evaluation did not come back; its worker is lost.
    HostTimeout,
    /// The host panicked.
    HostPanic,
    /// There is no live set.
    NoSet,
    /// Anything else that the engine says.
    Engine,
}

impl FaultKind {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Trap => "trap",
            FaultKind::Fuel => "fuel",
            FaultKind::Timeout => "timeout",
            FaultKind::Memory => "memory",
            FaultKind::Stack => "stack",
            FaultKind::Import => "import",
            FaultKind::AnswerTooLarge => "answer-too-large",
            FaultKind::InvalidAnswer => "invalid-answer",
            FaultKind::Undecided => "undecided",
            FaultKind::Configure => "configure",
            FaultKind::EventTooLarge => "event-too-large",
            FaultKind::Marks => "marks",
            FaultKind::Busy => "busy",
            FaultKind::HostTimeout => "host-timeout",
            FaultKind::HostPanic => "host-panic",
            FaultKind::NoSet => "no-set",
            FaultKind::Engine => "engine",
        }
    }

    /// Whether the same event may end otherwise when it is judged again: such a fault is not part of a replay's promise.
    #[must_use]
    pub fn is_nondeterministic(self) -> bool {
        matches!(self, FaultKind::Timeout | FaultKind::Busy | FaultKind::HostTimeout)
    }
}

/// A fault: its kind and what is known of it. The detail never holds content of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.as_str())]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// More, bounded, for the operator.
    pub detail: String,
    /// Whether the broken answer was a refusal: the closed verdict may then not be weaker.
    pub refused: bool,
}

impl Fault {
    /// A fault with its detail cut to the bound.
    #[must_use]
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL_BYTES {
            detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
            detail.push('…');
        }
        Self { kind, detail, refused: false }
    }

    /// The same, of an answer that was a refusal.
    #[must_use]
    pub fn of_refusal(mut self) -> Self {
        self.refused = true;
        self
    }

    /// The finding that stands for it: code `policy-fault.KIND`.
    #[must_use]
    pub fn finding(&self, policy: &str) -> Finding {
        let subject = if policy.is_empty() { "the policy engine".into() } else { format!("the policy '{policy}'") };
        Finding {
            code: format!("{FAULT_CODE}.{}", self.kind.as_str()),
            severity: Severity::High,
            effect: Effect::Other,
            resource: None,
            reversible: Reversible::Unknown,
            coverage: Coverage::Partial,
            message: format!("{subject} gave no usable answer ({self}); an operator finds more in the policy status and the log"),
            spans: Vec::new(),
            annotations: std::iter::once(("policy".to_owned(), policy.to_owned())).collect(),
            marks: std::collections::BTreeMap::new(),
        }
    }
}

/// A host call that an inert WASI refuses; kept apart from a trap so that the fault names the import.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not available to a policy")]
pub(super) struct Blocked(pub String);
