//! `coda usage`: tokens and cost by day, principal and model.

use clap::Args;

use super::context::{CliError, Context, Format};
use super::print;
use crate::service::{UsagePage, UsageRow};

/// Whose, and since when.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coda usage\n  coda usage --since 2026-01-01\n  coda usage --all --json\n  coda usage --principal ann@example.com"
)]
pub(super) struct UsageArgs {
    /// That of this principal [default: your own; another's needs the role viewer or operator]
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    principal: Option<String>,
    /// That of everybody
    #[arg(long)]
    all: bool,
    /// From this day on, in UTC [default: since the month began]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    since: Option<String>,
}

pub(super) async fn run(args: UsageArgs, context: &Context) -> Result<(), CliError> {
    let mut query = vec![format!("all={}", args.all)];
    query.extend(args.principal.map(|name| format!("principal={}", escaped(&name))));
    query.extend(args.since.map(|day| format!("since={day}")));
    let answer = context.get(&format!("/v1/usage?{}", query.join("&"))).await?;
    if context.format == Format::Json {
        return print::json(&answer);
    }
    let page: UsagePage = serde_json::from_value(answer)
        .map_err(|e| CliError::Failed(format!("the server tells of usage in a form that this coda does not know: {e}")))?;
    if page.days.is_empty() {
        return print::line(&format!("no model was used since {}", print::clean(&page.since)));
    }
    let row = |row: &UsageRow| {
        vec![
            print::clean(&row.day),
            print::clean(&row.principal),
            print::clean(&row.model),
            row.answers.to_string(),
            row.usage.input_tokens.to_string(),
            row.usage.output_tokens.to_string(),
            row.usage.cost_in_words(),
        ]
    };
    let rows: Vec<Vec<String>> = page.days.iter().map(row).collect();
    print::raw(&print::table(&["DAY", "PRINCIPAL", "MODEL", "ANSWERS", "TOKENS IN", "OUT", "COST"], &rows))?;
    if page.more { print::line("there are more: ask for a later --since or for one principal") } else { Ok(()) }
}

fn day(text: &str) -> Result<String, String> {
    crate::usage::read_day(text).map(crate::usage::day_text).ok_or_else(|| "expected a day such as 2026-11-01".into())
}

/// A text as the value of a query parameter.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-_.".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}
