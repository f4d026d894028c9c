//! What a later attempt of the same task needs of the steps that finished: where they ended, and their screened output.
//! It lies in the task's private home. Its loss costs outputs, never a repeated step: that is the gateway's knowledge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One finished step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) cwd: PathBuf,
    pub(super) exit_code: i32,
    pub(super) output: String,
}

/// The finished steps by id.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    steps: BTreeMap<String, Kept>,
}

impl Memory {
    pub(super) fn open(home: &Path) -> Self {
        let path = home.join(".coda-runbook.json");
        let steps = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, steps }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Kept> {
        self.steps.get(id)
    }

    pub(super) fn keep(&mut self, id: &str, kept: Kept) {
        self.steps.insert(id.to_owned(), kept);
        let beside = self.path.with_extension("part");
        let text = serde_json::to_vec(&self.steps).expect("a map of plain values is JSON");
        let _ = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.path));
    }
}
