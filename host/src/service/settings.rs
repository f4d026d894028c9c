//! Bounds on what is asked, and what can be asked for: agents, workspaces, labels.

use std::collections::{BTreeMap, BTreeSet};

/// Settings of the verbs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest prompt, in bytes.
    pub max_prompt_bytes: usize,
    /// Longest context, in bytes of its JSON text.
    pub max_context_bytes: usize,
    /// Running time where a submission names none, in seconds.
    pub timeout_s: u64,
    /// Longest running time, in seconds.
    pub max_timeout_s: u64,
    /// How far back an inbox looks, in seconds.
    pub inbox_window_s: u64,
    /// Tasks that wait for a place, at most.
    pub max_queued: u64,
    /// Tasks of one principal that are not ended, at most.
    pub max_open_per_principal: u64,
    /// Agent where a submission names none.
    pub default_agent: String,
    /// Agents that can be asked for.
    pub agents: BTreeSet<String>,
    /// Named workspaces with the principals who may use them (empty = every submitter).
    pub workspaces: BTreeMap<String, Vec<String>>,
    /// Labels for tasks.
    pub labels: Vec<LabelRule>,
    /// Address that people reach the pages at, without a trailing slash.
    pub public_url: String,
    /// The service identities that tasks of these agents act with; all others act as their submitter.
    pub services: BTreeMap<String, String>,
}

/// Labels that are attached to tasks that fit all conditions that are set.
#[derive(Debug, Clone, Default)]
pub struct LabelRule {
    /// Tasks in one of these workspaces.
    pub workspaces: Vec<String>,
    /// Tasks of one of these principals.
    pub principals: Vec<String>,
    /// Tasks of one of these agents.
    pub agents: Vec<String>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_prompt_bytes: 256 * 1024,
            max_context_bytes: 256 * 1024,
            timeout_s: 3600,
            max_timeout_s: 86_400,
            inbox_window_s: 86_400,
            max_queued: 1000,
            max_open_per_principal: 1000,
            default_agent: "runbook".into(),
            agents: BTreeSet::from(["runbook".to_owned()]),
            workspaces: BTreeMap::new(),
            labels: Vec::new(),
            public_url: "http://127.0.0.1:8484".into(),
            services: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// The labels of a task; later rules win.
    #[must_use]
    pub fn labels_for(&self, principal: &str, agent: &str, workspace: Option<&str>) -> BTreeMap<String, String> {
        let fits =
            |wanted: &[String], value: Option<&str>| wanted.is_empty() || value.is_some_and(|v| wanted.iter().any(|w| w == v));
        self.labels
            .iter()
            .filter(|r| fits(&r.principals, Some(principal)) && fits(&r.agents, Some(agent)) && fits(&r.workspaces, workspace))
            .flat_map(|r| r.labels.clone())
            .collect()
    }
}
