//! Tasks that act with their submitter's own access token: it is kept while they need it, and asked for where it lacks.

use serde_json::json;

use super::Pipeline;
use crate::env;
use crate::gates::agent_side::asking_for_credential;
use crate::gateway::{Credential, TooMany};
use crate::id::TaskId;
use crate::identity::AccessToken;
use crate::store::StoreError;
use crate::store::tasks::Patch;
use crate::task::Task;
use crate::task::state::Happening;

impl Pipeline {
    /// Whether tasks of this agent act with the access token of whoever hands them over.
    #[must_use]
    pub fn acts_as_submitter(&self, agent: &str) -> bool {
        self.0.parts.models.get(agent).is_some_and(|upstream| upstream.credential == Some(Credential::Forwarded))
    }

    /// Keeps the token for a task, in memory.
    pub fn keep_credential(&self, task: &TaskId, token: AccessToken) -> Result<(), TooMany> {
        self.0.parts.gateway.forwarded().keep(task, token)
    }

    /// The task was not taken, or needs none.
    pub fn forget_credential(&self, task: &TaskId) {
        self.0.parts.gateway.forwarded().forget(task);
    }

    /// What a task must be asked before its agent can start.
    pub(super) fn missing_credential(&self, task: &Task) -> Option<String> {
        let lacks = self.acts_as_submitter(&task.agent) && self.0.parts.gateway.forwarded().of(&task.id).is_none();
        lacks.then(|| {
            asking_for_credential("it is not there any more, because the server was started anew or the token was refused")
        })
    }

    /// Parks a task with a question of coda's own.
    pub(super) async fn ask_submitter(&self, id: &TaskId, question: &str, exit: Option<String>) -> Result<(), StoreError> {
        let result = json!({ "status": "info_needed", "summary": "", "feedback": question });
        let body = json!({ "by": "coda", "code": "credential" });
        self.finish(id, Happening::Ask, Patch { result: Some(result), exit, body: Some(body) }).await
    }

    /// Tokens of tasks that have ended go.
    pub(super) async fn forget_credentials(&self) -> Result<(), StoreError> {
        let kept = self.0.parts.gateway.forwarded().tasks();
        if kept.is_empty() {
            return Ok(());
        }
        let now = env::now_ms().saturating_add(1);
        for over in self.0.parts.store.call(move |s| s.tasks_over(&kept, now)).await? {
            if let Ok(id) = TaskId::parse(&over) {
                self.forget_credential(&id);
            }
        }
        Ok(())
    }
}
