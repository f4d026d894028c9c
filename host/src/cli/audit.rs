//! `coda audit`: shows, verifies and exports the audit log, through the server or, where none runs, from CODA_HOME.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::context::{CliError, Context, Format};
use crate::audit::{self, Checkpoint, Record, export};
use crate::env;
use crate::store::Store;
use crate::store::audit::AuditQuery;

const PAGE: u32 = 1000;

/// The audit log: who decided what, who changed what.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// Show records, the newest last.
    #[command(
        after_help = "Examples:\n  coda audit show\n  coda audit show --task task_0123… --limit 200\n  coda audit show --after 4711 --json"
    )]
    Show {
        /// Only records of this task.
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// Records after this number, instead of the newest.
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
        /// At most so many (1000 at most).
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Recompute the whole log and say what does not fit, and what cannot be shown. Exit code 1 if anything does not fit.
    #[command(
        after_help = "Examples:\n  coda audit verify\n  coda audit verify --offline\n  coda audit verify --checkpoint @checkpoint.json\n\n\
                      A checkpoint from the log stream (lines 'audit checkpoint') shows what a rewrite of the whole CODA_HOME would hide."
    )]
    Verify {
        /// A checkpoint from the log stream, as JSON, or @FILE.
        #[arg(long, value_name = "JSON|@FILE")]
        checkpoint: Option<String>,
        /// Read the files of CODA_HOME, not the server.
        #[arg(long)]
        offline: bool,
    },
    /// Write the whole log as NDJSON: records in canonical form with their hashes, and checkpoints.
    #[command(after_help = "Examples:\n  coda audit export > audit.ndjson\n  coda audit export --output audit.ndjson --offline")]
    Export {
        /// Write here instead of to standard output. Must not exist yet.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Read the files of CODA_HOME, not the server.
        #[arg(long)]
        offline: bool,
    },
}

/// Runs one of them.
pub async fn run(command: AuditCommand, context: &Context) -> Result<(), CliError> {
    match command {
        AuditCommand::Show { task, after, limit } => show(context, task, after, limit).await,
        AuditCommand::Verify { checkpoint, offline } => verify(context, checkpoint, offline).await,
        AuditCommand::Export { output, offline } => export_log(context, output, offline).await,
    }
}

async fn show(context: &Context, task: Option<String>, after: Option<u64>, limit: u32) -> Result<(), CliError> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(task.map(|t| ("task", t)));
    query.extend(after.map(|a| ("after", a.to_string())));
    let page = context.get(&path("/v1/audit", &query)).await?;
    match context.format {
        Format::Json => print(&page.to_string()),
        Format::Human => {
            let lines: Vec<String> = records(&page).map(line).collect();
            print(if lines.is_empty() { "no records".to_owned() } else { lines.join("\n") }.as_str())
        }
    }
}

async fn verify(context: &Context, checkpoint: Option<String>, offline: bool) -> Result<(), CliError> {
    let given = checkpoint.map(|text| read_checkpoint(&text)).transpose()?;
    let query: Vec<_> = given.iter().map(|c| ("checkpoint", c.to_json())).collect();
    let online = if offline { None } else { reachable(context.get(&path("/v1/audit/verify", &query)).await)? };
    let report = match online {
        Some(report) => report,
        None => {
            let report = audit::verify_offline(&context.home, given.into_iter().collect()).map_err(failed)?;
            serde_json::to_value(report).map_err(failed)?
        }
    };
    match context.format {
        Format::Json => print(&report.to_string())?,
        Format::Human => print(&describe(&report))?,
    }
    if report["ok"] == true { Ok(()) } else { Err(CliError::Failed("the audit log does not verify".to_owned())) }
}

async fn export_log(context: &Context, output: Option<PathBuf>, offline: bool) -> Result<(), CliError> {
    let mut out: Box<dyn Write> = match &output {
        Some(path) => Box::new(fs::File::create_new(path).map_err(|e| failed(format!("{}: {e}", path.display())))?),
        None => Box::new(io::stdout()),
    };
    let mut after = 0;
    let mut from_files = if offline { Some(open_files(context)?) } else { None };
    loop {
        let (records, ends) = match &from_files {
            Some(store) => {
                let query = AuditQuery { after: Some(after), limit: PAGE, ..AuditQuery::default() };
                store.audit_page(&query).map_err(failed)?
            }
            None => {
                let query = [("after", after.to_string()), ("limit", PAGE.to_string())];
                match reachable(context.get(&path("/v1/audit", &query)).await)? {
                    Some(page) => read_page(&page)?,
                    None => {
                        from_files = Some(open_files(context)?);
                        continue;
                    }
                }
            }
        };
        let Some(last) = records.last() else { break };
        after = last.seq.unsigned_abs();
        out.write_all(export::lines(&records, &ends).as_bytes()).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

fn open_files(context: &Context) -> Result<Store, CliError> {
    Store::open_read_only(&context.home.join("coda.db")).map_err(failed)
}

fn read_page(page: &Value) -> Result<(Vec<Record>, Vec<Checkpoint>), CliError> {
    let broken = || CliError::Failed("the server's answer does not read as audit records".to_owned());
    let records: Option<Vec<Record>> = records(page).map(export::record_from_json).collect();
    let ends: Vec<Checkpoint> = serde_json::from_value(page["checkpoints"].clone()).map_err(|_| broken())?;
    Ok((records.ok_or_else(broken)?, ends))
}

fn read_checkpoint(text: &str) -> Result<Checkpoint, CliError> {
    let text = match text.strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|e| CliError::Usage(format!("{path}: {e}")))?,
        None => text.to_owned(),
    };
    Checkpoint::parse(&text).map_err(|e| CliError::Usage(e.to_string()))
}

