//! The queue of requests, one request with what exactly would pass, and the form that decides it.

use std::time::Instant;

use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

use super::content::{deadline, difference, exact, visible};
use super::{Head, clock, page, refusal, relative, sentence};
use crate::id::ApprovalId;
use crate::identity::Principal;
use crate::policy::contract::{Coverage, Demand, Finding, Requirement, Reversible};
use crate::service::{ApprovalItem, ApprovalPage, ApprovalView, Decision, numbers};
use crate::web::WebState;
use crate::web::api::decision;
use crate::web::error::ApiError;
use crate::web::identify::{Person, Visitor};

pub(super) async fn queue(State(state): State<WebState>, Visitor(who): Visitor) -> Response {
    match state.service.approvals(&who, None).await {
        Ok(list) => super::html(page("Approvals", Some(&who), Head::Refreshing, &queue_content(&list))),
        Err(error) => refusal(&error.into(), Some(&who)),
    }
}

fn queue_content(list: &ApprovalPage) -> Markup {
    let (open, settled): (Vec<_>, Vec<_>) = list.approvals.iter().partition(|v| v.status == "open");
    html! {
        h1 { "Approvals" }
        @if open.is_empty() { p.hint { "Nothing waits for a decision." } }
        ul.cards { @for view in &open { (card(view)) } }
        @if !settled.is_empty() {
            h2 { "Settled" }
            ul.cards { @for view in &settled { (card(view)) } }
        }
        @if list.more { p.hint { "There are more than these; `coda approval list --status open` shows one kind." } }
    }
}

fn card(view: &ApprovalView) -> Markup {
    html! {
        li { a href=(format!("/approvals/{}", view.approval_id)) {
            span.row { (badge(view)) span.hint { (gate(view)) " · " (view.requester) " · " (relative(&view.created_at)) } }
            strong { (visible(&headline(&view.demand))) }
            span.hint { (visible(&view.task_summary)) }
            @if view.status == "open" { span.hint { "ends " (relative(&view.expires_at)) } }
        } }
    }
}

fn badge(view: &ApprovalView) -> Markup {
    // One approval lets one thing pass, once.
    html! { span.badge.(view.status) { @if view.status == "consumed" { "approved and used" } @else { (view.status) } } }
}

fn gate(view: &ApprovalView) -> String {
    view.gate.replace('-', " ")
}

/// What would happen, in one sentence: the first finding's, and how many more there are. The advice stays below.
fn headline(demand: &Demand) -> String {
    let Some(first) = demand.findings.first() else { return demand.reason.clone() };
    let sentence = first.message.split_once(". ").map_or(first.message.as_str(), |(sentence, _)| sentence).trim_end_matches('.');
    match demand.findings.len() - 1 {
        0 => format!("{sentence}."),
        more => format!("{sentence}, and {more} more."),
    }
}

pub(super) async fn show(State(state): State<WebState>, Visitor(who): Visitor, Path(id): Path<String>) -> Response {
    match view(&state, &who, &id).await {
        Ok(view) => super::html(approval_page(&who, &view, None)),
        Err(error) => refusal(&error, Some(&who)),
    }
}

async fn view(state: &WebState, who: &Principal, id: &str) -> Result<ApprovalView, ApiError> {
    Ok(state.service.approval(who, &ApprovalId::parse(id)?).await?)
}

/// What the form sends: `decision`, `reason`, and where there is a choice, `choice` and an `item` for each that was chosen.
#[derive(Default)]
struct Vote {
    decision: String,
    reason: String,
    is_choice: bool,
    items: Vec<usize>,
}

/// What was wrong with a decision, and what had been chosen in it.
pub(super) struct Mistake<'a> {
    words: &'a str,
    chosen: Option<Vec<usize>>,
}

impl Vote {
    fn read(fields: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut vote = Self::default();
        for (name, value) in fields {
            match name.as_str() {
                "decision" => vote.decision = value,
                "reason" => vote.reason = value,
                "choice" => vote.is_choice = true,
                "item" => vote.items.push(value.parse().map_err(|_| ApiError::invalid("an item is named by its number"))?),
                _ => return Err(ApiError::invalid(format!("unknown field '{}'", name.escape_default()))),
            }
        }
        Ok(vote)
    }

