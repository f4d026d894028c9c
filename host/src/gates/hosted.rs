//! Hosted tools at the gate `tool-call`: what runs at a model's provider is judged by its declaration, before it is offered
//! to the model. A set of policies is asked once about each declaration of an attempt; another set is asked anew.
//!
//! People are not asked: a verdict that wants them is no permission here, and stands on record.

use std::collections::VecDeque;

use serde_json::Value;

use super::ToolCall;
use super::ask::{Ask, ask_call};
use super::keeper::Gatekeeper;
use super::running::Running;
use crate::policy::Cleared;

/// Verdicts that are remembered for one attempt. An older one is asked for again.
const MAX_REMEMBERED: usize = 64;

/// Verdicts of this attempt, oldest first.
#[derive(Default)]
pub(super) struct HostedVerdicts(VecDeque<Known>);

struct Known {
    key: String,
    generation: u64,
    cleared: Option<Cleared<Value>>,
}

impl HostedVerdicts {
    fn find(&self, key: &str, generation: u64) -> Option<&Known> {
        self.0.iter().find(|known| known.key == key && known.generation == generation)
    }

    fn keep(&mut self, known: Known) {
        if self.0.len() >= MAX_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(known);
    }
}

impl Gatekeeper {
    /// The declaration, if the policies allow the tool by it as it is.
    pub(super) async fn judge_declared_tool(&self, running: &Running, name: &str, declaration: &Value) -> Option<Cleared<Value>> {
        let call = ToolCall { id: String::new(), tool: name.to_owned(), arguments: declaration.clone(), working_directory: None };
        let Ask { subject, working_directory, key, .. } = ask_call(running, &call);
        // Held while the policies judge, so that requests side by side ask once.
        let mut verdicts = running.hosted.lock().await;
        if let Some(known) = self.0.policies.generation().and_then(|generation| verdicts.find(&key, generation)) {
            return known.cleared.clone();
        }
        let asked = subject.content().to_owned();
        let judgment = match self.judge(running, subject, &working_directory).await {
            Ok(judgment) => judgment,
            Err(e) => {
                tracing::error!(task.id = %running.task.id, error = %e, "a verdict on a hosted tool could not be kept");
                return None;
            }
        };
        let generation = judgment.generation;
        // What a policy rewrote is another declaration, which the provider may read in another way: it is not offered.
        let unchanged = judgment.cleared().ok().filter(|text| *text.get() == asked);
        let cleared = unchanged.map(|text| text.wrap(|_| declaration.clone()));
        tracing::info!(task.id = %running.task.id, tool = name, offered = cleared.is_some(), "a hosted tool was judged");
        verdicts.keep(Known { key, generation, cleared: cleared.clone() });
        cleared
    }
}