/// `None` where no server answers: the files of CODA_HOME are read instead, and that is said.
fn reachable(answer: Result<Value, CliError>) -> Result<Option<Value>, CliError> {
    match answer {
        Err(CliError::Unreachable(_)) => {
            let _ = writeln!(io::stderr(), "no server answers; reading the files of CODA_HOME");
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn records(page: &Value) -> impl Iterator<Item = &Value> {
    page["records"].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn line(record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
    let time = env::rfc3339(record["time_ms"].as_u64().unwrap_or(0));
    format!("{:>7}  {time}  {:<24} {:<24} {}  {}", record["seq"], text("kind"), text("actor"), text("task"), record["body"])
}

fn describe(report: &Value) -> String {
    let mut text = format!(
        "{}: {} records ({} to {}), {} checkpoints, {} records after the last one, {} segments dropped",
        if report["ok"] == true { "ok" } else { "NOT OK" },
        report["records"],
        report["first_seq"],
        report["last_seq"],
        report["checkpoints"],
        report["open_records"],
        report["dropped_segments"],
    );
    if let Some(first) = report["first_bad"].as_i64() {
        text.push_str(&format!("\nfirst bad record: {first}"));
    }
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    for problem in list("problems") {
        text.push_str(&format!("\n  {}: {}", problem["kind"].as_str().unwrap_or("?"), problem["text"].as_str().unwrap_or("?")));
    }
    if report["more_problems"].as_u64().unwrap_or(0) > 0 {
        text.push_str(&format!("\n  and {} more", report["more_problems"]));
    }
    text.push_str("\nnot shown by this:");
    for limit in list("cannot_show") {
        text.push_str(&format!("\n  {}", limit.as_str().unwrap_or("?")));
    }
    text
}

fn path(path: &str, query: &[(&str, String)]) -> String {
    let mut url = reqwest::Url::parse("http://coda/").expect("a constant");
    url.query_pairs_mut().extend_pairs(query);
    url.query().filter(|q| !q.is_empty()).map_or_else(|| path.to_owned(), |q| format!("{path}?{q}"))
}

fn print(text: &str) -> Result<(), CliError> {
    writeln!(io::stdout(), "{text}").map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::audit::{Audit, Close, Settings};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: AuditCommand,
    }

    fn context(home: &std::path::Path) -> Context {
        Context { home: home.to_owned(), format: Format::Human, server: None, token: None }
    }

    async fn coda_audit(home: &std::path::Path, words: &[&str]) -> Result<(), CliError> {
        let line = Line::try_parse_from(std::iter::once("audit").chain(words.iter().copied())).expect("it parses");
        run(line.command, &context(home)).await
    }

    #[tokio::test]
    async fn a_home_without_its_server_is_verified_and_exported() {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(&home.path().join("coda.db")).expect("it opens");
        let audit = Audit::open(store, &home.path().join("keys"), Settings::default()).expect("it starts");
        audit.append("login", "ada", "default", None, json!({})).await.expect("appended");
        let closed = audit.close(Close::Now).await.expect("closed").expect("a checkpoint");
        drop(audit);
        coda_audit(home.path(), &["verify", "--offline"]).await.expect("it verifies");
        coda_audit(home.path(), &["verify", "--offline", "--checkpoint", &closed.to_json()]).await.expect("it verifies");
        let file = home.path().join("out.ndjson");
        let words = ["export", "--offline", "--output", file.to_str().expect("text")];
        coda_audit(home.path(), &words).await.expect("it exports");
        assert_eq!(fs::read_to_string(&file).expect("it is there").lines().count(), 2);
        assert!(coda_audit(home.path(), &words).await.is_err(), "never over a file that exists");
        let forged = Checkpoint { count: 7, ..closed };
        let refused = coda_audit(home.path(), &["verify", "--offline", "--checkpoint", &forged.to_json()]).await;
        assert!(matches!(refused, Err(CliError::Failed(_))), "{refused:?}");
        let unreadable = coda_audit(home.path(), &["verify", "--checkpoint", "nonsense"]).await;
        assert!(matches!(unreadable, Err(CliError::Usage(_))));
    }

    #[test]
    fn a_path_carries_its_query_escaped() {
        assert_eq!(path("/v1/audit", &[]), "/v1/audit");
        assert_eq!(
            path("/v1/audit/verify", &[("checkpoint", "{\"a\":1}&".into())]),
            "/v1/audit/verify?checkpoint=%7B%22a%22%3A1%7D%26"
        );
    }
}
