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
}

impl Passage {
    fn value(&self) -> Value {
        match self {
            Passage::Judged(cleared) => cleared.get().clone(),
            Passage::Exempt(exempt) => exempt.clone().into_inner(),
            Passage::Own(value) => value.clone(),
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
    messages: Vec<Passage>,
}

impl Outbound {
    /// A request without messages.
    pub(in crate::gateway) fn new(frame: Exempt<Map<String, Value>>) -> Self {
        Self { frame, messages: Vec::new() }
    }

    /// Adds the next message.
    pub(in crate::gateway) fn push(&mut self, passage: Passage) {
        self.messages.push(passage);
    }

    /// The JSON body, with the upstream's own name for the model if it has one.
    pub(in crate::gateway) fn body(&self, model: Option<&str>) -> Vec<u8> {
        let mut body = self.frame.clone().into_inner();
        if let Some(model) = model {
            body.insert("model".into(), model.into());
        }
        body.insert("messages".into(), self.messages.iter().map(Passage::value).collect());
        serde_json::to_vec(&Value::Object(body)).expect("JSON values have string keys")
    }
}
