//! What people and clients may ask of coda. MCP, the REST API, the pages and the command line are faces of these verbs;
//! authorization happens here, once: a record that a principal may not see does not exist for it.

mod decide;
mod error;
pub(crate) mod evenly;
mod read;
pub mod settings;
mod submit;
mod usage;
mod views;
mod wording;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::ServiceError;
pub use settings::Settings;
pub use views::{
    ApprovalItem, ApprovalPage, ApprovalSummary, ApprovalView, Decision, InboxPage, InboxQuery, Submission, TaskView, UsagePage,
    UsageQuery, UsageRow, UsageView, VoteView, Watchable, numbers,
};

use tracing::Instrument as _;

use crate::approval::request::Standing;
use crate::gates::keeper::Gatekeeper;
use crate::id::TaskId;
use crate::identity::{Principal, Role};
use crate::pipeline::Pipeline;
use crate::policy::Policies;
use crate::store::Store;
use crate::task::Task;

/// The verbs. A handle; clones share everything.
#[derive(Clone)]
pub struct Service(Arc<Parts>);

/// What the verbs work on.
pub struct Parts {
    /// Records.
    pub store: Store,
    /// Verdicts.
    pub policies: Policies,
    /// Held calls.
    pub gates: Gatekeeper,
    /// Running tasks.
    pub pipeline: Pipeline,
    /// Bounds, agents, workspaces, labels.
    pub settings: Settings,
    /// CODA_HOME.
    pub home: PathBuf,
}

impl Service {
    /// Wires.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// A task that `who` may read: its own, or, with the role, anybody's of the tenant. For all others it does not exist.
    async fn readable(&self, who: &Principal, id: &TaskId) -> Result<Task, ServiceError> {
        let task = self.find(who, id).await?;
        let reader = who.has_role(Role::VIEWER, &task.labels) || who.has_role(Role::OPERATOR, &task.labels);
        let own = task.principal == who.name && (reader || who.has_role(Role::SUBMITTER, &task.labels));
        if own || reader || self.decides_on(who, &task).await? {
            Ok(task)
        } else {
            Err(ServiceError::NotFound(format!("task {id}")))
        }
    }

    /// A task that `who` may steer: its own, or an operator.
    async fn steerable(&self, who: &Principal, id: &TaskId) -> Result<Task, ServiceError> {
        let task = self.readable(who, id).await?;
        let own = task.principal == who.name && who.has_role(Role::SUBMITTER, &task.labels);
        if own || who.has_role(Role::OPERATOR, &task.labels) {
            Ok(task)
        } else {
            Err(ServiceError::Forbidden("only the submitter or an operator may do this".into()))
        }
    }

    async fn find(&self, who: &Principal, id: &TaskId) -> Result<Task, ServiceError> {
        let wanted = id.clone();
        let task = self.0.store.call(move |s| s.task(&wanted)).await?;
        if task.tenant == who.tenant { Ok(task) } else { Err(ServiceError::NotFound(format!("task {id}"))) }
    }

    /// An approver may read a task while a request addressed to them is open.
    async fn decides_on(&self, who: &Principal, task: &Task) -> Result<bool, ServiceError> {
        let id = task.id.clone();
        let pending = self.0.store.call(move |s| s.pending_approval(&id)).await?;
        Ok(pending
            .filter(|a| a.standing == Standing::Open)
            .is_some_and(|a| a.requirements.iter().any(|r| who.has_role(&r.role, &task.labels))))
    }
}

/// Runs a verb to its end, also where its caller goes away in between: what a commit began is carried out.
async fn whole<T: Send + 'static>(
    verb: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    let ended = tokio::spawn(verb.instrument(tracing::Span::current())).await;
    ended.unwrap_or_else(|e| {
        let id = crate::env::hex(&crate::env::random_bytes::<4>());
        tracing::error!(error.id = id, error = %e, "a verb did not end");
        Err(ServiceError::Internal(id))
    })
}

impl Service {
    /// Agents that can be asked for, sorted.
    #[must_use]
    pub fn agents(&self) -> Vec<String> {
        self.0.settings.agents.iter().cloned().collect()
    }
}
