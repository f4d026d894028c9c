//! The handle that the rest of coda holds: asks the live set, and says how it stands. How sets come and go is `reload`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::cache::Cache;
use super::chain::{self, Reparse, Rules};
use super::contract::Event;
use super::engine::Runtime;
use super::fault::{Fault, FaultKind};
use super::judgment::Judgment;
use super::manifest::Activation;
use super::set::Live;
use super::settings::Settings;
use super::shadow::Shadow;
use super::shaping::{self, Shaped};
use super::verdict::Defaults;
use super::workers::Workers;
use crate::env::Millis;
use crate::identity::ClientInfo;
use crate::store::Store;

/// Told of loads that failed, before they are answered: kind of the record, who did it, body. Changes of sets are on record
/// with the change itself.
pub type Observer = Arc<dyn Fn(&str, &str, Value) -> BoxFuture<'static, ()> + Send + Sync>;

/// Told of a set that became live: the names of the policies that let the requester of an approval decide on it.
pub type WentLive = dyn Fn(&[String]) + Send + Sync;

/// What the engine asks of the rest of coda.
#[derive(Clone)]
pub struct Hooks {
    /// Told of loads that failed.
    pub observer: Observer,
    /// Told of each set that becomes live.
    pub live: Arc<WentLive>,
    /// Parses a rewritten call anew; without it a call that a policy rewrites is withheld.
    pub reparse: Option<Arc<Reparse>>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { observer: Arc::new(|_, _, _| std::future::ready(()).boxed()), live: Arc::new(|_| ()), reparse: None }
    }
}

/// Why something could not be done with policy sets.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PolicyError {
    /// The engine does not start.
    #[error("the policy engine does not start: {0}")]
    Engine(String),
    /// The folder is no set.
    #[error(transparent)]
    Source(#[from] super::source::SourceError),
    /// A component is no policy, or does not take its settings.
    #[error(transparent)]
    Compile(#[from] super::compile::CompileError),
    /// The policies' own tests fail.
    #[error("{} of {cases} policy tests fail: {}", failures.len(), failures.join("; "))]
    Suite {
        /// How many ran.
        cases: usize,
        /// Those that failed.
        failures: Vec<String>,
    },
    /// The set was rolled back.
    #[error("the set {digest} is in quarantine since {since} ({reason}, by {by}); `coda policy unpin` lifts it")]
    Quarantined {
        /// Digest.
        digest: String,
        /// When.
        since: String,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A rollback pinned another.
    #[error("generation {0} is pinned by a rollback; `coda policy unpin` lifts it")]
    Pinned(u64),
    /// No such set is kept.
    #[error("there is no generation {0}; `coda policy status --json` lists those that are kept")]
    UnknownGeneration(u64),
    /// There is nothing to promote, or to roll back to.
    #[error("{0}")]
    Nothing(String),
    /// The store.
    #[error("{0}")]
    Store(String),
}

impl From<crate::store::StoreError> for PolicyError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// The policy engine; clones share it.
#[derive(Clone)]
pub struct Policies(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) defaults: Defaults,
    pub(super) runtime: Arc<Runtime>,
    pub(super) cache: Cache,
    pub(super) workers: Workers,
    pub(super) shadow: Shadow,
    pub(super) live: ArcSwapOption<Live>,
    pub(super) store: Store,
    pub(super) folder: PathBuf,
    pub(super) hooks: Hooks,
    /// One load, promotion or rollback at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// How sets stand. A std mutex: read and written in passing, never across an await.
    pub(super) lifecycle: Mutex<Lifecycle>,
}

/// What is known of the coming and going of sets, beside the live one.
#[derive(Default)]
pub(super) struct Lifecycle {
    pub(super) activation: Activation,
    pub(super) candidate: Option<Arc<Live>>,
    pub(super) pinned: Option<u64>,
    pub(super) last_error: Option<LastError>,
    /// Why the live set is not what the folder says.
    pub(super) degraded: Option<String>,
}

/// The last load that failed.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LastError {
    /// What was said.
    pub message: String,
    /// When.
    #[serde(skip)]
    pub time_ms: Millis,
    /// When, RFC 3339.
    pub time: String,
}

impl Policies {
    /// Makes the engine. No set is live before `start`: every gate denies.
    pub fn open(mut settings: Settings, store: Store, home: &Path, hooks: Hooks) -> Result<Self, PolicyError> {
        settings.workers = settings.workers.max(1);
        let engine = |error: String| PolicyError::Engine(error);
        let runtime = Arc::new(Runtime::new(&settings).map_err(|e| engine(format!("{e:#}")))?);
        let shadow = Shadow::start(&runtime, settings.shadow_queue).map_err(|e| engine(e.to_string()))?;
        let queue_timeout = Duration::from_millis(settings.queue_timeout_ms);
        Ok(Self(Arc::new(Inner {
            defaults: Defaults {
                approvals: settings.default_approvals.clone(),
                expires_after_s: settings.approval_expires_s.max(1),
            },
            workers: Workers::new(settings.workers, queue_timeout, settings.max_lost_workers),
            cache: Cache::open(home.join(&settings.cache)),
            folder: home.join(&settings.folder),
            live: ArcSwapOption::empty(),
            changing: tokio::sync::Mutex::new(()),
            lifecycle: Mutex::default(),
            runtime,
            shadow,
            store,
            hooks,
            settings,
        })))
    }

