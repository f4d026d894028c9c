//! Approvals over REST. A decision needs a person who is logged in; the service checks role and requester.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{Body, Params};
use crate::id::ApprovalId;
use crate::service::{ApprovalPage, ApprovalView, Decision};
use crate::web::WebState;
use crate::web::error::ApiError;
use crate::web::identify::{Person, Who};

const STATUSES: [&str; 6] = ["open", "approved", "denied", "expired", "consumed", "withdrawn"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    status: Option<String>,
}

pub(super) async fn list(
    State(state): State<WebState>,
    Who(who): Who,
    Params(listing): Params<Listing>,
) -> Result<Json<ApprovalPage>, ApiError> {
    if let Some(word) = listing.status.as_deref().filter(|word| !STATUSES.contains(word)) {
        let known = STATUSES.join(", ");
        return Err(ApiError::invalid(format!("unknown status '{}': use {known}", word.escape_default())));
    }
    Ok(Json(state.service.approvals(&who, listing.status.as_deref()).await?))
}

pub(super) async fn show(
    State(state): State<WebState>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, ApiError> {
    Ok(Json(state.service.approval(&who, &ApprovalId::parse(&id)?).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decided {
    decision: String,
    /// Of an approval: numbers of the items that may pass; the others are refused. All where it is missing.
    items: Option<Vec<usize>>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn decide(
    State(state): State<WebState>,
    Person(who): Person,
    Path(id): Path<String>,
    Body(decided): Body<Decided>,
) -> Result<Json<ApprovalView>, ApiError> {
    let decision = decision(&decided.decision, decided.items, decided.reason)?;
    Ok(Json(state.service.decide(&who, &ApprovalId::parse(&id)?, decision).await?))
}

/// A decision in words, as the API and the page's form send it.
pub(in crate::web) fn decision(word: &str, items: Option<Vec<usize>>, reason: String) -> Result<Decision, ApiError> {
    let reason = reason.trim().to_owned();
    match word {
        "approve" => Ok(Decision::Approve { only: items, reason }),
        "deny" if items.is_some() => {
            Err(ApiError::invalid("'items' belongs to 'approve': those may pass, the others are refused"))
        }
        "deny" if reason.is_empty() => Err(ApiError::invalid("a refusal needs a reason: the agent and the submitter are told")),
        "deny" => Ok(Decision::Deny { reason }),
        _ => Err(ApiError::invalid("decision must be 'approve' or 'deny'")),
    }
}
