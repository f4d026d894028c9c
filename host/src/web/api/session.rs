//! Who one is, logging in from the command line, and logging out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Body;
use crate::env;
use crate::identity::{Proof, Role};
use crate::web::WebState;
use crate::web::accounts::logins::Place;
use crate::web::error::ApiError;
use crate::web::identify::{Person, Who};

pub(super) async fn whoami(State(state): State<WebState>, Who(who): Who) -> Json<Value> {
    let proof = match who.proof {
        Proof::Login(_) => "login",
        Proof::Proxy => "proxy",
        Proof::Token(_) => "token",
        Proof::System => "system",
    };
    let roles: Vec<Value> = who.grants.iter().map(|g| json!({ "role": g.role, "labels": g.labels })).collect();
    let roles_error = state.accounts.roles_error().filter(|_| who.has_role_somewhere(Role::OPERATOR));
    Json(json!({
        "principal": who.name,
        "tenant": who.tenant,
        "proof": proof,
        "interactive": who.is_interactive(),
        "roles": roles,
        "mode": state.accounts.mode().as_str(),
        "roles_error": roles_error,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    key: String,
}

pub(super) async fn log_in(State(state): State<WebState>, Body(key): Body<Key>) -> Result<Json<Value>, ApiError> {
    let login = state.accounts.log_in(&key.key, Place::Terminal).await?;
    Ok(Json(json!({
        "secret": login.secret,
        "login_id": login.id,
        "principal": login.principal,
        "expires_at": env::rfc3339(login.expires_ms),
    })))
}

/// A fresh one-time link for a browser, for somebody who is logged in on the command line.
pub(super) async fn login_link(State(state): State<WebState>, Person(_): Person) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "path": state.accounts.login_link().await? })))
}

pub(super) async fn log_out(State(state): State<WebState>, Person(who): Person) -> Result<StatusCode, ApiError> {
    state.accounts.log_out(&who).await?;
    Ok(StatusCode::NO_CONTENT)
}