    /// Generation of the set that is live now; `None` where none is.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.0.live.load().as_ref().map(|live| live.generation)
    }

    /// Judges an event by the set that is live now. Never fails: what cannot be judged is denied.
    pub async fn judge(&self, event: Event) -> Judgment {
        let gate = event.gate();
        let judgment = self.judged(event).await;
        metrics::counter!("coda_policy_judgments_total", "gate" => gate.as_str(), "verdict" => judgment.verdict.as_str())
            .increment(1);
        for step in &judgment.steps {
            metrics::histogram!("coda_policy_evaluation_us", "policy" => step.policy.clone()).record(step.micros as f64);
            if let Some(fault) = &step.fault {
                metrics::counter!("coda_policy_faults_total", "policy" => step.policy.clone()).increment(1);
                tracing::warn!(policy = step.policy, %gate, decision = %judgment.decision, fault, "a policy gave no usable answer");
            }
        }
        judgment
    }

    async fn judged(&self, event: Event) -> Judgment {
        let inner = &self.0;
        let Some(live) = inner.live.load_full() else {
            return chain::refused(event, 0, "", &Fault::new(FaultKind::NoSet, "no policy set is live"));
        };
        let size = chain::event_bytes(&event);
        if size > inner.settings.max_event_bytes {
            let most = inner.settings.max_event_bytes;
            let fault =
                Fault::new(FaultKind::EventTooLarge, format!("{size} bytes, where {most} are the limit (max_event_bytes)"));
            return chain::refused(event, live.generation, &live.set.source.digest, &fault);
        }
        let limit = live.longest(Duration::from_millis(inner.settings.configure_timeout_ms));
        let (this, set, given) = (self.clone(), Arc::clone(&live), event.clone());
        match inner.workers.run(limit, move || chain::run(&this.rules(), &set.chain(), given)).await {
            Ok((judgment, shadows)) => {
                inner.shadow.ask(&live, shadows);
                judgment
            }
            Err(fault) => chain::refused(event, live.generation, &live.set.source.digest, &fault),
        }
    }

    fn rules(&self) -> Rules<'_> {
        let inner = &*self.0;
        Rules { runtime: &inner.runtime, defaults: &inner.defaults, reparse: inner.hooks.reparse.as_deref() }
    }

    /// Words an answer for a client. Where the shaper fails, the answer is bare.
    pub async fn shape(&self, client: &ClientInfo, tool: &str, output: &Value) -> Shaped {
        let Some(live) = self.0.live.load_full() else { return shaping::bare(output) };
        if live.set.shaper().is_none() {
            return shaping::plain(output);
        }
        let (client, tool, given) = (client.clone(), tool.to_owned(), output.clone());
        let asked = self.ask_shaper(live, move |runtime, policy| {
            let answer = policy.guest.shape_output(runtime, &client, &tool, &given.to_string());
            let (text, structured) = answer.result?;
            shaping::check(&given, text, structured).map_err(|why| Fault::new(FaultKind::InvalidAnswer, why))
        });
        asked.await.unwrap_or_else(|_| shaping::bare(output))
    }

    /// Words the list of tools for a client. Where the shaper fails, the list is as it is: it holds no content.
    pub async fn shape_tools(&self, client: &ClientInfo, tools: &Value) -> Value {
        let Some(live) = self.0.live.load_full().filter(|live| live.set.shaper().is_some()) else { return tools.clone() };
        let (client, given) = (client.clone(), tools.clone());
        let asked = self.ask_shaper(live, move |runtime, policy| {
            let answer = policy.guest.shape_tools(runtime, &client, &given.to_string());
            shaping::check_tools(&given, &answer.result?).map_err(|why| Fault::new(FaultKind::InvalidAnswer, why))
        });
        asked.await.unwrap_or_else(|_| tools.clone())
    }

    async fn ask_shaper<T: Send + 'static>(
        &self,
        live: Arc<Live>,
        ask: impl FnOnce(&Runtime, &super::compile::Loaded) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let runtime = Arc::clone(&self.0.runtime);
        let limit = live.longest(Duration::from_millis(self.0.settings.configure_timeout_ms));
        let asked = self.0.workers.run(limit, move || match live.set.shaper() {
            Some(policy) => ask(&runtime, policy),
            None => Err(Fault::new(FaultKind::NoSet, "no policy words answers")),
        });
        let answer = asked.await.and_then(|answer| answer);
        if let Err(fault) = &answer {
            metrics::counter!("coda_policy_faults_total", "policy" => "shape").increment(1);
            tracing::warn!(%fault, "the policy that words answers gave no usable answer; the client gets a bare one");
        }
        answer
    }

    /// Whether gates can be judged; if not, why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.0.live.load().is_none() {
            return Err("no policy set is live, so every gate denies; `coda policy status` says why".into());
        }
        if self.0.workers.is_exhausted() {
            return Err(format!("{} policy workers are lost; restart coda", self.0.workers.lost()));
        }
        Ok(())
    }

    pub(super) fn lifecycle(&self) -> std::sync::MutexGuard<'_, Lifecycle> {
        self.0.lifecycle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
