//! One record: its canonical form and its hash.
//!
//! The hash covers the record as one line of JSON with sorted keys and no spaces, `body` as it is stored. Anybody can
//! recompute it from an export without knowing anything of coda.

use serde_json::Value;

use crate::env;

/// What the first record has in place of a hash before it.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A body beyond this is replaced by its digest.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// Version of the canonical form.
const VERSION: u32 = 1;

/// A record as it is stored. Numbers are signed because a forged one may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position, from 1.
    pub seq: i64,
    /// Segment, from 1.
    pub segment: i64,
    /// When, milliseconds since the epoch.
    pub time_ms: i64,
    /// Tenant.
    pub tenant: String,
    /// What happened, such as `approval.decided`.
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// To which task, if to one.
    pub task: Option<String>,
    /// More, as canonical JSON text.
    pub body: String,
    /// Hash of the record before.
    pub previous: String,
    /// Hash of this one.
    pub hash: String,
}

impl Record {
    /// What the hash covers.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!(
            r#"{{"actor":{},"body":{},"kind":{},"previous":{},"segment":{},"seq":{},"task":{},"tenant":{},"time_ms":{},"v":{VERSION}}}"#,
            quoted(&self.actor),
            self.body,
            quoted(&self.kind),
            quoted(&self.previous),
            self.segment,
            self.seq,
            self.task.as_deref().map_or_else(|| "null".to_owned(), quoted),
            quoted(&self.tenant),
            self.time_ms,
        )
    }

    /// What `hash` must be.
    #[must_use]
    pub fn computed_hash(&self) -> String {
        env::sha256_hex(self.canonical().as_bytes())
    }

    /// As one line of an export: the canonical form, byte by byte, and its hash.
    #[must_use]
    pub fn export_line(&self) -> String {
        format!(r#"{{"hash":{},"record":{}}}"#, quoted(&self.hash), self.canonical())
    }

    /// For people and programs that show it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| Value::String(self.body.clone()));
        serde_json::json!({
            "seq": self.seq, "segment": self.segment, "time_ms": self.time_ms, "tenant": self.tenant, "kind": self.kind,
            "actor": self.actor, "task": self.task, "body": body, "previous": self.previous, "hash": self.hash,
        })
    }
}

/// A body in canonical form: sorted keys, no spaces, numbers that are not integers as text (their decimal form is not
/// the same everywhere), and bounded.
#[must_use]
pub fn body_text(body: &Value) -> String {
    let mut text = String::new();
    write_canonical(body, &mut text);
    if text.len() > MAX_BODY_BYTES {
        let digest = env::sha256_hex(text.as_bytes());
        return format!(r#"{{"bytes":{},"cut":true,"sha256":"{digest}"}}"#, text.len());
    }
    text
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) if n.is_f64() => out.push_str(&quoted(&n.to_string())),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(s) => out.push_str(&quoted(s)),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                out.push_str(&quoted(key));
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_canonical_form_is_fixed() {
        let record = Record {
            seq: 2,
            segment: 1,
            time_ms: 5,
            tenant: "default".into(),
            kind: "login".into(),
            actor: "a\"b".into(),
            task: None,
            body: body_text(&json!({"b": [1, true, null], "a": {"y": "\n", "x": 1.5}})),
            previous: GENESIS.into(),
            hash: String::new(),
        };
        assert_eq!(
            record.canonical(),
            format!(
                r#"{{"actor":"a\"b","body":{{"a":{{"x":"1.5","y":"\n"}},"b":[1,true,null]}},"kind":"login","previous":"{GENESIS}","segment":1,"seq":2,"task":null,"tenant":"default","time_ms":5,"v":1}}"#
            )
        );
        let line: Value = serde_json::from_str(&record.export_line()).expect("an export line is JSON");
        assert_eq!(line["record"].to_string(), record.canonical(), "whoever parses and prints it sorted gets the same bytes");
    }

    #[test]
    fn a_large_body_leaves_its_digest() {
        let text = body_text(&json!({ "x": "y".repeat(MAX_BODY_BYTES) }));
        assert!(text.len() < 200 && text.contains("sha256"), "{text}");
    }
}
