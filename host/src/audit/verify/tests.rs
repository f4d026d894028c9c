//! Whoever changes a closed part of the log is found, whatever they change.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::audit::{DROPPED, body_text};

/// A log as it lies in the database.
#[derive(Debug, Clone)]
struct Log {
    records: Vec<Record>,
    checkpoints: Vec<Checkpoint>,
    key: Key,
}

impl Log {
    /// `segments` closed ones with `size` records each, and `open` records after them.
    fn new(segments: i64, size: i64, open: i64) -> Self {
        let mut log = Self { records: Vec::new(), checkpoints: Vec::new(), key: Key::random() };
        for segment in 1..=segments + 1 {
            let count = if segment <= segments { size } else { open };
            for _ in 0..count {
                log.push(segment, "task.accepted", &json!({ "n": log.records.len() }));
            }
            if segment <= segments {
                let head = log.records.last().expect("records").hash.clone();
                let first = log.records.len() as i64 - size + 1;
                log.checkpoints.push(Checkpoint::seal(&log.key, segment, first, size, head, 1000 * segment));
            }
        }
        log
    }

    fn push(&mut self, segment: i64, kind: &str, body: &Value) {
        let mut record = Record {
            seq: self.records.last().map_or(1, |r| r.seq + 1),
            segment,
            time_ms: 1_700_000_000_000,
            tenant: "default".into(),
            kind: kind.into(),
            actor: "ada".into(),
            task: Some("task_1".into()),
            body: body_text(body),
            previous: self.records.last().map_or(GENESIS.to_owned(), |r| r.hash.clone()),
            hash: String::new(),
        };
        record.hash = record.computed_hash();
        self.records.push(record);
    }

    fn verify_with(&self, anchors: Vec<Anchor>) -> Report {
        let mut verifier = Verifier::new(self.checkpoints.clone(), Some(&self.key), anchors);
        let mut sorted = self.records.clone();
        sorted.sort_by_key(|r| r.seq);
        sorted.iter().for_each(|r| verifier.record(r));
        verifier.finish()
    }

    fn verify(&self) -> Report {
        self.verify_with(Vec::new())
    }

    /// What somebody does who knows the format and can write the database: all hashes fit again from `from` on.
    fn rechain(&mut self, from: usize) {
        for i in from..self.records.len() {
            self.records[i].previous = if i == 0 { GENESIS.to_owned() } else { self.records[i - 1].hash.clone() };
            self.records[i].hash = self.records[i].computed_hash();
        }
    }
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.problems.iter().map(|p| p.kind).collect()
}

const FIELDS: [fn(&mut Record); 10] = [
    |r| r.seq += 1000,
    |r| r.segment += 1,
    |r| r.time_ms -= 1,
    |r| r.tenant.push('x'),
    |r| r.kind.push('x'),
    |r| r.actor = "eve".into(),
    |r| r.task = None,
    |r| r.body = "{}".into(),
    |r| r.previous = GENESIS.replace('0', "1"),
    |r| r.hash = GENESIS.replace('0', "2"),
];

#[test]
fn a_log_that_nobody_touched_is_fine() {
    for (segments, open) in [(0, 0), (0, 3), (3, 0), (3, 4)] {
        let log = Log::new(segments, 5, open);
        let report = log.verify();
        assert!(report.ok, "{report:?}");
        assert_eq!((report.records, report.open_records), (log.records.len() as u64, open.unsigned_abs()));
        assert!(report.cannot_show.iter().any(|c| c.contains(&format!("after number {}", segments * 5))));
    }
}

#[test]
fn every_field_of_every_record_counts() {
    let log = Log::new(2, 4, 3);
    for i in 0..log.records.len() {
        for (field, change) in FIELDS.iter().enumerate() {
            let mut changed = log.clone();
            change(&mut changed.records[i]);
            let report = changed.verify();
            assert!(!report.ok, "record {} field {field} was changed unseen", i + 1);
            let first = report.first_bad.expect("it names one");
            assert!(first <= i as i64 + 2, "record {} field {field}: says {first}", i + 1);
        }
    }
}

