//! `coda approval`: what waits for people, exactly, and their decision.

use clap::Subcommand;
use serde_json::{Value, json};

use super::context::{CliError, Context, Format};
use super::print;
use crate::id::ApprovalId;
use crate::policy::contract::{Finding, Requirement};
use crate::service::{ApprovalItem, ApprovalPage, ApprovalView, numbers};

/// Verbs about requests for approval.
#[derive(Debug, Subcommand)]
pub(super) enum ApprovalCommand {
    /// What waits for you, and what you asked for
    #[command(after_help = "Examples:\n  coda approval list\n  coda approval list --status denied")]
    List {
        /// Only these: open, approved, denied, expired, consumed, withdrawn
        #[arg(long, value_name = "WORD", value_parser = ["open", "approved", "denied", "expired", "consumed", "withdrawn"])]
        status: Option<String>,
    },
    /// One request: what exactly would pass, and why it waits
    #[command(after_help = "Examples:\n  coda approval show appr_…")]
    Show {
        /// Request
        #[arg(value_name = "APPROVAL")]
        approval: String,
    },
    /// Let exactly this pass, once
    #[command(
        after_help = "Examples:\n  coda approval approve appr_…\n  coda approval approve --reason 'agreed with the owner' appr_…\n  \
                      coda approval approve --item 1 --item 3 --reason 'not the backups' appr_…"
    )]
    Approve {
        /// Request
        #[arg(value_name = "APPROVAL")]
        approval: String,
        /// Only this item passes, and others so named; the rest is refused. Numbers as `coda approval show` has them [all]
        #[arg(long, value_name = "NUMBER")]
        item: Vec<usize>,
        /// Words that are kept with the decision; needed where an item is refused
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Refuse; the agent and the submitter are told why
    #[command(after_help = "Examples:\n  coda approval deny --reason 'not on the production table' appr_…")]
    Deny {
        /// Request
        #[arg(value_name = "APPROVAL")]
        approval: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) async fn run(command: ApprovalCommand, context: &Context) -> Result<(), CliError> {
    match command {
        ApprovalCommand::List { status } => list(status, context).await,
        ApprovalCommand::Show { approval } => {
            let answer = context.get(&format!("/v1/approvals/{}", approval_id(&approval)?)).await?;
            show(context, &answer)
        }
        ApprovalCommand::Approve { approval, item, reason } => {
            let mut body = json!({ "decision": "approve", "reason": reason });
            if !item.is_empty() {
                body["items"] = json!(item);
            }
            decide(context, &approval, &body).await
        }
        ApprovalCommand::Deny { approval, reason } => {
            decide(context, &approval, &json!({ "decision": "deny", "reason": reason })).await
        }
    }
}

async fn list(status: Option<String>, context: &Context) -> Result<(), CliError> {
    let query = status.map(|s| format!("?status={s}")).unwrap_or_default();
    let answer = context.get(&format!("/v1/approvals{query}")).await?;
    if context.format == Format::Json {
        return print::json(&answer);
    }
    let page: ApprovalPage = serde_json::from_value(answer).map_err(unknown_form)?;
    if page.approvals.is_empty() {
        return print::line("nothing waits for a decision");
    }
    let mut rows = Vec::new();
    for view in page.approvals {
        rows.push(vec![
            view.approval_id.to_string(),
            colour(&view.status),
            print::clean(&view.gate),
            print::clean(&view.requester),
            print::relative(&view.expires_at),
            print::short(&view.demand.reason, 60),
        ]);
    }
    print::raw(&print::table(&["APPROVAL", "STATUS", "GATE", "ASKED BY", "EXPIRES", "WHY"], &rows))?;
    if page.more {
        print::progress("there are more than these; --status shows one kind");
    }
    Ok(())
}

async fn decide(context: &Context, approval: &str, decision: &Value) -> Result<(), CliError> {
    let id = approval_id(approval)?;
    let answer = context.post(&format!("/v1/approvals/{id}/decision"), decision).await?;
    if context.format == Format::Json {
        return print::json(&answer);
    }
    let view = view(answer)?;
    let missing = if view.status == "open" { format!("; still needs {}", needs(&view.requirements)) } else { String::new() };
    print::line(&format!("{id}  {}{missing}", colour(&view.status)))
}

fn show(context: &Context, answer: &Value) -> Result<(), CliError> {
    if context.format == Format::Json {
        return print::json(answer);
    }
    let view = view(answer.clone())?;
    let lines = [
        ("approval", view.approval_id.to_string()),
        ("status", colour(&view.status)),
        ("task", format!("{}  {}", view.task_id, print::short(&view.task_summary, 80))),
        ("asked by", format!("{}, acting as {}", print::clean(&view.requester), print::clean(&view.acting_as))),
        ("gate", format!("{}, policy set {}", print::clean(&view.gate), view.generation)),
        ("why", print::clean(&view.demand.reason)),
        ("needs", needs(&view.requirements)),
        ("expires", print::relative(&view.expires_at)),
    ];
    for (name, text) in lines {
        print::line(&format!("{}  {text}", print::paint(print::Colour::Dim, &format!("{name:<8}"))))?;
    }
    for item in &view.items {
        print_item(item, view.items.len())?;
    }
    for finding in &view.demand.findings {
        print_finding(finding)?;
    }
    for vote in &view.votes {
        let word = match (vote.approve, vote.refused.as_slice()) {
            (true, []) => "approved".to_owned(),
            (true, refused) => format!("approved all but {}", numbers(refused)),
            (false, _) => "denied".to_owned(),
        };
        let reason = print::short(&vote.reason, 200);
        print::line(&format!("{} {word} {}  {reason}", print::clean(&vote.principal), print::relative(&vote.time)))?;
    }
    match (&view.may_decide, view.status.as_str()) {
        (Ok(()), "open") => {
            let id = &view.approval_id;
            let some = if view.items.len() > 1 {
                format!("\n  coda approval approve --item NUMBER --reason TEXT {id}")
            } else {
                String::new()
            };
            print::line(&format!(
                "\nyou may decide:\n  coda approval approve {id}{some}\n  coda approval deny --reason TEXT {id}"
            ))
        }
        (Err(why), "open") => print::line(&format!("\nyou may not decide: {}", print::clean(why))),
        _ => Ok(()),
    }
}

/// The exact text, each line marked, so that it can't pass for a line of ours.
fn print_item(item: &ApprovalItem, of: usize) -> Result<(), CliError> {
    let number = if of > 1 { format!("{} of {of}: ", item.number) } else { String::new() };
    let refused = match (item.refused, item.withdrawn) {
        (true, _) => print::paint(print::Colour::Bad, "  refused"),
        (false, true) => print::paint(print::Colour::Dim, "  not asked any more"),
        (false, false) => String::new(),
    };
    let place =
        if item.working_directory.is_empty() { String::new() } else { format!(" in {}", print::clean(&item.working_directory)) };
    print::line(&format!("\n{number}{}{place}{refused}", print::clean(&item.title)))?;
    block(&item.content)?;
    if let Some(before) = &item.instead_of {
        print::line("  instead of this, which was approved before")?;
        block(&before.content)?;
        if before.arguments != item.arguments && !before.arguments.is_empty() {
            block(&before.arguments)?;
        }
    }
    if !item.arguments.is_empty() {
        print::line("  with these arguments")?;
        block(&item.arguments)?;
    }
    Ok(())
}

fn block(text: &str) -> Result<(), CliError> {
    print::clean(text).split('\n').try_for_each(|line| print::line(&format!("  │ {line}")))
}

fn print_finding(finding: &Finding) -> Result<(), CliError> {
    let target =
        finding.resource.as_ref().map(|r| format!(" {} {}", print::clean(&r.kind), print::clean(&r.name))).unwrap_or_default();
    let code = print::paint(print::Colour::Attention, &print::clean(&finding.code));
    print::line(&format!("  {code}{target}: {}", print::clean(&finding.message)))
}

fn needs(requirements: &[Requirement]) -> String {
    let one = |r: &Requirement| format!("{} × {}", r.count, print::clean(&r.role));
    requirements.iter().map(one).collect::<Vec<_>>().join(" and ")
}

fn colour(status: &str) -> String {
    let colour = match status {
        "open" => print::Colour::Attention,
        "approved" | "consumed" => print::Colour::Good,
        "denied" | "expired" => print::Colour::Bad,
        _ => print::Colour::Dim,
    };
    print::paint(colour, &print::clean(status))
}

fn view(value: Value) -> Result<ApprovalView, CliError> {
    serde_json::from_value(value).map_err(unknown_form)
}

fn unknown_form(e: serde_json::Error) -> CliError {
    CliError::Failed(format!("the server tells of an approval in a form that this coda does not know: {e}"))
}

fn approval_id(text: &str) -> Result<ApprovalId, CliError> {
    ApprovalId::parse(text).map_err(|e| CliError::Usage(e.to_string()))
}
