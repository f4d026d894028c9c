//! Text of an agent's that people read beside its result: progress lines, the diff, the words of a declared plan. It goes
//! through the output gate in the form of a result, `{"text": …}`, so that a policy can mask a part of it.

use serde_json::{Map, Value, json};

use super::keeper::Gatekeeper;
use super::running::Running;
use super::shown;
use crate::env;
use crate::policy::Judgment;
use crate::policy::contract::{Subject, Verdict};
use crate::store::StoreError;
use crate::store::decisions::DecisionRecord;

/// Which judgments go on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All of them.
    All,
    /// Those in which a policy noticed something.
    Noticed,
}

/// A judged text.
#[derive(Debug)]
pub(crate) struct Screened {
    /// What the chain said.
    pub judgment: Judgment,
    /// The text as the filters left it; `None` where the chain does not let it pass.
    pub text: Option<String>,
}

impl Gatekeeper {
    /// Judges a text of a running agent for people to read.
    pub(crate) async fn screen(&self, running: &Running, text: &str, keep: Keep) -> Result<Screened, StoreError> {
        let subject = Subject::Output { content: json!({ "text": text }).to_string() };
        let event = running.event(subject.clone(), "");
        let judgment = self.0.policies.judge(event).await;
        let unnoticed = matches!(judgment.verdict, Verdict::Allow { .. }) && judgment.findings.is_empty();
        if keep == Keep::All || !unnoticed || !judgment.marks.is_empty() {
            self.put_on_record(running, &judgment, &subject).await?;
        }
        let text = match judgment.verdict {
            Verdict::Allow { .. } => text_of(judgment.screened()),
            Verdict::NeedsApproval(_) | Verdict::Deny { .. } => None,
        };
        Ok(Screened { judgment, text })
    }

    /// Keeps a decision; the task's marks follow.
    pub(super) async fn put_on_record(&self, running: &Running, judgment: &Judgment, judged: &Subject) -> Result<(), StoreError> {
        let record = record_of(running, judgment, judged);
        let marks = self.0.store.call(move |s| s.record_decision(&record)).await?;
        running.set_marks(marks);
        Ok(())
    }
}

/// A decision as it is kept: people see of its content what the filters left, masked.
pub(super) fn record_of(running: &Running, judgment: &Judgment, judged: &Subject) -> DecisionRecord {
    let [content] = shown::masked([judgment.screened()], judged, judgment.screened(), &judgment.findings);
    DecisionRecord::of(judgment, &running.task.tenant, &running.task.id, env::now_ms(), content)
}

fn text_of(content: &str) -> Option<String> {
    match serde_json::from_str::<Map<String, Value>>(content).ok()?.remove("text")? {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
