//! How sets come and go.
//!
//! ```text
//! folder ─ load ─► read, check, compile, configure, snapshot, own tests ─► kept in the store ─► candidate
//!                       │ any failure: the live set stays, status says why                        │ promote
//!                       ▼                                                                         ▼
//!                  last error                rollback ◄──────────────────────────────────────  live
//! ```
//! A rollback pins the generation it went back to and puts the digest it left into quarantine, over restarts, until
//! `unpin`. While a generation is pinned, loads make candidates only.

use std::sync::Arc;

use serde_json::json;

use super::compile;
use super::manifest::Activation;
use super::policies::{LastError, Policies, PolicyError};
use super::set::{Live, PolicySet};
use super::settings::Settings;
use super::source::{self, SetSource};
use crate::env;
use crate::store::{Store, StoreError};

/// Why a load happens; a word in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The server starts.
    Start,
    /// The folder changed.
    Watch,
    /// SIGHUP.
    Signal,
    /// Somebody asked for it.
    Operator,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Trigger::Start => "start",
            Trigger::Watch => "watch",
            Trigger::Signal => "signal",
            Trigger::Operator => "operator",
        }
    }
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LoadReport {
    /// Digest of the set.
    pub digest: String,
    /// Its generation.
    pub generation: u64,
    /// Where it stands.
    pub state: LoadState,
    /// How many of the policies' own tests ran.
    pub tests: usize,
    /// What stands in the way of promotion, or what the operator should know.
    pub note: Option<String>,
}

/// Where a loaded set stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadState {
    /// It judges.
    Live,
    /// It judged already: nothing changed.
    Unchanged,
    /// It waits for `promote`.
    Candidate,
}

