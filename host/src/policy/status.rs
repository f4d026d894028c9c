//! How the policies stand, for operators: what judges, what waits, what went wrong last.

use serde::Serialize;

use super::compile::{Cost, Loaded};
use super::engine::Limits;
use super::judgment::Mode;
use super::manifest::{Activation, Closed, Place};
use super::policies::{LastError, Policies, PolicyError};
use super::set::Live;
use crate::store::{Quarantined, SetRow};

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Whether gates can be judged.
    pub ready: bool,
    /// Why not.
    pub not_ready_because: Option<String>,
    /// Why the live set is not what the folder says.
    pub degraded: Option<String>,
    /// What judges.
    pub live: Option<SetStatus>,
    /// What waits for `promote`.
    pub candidate: Option<SetStatus>,
    /// What happens with a set that loads.
    pub activation: Activation,
    /// The generation that a rollback pinned.
    pub pinned: Option<u64>,
    /// Digests that may not come back.
    pub quarantine: Vec<Quarantined>,
    /// The last load that failed, until one succeeds.
    pub last_error: Option<LastError>,
    /// Kept sets, newest first.
    pub history: Vec<SetRow>,
    /// The engine.
    pub engine: EngineStatus,
}

/// A set.
#[derive(Debug, Clone, Serialize)]
pub struct SetStatus {
    /// Generation.
    pub generation: u64,
    /// Digest.
    pub digest: String,
    /// Gates at which nobody judges, so that everything passes.
    pub open_gates: Vec<&'static str>,
    /// In order.
    pub policies: Vec<PolicyStatus>,
}

/// A policy.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyStatus {
    /// Name in policies.toml.
    pub name: String,
    /// What it calls itself.
    pub describes_itself_as: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// `component` in policies.toml.
    pub origin: String,
    /// Where it takes part.
    pub gates: Vec<Place>,
    /// As what.
    pub roles: Vec<&'static str>,
    /// Whether it counts.
    pub mode: Mode,
    /// What its fault means.
    pub closed: Closed,
    /// What one evaluation may use.
    pub limits: Limits,
    /// Granted files.
    pub granted_files: usize,
    /// What loading cost, and what each evaluation pays.
    pub cost: Cost,
}

/// The engine.
#[derive(Debug, Clone, Serialize)]
pub struct EngineStatus {
    /// Version of the contract.
    pub contract: &'static str,
    /// Chains at the same time.
    pub workers: u32,
    /// Workers given up and not come back.
    pub workers_lost: u32,
    /// Workers given up since the start.
    pub workers_lost_ever: u32,
    /// Shadow evaluations that found no room.
    pub shadow_dropped: u64,
    /// Why instances are not pooled, where they are not.
    pub unpooled: Option<String>,
}

impl PolicyStatus {
    pub(super) fn of(policy: &Loaded) -> Self {
        let roles =
            [(policy.guest.is_filter(), "filter"), (policy.guest.is_guard(), "guard"), (policy.guest.is_shape(), "shape")];
        Self {
            name: policy.spec.name.clone(),
            describes_itself_as: policy.description.name.clone(),
            version: policy.description.version.clone(),
            digest: policy.spec.component.clone(),
            origin: policy.spec.origin.clone(),
            gates: policy.places.iter().copied().collect(),
            roles: roles.into_iter().filter_map(|(has, role)| has.then_some(role)).collect(),
            mode: policy.spec.mode,
            closed: policy.spec.closed,
            limits: policy.spec.limits,
            granted_files: policy.spec.files.len(),
            cost: policy.cost.clone(),
        }
    }
}

impl SetStatus {
    fn of(live: &Live) -> Self {
        Self {
            generation: live.generation,
            digest: live.set.source.digest.clone(),
            open_gates: live.set.open_gates().iter().map(|gate| gate.as_str()).collect(),
            policies: live.set.policies.iter().map(PolicyStatus::of).collect(),
        }
    }
}

impl Policies {
    /// How it stands now.
    pub async fn status(&self) -> Result<Status, PolicyError> {
        let stored = |store: &crate::store::Store| Ok((store.policy_sets()?, store.quarantined_policy_sets()?));
        let (history, quarantine) = self.0.store.call(stored).await?;
        let ready = self.ready();
        let lifecycle = self.lifecycle();
        Ok(Status {
            ready: ready.is_ok(),
            not_ready_because: ready.err(),
            degraded: lifecycle.degraded.clone(),
            live: self.0.live.load().as_deref().map(SetStatus::of),
            candidate: lifecycle.candidate.as_deref().map(SetStatus::of),
            activation: lifecycle.activation,
            pinned: lifecycle.pinned,
            quarantine,
            last_error: lifecycle.last_error.clone(),
            history,
            engine: EngineStatus {
                contract: super::bindings::VERSION,
                workers: self.0.settings.workers,
                workers_lost: self.0.workers.lost(),
                workers_lost_ever: self.0.workers.lost_ever(),
                shadow_dropped: self.0.shadow.dropped(),
                unpooled: self.0.runtime.unpooled().map(str::to_owned),
            },
        })
    }

    /// Generation and digest of the set that judges now.
    #[must_use]
    pub fn live(&self) -> Option<(u64, String)> {
        self.0.live.load().as_deref().map(|live| (live.generation, live.set.source.digest.clone()))
    }
}
