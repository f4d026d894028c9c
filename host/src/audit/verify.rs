//! Verification: goes through the log once, from the first record to the last, and says what does not fit.
//!
//! ```text
//! for each record:  right number? ─ right predecessor? ─ right hash?
//! at each boundary: a checkpoint? ─ of our key? ─ right count, right end?
//! at the end:       does the log reach the checkpoints that were kept elsewhere?
//! ```
//! Pure: it reads nothing but what it is given. What cannot be proven is said, not left out.

mod report;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::checkpoint::{Checkpoint, Key};
use super::record::{GENESIS, Record};

pub use report::{Kind, Problem, Report};

/// A checkpoint that was kept outside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// In the file beside the key.
    File(Checkpoint),
    /// In the log stream, handed in by a person.
    Given(Checkpoint),
}

impl Anchor {
    fn checkpoint(&self) -> &Checkpoint {
        match self {
            Anchor::File(checkpoint) | Anchor::Given(checkpoint) => checkpoint,
        }
    }

    fn way_out(&self) -> &'static str {
        match self {
            Anchor::File(_) => "; after a restore on purpose, move keys/audit.checkpoint away",
            Anchor::Given(_) => "",
        }
    }

    fn origin(&self) -> &'static str {
        match self {
            Anchor::File(_) => "the checkpoint file beside the key",
            Anchor::Given(_) => "the given checkpoint",
        }
    }
}

/// The segment that is being read.
#[derive(Debug)]
struct Current {
    segment: i64,
    first_seq: i64,
    count: i64,
}

/// Goes through the log; feed it the records in the order of their numbers, then `finish`.
#[derive(Debug)]
pub struct Verifier {
    checkpoints: BTreeMap<i64, Checkpoint>,
    anchors: Vec<Anchor>,
    has_key: bool,
    current: Current,
    /// Hash that the next record must name.
    previous: String,
    next_seq: i64,
    /// Closed segments without records, to be explained by retention.
    absent: BTreeSet<i64>,
    /// The last segment that retention says it dropped, and its end.
    dropped: Option<(i64, String)>,
    report: Report,
}

impl Verifier {
    /// `checkpoints` are those of the database; without the key their HMACs stay unchecked.
    #[must_use]
    pub fn new(checkpoints: Vec<Checkpoint>, key: Option<&Key>, anchors: Vec<Anchor>) -> Self {
        let mut report = Report { checkpoints: checkpoints.len() as u64, ..Report::default() };
        if let Some(key) = key {
            for forged in checkpoints.iter().filter(|c| !c.is_by(key)) {
                let text = "its HMAC does not fit the key: forged or changed, or the key was replaced";
                report.add(Kind::CheckpointForged, Some(forged.first_seq), forged.segment, text.to_owned());
            }
            for anchor in anchors.iter().filter(|a| !a.checkpoint().is_by(key)) {
                let text = format!("the HMAC of {} does not fit the key", anchor.origin());
                report.add(Kind::CheckpointForged, Some(anchor.checkpoint().first_seq), anchor.checkpoint().segment, text);
            }
        }
        Self {
            checkpoints: checkpoints.into_iter().map(|c| (c.segment, c)).collect(),
            anchors,
            has_key: key.is_some(),
            current: Current { segment: 0, first_seq: 1, count: 0 },
            previous: GENESIS.to_owned(),
            next_seq: 1,
            absent: BTreeSet::new(),
            dropped: None,
            report,
        }
    }

    /// The next record.
    pub fn record(&mut self, record: &Record) {
        if record.segment > self.current.segment {
            self.enter(record);
        } else if record.segment < self.current.segment {
            let text = format!("it says segment {}, but stands in segment {}", record.segment, self.current.segment);
            self.report.add(Kind::Reordered, Some(record.seq), self.current.segment, text);
        }
        let gap = record.seq != self.next_seq;
        if gap {
            let (from, to) = (self.next_seq, record.seq.saturating_sub(1));
            let text =
                if from == to { format!("record {from} is missing") } else { format!("records {from} to {to} are missing") };
            self.report.add(Kind::Missing, Some(from), record.segment, text);
        }
        if !gap && record.previous != self.previous {
            let text = format!("record {} does not follow the record before it", record.seq);
            self.report.add(Kind::BrokenLink, Some(record.seq), record.segment, text);
        }
        self.check_content(record);
        self.current.count += 1;
        self.previous.clone_from(&record.hash);
        self.next_seq = record.seq.saturating_add(1);
        self.report.saw(record);
    }

    fn check_content(&mut self, record: &Record) {
        // A body that is not one JSON value could move the border between itself and the other fields.
        let body: Option<Value> = serde_json::from_str(&record.body).ok();
        if body.is_none() || record.computed_hash() != record.hash {
            let text = format!("record {} was changed: its content does not fit its hash", record.seq);
            self.report.add(Kind::Edited, Some(record.seq), record.segment, text);
        }
        if record.kind == super::DROPPED
            && let Some(body) = &body
            && let (Some(through), Some(head)) = (body["through_segment"].as_i64(), body["head"].as_str())
        {
            self.dropped = Some((through, head.to_owned()));
        }
    }