impl Policies {
    /// The cold start: the folder's set, or else the last good one, degraded; with neither, no gate opens.
    pub async fn start(&self) -> Result<(), PolicyError> {
        let restored = self.restore().await;
        if let Err(error) = &restored {
            tracing::error!(%error, "the last good policy set does not start");
        }
        match self.load("system", Trigger::Start).await {
            Ok(_) => Ok(()),
            Err(error) if self.0.live.load().is_some() => {
                tracing::error!(%error, "the policy folder does not load; the last good set judges");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "no policy set is live: every gate denies");
                Err(error)
            }
        }
    }

    /// Brings back the set that was live when the server ended.
    async fn restore(&self) -> Result<(), PolicyError> {
        let _changing = self.0.changing.lock().await;
        let state = self.0.store.call(|store| store.policy_state()).await?;
        self.lifecycle().pinned = state.pinned;
        let Some(generation) = state.live else { return Ok(()) };
        let live = self.kept_set(generation).await?;
        self.go_live(Arc::new(live));
        Ok(())
    }

    fn go_live(&self, set: Arc<Live>) {
        let requesters = super::requester::of_set(&set.set.source.spec);
        self.0.live.store(Some(set));
        (self.0.hooks.live)(&requesters);
    }

    /// Loads the folder. Whether the set is promoted at once is the folder's `activation`.
    pub async fn load(&self, by: &str, trigger: Trigger) -> Result<LoadReport, PolicyError> {
        let _changing = self.0.changing.lock().await;
        let loaded = self.load_folder(by).await;
        match &loaded {
            Ok(report) => {
                tracing::info!(generation = report.generation, digest = report.digest, trigger = trigger.as_str(), state = ?report.state, note = report.note, "policy set loaded");
            }
            Err(error) => {
                tracing::error!(%error, trigger = trigger.as_str(), "policy set not loaded; what was live stays live");
                self.note_failure(error);
                let body = json!({ "error": error.to_string(), "trigger": trigger.as_str() });
                (self.0.hooks.observer)("policy.load-failed", by, body).await;
            }
        }
        loaded
    }

    fn note_failure(&self, error: &PolicyError) {
        let now = env::now_ms();
        let mut lifecycle = self.lifecycle();
        lifecycle.last_error = Some(LastError { message: error.to_string(), time_ms: now, time: env::rfc3339(now) });
        lifecycle.degraded = Some(format!("the policy folder does not load: {error}"));
    }

    async fn load_folder(&self, by: &str) -> Result<LoadReport, PolicyError> {
        let (folder, settings) = (self.0.folder.clone(), self.0.settings.clone());
        let (source, activation) = off_path(move || source::read_folder(&folder, &settings)).await??;
        self.refuse_quarantined(&source.digest).await?;
        self.lifecycle().activation = activation;
        if let Some(live) = self.0.live.load_full().filter(|live| live.set.source.digest == source.digest) {
            // The suites may have changed though nothing else did, so they run again.
            let tests = self.run_suites(&live, &source).await?;
            let mut lifecycle = self.lifecycle();
            lifecycle.candidate = None;
            lifecycle.last_error = None;
            lifecycle.degraded = None;
            let digest = source.digest;
            return Ok(LoadReport { digest, generation: live.generation, state: LoadState::Unchanged, tests, note: None });
        }
        let (set, tests) = self.compile(source).await?;
        let live = self.keep(set, by).await?;
        let (generation, digest) = (live.generation, live.set.source.digest.clone());
        let open_gates = live.set.open_gates();
        let note = (!open_gates.is_empty()).then(|| {
            let gates: Vec<_> = open_gates.iter().map(|gate| gate.as_str()).collect();
            format!("no policy judges at {}: everything passes there", gates.join(", "))
        });
        let pinned = {
            let mut lifecycle = self.lifecycle();
            lifecycle.last_error = None;
            lifecycle.candidate = Some(Arc::new(live));
            lifecycle.pinned
        };
        let report = |state, note| LoadReport { digest, generation, state, tests, note };
        match (activation, pinned) {
            (Activation::Auto, None) => {
                self.promote_candidate(by).await?;
                Ok(report(LoadState::Live, note))
            }
            (Activation::Auto, Some(pinned)) => Ok(report(
                LoadState::Candidate,
                Some(format!("generation {pinned} is pinned; `coda policy unpin`, then promote")),
            )),
            (Activation::Staged, _) => Ok(report(LoadState::Candidate, note)),
        }
    }

    async fn refuse_quarantined(&self, digest: &str) -> Result<(), PolicyError> {
        let quarantined = self.0.store.call(|store| store.quarantined_policy_sets()).await?;
        match quarantined.into_iter().find(|known| known.digest == digest) {
            None => Ok(()),
            Some(known) => Err(PolicyError::Quarantined {
                digest: known.digest,
                since: env::rfc3339(known.time_ms),
                reason: known.reason,
                by: known.by,
            }),
        }
    }

    async fn compile(&self, source: SetSource) -> Result<(PolicySet, usize), PolicyError> {
        let inner = Arc::clone(&self.0);
        off_path(move || {
            let policies = compile::compile(&inner.runtime, &inner.cache, &source, &inner.settings)?;
            let set = PolicySet { source, policies };
            let report = set.run_suites(&inner.runtime);
            if !report.failures.is_empty() {
                return Err(PolicyError::Suite { cases: report.cases, failures: report.failures });
            }
            Ok((set, report.cases))
        })
        .await?
    }

    async fn run_suites(&self, live: &Arc<Live>, source: &SetSource) -> Result<usize, PolicyError> {
        let (live, suites, runtime) = (Arc::clone(live), source.suites.clone(), Arc::clone(&self.0.runtime));
        let report = off_path(move || super::set::run_suites(&runtime, &suites, &live.set.policies)).await?;
        if report.failures.is_empty() {
            return Ok(report.cases);
        }
        Err(PolicyError::Suite { cases: report.cases, failures: report.failures })
    }

    async fn keep(&self, set: PolicySet, by: &str) -> Result<Live, PolicyError> {
        let (digest, spec) = (set.source.digest.clone(), source::spec_json(&set.source.spec));
        let (blobs, by) = (set.source.blobs.clone(), by.to_owned());
        let generation =
            self.0.store.call(move |store| store.keep_policy_set(&digest, &spec, &blobs, &by, env::now_ms())).await?;
        Ok(Live { generation, set })
    }

    async fn kept_set(&self, generation: u64) -> Result<Live, PolicyError> {
        let stored = match self.0.store.call(move |store| store.policy_set(generation)).await {
            Err(StoreError::NotFound { .. }) => return Err(PolicyError::UnknownGeneration(generation)),
            stored => stored?,
        };
        let source = source::from_store(generation, &stored.manifest, stored.blobs)?;
        let (set, _) = self.compile(source).await?;
        Ok(Live { generation, set })
    }

    /// Makes the candidate live. Chains that began keep the set that they began with.
    pub async fn promote(&self, by: &str) -> Result<u64, PolicyError> {
        let _changing = self.0.changing.lock().await;
        if let Some(pinned) = self.lifecycle().pinned {
            return Err(PolicyError::Pinned(pinned));
        }
        self.promote_candidate(by).await
    }

    async fn promote_candidate(&self, by: &str) -> Result<u64, PolicyError> {
        let candidate = self.lifecycle().candidate.clone();
        let Some(candidate) = candidate else {
            return Err(PolicyError::Nothing("there is no candidate; `coda policy load` makes one of the policy folder".into()));
        };
        let (generation, keep, who) = (candidate.generation, self.0.settings.keep_sets, by.to_owned());
        self.0.store.call(move |store| store.promote_policy_set(generation, &who, env::now_ms(), keep)).await?;
        let digest = candidate.set.source.digest.clone();
        self.go_live(candidate);
        {
            let mut lifecycle = self.lifecycle();
            lifecycle.candidate = None;
            lifecycle.degraded = None;
        }
        tracing::info!(generation, digest, by, "policy set is live");
        Ok(generation)
    }

    /// Goes back to `generation`, or to the one that was live before. Pins it; the digest left behind goes into quarantine.
    pub async fn rollback(&self, by: &str, generation: Option<u64>, reason: &str) -> Result<u64, PolicyError> {
        let _changing = self.0.changing.lock().await;
        let left = self.0.live.load_full();
        let target = match generation {
            Some(generation) => generation,
            None => self.generation_before(left.as_deref()).await?,
        };
        if left.as_ref().is_some_and(|left| left.generation == target) {
            return Err(PolicyError::Nothing(format!("generation {target} is live already")));
        }
        let live = self.kept_set(target).await?;
        // The same set under another number is not bad.
        let bad = left.map(|left| left.set.source.digest.clone()).filter(|bad| *bad != live.set.source.digest);
        let (quarantined, why, who) = (bad, reason.to_owned(), by.to_owned());
        let stored = move |store: &Store| store.roll_back_policy_set(target, quarantined.as_deref(), &why, &who, env::now_ms());
        self.0.store.call(stored).await?;
        let digest = live.set.source.digest.clone();
        self.go_live(Arc::new(live));
        {
            let mut lifecycle = self.lifecycle();
            lifecycle.pinned = Some(target);
            lifecycle.candidate = None;
        }
        tracing::warn!(generation = target, digest, by, reason, "policy set rolled back and pinned");
        Ok(target)
    }

    /// The set that was promoted last before the live one, and is not in quarantine.
    async fn generation_before(&self, live: Option<&Live>) -> Result<u64, PolicyError> {
        let sets = self.0.store.call(|store| store.policy_sets()).await?;
        let quarantined = self.0.store.call(|store| store.quarantined_policy_sets()).await?;
        let now = live.map(|live| (live.generation, live.set.source.digest.clone()));
        sets.iter()
            .filter(|set| set.promoted_ms.is_some() && !quarantined.iter().any(|bad| bad.digest == set.digest))
            .filter(|set| now.as_ref().is_none_or(|(generation, digest)| set.generation != *generation && set.digest != *digest))
            .max_by_key(|set| (set.promoted_ms, set.generation))
            .map(|set| set.generation)
            .ok_or_else(|| PolicyError::Nothing("there is no earlier set to go back to".into()))
    }

    /// Lifts the pin and the quarantine. The live set stays; the next load counts again.
    pub async fn unpin(&self, by: &str) -> Result<(), PolicyError> {
        let _changing = self.0.changing.lock().await;
        let who = by.to_owned();
        self.0.store.call(move |store| store.unpin_policy_set(&who)).await?;
        self.lifecycle().pinned = None;
        Ok(())
    }
}