#[test]
fn an_edit_is_named_by_number() {
    let mut log = Log::new(2, 4, 3);
    log.records[5].actor = "eve".into();
    let report = log.verify();
    assert_eq!((report.first_bad, kinds(&report)), (Some(6), vec![Kind::Edited]));
    assert!(report.problems[0].text.contains("record 6 was changed"));
}

#[test]
fn a_body_cannot_swallow_its_neighbours() {
    let mut log = Log::new(1, 2, 0);
    let record = &mut log.records[0];
    record.body = format!("{},\"kind\":\"x\"", record.body);
    record.hash = record.computed_hash();
    assert!(kinds(&log.verify()).contains(&Kind::Edited));
}

#[test]
fn a_rewrite_with_fitting_hashes_does_not_fit_its_checkpoint() {
    let mut log = Log::new(3, 4, 2);
    log.records[5].actor = "eve".into();
    log.rechain(5);
    let report = log.verify();
    assert_eq!(kinds(&report), [Kind::Rewritten, Kind::Rewritten]);
    assert_eq!(report.first_bad, Some(5), "the first record of the segment");
    // New checkpoints need the key.
    let forger = Key::random();
    for checkpoint in &mut log.checkpoints {
        let head = log.records[usize::try_from(checkpoint.last_seq()).expect("small") - 1].hash.clone();
        *checkpoint =
            Checkpoint::seal(&forger, checkpoint.segment, checkpoint.first_seq, checkpoint.count, head, checkpoint.closed_ms);
    }
    assert_eq!(kinds(&log.verify()), [Kind::CheckpointForged; 3]);
}

#[test]
fn cutting_back_is_seen_as_far_as_a_checkpoint_reaches() {
    let whole = Log::new(3, 4, 2);
    let last = whole.checkpoints[2].clone();
    // The records of the open segment: nothing closes them, and the report says so.
    let mut log = whole.clone();
    log.records.truncate(12);
    let report = log.verify_with(vec![Anchor::File(last.clone())]);
    assert!(report.ok && report.cannot_show[0].contains("after number 12"), "{report:?}");
    // Into a closed segment.
    log.records.truncate(11);
    assert_eq!(kinds(&log.verify()), [Kind::Rewritten]);
    // A whole closed segment, its checkpoint left behind.
    log.records.truncate(8);
    assert_eq!(kinds(&log.verify()), [Kind::Truncated]);
    // With its checkpoint: only one kept elsewhere shows it.
    log.checkpoints.pop();
    assert!(log.verify().ok);
    for anchor in [Anchor::File(last.clone()), Anchor::Given(last.clone())] {
        assert_eq!(kinds(&log.verify_with(vec![anchor])), [Kind::Truncated]);
    }
    // Everything.
    log.records.clear();
    log.checkpoints.clear();
    assert_eq!(kinds(&log.verify_with(vec![Anchor::File(last)])), [Kind::Truncated]);
}

#[test]
fn the_log_streams_checkpoint_shows_what_the_keys_holder_did() {
    let mut log = Log::new(2, 4, 0);
    let witnessed = log.checkpoints[1].clone();
    let honest = log.verify_with(vec![Anchor::Given(witnessed.clone())]);
    assert!(honest.ok && honest.witnessed_seq == Some(8));
    assert!(!honest.cannot_show.iter().any(|c| c.contains("holds keys/audit.key")), "{:?}", honest.cannot_show);
    log.records[0].actor = "eve".into();
    log.rechain(0);
    for i in 0..2 {
        let c = log.checkpoints[i].clone();
        let head = log.records[(i + 1) * 4 - 1].hash.clone();
        log.checkpoints[i] = Checkpoint::seal(&log.key, c.segment, c.first_seq, c.count, head, c.closed_ms);
    }
    let blind = log.verify();
    assert!(blind.ok && blind.cannot_show.iter().any(|c| c.contains("holds keys/audit.key")));
    assert_eq!(kinds(&log.verify_with(vec![Anchor::Given(witnessed)])), [Kind::Rewritten]);
}

