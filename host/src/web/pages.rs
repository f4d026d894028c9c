//! The pages: rendered here, without scripts but for the viewer's. Everything shown is escaped by maud; what people are to
//! decide on is shown with its invisible characters made visible.

mod approvals;
mod content;
mod login;
mod tasks;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, html};

use super::error::ApiError;
use super::{WebState, watch};
use crate::env;
use crate::identity::{Principal, Proof};

pub(super) fn routes() -> Router<WebState> {
    Router::new()
        .route("/", get(async || Redirect::to("/tasks")))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/approvals", get(approvals::queue))
        .route("/approvals/{id}", get(approvals::show))
        .route("/approvals/{id}/decision", post(approvals::decide))
        .route("/tasks", get(tasks::inbox))
        .route("/tasks/{id}", get(tasks::show))
        .route("/tasks/{id}/cancel", post(tasks::cancel))
        .route("/tasks/{id}/answer", post(tasks::answer))
        .route("/tasks/{id}/stream", get(watch::live))
        .route("/tasks/{id}/transcript", get(watch::transcript))
}

/// Extra elements of a page's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// None.
    Plain,
    /// Opened again by the browser every few seconds.
    Refreshing,
    /// With the terminal.
    Viewer,
}

const REFRESH_S: u32 = 15;

fn page(title: &str, who: Option<&Principal>, head: Head, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if head == Head::Refreshing { meta http-equiv="refresh" content=(REFRESH_S); }
                title { (title) " · coda" }
                link rel="stylesheet" href="/assets/site.css";
                link rel="icon" href="/assets/icon.svg";
                @if head == Head::Viewer {
                    link rel="stylesheet" href="/assets/viewer.css";
                    script type="module" src="/assets/viewer.js" {}
                }
            }
            body {
                header {
                    a.brand href="/tasks" { "coda" }
                    @if let Some(who) = who {
                        nav { a href="/tasks" { "Tasks" } a href="/approvals" { "Approvals" } }
                        span.who title=(who.name) { (who.name) }
                        @if let Proof::Login(_) = who.proof {
                            form.logout method="post" action="/logout" { button type="submit" { "Log out" } }
                        }
                    }
                }
                main { (content) }
            }
        }
    }
}

fn html(markup: Markup) -> Response {
    Html(markup.into_string()).into_response()
}

/// A refusal as a page.
fn refusal(error: &ApiError, who: Option<&Principal>) -> Response {
    let title = if error.status == StatusCode::NOT_FOUND { "Not found" } else { "That did not work" };
    let content = html! {
        h1 { (title) }
        p.notice { (sentence(&error.message)) }
        p { a href="/tasks" { "Tasks" } " · " a href="/approvals" { "Approvals" } }
    };
    (error.status, html(page(title, who, Head::Plain, &content))).into_response()
}

/// A message of ours, which are fragments, as people read it on a page.
fn sentence(message: &str) -> String {
    let mut rest = message.chars();
    let first: String = rest.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let end = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", rest.as_str())
}

/// How long ago, or how far ahead; the moment itself when one points at it.
fn relative(at: &str) -> Markup {
    use time::format_description::well_known::Rfc3339;
    let then = time::OffsetDateTime::parse(at, &Rfc3339).map(|t| t.unix_timestamp()).unwrap_or_default();
    let now = i64::try_from(env::now_ms() / 1_000).unwrap_or_default();
    let far = span(now.abs_diff(then));
    html! { time datetime=(at) title=(at) { @if then > now { "in " (far) } @else { (far) " ago" } } }
}

/// A moment as it is stored and how far away it is.
fn clock(at: &str) -> Markup {
    html! { time datetime=(at) { (at.replace('T', " ").trim_end_matches('Z')) " UTC" } }
}

/// A time span for people: the two largest units that matter.
fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_sentences() {
        assert_eq!(["task x not found", "over; log in.", ""].map(sentence), ["Task x not found.", "Over; log in.", "."]);
    }

    #[test]
    fn spans_read_well() {
        assert_eq!([5, 65, 3_700, 90_000].map(span), ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }
}