/// Checks a folder as a load would, without a server and without a store.
pub fn validate(folder: &std::path::Path, settings: &Settings) -> Result<Validation, PolicyError> {
    let runtime = super::engine::Runtime::new(settings).map_err(|e| PolicyError::Engine(format!("{e:#}")))?;
    let (source, activation) = source::read_folder(folder, settings)?;
    let policies = compile::compile(&runtime, &super::cache::Cache::none(), &source, settings)?;
    let set = PolicySet { source, policies };
    let report = set.run_suites(&runtime);
    if !report.failures.is_empty() {
        return Err(PolicyError::Suite { cases: report.cases, failures: report.failures });
    }
    Ok(Validation {
        digest: set.source.digest.clone(),
        activation,
        tests: report.cases,
        open_gates: set.open_gates().iter().map(|gate| gate.as_str()).collect(),
        policies: set.policies.iter().map(super::status::PolicyStatus::of).collect(),
    })
}

/// What a folder would be as a set.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Validation {
    /// Digest of the set.
    pub digest: String,
    /// What would happen with it.
    pub activation: Activation,
    /// How many of the policies' own tests ran.
    pub tests: usize,
    /// Gates at which nobody judges.
    pub open_gates: Vec<&'static str>,
    /// Each policy.
    pub policies: Vec<super::status::PolicyStatus>,
}

/// Compiling takes seconds, so it never happens on an async thread.
async fn off_path<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PolicyError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| PolicyError::Engine(format!("loading panicked: {e}")))
}
