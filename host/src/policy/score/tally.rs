//! The counts: by label, near misses apart, by kind and category; misses, bad lines, latency. Everything bounded.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::row::{BadRow, Row};
use super::{Categories, FileReport, Report, Wanted};

/// Bad lines that are listed.
const MAX_BAD_LINES: usize = 100;
/// Labels, and categories, that are told apart; the rest is counted together.
const MAX_NAMES: usize = 1_000;
/// Where names beyond that are counted.
const OTHERS: &str = "(others)";
/// Bytes of a missed text that are shown.
const MAX_SHOWN_BYTES: usize = 160;
/// Parts of each power of two that latencies are told apart by.
const PARTS: u64 = 16;

/// Counts of one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows.
    pub total: u64,
    /// Those that were held, refused, changed or withheld.
    pub flagged: u64,
    /// Those of them that rest on partial coverage alone.
    pub flagged_partial: u64,
    /// Those that were let pass, and left a mark for later gates.
    pub marked: u64,
}

/// Counts by label.
pub type Table = BTreeMap<String, Counts>;

/// A row that was judged otherwise than its label says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Miss {
    /// Its id.
    pub id: String,
    /// File and line.
    pub at: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its label.
    pub label: String,
    /// What was answered.
    pub verdict: &'static str,
    /// Rules that spoke.
    pub codes: Vec<String>,
    /// The beginning of its text.
    pub text: String,
}

/// A line that is no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Which file.
    pub file: String,
    /// Which line, from 1.
    pub line: u64,
    /// Why.
    pub problem: String,
}

/// What one row costs in the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of the rows take no longer.
    pub p50_us: u64,
    /// 95 of 100.
    pub p95_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Most fuel that one row burnt.
    pub max_fuel: u64,
}

/// What came of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: &'static str,
    pub(super) flagged: bool,
    pub(super) partial: bool,
    pub(super) marked: bool,
    pub(super) codes: Vec<String>,
    pub(super) fault: Option<String>,
    pub(super) fuel: u64,
    pub(super) micros: u64,
}

/// The counts so far.
pub(super) struct Tally {
    files: Vec<String>,
    wanted: Wanted,
    report: Report,
    /// By position, because rows come back in any order.
    misses: BTreeMap<u64, Miss>,
    bad_lines: BTreeMap<(usize, u64), BadLine>,
    histogram: BTreeMap<u64, u64>,
}

impl Tally {
    pub(super) fn new(files: &[PathBuf], wanted: Wanted) -> Self {
        let report = Report {
            set: String::new(),
            files: Vec::new(),
            rows: 0,
            by_label: Table::new(),
            near_misses: Table::new(),
            by_kind: BTreeMap::new(),
            by_category: BTreeMap::new(),
            latency: Latency::default(),
            faults: 0,
            first_fault: None,
            misses: Vec::new(),
            misses_total: 0,
            bad_lines: Vec::new(),
            bad_lines_total: 0,
        };
        Self {
            files: files.iter().map(|file| file.display().to_string()).collect(),
            wanted,
            report,
            misses: BTreeMap::new(),
            bad_lines: BTreeMap::new(),
            histogram: BTreeMap::new(),
        }
    }

    pub(super) fn row(&mut self, file: usize, line: u64, seq: u64, row: &Row, outcome: Outcome) {
        let report = &mut self.report;
        report.rows += 1;
        count(&mut report.by_label, &row.label, &outcome);
        if row.near_miss {
            count(&mut report.near_misses, &row.label, &outcome);
        }
        count(report.by_kind.entry(row.kind.as_str().to_owned()).or_default(), &row.label, &outcome);
        if self.wanted.categories == Categories::Counted {
            let name = bounded(&report.by_category, &row.category);
            count(report.by_category.entry(name).or_default(), &row.label, &outcome);
        }
        *self.histogram.entry(bucket(outcome.micros)).or_default() += 1;
        report.latency.max_us = report.latency.max_us.max(outcome.micros);
        report.latency.max_fuel = report.latency.max_fuel.max(outcome.fuel);
        if let Some(fault) = &outcome.fault {
            report.faults += 1;
            report.first_fault.get_or_insert_with(|| format!("{}: {fault}", row.id));
        }
        if row.expected().is_some_and(|expected| expected != outcome.flagged) {
            report.misses_total += 1;
            self.misses.insert(
                seq,
                Miss {
                    id: row.id.clone(),
                    at: format!("{}:{line}", self.files[file]),
                    kind: row.kind.as_str(),
                    label: row.label.clone(),
                    verdict: outcome.verdict,
                    codes: outcome.codes,
                    text: shown(&row.text),
                },
            );
            if self.misses.len() > self.wanted.misses {
                self.misses.pop_last();
            }
        }
    }