    fn decision(self) -> Result<Decision, ApiError> {
        let items = (self.is_choice && self.decision == "approve").then_some(self.items);
        decision(&self.decision, items, self.reason)
    }
}

pub(super) async fn decide(
    State(state): State<WebState>,
    Visitor(who): Visitor,
    person: Result<Person, ApiError>,
    Path(id): Path<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let mut chosen = None;
    let decided = async {
        let Person(who) = person?;
        let vote = Vote::read(fields)?;
        chosen = vote.is_choice.then(|| vote.items.clone());
        Ok(state.service.decide(&who, &ApprovalId::parse(&id)?, vote.decision()?).await?)
    };
    let error: ApiError = match decided.await {
        Ok(view) => return Redirect::to(&format!("/approvals/{}", view.approval_id)).into_response(),
        Err(error) => error,
    };
    // What was wrong with the decision is said where it is taken, if the request can still be seen.
    match view(&state, &who, &id).await {
        Ok(view) => {
            let mistake = Mistake { words: &error.message, chosen };
            (error.status, super::html(approval_page(&who, &view, Some(&mistake)))).into_response()
        }
        Err(_) => refusal(&error, Some(&who)),
    }
}

/// One request, whole.
pub(super) fn approval_page(who: &Principal, view: &ApprovalView, mistake: Option<&Mistake<'_>>) -> Markup {
    let of = Items { view, chosen: mistake.and_then(|mistake| mistake.chosen.as_deref()), deadline: deadline() };
    let content = html! {
        div.row { (badge(view)) span.hint { (gate(view)) } }
        h1 { (visible(&headline(&view.demand))) }
        (facts(view))
        h2 {
            @if view.status == "open" { "What would pass, exactly" } @else { "What it was about, exactly" }
            @if view.items.len() > 1 { ": " (view.items.len()) " items" }
        }
        @for item in &view.items { (item_block(item, &of)) }
        (findings(view))
        (requirements(view))
        @if let Some(Mistake { words, .. }) = mistake { p.notice role="alert" { (sentence(words)) } }
        @if view.status == "open" { (decision_form(view, mistake)) }
    };
    page("Approval", Some(who), Head::Plain, &content)
}

fn facts(view: &ApprovalView) -> Markup {
    html! {
        dl.facts {
            dt { "Asked by" } dd { (visible(&view.requester)) }
            dt { "Acting as" } dd { (visible(&view.acting_as)) }
            dt { "Task" } dd { a href=(format!("/tasks/{}", view.task_id)) { (visible(&view.task_summary)) } }
            dt { "Asked at" } dd { (clock(&view.created_at)) }
            dt { "Open until" } dd { (clock(&view.expires_at)) @if view.status == "open" { " " span.hint { "(" (relative(&view.expires_at)) ")" } } }
            dt { "Policies" } dd { "generation " (view.generation) }
            @if let Some(reason) = &view.reason { dt { "Reason" } dd { (visible(reason)) } }
        }
    }
}

/// What the items of one page have in common.
struct Items<'a> {
    view: &'a ApprovalView,
    /// The numbers that a person chose, where they did.
    chosen: Option<&'a [usize]>,
    deadline: Instant,
}

fn item_block(item: &ApprovalItem, of: &Items<'_>) -> Markup {
    let Items { view, chosen, .. } = of;
    let is_chosen = chosen.is_none_or(|chosen| chosen.contains(&item.number));
    let lines = item.content.lines().count().max(1);
    let is_one_of_many = view.items.len() > 1;
    let is_choice = is_one_of_many && view.status == "open" && view.may_decide.is_ok();
    html! {
        article.item {
            div.row {
                @if is_one_of_many { span.hint { (item.number) } }
                strong { (visible(&item.title)) }
                @if item.refused { span.badge.denied { "refused" } }
                @if item.withdrawn { span.badge { "not asked any more" } }
                @if is_choice && !item.refused && !item.withdrawn {
                    label.choice { input type="checkbox" name="item" value=(item.number) form="decide" checked[is_chosen]; " may pass" }
                }
                span.hint { (lines) @if lines == 1 { " line, " } @else { " lines, " } (item.content.len()) " bytes" }
            }
            @if !item.working_directory.is_empty() { p.hint { "in " code { (visible(&item.working_directory)) } } }
            (exact(&item.content, &item.marked))
            @if let Some(before) = &item.instead_of {
                p.hint { "This differs from what was approved before:" }
                (difference(&before.content, &item.content, of.deadline))
                @if before.arguments != item.arguments { (difference(&before.arguments, &item.arguments, of.deadline)) }
            }
            @if !item.arguments.is_empty() {
                p.hint { "with these arguments" }
                (exact(&item.arguments, &[]))
            }
        }
    }
}

