//! `coda policy score`: how well policies judge labelled rows, without a server.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::context::{CliError, Context, Format};
use super::super::print;
use crate::policy::score::{self, Categories, Counts, Report, Table, Wanted};

const MISSES_SHOWN: usize = 10;
const SHOWN_WIDTH: usize = 100;

/// What is scored, and how it is told.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "A row is one line of JSON: {\"id\": …, \"kind\": …, \"text\": …, \"label\": …}, optionally with \"cat\" and \"near_miss\".
Kinds and their gates: shell and sql at tool-call; prompt-intent at prompt; secret, pii and injection at tool-result.
Flagged is what is held, refused, changed or withheld. These labels should be: destructive, permission, risky, secret,
pii, injection. These should not: benign, clean. Others are counted and left open.

Exit codes: 0 every row was judged, 2 bad arguments, or a file or line that could not be read (the rest is judged).

Examples:
  coda policy score rows.jsonl
  coda policy score corpus/*.jsonl.gz --misses 50 --categories
  coda policy score rows.jsonl --policies ./policies --json | jq .by_label.destructive"
)]
pub struct ScoreArgs {
    /// Files of rows, plain or gzip
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A policy folder, its policies.toml, or a component file; the bundled policies if left out
    #[arg(long, value_name = "PATH")]
    policies: Option<PathBuf>,
    /// How many misses are listed
    #[arg(long, value_name = "N", default_value_t = MISSES_SHOWN)]
    misses: usize,
    /// Count each category (`cat`) too
    #[arg(long)]
    categories: bool,
}

/// Runs it.
pub(super) fn run(args: &ScoreArgs, context: &Context) -> Result<(), CliError> {
    let trial = super::open(context, args.policies.as_deref())?;
    let mut progress = super::Progress::new("rows");
    let categories = if args.categories { Categories::Counted } else { Categories::Ignored };
    let report = score::run(&trial, &args.files, Wanted { misses: args.misses, categories }, &mut |rows| progress.at(rows));
    progress.end();
    match context.format {
        Format::Human => print::raw(&human(&report, &super::digests(&trial)))?,
        Format::Json => {
            let mut document = serde_json::to_value(&report).map_err(|error| CliError::Failed(error.to_string()))?;
            document["policies"] = json!(super::digests(&trial));
            print::json(&document)?;
        }
    }
    verdict(&report)
}

fn verdict(report: &Report) -> Result<(), CliError> {
    let unread: Vec<String> = (report.files.iter())
        .filter_map(|file| file.problem.as_ref().map(|problem| format!("{}: {problem}", file.path)))
        .collect();
    let mut wrong = Vec::new();
    if !unread.is_empty() {
        wrong.push(unread.join("; "));
    }
    if report.bad_lines_total > 0 {
        wrong.push(format!("{} lines are no rows", report.bad_lines_total));
    }
    if report.rows == 0 && wrong.is_empty() {
        wrong.push("there is no row in the files".into());
    }
    if wrong.is_empty() { Ok(()) } else { Err(CliError::Usage(wrong.join("; "))) }
}

fn human(report: &Report, policies: &[super::Digest]) -> String {
    let mut out = Vec::new();
    for policy in policies {
        out.push(format!("{:<18} {:<8} {}", policy.name, policy.version, policy.sha256));
    }
    for file in &report.files {
        let problem = file.problem.as_ref().map(|problem| format!("  NOT READ TO ITS END: {problem}")).unwrap_or_default();
        out.push(format!("{}  {} lines, sha256 {}{problem}", file.path, file.lines, super::short_text(&file.sha256)));
    }
    for bad in &report.bad_lines {
        out.push(format!("BAD LINE {}:{}: {}", bad.file, bad.line, print::clean(&bad.problem)));
    }
    let more = report.bad_lines_total.saturating_sub(report.bad_lines.len() as u64);
    out.extend((more > 0).then(|| format!("… and {more} bad lines more")));
    out.push(String::new());
    let mut rows = Vec::new();
    for (kind, table) in &report.by_kind {
        rows.extend(table_rows(kind, table));
    }
    rows.extend(table_rows("all", &report.by_label));
    rows.extend(table_rows("near misses", &report.near_misses));
    for (category, table) in &report.by_category {
        rows.extend(table_rows(&format!("  {}", print::clean(category)), table));
    }
    out.push(print::table(&["rows", "label", "total", "flagged", "", "partial only", "", "marked", ""], &rows));
    out.push(format!(
        "a row costs {} µs (p50), {} µs (p95), {} µs (p99), {} µs and {} fuel at most",
        report.latency.p50_us, report.latency.p95_us, report.latency.p99_us, report.latency.max_us, report.latency.max_fuel
    ));
    if let Some(fault) = &report.first_fault {
        out.push(format!("FAULTS: {} rows got no answer within the limits; the first: {}", report.faults, print::clean(fault)));
    }
    if !report.misses.is_empty() {
        out.push(format!("\nmisses, {} of {}:", report.misses.len(), report.misses_total));
        for miss in &report.misses {
            let text = print::short(&print::clean(&miss.text.replace('\n', " ⏎ ")), SHOWN_WIDTH);
            out.push(format!(
                "  {} is {}, and got {} [{}]: {text}",
                print::clean(&miss.id),
                print::clean(&miss.label),
                miss.verdict,
                miss.codes.join(", ")
            ));
        }
    }
    out.join("\n") + "\n"
}

fn table_rows(name: &str, table: &Table) -> Vec<Vec<String>> {
    let row = |(label, counts): (&String, &Counts)| {
        vec![
            name.to_owned(),
            print::clean(label),
            counts.total.to_string(),
            counts.flagged.to_string(),
            percent(counts.flagged, counts.total),
            counts.flagged_partial.to_string(),
            percent(counts.flagged_partial, counts.total),
            counts.marked.to_string(),
            percent(counts.marked, counts.total),
        ]
    };
    table.iter().map(row).collect()
}

/// One digit after the point, rounded.
fn percent(part: u64, whole: u64) -> String {
    let tenths = (part * 1_000 + whole / 2).checked_div(whole).unwrap_or_default();
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_to_a_tenth() {
        assert_eq!((percent(2, 3), percent(0, 0), percent(1, 1)), ("66.7 %".into(), "0.0 %".into(), "100.0 %".into()));
    }
}