    pub(super) fn bad(&mut self, file: usize, line: u64, problem: &BadRow) {
        self.report.bad_lines_total += 1;
        let bad = BadLine { file: self.files[file].clone(), line, problem: problem.to_string() };
        self.bad_lines.insert((file, line), bad);
        if self.bad_lines.len() > MAX_BAD_LINES {
            self.bad_lines.pop_last();
        }
    }

    pub(super) fn finish(self, set: String, files: Vec<FileReport>) -> Report {
        let latency = Latency {
            p50_us: quantile(&self.histogram, self.report.rows, 50),
            p95_us: quantile(&self.histogram, self.report.rows, 95),
            p99_us: quantile(&self.histogram, self.report.rows, 99),
            ..self.report.latency
        };
        Report {
            set,
            files,
            latency,
            misses: self.misses.into_values().collect(),
            bad_lines: self.bad_lines.into_values().collect(),
            ..self.report
        }
    }
}

fn count(table: &mut Table, label: &str, outcome: &Outcome) {
    let name = bounded(table, label);
    let counts = table.entry(name).or_default();
    counts.total += 1;
    counts.flagged += u64::from(outcome.flagged);
    counts.flagged_partial += u64::from(outcome.partial);
    counts.marked += u64::from(outcome.marked && !outcome.flagged);
}

fn bounded<T>(known: &BTreeMap<String, T>, name: &str) -> String {
    if known.len() < MAX_NAMES || known.contains_key(name) { name.to_owned() } else { OTHERS.to_owned() }
}

fn shown(text: &str) -> String {
    let mut end = text.len().min(MAX_SHOWN_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The lower end of the range that a time is counted in: a sixteenth of a power of two wide.
fn bucket(micros: u64) -> u64 {
    let width = (micros.checked_ilog2().map_or(1, |power| 1_u64 << power) / PARTS).max(1);
    micros / width * width
}

fn quantile(histogram: &BTreeMap<u64, u64>, rows: u64, percent: u64) -> u64 {
    let wanted = (rows * percent).div_ceil(100);
    let mut seen = 0;
    let reached = |(micros, count): (&u64, &u64)| {
        seen += count;
        (seen >= wanted).then_some(*micros)
    };
    histogram.iter().find_map(reached).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, near_miss: bool) -> Row {
        let line = format!(r#"{{"id":"r","kind":"shell","text":"ls","label":"{label}","near_miss":{near_miss}}}"#);
        Row::parse(line.as_bytes()).unwrap()
    }

    fn outcome(flagged: bool, partial: bool) -> Outcome {
        let verdict = if flagged { "deny" } else { "allow" };
        Outcome { verdict, flagged, partial, marked: true, codes: Vec::new(), fault: None, fuel: 1, micros: 10 }
    }

    #[test]
    fn counts_are_kept_apart_and_misses_in_order() {
        let wanted = Wanted { misses: 1, categories: Categories::Ignored };
        let mut tally = Tally::new(&["f".into()], wanted);
        tally.row(0, 3, 3, &row("destructive", false), outcome(false, false));
        tally.row(0, 2, 2, &row("benign", true), outcome(true, true));
        tally.row(0, 1, 1, &row("destructive", false), outcome(true, false));
        tally.row(0, 4, 4, &row("context", false), outcome(true, false));
        let report = tally.finish("d".into(), Vec::new());
        let destructive = Counts { total: 2, flagged: 1, flagged_partial: 0, marked: 1 };
        assert_eq!(report.by_label["destructive"], destructive);
        assert_eq!(report.by_label["benign"].flagged_partial, 1);
        assert_eq!(report.near_misses.keys().collect::<Vec<_>>(), ["benign"]);
        assert_eq!((report.misses_total, report.misses[0].at.as_str()), (2, "f:2"));
        assert_eq!((report.latency.p50_us, report.latency.max_us), (10, 10));
    }

    #[test]
    fn a_latency_is_counted_close_to_where_it_is() {
        for micros in [0, 1, 15, 16, 17, 100, 1_000, 123_456] {
            let low = bucket(micros);
            assert!(low <= micros && micros - low <= micros / 8, "{micros} is counted at {low}");
        }
    }
}
