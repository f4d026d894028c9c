//! `/v1/usage`: what models were used for, by day.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Params;
use crate::service::{UsagePage, UsageQuery};
use crate::web::WebState;
use crate::web::error::ApiError;
use crate::web::identify::Who;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    principal: Option<String>,
    #[serde(default)]
    all: bool,
    since: Option<String>,
}

pub(super) async fn show(
    State(state): State<WebState>,
    Who(who): Who,
    Params(Wanted { principal, all, since }): Params<Wanted>,
) -> Result<Json<UsagePage>, ApiError> {
    Ok(Json(state.service.usage(&who, UsageQuery { principal, all, since }).await?))
}
