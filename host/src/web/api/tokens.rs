//! Tokens over REST. The secret is in the answer to the request that made it, and never again.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Body;
use crate::env;
use crate::id::TokenId;
use crate::store::accounts::TokenRecord;
use crate::web::WebState;
use crate::web::accounts::tokens::TokenRequest;
use crate::web::error::ApiError;
use crate::web::identify::{Person, Who};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    #[serde(default)]
    name: String,
    roles: Vec<String>,
    expires_s: Option<u64>,
}

pub(super) async fn create(
    State(state): State<WebState>,
    Person(who): Person,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request = TokenRequest { name: new.name, roles: new.roles, expires_s: new.expires_s };
    let (secret, record) = state.accounts.create_token(&who, request).await?;
    let mut body = view(&record);
    body["secret"] = Value::from(secret);
    Ok((StatusCode::CREATED, Json(body)))
}

pub(super) async fn list(State(state): State<WebState>, Who(who): Who) -> Result<Json<Value>, ApiError> {
    let tokens: Vec<Value> = state.accounts.tokens(&who).await?.iter().map(view).collect();
    Ok(Json(json!({ "tokens": tokens })))
}

pub(super) async fn revoke(
    State(state): State<WebState>,
    Person(who): Person,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(view(&state.accounts.revoke_token(&who, &TokenId::parse(&id)?).await?)))
}

fn view(token: &TokenRecord) -> Value {
    let status = match (token.revoked_ms, env::now_ms() < token.expires_ms) {
        (Some(_), _) => "revoked",
        (None, true) => "usable",
        (None, false) => "expired",
    };
    json!({
        "token_id": token.id,
        "name": token.name,
        "principal": token.principal,
        "roles": token.roles,
        "status": status,
        "created_at": env::rfc3339(token.created_ms),
        "expires_at": env::rfc3339(token.expires_ms),
        "last_used_at": token.last_used_ms.map(env::rfc3339),
        "revoked_at": token.revoked_ms.map(env::rfc3339),
    })
}
