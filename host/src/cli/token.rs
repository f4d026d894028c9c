//! `coda token`: for MCP clients and CI. A token hands tasks over and reads them; it never decides.

use clap::Subcommand;
use serde_json::json;

use super::context::{CliError, Context, Format};
use super::print;
use crate::id::TokenId;

/// Verbs about tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; its secret is printed once and never again
    #[command(
        after_help = "Examples:\n  coda token create --role submitter --expires 30d\n  CODA_TOKEN=$(coda token create --role submitter --name ci --secret-only) coda run 'check the build'"
    )]
    Create {
        /// What it may do; can be given more than once
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<String>,
        /// When it ends: seconds, or a number with s, m, h or d [default: as configured]
        #[arg(long, value_name = "TIME", value_parser = span)]
        expires: Option<u64>,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        name: String,
        /// Print nothing but the secret
        #[arg(long, conflicts_with = "json")]
        secret_only: bool,
    },
    /// Your tokens, without their secrets
    #[command(after_help = "Examples:\n  coda token list")]
    List,
    /// End a token at once
    #[command(after_help = "Examples:\n  coda token revoke tok_…")]
    Revoke {
        /// Token id, as `coda token list` prints it
        #[arg(value_name = "TOKEN")]
        token: String,
    },
}

pub(super) async fn run(command: TokenCommand, context: &Context) -> Result<(), CliError> {
    match command {
        TokenCommand::Create { roles, expires, name, secret_only } => {
            let mut body = json!({ "roles": roles, "name": name });
            if let Some(seconds) = expires {
                body["expires_s"] = seconds.into();
            }
            let answer = context.post("/v1/tokens", &body).await?;
            if context.format == Format::Json {
                return print::json(&answer);
            }
            let secret = answer["secret"].as_str().unwrap_or_default();
            if secret_only {
                return print::line(secret);
            }
            print::line(&format!("{secret}\n"))?;
            print::line("It is shown this once. Use it as CODA_TOKEN, or as `Authorization: Bearer …` of an MCP client.")
        }
        TokenCommand::List => list(context).await,
        TokenCommand::Revoke { token } => {
            let id = TokenId::parse(&token).map_err(|e| CliError::Usage(e.to_string()))?;
            let answer = context.delete(&format!("/v1/tokens/{id}")).await?;
            if context.format == Format::Json { print::json(&answer) } else { print::line(&format!("{id}  revoked")) }
        }
    }
}

async fn list(context: &Context) -> Result<(), CliError> {
    let answer = context.get("/v1/tokens").await?;
    if context.format == Format::Json {
        return print::json(&answer);
    }
    let tokens = answer["tokens"].as_array().cloned().unwrap_or_default();
    if tokens.is_empty() {
        return print::line("no tokens; make one with `coda token create --role submitter`");
    }
    let mut rows = Vec::new();
    for token in &tokens {
        let text = |key: &str| print::clean(token[key].as_str().unwrap_or_default());
        let roles: Vec<&str> = token["roles"].as_array().into_iter().flatten().filter_map(|r| r.as_str()).collect();
        let when = |key: &str| token[key].as_str().map_or_else(|| "never".to_owned(), print::relative);
        let id = token["token_id"].as_str().or(token["id"].as_str()).map(print::clean).unwrap_or_default();
        let state = if token["revoked_at"].is_null() { when("expires_at") } else { print::paint(print::Colour::Bad, "revoked") };
        rows.push(vec![id, print::clean(&roles.join(",")), state, when("last_used_at"), text("name")]);
    }
    print::raw(&print::table(&["TOKEN", "ROLES", "EXPIRES", "USED", "NAME"], &rows))
}

/// A span of time in seconds.
fn span(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|s| *s > 0);
    seconds.ok_or_else(|| "use seconds, or a number with s, m, h or d, such as 30d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_have_units() {
        assert_eq!(span("90"), Ok(90));
        assert_eq!(span("2h"), Ok(7_200));
        assert_eq!(span("30d"), Ok(2_592_000));
        for bad in ["", "d", "0", "1w", "-1", "99999999999999999999d", "ä"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
