//! What leaves for the upstream, typed by what let it pass. Only what is in here is ever sent.

use serde_json::{Map, Value};

use crate::policy::{Cleared, Exempt, Reason};

/// One message, and why it may leave.
#[derive(Debug, Clone)]
pub(in crate::gateway) enum Passage {
    /// A tool's result, as a chain cleared it.
    Judged(Cleared<Value>),
    /// Text that is not judged here, and why.
    Exempt(Exempt<Value>),
    /// coda's own words in place of a tool's result: a refusal, or that a result was withheld.
    Own(Value),
    /// A message in pieces, each for its own reason.
    Parts {
        /// What is around them: no text of anybody's.
        shell: Map<String, Value>,
        /// Under which key of it they stand.
        key: &'static str,
        /// They.
        parts: Vec<Passage>,
    },
}

impl Passage {
    fn value(&self) -> Value {
        match self {
            Passage::Judged(cleared) => cleared.get().clone(),
            Passage::Exempt(exempt) => exempt.clone().into_inner(),
            Passage::Own(value) => value.clone(),
            Passage::Parts { shell, key, parts } => {
                let mut message = shell.clone();
                message.insert((*key).to_owned(), parts.iter().map(Passage::value).collect());
                Value::Object(message)
            }
        }
    }

    /// By which decisions it may leave.
    fn decisions(&self, into: &mut Vec<String>) {
        match self {
            Passage::Judged(cleared) => into.push(cleared.decision().to_string()),
            Passage::Exempt(_) | Passage::Own(_) => {}
            Passage::Parts { parts, .. } => parts.iter().for_each(|part| part.decisions(into)),
        }
    }

    /// A message that the model wrote.
    pub(in crate::gateway) fn model(message: Value) -> Self {
        Self::Exempt(Exempt::because(Reason::ModelText, message))
    }
}

/// A request to the upstream.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Outbound {
    /// Everything but the messages: model, tools, parameters. The agent's own, like its system prompt.
    frame: Exempt<Map<String, Value>>,
    form: Form,
    messages: Vec<Passage>,
}

/// Where a dialect's body has what.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Form {
    /// The messages.
    pub(in crate::gateway) messages: &'static str,
    /// The name of the model, if the body has it.
    pub(in crate::gateway) model: Option<&'static str>,
}

impl Outbound {
    /// A request without messages.
    pub(in crate::gateway) fn new(frame: Exempt<Map<String, Value>>, form: Form) -> Self {
        Self { frame, form, messages: Vec::new() }
    }

    /// Adds the next message.
    pub(in crate::gateway) fn push(&mut self, passage: Passage) {
        self.messages.push(passage);
    }

    /// What `body` says, in parts: everything but the messages, and each message with the decisions that let it pass.
    pub(in crate::gateway) fn parts(&self, model: Option<&str>) -> (Value, Vec<(Value, Vec<String>)>) {
        let mut frame = self.frame.clone().into_inner();
        if let (Some(model), Some(key)) = (model, self.form.model) {
            frame.insert(key.into(), model.into());
        }
        let part = |passage: &Passage| {
            let mut decisions = Vec::new();
            passage.decisions(&mut decisions);
            (passage.value(), decisions)
        };
        (Value::Object(frame), self.messages.iter().map(part).collect())
    }

    /// The JSON body, with the upstream's own name for the model if it has one.
    pub(in crate::gateway) fn body(&self, model: Option<&str>) -> Vec<u8> {
        let mut body = self.frame.clone().into_inner();
        if let (Some(model), Some(key)) = (model, self.form.model) {
            body.insert(key.into(), model.into());
        }
        body.insert(self.form.messages.into(), self.messages.iter().map(Passage::value).collect());
        serde_json::to_vec(&Value::Object(body)).expect("JSON values have string keys")
    }
}
