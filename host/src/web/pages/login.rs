//! Logging in and out, in a browser.

use axum::extract::{Form, Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::Head;
use crate::web::WebState;
use crate::web::accounts::logins::Place;
use crate::web::accounts::{COOKIE, Mode};
use crate::web::error::ApiError;
use crate::web::identify::Visitor;
use crate::web::perimeter::Origin;

#[derive(Deserialize, Default)]
pub(super) struct Login {
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// A link's code is used by the button, not by opening the page: programs that look at links before people do would
/// otherwise use it up.
pub(super) async fn page(State(state): State<WebState>, Query(login): Query<Login>) -> Response {
    super::html(super::page("Log in", None, Head::Plain, &content(state.accounts.mode(), &login, None)))
}

fn content(mode: Mode, login: &Login, error: Option<&str>) -> Markup {
    html! {
        section.narrow {
            h1 { "Log in" }
            @if let Some(error) = error { p.notice { (super::sentence(error)) } }
            @match mode {
                Mode::Proxy => p { "You are identified by the proxy in front of coda. It did not say who you are: open coda by its public address." },
                Mode::Local => form method="post" action="/login" {
                    input type="hidden" name="next" value=(login.next);
                    @if login.code.is_empty() || error.is_some() {
                        label for="code" { "Login code" }
                        input #code type="password" name="code" autocomplete="off" required autofocus;
                        @if error.is_none() {
                            p.hint { "The server prints a login link when it starts in a terminal, and " code { "coda login" } " prints a new one. The content of "
                                code { "CODA_HOME/keys/local.key" } " works here too." }
                        }
                    } @else {
                        input type="hidden" name="code" value=(login.code);
                        p { "This link logs you in once." }
                    }
                    button.primary type="submit" { "Log in" }
                },
            }
        }
    }
}

pub(super) async fn log_in(
    State(state): State<WebState>,
    origin: Option<axum::Extension<Origin>>,
    Form(login): Form<Login>,
) -> Response {
    // Another site must not be able to log somebody in as somebody else either.
    if origin.map(|o| o.0) != Some(Origin::Same) {
        return super::refusal(&ApiError::forbidden("this form must be sent from coda's own page"), None);
    }
    match state.accounts.log_in(&login.code, Place::Browser).await {
        Ok(made) => {
            let lasts_s = made.expires_ms.saturating_sub(crate::env::now_ms()) / 1_000;
            let cookie = cookie(&state, &made.secret, lasts_s);
            ([(header::SET_COOKIE, cookie)], Redirect::to(local_path(&login.next))).into_response()
        }
        Err(error) => {
            let error = ApiError::from(error);
            let content = content(state.accounts.mode(), &login, Some(&error.message));
            (error.status, super::html(page_of(&content))).into_response()
        }
    }
}

fn page_of(content: &Markup) -> Markup {
    super::page("Log in", None, Head::Plain, content)
}

pub(super) async fn log_out(State(state): State<WebState>, Visitor(who): Visitor) -> Response {
    match state.accounts.log_out(&who).await {
        Ok(()) => ([(header::SET_COOKIE, cookie(&state, "", 0))], Redirect::to("/login")).into_response(),
        Err(error) => super::refusal(&error.into(), Some(&who)),
    }
}

fn cookie(state: &WebState, secret: &str, lasts_s: u64) -> String {
    let secure = state.settings.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts_s}{secure}")
}

/// Where to go after logging in: a path of this site and nothing else.
fn local_path(next: &str) -> &str {
    let plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if next.starts_with('/') && !next.starts_with("//") && plain { next } else { "/tasks" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_never_leaves_the_site_by_logging_in() {
        assert_eq!(local_path("/approvals/appr_1?x=1"), "/approvals/appr_1?x=1");
        for bad in ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb", "evil"] {
            assert_eq!(local_path(bad), "/tasks", "{bad}");
        }
    }
}
