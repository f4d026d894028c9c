//! The inbox and one task with its terminal.

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::content::visible;
use super::{Head, clock, page, refusal, relative, span};
use crate::id::TaskId;
use crate::identity::{Principal, Role};
use crate::service::{InboxPage, InboxQuery, TaskView};
use crate::task::Status;
use crate::web::WebState;
use crate::web::error::ApiError;
use crate::web::identify::{Visitor, Who, encode};

/// The terminal's library styles its cells inline; scripts stay as strict as everywhere.
const VIEWER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(default)]
    status: String,
    cursor: Option<String>,
    #[serde(default)]
    all: bool,
}

pub(super) async fn inbox(State(state): State<WebState>, Visitor(who): Visitor, Query(listing): Query<Listing>) -> Response {
    let may_see_all = who.has_role_somewhere(Role::VIEWER) || who.has_role_somewhere(Role::OPERATOR);
    let found = async {
        let status = crate::web::api::statuses(&listing.status)?;
        let query = InboxQuery { status, cursor: listing.cursor.clone(), limit: None, all: listing.all && may_see_all };
        Ok::<_, ApiError>(state.service.inbox(&who, query).await?)
    };
    match found.await {
        Ok(found) => super::html(page("Tasks", Some(&who), Head::Refreshing, &inbox_content(&found, &listing, may_see_all))),
        Err(error) => refusal(&error, Some(&who)),
    }
}

fn inbox_content(found: &InboxPage, listing: &Listing, may_see_all: bool) -> Markup {
    let all = if listing.all { "&all=true" } else { "" };
    html! {
        h1 { "Tasks" }
        p.filters {
            a.chosen[listing.status.is_empty()] href=(format!("/tasks?{}", all.trim_start_matches('&'))) { "all states" }
            @for (word, count) in found.counts.iter().filter(|(word, count)| **count > 0 || **word == listing.status) {
                a.chosen[*word == listing.status] href=(format!("/tasks?status={}{all}", encode(word))) { (label(word)) " " (count) }
            }
            @if may_see_all {
                @if listing.all { a.chosen href="/tasks" { "everybody's" } } @else { a href="/tasks?all=true" { "everybody's" } }
            }
        }
        @if found.tasks.is_empty() { p.hint { "No tasks here." } }
        ul.cards { @for task in &found.tasks { (card(task, listing.all)) } }
        @if let Some(cursor) = &found.next_cursor {
            p { a href=(format!("/tasks?status={}{all}&cursor={}", encode(&listing.status), encode(cursor))) { "Older tasks" } }
        }
    }
}

fn card(task: &TaskView, whose: bool) -> Markup {
    html! {
        li { a href=(format!("/tasks/{}", task.task_id)) {
            span.row {
                span.badge.(task.status) { (label(task.status.as_str())) }
                span.hint { (task.agent) @if whose { " · " (task.principal) } " · " (relative(&task.created_at)) }
            }
            strong { (visible(&task.prompt_summary)) }
            @if let Some(line) = task.summary.as_ref().or(task.progress.as_ref()) { span.hint { (visible(line)) } }
        } }
    }
}

fn label(status: &str) -> String {
    status.replace('_', " ")
}

pub(super) async fn show(State(state): State<WebState>, Visitor(who): Visitor, Path(id): Path<String>) -> Response {
    let found = async { Ok::<_, ApiError>(state.service.task(&who, &TaskId::parse(&id)?).await?) };
    match found.await {
        Ok(task) => {
            let mut response = super::html(task_page(&who, &task));
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(VIEWER_POLICY));
            response
        }
        Err(error) => refusal(&error, Some(&who)),
    }
}

