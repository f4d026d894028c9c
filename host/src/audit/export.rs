//! The log as NDJSON: a line per record (`{"hash", "record"}`, the record in its canonical form, byte by byte) and, after
//! the last record of each segment, a line with its checkpoint (`{"checkpoint"}`).

use serde_json::Value;

use super::{Checkpoint, Record, body_text};

/// The lines of one page; `checkpoints` are those of segments that end on it.
#[must_use]
pub fn lines(records: &[Record], checkpoints: &[Checkpoint]) -> String {
    let mut text = String::new();
    let mut ends = checkpoints.iter().peekable();
    for record in records {
        while let Some(end) = ends.next_if(|end| end.last_seq() < record.seq) {
            push_checkpoint(&mut text, end);
        }
        text.push_str(&record.export_line());
        text.push('\n');
    }
    ends.for_each(|end| push_checkpoint(&mut text, end));
    text
}

/// Reads a record back from the JSON that the REST API gives.
#[must_use]
pub fn record_from_json(value: &Value) -> Option<Record> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Some(Record {
        seq: value["seq"].as_i64()?,
        segment: value["segment"].as_i64()?,
        time_ms: value["time_ms"].as_i64()?,
        tenant: text("tenant")?,
        kind: text("kind")?,
        actor: text("actor")?,
        task: text("task"),
        body: body_text(&value["body"]),
        previous: text("previous")?,
        hash: text("hash")?,
    })
}

fn push_checkpoint(text: &mut String, checkpoint: &Checkpoint) {
    text.push_str(r#"{"checkpoint":"#);
    text.push_str(&checkpoint.to_json());
    text.push_str("}\n");
}
