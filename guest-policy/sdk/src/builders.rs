//! Builders for findings, demands and verdicts, and questions that policies often ask an event.

use crate::types::{
    Annotation, Coverage, Demand, Effect, Event, Finding, Gate, Mark, Requirement, Resource, Reversible, Severity, Span, Subject,
    Verdict,
};

/// Lets the event pass without a word.
#[must_use]
pub fn allow() -> Verdict {
    Verdict::Allow(Vec::new())
}

/// Lets the event pass and has the findings logged and shown.
#[must_use]
pub fn allow_with(findings: Vec<Finding>) -> Verdict {
    Verdict::Allow(findings)
}

/// Refuses.
#[must_use]
pub fn deny(finding: Finding) -> Verdict {
    Verdict::Deny(vec![finding])
}

/// Asks people. Without [`Demand::by`] the operator's default decides who.
#[must_use]
pub fn ask(reason: &str, findings: Vec<Finding>) -> Demand {
    Demand { findings, approvals: Vec::new(), allow_requester: false, expires_after_s: 0, reason: reason.to_owned() }
}

impl Demand {
    /// Adds `count` different people who hold `role`.
    #[must_use]
    pub fn by(mut self, role: &str, count: u32) -> Self {
        self.approvals.push(Requirement { role: role.to_owned(), count });
        self
    }
}

impl From<Demand> for Verdict {
    fn from(demand: Demand) -> Self {
        Verdict::NeedsApproval(demand)
    }
}

impl Finding {
    /// A finding of high severity with full coverage; whether it can be undone is not known.
    #[must_use]
    pub fn new(code: &str, effect: Effect, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity: Severity::High,
            effect,
            resource: None,
            reversible: Reversible::Unknown,
            coverage: Coverage::Full,
            message: message.into(),
            spans: Vec::new(),
            annotations: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// What it is about.
    #[must_use]
    pub fn on(mut self, kind: &str, name: &str) -> Self {
        self.resource = Some(Resource { kind: kind.to_owned(), name: name.to_owned(), environment: String::new() });
        self
    }

    /// Which environment the resource is in. Only after [`Finding::on`].
    #[must_use]
    pub fn environment(mut self, environment: &str) -> Self {
        if let Some(resource) = &mut self.resource {
            environment.clone_into(&mut resource.environment);
        }
        self
    }

    /// Whether it can be undone.
    #[must_use]
    pub fn reversible(mut self, reversible: Reversible) -> Self {
        self.reversible = reversible;
        self
    }

    /// It rests on text that was understood only in part.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.coverage = Coverage::Partial;
        self
    }

    /// Where in the subject, in bytes.
    #[must_use]
    pub fn at(mut self, start: usize, end: usize) -> Self {
        let clip = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        self.spans.push(Span { start: clip(start), end: clip(end) });
        self
    }

    /// A name and a value for machines.
    #[must_use]
    pub fn note(mut self, name: &str, value: &str) -> Self {
        self.annotations.push(Annotation { name: name.to_owned(), value: value.to_owned() });
        self
    }

    /// To be stored with the task and handed in with its later events.
    #[must_use]
    pub fn mark(mut self, name: &str, value: &str) -> Self {
        self.marks.push(Mark { name: name.to_owned(), value: value.to_owned() });
        self
    }
}

impl Event {
    /// The gate that the event stands at.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self.subject {
            Subject::Prompt(_) => Gate::Prompt,
            Subject::ToolCall(_) => Gate::ToolCall,
            Subject::ToolResult(_) => Gate::ToolResult,
            Subject::Output(_) => Gate::Output,
        }
    }

    /// The text that a filter may replace.
    #[must_use]
    pub fn content(&self) -> &str {
        match &self.subject {
            Subject::Prompt(prompt) => &prompt.text,
            Subject::ToolCall(call) => &call.arguments,
            Subject::ToolResult(result) => &result.content,
            Subject::Output(output) => &output.content,
        }
    }

    /// The shell command of a tool call that runs one.
    #[must_use]
    pub fn shell(&self) -> Option<&str> {
        match &self.subject {
            Subject::ToolCall(call) => call.shell.as_deref(),
            Subject::Prompt(_) | Subject::ToolResult(_) | Subject::Output(_) => None,
        }
    }

    /// The value of a mark of the task.
    #[must_use]
    pub fn mark(&self, name: &str) -> Option<&str> {
        self.task.marks.iter().find(|mark| mark.name == name).map(|mark| mark.value.as_str())
    }

    /// The value of a label of the task.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.task.labels.iter().find(|label| label.name == name).map(|label| label.value.as_str())
    }
}

impl Verdict {
    /// The findings of any verdict.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match self {
            Verdict::Allow(findings) | Verdict::Deny(findings) => findings,
            Verdict::NeedsApproval(demand) => &demand.findings,
        }
    }

    /// `allow`, `needs-approval` or `deny`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Verdict::Allow(_) => "allow",
            Verdict::NeedsApproval(_) => "needs-approval",
            Verdict::Deny(_) => "deny",
        }
    }
}

impl Severity {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The severity of that name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
            .into_iter()
            .find(|severity| severity.as_str() == word)
    }
}