fn findings(view: &ApprovalView) -> Markup {
    html! {
        @if !view.demand.findings.is_empty() {
            h2 { @if view.status == "open" { "Why it waits" } @else { "Why it was asked about" } }
            ul.findings { @for finding in &view.demand.findings { li { (finding_line(finding)) } } }
        }
    }
}

fn finding_line(finding: &Finding) -> Markup {
    let reversible = match finding.reversible {
        Reversible::Yes => "can be undone",
        Reversible::No => "cannot be undone",
        Reversible::Unknown => "may not be undone",
    };
    let severity = word(&finding.severity);
    html! {
        p { (visible(&finding.message)) }
        p.tags {
            span.tag { code { (finding.code) } }
            span.tag.(severity) { (severity) }
            span.tag { (word(&finding.effect)) }
            @if let Some(resource) = &finding.resource {
                span.tag {
                    (visible(&resource.kind)) " " strong { (visible(&resource.name)) }
                    @if !resource.environment.is_empty() { " in " (visible(&resource.environment)) }
                }
            }
            span.tag.(if finding.reversible == Reversible::Yes { "calm" } else { "high" }) { (reversible) }
            @if finding.coverage == Coverage::Partial { span.tag.medium { "only partly understood" } }
        }
    }
}

/// The contract's word for one of its cases.
fn word(case: &impl serde::Serialize) -> String {
    serde_json::to_value(case).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn requirements(view: &ApprovalView) -> Markup {
    html! {
        h2 { @if view.status == "open" { "Who decides" } @else { "Who decided" } }
        @if view.requirements.is_empty() { p.hint { "Anybody with the role approver." } }
        ul { @for Requirement { role, count } in &view.requirements { li { (count) " × " code { (role) } } } }
        p.hint { @if view.demand.allow_requester { "The requester may count." } @else { "The requester does not count." } }
        @if !view.votes.is_empty() {
            ul.votes { @for vote in &view.votes {
                li {
                    span.badge.(if vote.approve { "approved" } else { "denied" }) { @if vote.approve { "approved" } @else { "denied" } }
                    @if !vote.refused.is_empty() { " but not " (numbers(&vote.refused)) }
                    " " strong { (visible(&vote.principal)) } " " span.hint { (clock(&vote.time)) }
                    @if !vote.reason.is_empty() { p { (visible(&vote.reason)) } }
                }
            } }
        }
    }
}

/// Both ways are one form: sent by a button, with an Origin that is checked, and a cookie that other sites cannot send.
/// After a mistake the page opens at the form, where the mistake is named.
fn decision_form(view: &ApprovalView, mistake: Option<&Mistake<'_>>) -> Markup {
    html! {
        @match &view.may_decide {
            Err(why) => p.notice { "This is not yours to decide: " (why) "." },
            Ok(()) => form #decide .decide method="post" action=(format!("/approvals/{}/decision", view.approval_id)) {
                @if view.items.len() > 1 { input type="hidden" name="choice" value="yes"; p.hint { "What is not marked \"may pass\" above is refused." } }
                label for="reason" { "Reason " span.hint { "(needed to deny or to leave something out; the agent and the requester read it)" } }
                textarea #reason name="reason" rows="3" maxlength="2000" autofocus[mistake.is_some()] {}
                div.buttons {
                    button.deny type="submit" name="decision" value="deny" { "Deny" }
                    button.primary type="submit" name="decision" value="approve" { "Approve once" }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests;
