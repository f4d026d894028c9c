//! What is put on record of a task's tunnels: where to, by which rule, how much. Never what they carry.

use serde_json::{Value, json};

/// One thing that happened to a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelNote {
    /// Where it leads: a name, or an address that was asked for as one.
    pub host: String,
    /// Which port there.
    pub port: u16,
    /// What happened.
    pub step: Step,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is open.
    Opened {
        /// The entry of the list that allows it, as the operator wrote it.
        rule: String,
        /// The address that it is connected to.
        address: String,
    },
    /// It was not opened.
    Refused {
        /// In a word, such as `not_listed`.
        why: String,
    },
    /// It is over.
    Closed {
        /// In a word, such as `closed`, `idle`, `task_ended`, `other_name`.
        why: String,
        /// Bytes to the host.
        sent_bytes: u64,
        /// Bytes to the agent.
        received_bytes: u64,
    },
}

impl TunnelNote {
    /// Kind of the event.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.step {
            Step::Opened { .. } => "tunnel-opened",
            Step::Refused { .. } => "tunnel-refused",
            Step::Closed { .. } => "tunnel-closed",
        }
    }

    /// Body of the event and of the audit record.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = match &self.step {
            Step::Opened { rule, address } => json!({ "rule": rule, "address": address }),
            Step::Refused { why } => json!({ "why": why }),
            Step::Closed { why, sent_bytes, received_bytes } => {
                json!({ "why": why, "sent_bytes": sent_bytes, "received_bytes": received_bytes })
            }
        };
        body["host"] = json!(self.host);
        body["port"] = json!(self.port);
        body
    }
}