#[test]
fn a_lost_checkpoint_or_segment_is_seen() {
    let whole = Log::new(3, 4, 2);
    let mut log = whole.clone();
    log.checkpoints.remove(1);
    assert_eq!(kinds(&log.verify()), [Kind::CheckpointMissing]);
    // Records gone, checkpoint left: retention would have said so.
    let mut log = whole.clone();
    log.records.drain(4..8);
    assert_eq!(kinds(&log.verify()), [Kind::SegmentGone]);
    // Both gone.
    log.checkpoints.remove(1);
    let report = log.verify();
    assert!(kinds(&report).contains(&Kind::SegmentGone) && report.first_bad == Some(5), "{report:?}");
}

#[test]
fn what_retention_drops_leaves_a_provable_log() {
    let mut log = Log::new(3, 4, 1);
    let last = log.checkpoints[1].clone();
    log.push(4, DROPPED, &json!({ "through_segment": last.segment, "head": last.head }));
    log.records.drain(..8);
    let report = log.verify();
    assert!(report.ok && report.dropped_segments == 2 && report.first_seq == Some(9), "{report:?}");
    assert!(report.cannot_show.iter().any(|c| c.contains("in dropped segments")));
    log.records.drain(..4);
    assert_eq!(kinds(&log.verify()), [Kind::SegmentGone], "the third was not named");
}

#[test]
fn without_the_key_the_chain_is_checked_and_the_rest_said() {
    let log = Log::new(1, 2, 0);
    let mut verifier = Verifier::new(log.checkpoints.clone(), None, Vec::new());
    log.records.iter().for_each(|r| verifier.record(r));
    let report = verifier.finish();
    assert!(report.ok && report.cannot_show.iter().any(|c| c.contains("the key is not there")));
}

/// Something that somebody does to the records.
#[derive(Debug, Clone)]
enum Tamper {
    Change { at: usize, field: usize },
    Drop { at: usize, count: usize },
    Swap { a: usize, b: usize },
    Duplicate { at: usize },
    Insert { at: usize },
}

fn tamper() -> impl Strategy<Value = Tamper> {
    prop_oneof![
        (0..100usize, 0..FIELDS.len()).prop_map(|(at, field)| Tamper::Change { at, field }),
        (0..100usize, 1..6usize).prop_map(|(at, count)| Tamper::Drop { at, count }),
        (0..100usize, 0..100usize).prop_map(|(a, b)| Tamper::Swap { a, b }),
        (0..100usize).prop_map(|at| Tamper::Duplicate { at }),
        (0..100usize).prop_map(|at| Tamper::Insert { at }),
    ]
}

proptest! {
    /// With or without putting the hashes right afterwards: whatever touches a closed segment is found.
    #[test]
    fn no_change_of_closed_segments_goes_unseen(segments in 1..4i64, size in 1..5i64, tamper in tamper(), rechain: bool) {
        let log = Log::new(segments, size, 2);
        let closed = usize::try_from(segments * size).expect("small");
        let mut changed = log.clone();
        let records = &mut changed.records;
        let first = match tamper {
            Tamper::Change { at, field } => {
                let at = at % closed;
                FIELDS[field](&mut records[at]);
                at
            }
            Tamper::Drop { at, count } => {
                let at = at % closed;
                records.drain(at..(at + count).min(closed));
                at
            }
            Tamper::Swap { a, b } => {
                let (a, b) = (a % closed, b % closed);
                // The contents change places, the numbers stay: a number is what orders them.
                let (at_a, at_b) = (records[a].seq, records[b].seq);
                records.swap(a, b);
                (records[a].seq, records[b].seq) = (at_a, at_b);
                a.min(b)
            }
            Tamper::Duplicate { at } | Tamper::Insert { at } => {
                let at = at % closed;
                let mut extra = records[at].clone();
                if matches!(tamper, Tamper::Insert { .. }) {
                    extra.actor = "eve".into();
                }
                records.insert(at, extra);
                for (i, record) in records.iter_mut().enumerate() {
                    record.seq = i64::try_from(i).expect("small") + 1;
                }
                at
            }
        };
        if rechain {
            changed.rechain(first);
        }
        let same = changed.records == log.records;
        let report = changed.verify();
        prop_assert_eq!(report.ok, same, "{:?}", report);
    }
}