/// One task with its terminal: live while it runs, the replay after.
pub(super) fn task_page(who: &Principal, task: &TaskView) -> Markup {
    let path = format!("/tasks/{}", task.task_id);
    let elapsed = span(task.elapsed_s.max(0.0) as u64);
    let content = html! {
        div.row {
            span.badge.(task.status) { (label(task.status.as_str())) }
            span.hint { (task.agent) " · " (task.principal) " · " (elapsed) @if task.attempt > 1 { " · attempt " (task.attempt) } }
        }
        h1.prompt { (visible(&task.prompt_summary)) }
        (waiting(task))
        div #terminal data-stream=(format!("{path}/stream")) data-transcript=(format!("{path}/transcript"))
            data-status=(task.status)
            data-state=(if task.status.is_final() { "final" } else { "open" }) {
            noscript { p.notice { "The terminal needs JavaScript. " a href=(format!("{path}/transcript")) { "The transcript" } " does not." } }
        }
        (outcome(task))
        dl.facts {
            dt { "Task" } dd { code { (task.task_id) } }
            dt { "Session" } dd { code { (task.session_id) } }
            dt { "Handed over" } dd { (clock(&task.created_at)) }
            @if let Some(service) = task.acting_as.as_ref().filter(|name| **name != task.principal) {
                dt { "Acting as" } dd { (visible(service)) }
            }
            @if let Some(usage) = &task.usage { dt { "Used" } dd { (usage) } }
            @if let Some(reason) = task.reason.as_ref().filter(|r| Some(&r.text) != task.summary.as_ref()) {
                dt { "Ended because" } dd { (visible(&reason.text)) " " code { (visible(&reason.code)) } }
            }
        }
        p { a href=(format!("{path}/transcript")) download { "Download the transcript" } }
        @if !task.status.is_final() && (who.name == task.principal || who.has_role_somewhere(Role::OPERATOR)) {
            form method="post" action=(format!("{path}/cancel")) { button.deny type="submit" { "Cancel the task" } }
        }
    };
    page("Task", Some(who), Head::Viewer, &content)
}

fn waiting(task: &TaskView) -> Markup {
    html! {
        @if let Some(approval) = &task.approval {
            div.notice {
                p { strong { "Waits for a decision." } " " (visible(&approval.reason)) }
                p { a href=(format!("/approvals/{}", approval.approval_id)) { "Open the request" } }
            }
        }
        @if task.status == Status::InfoNeeded {
            form method="post" action=(format!("/tasks/{}/answer", task.task_id)) {
                label for="text" { (visible(task.feedback.as_deref().unwrap_or("The agent asks for more."))) }
                textarea #text name="text" rows="4" required {}
                div.buttons { button.primary type="submit" { "Answer" } }
            }
        }
    }
}

fn outcome(task: &TaskView) -> Markup {
    let files = task.files_changed.as_deref().unwrap_or_default();
    html! {
        @if let Some(summary) = &task.summary { h2 { "Result" } p.summary { (visible(summary)) } }
        @if !files.is_empty() { h2 { "Files changed" } ul { @for file in files { li { code { (visible(file)) } } } } }
        @if let Some(result) = &task.result {
            details { summary { "The whole result" } pre.exact { code { (visible(&serde_json::to_string_pretty(result).unwrap_or_default())) } } }
        }
    }
}

pub(super) async fn cancel(
    State(state): State<WebState>,
    Visitor(page): Visitor,
    who: Result<Who, ApiError>,
    Path(id): Path<String>,
) -> Response {
    let done = async { Ok::<_, ApiError>(state.service.cancel(&who?.0, &TaskId::parse(&id)?, "cancelled on its page").await?) };
    back(done.await, &page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    text: String,
}

pub(super) async fn answer(
    State(state): State<WebState>,
    Visitor(page): Visitor,
    who: Result<Who, ApiError>,
    Path(id): Path<String>,
    Form(answer): Form<Answer>,
) -> Response {
    let done = async { Ok::<_, ApiError>(state.service.answer(&who?.0, &TaskId::parse(&id)?, &answer.text).await?) };
    back(done.await, &page)
}

fn back(done: Result<TaskView, ApiError>, who: &Principal) -> Response {
    match done {
        Ok(task) => Redirect::to(&format!("/tasks/{}", task.task_id)).into_response(),
        Err(error) => refusal(&error, Some(who)),
    }
}
