//! `coda policy test`: the policies' own tests, run on the real components without a server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use regex::Regex;
use serde_json::json;

use super::super::context::{CliError, Context, Format};
use super::super::print;
use crate::policy::{CaseReport, Trial};

/// What is tested, and how it is told.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Exit codes: 0 all passed, 1 a case failed or there was none, 2 bad arguments or files.

Examples:
  coda policy test
  coda policy test ./policies --run 'rm|drop'
  coda policy test house-rules.wasm --suite tests/house-rules.yaml
  coda policy test --format junit > policy-tests.xml")]
pub struct TestArgs {
    /// A policy folder, its policies.toml, or a component file; the bundled policies if left out
    path: Option<PathBuf>,
    /// A suite (.yaml, .toml, .json) to run instead of those beside the policies; named after its policy
    #[arg(long, value_name = "FILE")]
    suite: Vec<PathBuf>,
    /// Run only cases whose `POLICY: NAME` fits this regular expression
    #[arg(long, value_name = "REGEX")]
    run: Option<String>,
    /// How results are printed [default: human, or json with --json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<TestFormat>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// For people
    Human,
    /// One JSON document
    Json,
    /// JUnit XML, as CI servers read it
    Junit,
}

/// Runs it.
pub(super) fn run(args: &TestArgs, context: &Context) -> Result<(), CliError> {
    let wanted = args.run.as_deref().map(Regex::new).transpose();
    let wanted = wanted.map_err(|error| CliError::Usage(format!("--run is no regular expression: {error}")))?;
    let mut trial = super::open(context, args.path.as_deref())?;
    if !args.suite.is_empty() {
        trial.forget_suites();
    }
    for suite in &args.suite {
        trial.add_suite(suite).map_err(|error| CliError::Usage(error.to_string()))?;
    }
    let mut done = Vec::new();
    let mut progress = super::Progress::new("cases");
    let fits = |policy: &str, name: &str| wanted.as_ref().is_none_or(|regex| regex.is_match(&format!("{policy}: {name}")));
    trial.test(&fits, &mut |case| {
        done.push(case);
        progress.at(done.len() as u64);
    });
    progress.end();
    let format = args.format.unwrap_or(match context.format {
        Format::Human => TestFormat::Human,
        Format::Json => TestFormat::Json,
    });
    match format {
        TestFormat::Human => print::raw(&human(&trial, &done))?,
        TestFormat::Json => print::json(&document(&trial, &done))?,
        TestFormat::Junit => print::raw(&junit(&done))?,
    }
    verdict(&trial, &done)
}

fn verdict(trial: &Trial, done: &[CaseReport]) -> Result<(), CliError> {
    let failed = done.iter().filter(|case| case.failure.is_some()).count();
    if done.is_empty() {
        let untested = trial.untested();
        let why = if untested.is_empty() { "no case fits --run".into() } else { format!("no suite for {}", untested.join(", ")) };
        return Err(CliError::Failed(format!("no policy test was run: {why}; put cases into tests/NAME.yaml or give --suite")));
    }
    if failed > 0 {
        return Err(CliError::Failed(format!("{failed} of {} policy tests fail", done.len())));
    }
    Ok(())
}

fn human(trial: &Trial, done: &[CaseReport]) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    for case in done {
        match &case.failure {
            None => line(&format!("ok    {}: {}", case.policy, print::clean(&case.name))),
            Some(why) => line(&format!("FAIL  {}: {}\n      {}", case.policy, print::clean(&case.name), print::clean(why))),
        }
    }
    for policy in trial.untested() {
        line(&format!("none  {policy}: no suite"));
    }
    let failed = done.iter().filter(|case| case.failure.is_some()).count();
    line(&format!("{} passed, {failed} failed; set {}", done.len() - failed, super::short_text(trial.digest())));
    out
}

fn document(trial: &Trial, done: &[CaseReport]) -> serde_json::Value {
    let failed = done.iter().filter(|case| case.failure.is_some()).count();
    json!({
        "set": trial.digest(), "policies": super::digests(trial), "passed": done.len() - failed, "failed": failed,
        "untested": trial.untested(), "cases": done,
    })
}

fn junit(done: &[CaseReport]) -> String {
    let mut suites: BTreeMap<&str, Vec<&CaseReport>> = BTreeMap::new();
    for case in done {
        suites.entry(&case.policy).or_default().push(case);
    }
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (policy, cases) in suites {
        let failures = cases.iter().filter(|case| case.failure.is_some()).count();
        let seconds = seconds(cases.iter().map(|case| case.micros).sum());
        let policy = xml(policy);
        // Writing to a text does not fail.
        let _ = writeln!(
            out,
            "  <testsuite name=\"{policy}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" time=\"{seconds}\">",
            cases.len()
        );
        for case in cases {
            let head = format!(
                "    <testcase classname=\"{policy}\" name=\"{}\" time=\"{}\"",
                xml(&case.name),
                self::seconds(case.micros)
            );
            let _ = match &case.failure {
                None => writeln!(out, "{head}/>"),
                Some(why) => writeln!(out, "{head}>\n      <failure message=\"{}\"/>\n    </testcase>", xml(why)),
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// What XML takes; control characters have no form in it.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_counts_and_escapes() {
        let case = |name: &str, failure: Option<&str>| CaseReport {
            policy: "ops".into(),
            name: name.into(),
            failure: failure.map(str::to_owned),
            micros: 1_500_000,
        };
        let told = junit(&[case("a < b", None), case("c", Some("expected \"x\" & got\u{1b}y"))]);
        assert!(told.contains("<testsuite name=\"ops\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"3.000000\">"), "{told}");
        assert!(told.contains("name=\"a &lt; b\" time=\"1.500000\"/>"), "{told}");
        assert!(told.contains("message=\"expected &quot;x&quot; &amp; got y\""), "{told}");
    }
}
