//! What is asked of people: the request and its items, bound to exactly what would pass.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::env::{self, Millis};
use crate::id::{ApprovalId, DecisionId, TaskId};
use crate::policy::contract::{Demand, Effect, Finding, Gate, Requirement, Resource};

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// People may decide.
    Open,
    /// The demand is met; not all items are used yet.
    Approved,
    /// Somebody refused.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Every item was used.
    Consumed,
    /// Nothing asks any more.
    Withdrawn,
}

impl Standing {
    /// The word used everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Open => "open",
            Standing::Approved => "approved",
            Standing::Denied => "denied",
            Standing::Expired => "expired",
            Standing::Consumed => "consumed",
            Standing::Withdrawn => "withdrawn",
        }
    }
}

/// Why a policy asked, as far as an approval is bound to it: a rule with its effect and its target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ground {
    /// Rule code.
    pub code: String,
    /// Effect.
    pub effect: Effect,
    /// SHA-256 of `kind:name:environment`, or empty: it is compared and never read, and the name may hold a secret.
    pub target: String,
}

/// The grounds of findings, sorted, each once.
#[must_use]
pub fn grounds(findings: &[Finding]) -> BTreeSet<Ground> {
    let digest = |r: &Resource| env::sha256_hex(format!("{}:{}:{}", r.kind, r.name, r.environment).as_bytes());
    let target = |f: &Finding| f.resource.as_ref().map(digest).unwrap_or_default();
    findings.iter().map(|f| Ground { code: f.code.clone(), effect: f.effect, target: target(f) }).collect()
}

/// One thing that would pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Which call: SHA-256 of (task, gate, tool, canonical arguments, working directory).
    pub call_key: String,
    /// Tool name, or the gate's word.
    pub title: String,
    /// What people see: exact, but for masked secrets.
    pub content: String,
    /// Of a call, the arguments beside the one in `content`: a line each, `name: JSON`, masked. Empty where there are none.
    #[serde(default)]
    pub arguments: String,
    /// What was approved in an earlier attempt and not used, where this call is much like it: `content` and `arguments` of
    /// that one. People see what differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Instead>,
    /// SHA-256 of the exact content.
    pub content_sha256: String,
    /// Where it takes effect.
    pub working_directory: String,
    /// Byte ranges of `content`, each with a rule code.
    pub marked: Vec<(u32, u32, String)>,
    /// Why a policy asked.
    pub grounds: BTreeSet<Ground>,
}

/// A call that was approved, as people saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    /// See `Item::content`.
    pub content: String,
    /// See `Item::arguments`.
    pub arguments: String,
}

/// The key of a call: the same call in the same task, whoever asks and however often.
#[must_use]
pub fn call_key(task: &TaskId, gate: Gate, tool: &str, content: &str, working_directory: &str) -> String {
    let canonical = json!([task.as_str(), gate.as_str(), tool, content, working_directory]);
    env::sha256_hex(canonical.to_string().as_bytes())
}

/// A JSON value as canonical text: keys sorted, no blanks. `serde_json`'s maps are sorted.
#[must_use]
pub fn canonical(value: &Value) -> String {
    value.to_string()
}

/// A stored request.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// Id.
    pub id: ApprovalId,
    /// Tenant.
    pub tenant: String,
    /// Of which task.
    pub task: TaskId,
    /// At which gate.
    pub gate: Gate,
    /// Where it stands.
    pub standing: Standing,
    /// What would pass.
    pub items: Vec<Item>,
    /// The policies' demand, all items together.
    pub demand: Demand,
    /// The decision that asked.
    pub decision: DecisionId,
    /// Generation that asked; recorded, not bound.
    pub generation: u64,
    /// Digest of the set that asked; recorded, not bound.
    pub set_digest: String,
    /// Who submitted the task.
    pub requester: String,
    /// Who must agree.
    pub requirements: Vec<Requirement>,
    /// Whether the requester may be one of them.
    pub allow_requester: bool,
    /// Asked at.
    pub created_ms: Millis,
    /// Over at.
    pub expires_ms: Millis,
    /// Decided at.
    pub decided_ms: Option<Millis>,
    /// Why it was refused or withdrawn.
    pub reason: Option<String>,
    /// Who decided what.
    pub votes: Vec<Vote>,
    /// Places of the items that nothing asks for any more.
    pub withdrawn: BTreeSet<usize>,
}

impl Approval {
    /// SHA-256 over what the approval is bound to: every item's call and grounds, and what was shown.
    #[must_use]
    pub fn binding(&self) -> String {
        let items: Vec<Value> = self.items.iter().map(|i| json!([i.call_key, i.content_sha256, i.grounds])).collect();
        env::sha256_hex(json!([self.task.as_str(), self.gate.as_str(), items]).to_string().as_bytes())
    }

    /// The places of the items that people still decide on.
    #[must_use]
    pub fn live(&self) -> Vec<usize> {
        (0..self.items.len()).filter(|item| !self.withdrawn.contains(item)).collect()
    }

    /// Who refused an item, if somebody did.
    #[must_use]
    pub fn refusal_of(&self, item: usize) -> Option<&Vote> {
        self.votes.iter().find(|vote| vote.refuses(item))
    }
}

/// One person's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who.
    pub principal: String,
    /// Roles for this task at that moment.
    pub roles: Vec<String>,
    /// For or against: whether anything may pass.
    pub approve: bool,
    /// Of what may pass, the items that must not: their places in the request.
    pub refused: BTreeSet<usize>,
    /// Why.
    pub reason: String,
    /// When.
    pub time_ms: Millis,
}

impl Vote {
    /// Whether it keeps an item from passing. One refusal ends an item, as it ends a request.
    #[must_use]
    pub fn refuses(&self, item: usize) -> bool {
        !self.approve || self.refused.contains(&item)
    }
}
