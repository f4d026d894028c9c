//! The protocol side: what rmcp asks a server, answered with the three tools.

use std::sync::Arc;

use http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, ListPromptsRequestMethod, ListPromptsResult,
    ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler};
use serde_json::Value;

use super::edge::Found;
use super::tools::{self, ToolName};
use super::{Settings, Shaper, ToolList, Verbs, answers, arguments, client};
use crate::identity::{ClientInfo, Principal};
use crate::service::{ServiceError, TaskView, evenly};

const INSTRUCTIONS: &str = include_str!("instructions.md");

/// One for all requests; clones are cheap.
#[derive(Clone)]
pub(super) struct Server<V> {
    verbs: V,
    shaper: Arc<dyn Shaper>,
    tools: Arc<[Tool]>,
}

/// Who asks, and through what.
struct Caller {
    who: Principal,
    client: ClientInfo,
    tool_list: ToolList,
}

impl<V: Verbs> Server<V> {
    pub(super) fn new(verbs: V, shaper: Arc<dyn Shaper>, settings: &Settings) -> Self {
        Self { verbs, shaper, tools: tools::list(settings).into() }
    }

    async fn answer(&self, tool: ToolName, caller: &Caller, params: CallToolRequestParams) -> Result<Value, ServiceError> {
        let given = params.arguments.unwrap_or_default();
        match tool {
            ToolName::Run => {
                let (submission, warnings) = arguments::submission(given)?;
                let view = self.submit(caller, submission).await?;
                Ok(answers::run(&view, warnings))
            }
            ToolName::Inbox => {
                let (query, warnings) = arguments::inbox(given)?;
                let page = self.verbs.inbox(&caller.who, query).await?;
                Ok(answers::inbox(&page, warnings))
            }
            ToolName::GetResult => {
                let (task, session, warnings) = arguments::get_result(given)?;
                let view = self.verbs.task(&caller.who, &task).await?;
                if session.is_some_and(|session| session != view.session_id) {
                    return Err(ServiceError::NotFound(format!("task {task} in that session")));
                }
                Ok(answers::get_result(&view, warnings))
            }
        }
    }

    /// On a task of its own: a client that hangs up does not cut a submission in half.
    async fn submit(&self, caller: &Caller, submission: crate::service::Submission) -> Result<TaskView, ServiceError> {
        let (verbs, who, client) = (self.verbs.clone(), caller.who.clone(), caller.client.clone());
        let running = tokio::spawn(async move { verbs.submit(&who, &client, submission).await });
        running.await.unwrap_or_else(|e| {
            tracing::error!(error = %e, "a submission panicked");
            Err(ServiceError::Internal("in a submission".into()))
        })
    }

    async fn shaped(&self, tool: ToolName, caller: &Caller, answer: Value) -> CallToolResult {
        let shaped = self.shaper.shape(&caller.client, tool.as_str(), answer.clone()).await;
        let shaped = shaped.and_then(|shaped| answers::with_promises(tool, &answer, shaped)).unwrap_or_else(|| {
            tracing::warn!(tool = tool.as_str(), client.shape = %caller.client.shape, "shaping failed; the client gets a bare answer");
            answers::bare(tool, &answer)
        });
        let mut result = answers::result(shaped);
        // The full list declares output schemas, so there structured content is owed.
        if result.structured_content.is_none() && !plain_list(caller) {
            result.structured_content = answers::bare(tool, &answer).structured;
        }
        result
    }
}

impl<V: Verbs> ServerHandler for Server<V> {
    fn get_info(&self) -> ServerConfig {
        let name = Implementation::new("coda", env!("CARGO_PKG_VERSION")).with_title("coda");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(name)
            .with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context)?;
        let standard = if plain_list(&caller) { tools::plain(self.tools.to_vec()) } else { self.tools.to_vec() };
        let json = serde_json::to_value(&standard).unwrap_or_default();
        let shaped = self.shaper.tools(&caller.client, json).await;
        let shaped = shaped.and_then(|list| serde_json::from_value::<Vec<Tool>>(list).ok());
        let known = |list: &Vec<Tool>| list.iter().all(|tool| ToolName::parse(&tool.name).is_some());
        Ok(ListToolsResult::with_all_items(shaped.filter(known).unwrap_or(standard)))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = caller(&context)?;
        let Some(tool) = ToolName::parse(&params.name) else {
            let names = ToolName::ALL.map(ToolName::as_str).join(", ");
            return Err(ErrorData::invalid_params(format!("unknown tool; the tools are {names}"), None));
        };
        let began = tokio::time::Instant::now();
        let outcome = self.answer(tool, &caller, params).await;
        if matches!(outcome, Err(ServiceError::NotFound(_))) {
            evenly::not_found(began).await;
        }
        let code = outcome.as_ref().map_or_else(ServiceError::code, |_| "ok");
        tracing::info!(tool = tool.as_str(), client.shape = %caller.client.shape, outcome = code, "mcp tool call");
        let result = match outcome {
            Ok(answer) => self.shaped(tool, &caller, answer).await,
            Err(refused) => answers::error(&refused),
        };
        Ok(result.into())
    }

    // What is not declared does not exist; rmcp's own answer would be an empty list.

    async fn list_prompts(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourceTemplatesRequestMethod>())
    }
}

/// The edge lets nothing through without a principal; a request that has none all the same is refused here too.
fn caller(context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    let who = parts.and_then(|p| p.extensions.get::<Principal>());
    let found = parts.and_then(|p| p.extensions.get::<Found>());
    let (Some(who), Some(found)) = (who, found) else {
        return Err(ErrorData::invalid_request("not authenticated", None));
    };
    let client = client::recognise(&found.hints, context.meta.client_info().as_ref());
    Ok(Caller { who: who.clone(), client, tool_list: found.tool_list })
}

fn plain_list(caller: &Caller) -> bool {
    match caller.tool_list {
        ToolList::Auto => caller.client.shape == client::GENIE,
        ToolList::Plain => true,
        ToolList::Full => false,
    }
}
