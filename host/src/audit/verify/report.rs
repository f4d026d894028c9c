//! What verification found.

use serde::Serialize;

use crate::audit::Record;

/// Problems beyond these are counted, not listed.
const MAX_PROBLEMS: usize = 50;

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A record's content does not fit its hash.
    Edited,
    /// A record does not name the hash of the one before it.
    BrokenLink,
    /// Numbers are missing.
    Missing,
    /// A record stands where it does not belong.
    Reordered,
    /// A segment does not end as its checkpoint says.
    Rewritten,
    /// A segment is over and has no checkpoint.
    CheckpointMissing,
    /// A checkpoint is not coda's.
    CheckpointForged,
    /// All records of a closed segment are gone, and retention did not do it.
    SegmentGone,
    /// The log ends before a checkpoint that is known.
    Truncated,
}

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What.
    pub kind: Kind,
    /// The first record it concerns.
    pub seq: Option<i64>,
    /// Its segment.
    pub segment: i64,
    /// For a person.
    pub text: String,
}

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether everything that can be checked fits.
    pub ok: bool,
    /// Records read.
    pub records: u64,
    /// Checkpoints in the database.
    pub checkpoints: u64,
    /// Records after the last checkpoint.
    pub open_records: u64,
    /// Segments that retention dropped.
    pub dropped_segments: u64,
    /// First record there is.
    pub first_seq: Option<i64>,
    /// Last record there is.
    pub last_seq: Option<i64>,
    /// Its hash.
    pub head: Option<String>,
    /// Up to here a checkpoint from outside vouches.
    pub witnessed_seq: Option<i64>,
    /// The first record that is bad.
    pub first_bad: Option<i64>,
    /// By record, the first ones.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more_problems: u64,
    /// What no verification of this log can say.
    pub cannot_show: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, kind: Kind, seq: Option<i64>, segment: i64, text: String) {
        self.first_bad = match (self.first_bad, seq) {
            (Some(known), Some(seq)) => Some(known.min(seq)),
            (known, seq) => known.or(seq),
        };
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { kind, seq, segment, text });
        } else {
            self.more_problems += 1;
        }
    }

    pub(super) fn saw(&mut self, record: &Record) {
        self.records += 1;
        self.first_seq.get_or_insert(record.seq);
        self.last_seq = Some(record.seq);
        self.head = Some(record.hash.clone());
    }

    pub(super) fn settled(mut self) -> Self {
        self.ok = self.problems.is_empty();
        self.problems.sort_by_key(|p| p.seq);
        self
    }
}
