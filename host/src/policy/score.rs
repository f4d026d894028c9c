//! How well policies judge: labelled rows in, counts by label out.
//!
//! Files are read line by line by one thread, each row is judged as a server's gate would, by as many threads as there
//! are cores, and only counts, a bounded list of misses and the lines that were no rows are kept.

mod row;
mod rows;
mod tally;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

pub use row::Kind;
use row::{BadRow, Row};
pub use rows::FileReport;
pub use tally::{BadLine, Counts, Latency, Miss, Table};
use tally::{Outcome, Tally};

use super::contract::{Coverage, Severity, Verdict};
use super::judgment::Judgment;
use super::trial::Trial;

/// Rows that wait between reader and judges.
const QUEUE: usize = 256;
/// Threads that judge, at most.
const MAX_WORKERS: usize = 16;

/// What is wanted beside the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Misses that are listed, the first in the order of the files.
    pub misses: usize,
    /// Whether there is a table for each category too.
    pub categories: Categories,
}

/// Whether rows are counted by category too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Categories {
    /// They are.
    Counted,
    /// They are not.
    Ignored,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Digest of the set that judged.
    pub set: String,
    /// The files, with their digests.
    pub files: Vec<FileReport>,
    /// Rows that were judged.
    pub rows: u64,
    /// Every row, near misses included.
    pub by_label: Table,
    /// Rows that only look like something: part of `by_label`.
    pub near_misses: Table,
    /// The same by kind.
    pub by_kind: std::collections::BTreeMap<String, Table>,
    /// The same by category, where it was wanted.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub by_category: std::collections::BTreeMap<String, Table>,
    /// What one row costs in the engine.
    pub latency: Latency,
    /// Rows that a policy did not answer in its limits; they count as flagged, because the gate would have denied.
    pub faults: u64,
    /// The first of them.
    pub first_fault: Option<String>,
    /// Rows that were not flagged and should be, and the other way round.
    pub misses: Vec<Miss>,
    /// How many there are; the list is bounded.
    pub misses_total: u64,
    /// Lines that are no rows.
    pub bad_lines: Vec<BadLine>,
    /// How many there are; the list is bounded.
    pub bad_lines_total: u64,
}

/// A line on its way to a judge.
enum Line {
    Row { file: usize, line: u64, seq: u64, row: Box<Row> },
    Bad { file: usize, line: u64, problem: BadRow },
}

/// A line on its way back.
enum Judged {
    Row { file: usize, line: u64, seq: u64, row: Box<Row>, outcome: Outcome },
    Bad { file: usize, line: u64, problem: BadRow },
}

/// Reads and judges all files; tells of every row that is done.
pub fn run(trial: &Trial, files: &[PathBuf], wanted: Wanted, done: &mut dyn FnMut(u64)) -> Report {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MAX_WORKERS);
    let mut tally = Tally::new(files, wanted);
    let mut reports = Vec::new();
    let (feed, lines) = sync_channel::<Line>(QUEUE);
    let lines = &Mutex::new(lines);
    std::thread::scope(|scope| {
        let (tell, judged) = sync_channel::<Judged>(QUEUE);
        let reader = scope.spawn(move || read(files, &feed));
        for _ in 0..workers {
            let tell = tell.clone();
            scope.spawn(move || judge_all(trial, lines, &tell));
        }
        drop(tell);
        for (count, judged) in (1..).zip(judged) {
            match judged {
                Judged::Row { file, line, seq, row, outcome } => tally.row(file, line, seq, &row, outcome),
                Judged::Bad { file, line, problem } => tally.bad(file, line, &problem),
            }
            done(count);
        }
        reports = reader.join().unwrap_or_default();
    });
    tally.finish(trial.digest().to_owned(), reports)
}

fn read(files: &[PathBuf], feed: &SyncSender<Line>) -> Vec<FileReport> {
    let mut seq = 0;
    let one = |(at, path): (usize, &PathBuf)| {
        rows::read(path, &mut |line, parsed| {
            seq += 1;
            let _ = match parsed {
                Ok(row) => feed.send(Line::Row { file: at, line, seq, row: Box::new(row) }),
                Err(problem) => feed.send(Line::Bad { file: at, line, problem }),
            };
        })
    };
    files.iter().enumerate().map(one).collect()
}

fn judge_all(trial: &Trial, lines: &Mutex<Receiver<Line>>, tell: &SyncSender<Judged>) {
    loop {
        let next = lines.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let judged = match next {
            Ok(Line::Row { file, line, seq, row }) => {
                let outcome = outcome(&trial.judge(row.event()));
                Judged::Row { file, line, seq, row, outcome }
            }
            Ok(Line::Bad { file, line, problem }) => Judged::Bad { file, line, problem },
            Err(_) => return,
        };
        if tell.send(judged).is_err() {
            return;
        }
    }
}

fn outcome(judgment: &Judgment) -> Outcome {
    let changed = judgment.steps.iter().any(|step| matches!(step.outcome.as_str(), "replaced" | "withheld"));
    let stopped = !matches!(judgment.verdict, Verdict::Allow { .. });
    let told = if stopped { judgment.verdict.findings() } else { &judgment.findings };
    // Findings that stop nothing stand beside those that do; a judgment rests on those that matter.
    let weighty = told.iter().any(|finding| finding.severity >= Severity::Medium);
    let partial = told
        .iter()
        .filter(|finding| !weighty || finding.severity >= Severity::Medium)
        .all(|finding| finding.coverage == Coverage::Partial);
    Outcome {
        verdict: if changed && !stopped { "replaced" } else { judgment.verdict.as_str() },
        flagged: stopped || changed,
        partial: (stopped || changed) && !told.is_empty() && partial,
        marked: !judgment.marks.is_empty(),
        codes: told.iter().map(|finding| finding.code.clone()).collect(),
        fault: judgment.steps.iter().find_map(|step| step.fault.clone()),
        fuel: judgment.steps.iter().map(|step| step.fuel).sum(),
        micros: judgment.steps.iter().map(|step| step.micros).sum(),
    }
}
