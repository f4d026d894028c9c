//! The policies over REST. Any role may see how they stand; changing them is for operators.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::identity::{Principal, Role};
use crate::policy::{Policies, PolicyError, Trigger};
use crate::service::ServiceError;

const MAX_REASON_BYTES: usize = 1_000;

/// Body of `POST /v1/policies/rollback`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackBody {
    /// The generation to go back to; none = the one that was live before.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `GET /v1/policies`: how they stand.
pub async fn status(who: &Principal, policies: &Policies) -> Result<Value, ServiceError> {
    if who.grants.is_empty() {
        return Err(ServiceError::Forbidden("to see the policies, you need a role".into()));
    }
    let status = policies.status().await.map_err(refused)?;
    serde_json::to_value(status).map_err(|_| ServiceError::Internal("in the policy status".into()))
}

/// `POST /v1/policies/load`: loads the policy folder.
pub async fn load(who: &Principal, policies: &Policies) -> Result<Value, ServiceError> {
    operator(who)?;
    let report = policies.load(&who.name, Trigger::Operator).await.map_err(refused)?;
    serde_json::to_value(report).map_err(|_| ServiceError::Internal("in a load report".into()))
}

/// `POST /v1/policies/promote`: makes the candidate live.
pub async fn promote(who: &Principal, policies: &Policies) -> Result<Value, ServiceError> {
    operator(who)?;
    let generation = policies.promote(&who.name).await.map_err(refused)?;
    Ok(json!({ "generation": generation }))
}

/// `POST /v1/policies/rollback`: goes back, pins, puts the set left behind into quarantine.
pub async fn rollback(who: &Principal, policies: &Policies, body: RollbackBody) -> Result<Value, ServiceError> {
    operator(who)?;
    let reason = body.reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
        return Err(ServiceError::Invalid(format!(
            "reason: say why, in 1 to {MAX_REASON_BYTES} bytes; it is shown where the set is refused"
        )));
    }
    let generation = policies.rollback(&who.name, body.generation, reason).await.map_err(refused)?;
    Ok(json!({ "generation": generation, "pinned": generation }))
}

/// `POST /v1/policies/unpin`: lifts pin and quarantine.
pub async fn unpin(who: &Principal, policies: &Policies) -> Result<Value, ServiceError> {
    operator(who)?;
    policies.unpin(&who.name).await.map_err(refused)?;
    Ok(json!({ "pinned": null }))
}

fn operator(who: &Principal) -> Result<(), ServiceError> {
    if who.has_role_somewhere(Role::OPERATOR) {
        return Ok(());
    }
    Err(ServiceError::Forbidden(format!("to change the policies, you need the role '{}'", Role::OPERATOR)))
}

fn refused(error: PolicyError) -> ServiceError {
    match error {
        PolicyError::Source(_) | PolicyError::Compile(_) | PolicyError::Suite { .. } => ServiceError::Invalid(error.to_string()),
        PolicyError::Quarantined { .. } | PolicyError::Pinned(_) | PolicyError::Nothing(_) => {
            ServiceError::Conflict(error.to_string())
        }
        PolicyError::UnknownGeneration(_) => ServiceError::NotFound(error.to_string()),
        PolicyError::Engine(_) | PolicyError::Store(_) => {
            let reference = crate::env::hex(&crate::env::random_bytes::<8>());
            tracing::error!(%error, reference, "a policy request failed");
            ServiceError::Internal(reference)
        }
    }
}