    /// Crosses from the current segment into the record's.
    fn enter(&mut self, record: &Record) {
        self.leave();
        let skipped: Vec<i64> =
            self.checkpoints.range(self.current.segment.saturating_add(1)..record.segment).map(|(segment, _)| *segment).collect();
        let expected = record.segment.saturating_sub(self.current.segment).saturating_sub(1);
        if i64::try_from(skipped.len()).unwrap_or(i64::MAX) < expected {
            let text =
                format!("between segments {} and {} some are gone with their checkpoints", self.current.segment, record.segment);
            self.report.add(Kind::SegmentGone, Some(self.next_seq), record.segment, text);
        }
        for segment in skipped {
            let checkpoint = &self.checkpoints[&segment];
            self.previous.clone_from(&checkpoint.head);
            self.next_seq = checkpoint.last_seq().saturating_add(1);
            self.absent.insert(segment);
        }
        self.current = Current { segment: record.segment, first_seq: record.seq, count: 0 };
    }

    /// Holds the segment that was just read to its checkpoint.
    fn leave(&mut self) {
        let Current { segment, first_seq, count } = self.current;
        if segment == 0 {
            return;
        }
        let Some(checkpoint) = self.checkpoints.get(&segment) else {
            let text = format!("segment {segment} is over, but its checkpoint is gone");
            self.report.add(Kind::CheckpointMissing, Some(first_seq), segment, text);
            return;
        };
        if (checkpoint.first_seq, checkpoint.count, &checkpoint.head) != (first_seq, count, &self.previous) {
            let text = format!(
                "segment {segment} has {count} records from {first_seq}; its checkpoint says {} from {} with another end or number: \
                 records were added, removed or rewritten",
                checkpoint.count, checkpoint.first_seq
            );
            self.report.add(Kind::Rewritten, Some(first_seq), segment, text);
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let open = !self.checkpoints.contains_key(&self.current.segment);
        if open {
            self.report.open_records = u64::try_from(self.current.count).unwrap_or(0);
        } else {
            self.leave();
        }
        let cut: Vec<i64> = self.checkpoints.range(self.current.segment.saturating_add(1)..).map(|(s, _)| *s).collect();
        for segment in cut {
            let text = format!("all records of segment {segment} are gone: the log was cut back, its checkpoint is still there");
            self.report.add(Kind::Truncated, Some(self.next_seq), segment, text);
        }
        self.explain_absent();
        self.hold_to_anchors();
        self.say_what_it_cannot_show();
        self.report.settled()
    }

    fn explain_absent(&mut self) {
        // The end of the last dropped segment vouches for all before it: each is chained to the next.
        let through =
            self.dropped.take().filter(|(segment, head)| self.checkpoints.get(segment).is_some_and(|c| c.head == *head));
        for segment in std::mem::take(&mut self.absent) {
            let checkpoint = &self.checkpoints[&segment];
            if through.as_ref().is_some_and(|(through, _)| segment <= *through) {
                self.report.dropped_segments += 1;
                continue;
            }
            let text = format!(
                "all {} records of segment {segment} are gone, and no '{}' record says that retention dropped them",
                checkpoint.count,
                super::DROPPED
            );
            self.report.add(Kind::SegmentGone, Some(checkpoint.first_seq), segment, text);
        }
    }

    fn hold_to_anchors(&mut self) {
        for anchor in std::mem::take(&mut self.anchors) {
            let kept = anchor.checkpoint();
            let problem = match self.checkpoints.get(&kept.segment) {
                Some(stored) if stored == kept => None,
                Some(_) => Some((Kind::Rewritten, "is another than")),
                None => Some((Kind::Truncated, "is gone from the log, but known from")),
            };
            if let Some((kind, how)) = problem {
                let text = format!(
                    "the checkpoint of segment {} {how} {}: the log was rewritten, cut back or restored{}",
                    kept.segment,
                    anchor.origin(),
                    anchor.way_out()
                );
                self.report.add(kind, Some(kept.first_seq), kept.segment, text);
            }
            if let Anchor::Given(kept) = anchor {
                self.report.witnessed_seq = self.report.witnessed_seq.max(Some(kept.last_seq()));
            }
        }
    }

    fn say_what_it_cannot_show(&mut self) {
        let proven = self.checkpoints.values().map(Checkpoint::last_seq).max().unwrap_or(0);
        let cannot = &mut self.report.cannot_show;
        cannot.push(format!(
            "whether records after number {proven} (the last checkpoint) were removed from the end, or changed together with all that follow: \
             nothing closes them yet"
        ));
        if !self.has_key {
            cannot.push("whether the checkpoints are coda's: the key is not there; run it where keys/audit.key is".to_owned());
        }
        match self.report.witnessed_seq {
            None => cannot.push(
                "whether somebody who holds keys/audit.key rewrote the log with its checkpoints: give a checkpoint from the log \
                 stream with --checkpoint"
                    .to_owned(),
            ),
            Some(seq) if seq < proven => cannot.push(format!(
                "whether somebody who holds keys/audit.key rewrote what follows record {seq}, the end of the given checkpoint"
            )),
            Some(_) => {}
        }
        if self.report.dropped_segments > 0 {
            cannot.push(
                "what stood in dropped segments, and that retention dropped them: a record says so, only their size and end are proven".to_owned(),
            );
        }
        cannot.push("what was never written".to_owned());
    }
}

#[cfg(test)]
mod tests;
