//! Decisions of policy chains. The record says what was decided by which bytes; the judged content lies apart, so that it
//! can go while the record stays.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::json;

use super::audit::append_audit;
use super::events::append_event;
use super::row::{signed, text};
use super::{Store, StoreError};
use crate::env::Millis;
use crate::id::{DecisionId, TaskId};
use crate::policy::contract::{Finding, Gate};
use crate::policy::{Judgment, Step};

/// At most this many marks per task; the contract says so.
const MAX_MARKS: usize = 64;

/// Answers of a submitter that a later attempt is told.
const MAX_ANSWERS: u32 = 20;

/// A judgment as it is kept.
#[derive(Debug, Clone)]
pub struct DecisionRecord {
    /// Id.
    pub id: DecisionId,
    /// Tenant.
    pub tenant: String,
    /// Task.
    pub task: TaskId,
    /// Gate.
    pub gate: Gate,
    /// When.
    pub time_ms: Millis,
    /// Generation of the set.
    pub generation: u64,
    /// Digest of the set.
    pub set_digest: String,
    /// Verdict word.
    pub verdict: String,
    /// Each policy.
    pub steps: Vec<Step>,
    /// Findings.
    pub findings: Vec<Finding>,
    /// Marks that it sets.
    pub marks: BTreeMap<String, String>,
    /// SHA-256 of what was judged.
    pub input_sha256: String,
    /// What was judged, as the filters left it and with disclosing spans masked; a JSON text.
    pub content: String,
}

impl DecisionRecord {
    /// The record of a judgment.
    #[must_use]
    pub fn of(judgment: &Judgment, tenant: &str, task: &TaskId, time_ms: Millis, content: String) -> Self {
        Self {
            id: judgment.decision.clone(),
            tenant: tenant.to_owned(),
            task: task.clone(),
            gate: judgment.gate,
            time_ms,
            generation: judgment.generation,
            set_digest: judgment.set_digest.clone(),
            verdict: judgment.verdict.as_str().to_owned(),
            steps: judgment.steps.clone(),
            findings: judgment.findings.clone(),
            marks: judgment.marks.clone(),
            input_sha256: judgment.input_sha256.clone(),
            content,
        }
    }
}

impl Store {
    /// Keeps a decision on a task that exists; its marks become the task's. Returns the task's marks.
    pub fn record_decision(&self, decision: &DecisionRecord) -> Result<BTreeMap<String, String>, StoreError> {
        self.write(|tx| record(tx, decision))
    }
}

/// As `record_decision`, inside another verb's transaction.
pub(super) fn record(tx: &Transaction<'_>, decision: &DecisionRecord) -> Result<BTreeMap<String, String>, StoreError> {
    insert_decision(tx, decision)?;
    let task = super::tasks::get(tx, &decision.task)?;
    let marks = merge_marks(task.marks.clone(), &decision.marks);
    if marks != task.marks {
        tx.prepare_cached("UPDATE task SET marks = ?2 WHERE id = ?1")?.execute([decision.task.as_str(), &text(&marks)])?;
    }
    let codes: Vec<&str> = decision.findings.iter().map(|f| f.code.as_str()).collect();
    let body =
        json!({ "gate": decision.gate.as_str(), "verdict": decision.verdict, "codes": codes, "decision": decision.id.as_str() });
    append_event(tx, &task, "judged", &body)?;
    Ok(marks)
}

/// A prompt that a recorded decision let pass: allowed, or approved by people. Only the store makes one.
#[derive(Debug)]
pub struct OnRecord {
    text: String,
    decision: DecisionId,
}

impl OnRecord {
    /// The prompt and the decision.
    #[must_use]
    pub fn into_parts(self) -> (String, DecisionId) {
        (self.text, self.decision)
    }
}

impl Store {
    /// The prompt of a running task, with the newest decision on it.
    pub fn prompt_on_record(&self, task: &TaskId) -> Result<OnRecord, StoreError> {
        self.read(|tx| {
            let record = super::tasks::get(tx, task)?;
            if record.status != crate::task::Status::Running {
                return Err(StoreError::Conflict { what: format!("task {task}") });
            }
            let sql =
                "SELECT id FROM decision WHERE task = ?1 AND gate = 'prompt' AND verdict <> 'deny' ORDER BY time_ms DESC, rowid DESC LIMIT 1";
            let id: Option<String> = tx.query_row(sql, [task.as_str()], |row| row.get(0)).optional()?;
            let id = id.ok_or_else(|| StoreError::NotFound { what: format!("decision on the prompt of {task}") })?;
            let decision =
                DecisionId::parse(&id).map_err(|e| StoreError::Corrupt { what: "decision id".into(), why: e.to_string() })?;
            Ok(OnRecord { text: record.prompt, decision })
        })
    }

    /// What the submitter answered to questions of the agent, screened, the oldest first; of very many the last ones.
    pub fn answers(&self, task: &TaskId) -> Result<String, StoreError> {
        self.read(|tx| {
            let sql = "SELECT json_extract(body, '$.answer') FROM event WHERE task = ?1 AND kind = 'resumed' AND json_extract(body, '$.answer') IS NOT NULL \
                       ORDER BY seq DESC LIMIT ?2";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map(rusqlite::params![task.as_str(), MAX_ANSWERS], |row| row.get::<_, String>(0))?;
            let mut answers = rows.collect::<Result<Vec<_>, _>>()?;
            answers.reverse();
            Ok(answers.join("\n\n"))
        })
    }
}

/// Later values win, empty values remove, and what is over the bound is left out.
#[must_use]
pub fn merge_marks(mut marks: BTreeMap<String, String>, new: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    for (name, value) in new {
        if value.is_empty() {
            marks.remove(name);
        } else if marks.contains_key(name) || marks.len() < MAX_MARKS {
            marks.insert(name.clone(), value.clone());
        }
    }
    marks
}

/// Adds a decision and its audit record inside another verb's transaction.
pub(super) fn insert_decision(tx: &Transaction<'_>, record: &DecisionRecord) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO decision (id, tenant, task, gate, time_ms, generation, set_digest, verdict, steps, findings, input_sha256) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(rusqlite::params![
        record.id.as_str(),
        record.tenant,
        record.task.as_str(),
        record.gate.as_str(),
        signed(record.time_ms),
        signed(record.generation),
        record.set_digest,
        record.verdict,
        text(&record.steps),
        text(&record.findings),
        record.input_sha256,
    ])?;
    tx.prepare_cached("INSERT INTO content (decision, event, created_ms) VALUES (?1, ?2, ?3)")?.execute(rusqlite::params![
        record.id.as_str(),
        record.content,
        signed(record.time_ms)
    ])?;
    let policies: Vec<_> = record
        .steps
        .iter()
        .map(|s| json!({ "policy": s.policy, "digest": s.digest, "outcome": s.outcome, "fault": s.fault }))
        .collect();
    let codes: Vec<&str> = record.findings.iter().map(|f| f.code.as_str()).collect();
    let body = json!({ "decision": record.id.as_str(), "gate": record.gate.as_str(), "verdict": record.verdict, "generation": record.generation,
        "set_digest": record.set_digest, "codes": codes, "policies": policies, "input_sha256": record.input_sha256 });
    append_audit(tx, "decision", "policy", &record.tenant, Some(&record.task), &body)?;
    Ok(())
}
