//! The faces that stand beside the web's own: MCP, policies, audit.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use super::settings;
use crate::audit::Audit;
use crate::config::Config;
use crate::identity::ClientInfo;
use crate::mcp::{self, Later, Shaped, Shaper};
use crate::policy::Policies;
use crate::service::{Service, ServiceError};
use crate::web::api::{self, Body, Params};
use crate::web::error::ApiError;
use crate::web::identify::Who;
use crate::web::perimeter::Origin;

/// Shape policies word the answers of the tools.
struct ByPolicy(Policies);

impl Shaper for ByPolicy {
    fn shape<'a>(&'a self, client: &'a ClientInfo, tool: &'a str, answer: Value) -> Later<'a, Option<Shaped>> {
        Box::pin(async move {
            let shaped = self.0.shape(client, tool, &answer).await;
            Some(Shaped { text: shaped.text, structured: shaped.structured })
        })
    }

    fn tools<'a>(&'a self, client: &'a ClientInfo, tools: Value) -> Later<'a, Option<Value>> {
        Box::pin(async move { Some(self.0.shape_tools(client, &tools).await) })
    }
}

pub(super) fn router(config: &Config, service: &Service, policies: &Policies, audit: &Audit) -> anyhow::Result<Router> {
    let agents = service.agents();
    let tools =
        mcp::router(service.clone(), Arc::new(ByPolicy(policies.clone())), &settings::mcp(config, agents)).context("[mcp]")?;
    let tools = tools.layer(middleware::from_fn(mark_own_origin));
    Ok(tools.merge(audit_routes(audit.clone())).merge(policy_routes(policies.clone())))
}

/// What the perimeter found out about Origin, in the words of the MCP face.
async fn mark_own_origin(mut request: Request, next: Next) -> Response {
    if request.extensions().get::<Origin>() == Some(&Origin::Same) {
        request.extensions_mut().insert(mcp::OwnOrigin);
    }
    next.run(request).await
}

fn audit_routes(audit: Audit) -> Router {
    Router::new()
        .route(
            "/v1/audit",
            get(async |Who(who): Who, State(audit): State<Audit>, Params(query): Params<api::audit::ListQuery>| {
                answered(api::audit::list(&who, &audit, query).await)
            }),
        )
        .route(
            "/v1/audit/verify",
            get(async |Who(who): Who, State(audit): State<Audit>, Params(query): Params<api::audit::VerifyQuery>| {
                answered(api::audit::verify(&who, &audit, query).await)
            }),
        )
        .route(
            "/v1/audit/export",
            get(async |Who(who): Who, State(audit): State<Audit>| match api::audit::export(&who, &audit).await {
                Ok(body) => ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response(),
                Err(e) => ApiError::from(e).into_response(),
            }),
        )
        .with_state(audit)
}

fn policy_routes(policies: Policies) -> Router {
    type Set = State<Policies>;
    Router::new()
        .route("/v1/policies", get(async |Who(who): Who, State(set): Set| answered(api::policies::status(&who, &set).await)))
        .route("/v1/policies/load", post(async |Who(who): Who, State(set): Set| answered(api::policies::load(&who, &set).await)))
        .route(
            "/v1/policies/promote",
            post(async |Who(who): Who, State(set): Set| answered(api::policies::promote(&who, &set).await)),
        )
        .route(
            "/v1/policies/unpin",
            post(async |Who(who): Who, State(set): Set| answered(api::policies::unpin(&who, &set).await)),
        )
        .route(
            "/v1/policies/rollback",
            post(async |Who(who): Who, State(set): Set, Body(body): Body<api::policies::RollbackBody>| {
                answered(api::policies::rollback(&who, &set, body).await)
            }),
        )
        .with_state(policies)
}

fn answered(answer: Result<Value, ServiceError>) -> Response {
    match answer {
        Ok(value) => Json(value).into_response(),
        Err(e) => ApiError::from(e).into_response(),
    }
}
