//! What one part tells another by way of the composition root: records for the audit log, readiness, metrics, reloads.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::audit::Audit;
use crate::config::Config;
use crate::identity::DEFAULT_TENANT;
use crate::policy::{Hooks, Observer, Policies, Trigger};
use crate::shutdown::Shutdown;
use crate::web::accounts::{AccountEvent, Accounts, Recorder};
use crate::web::{Readiness, RenderMetrics};

/// Loads that fail go on record, too; rewritten calls are parsed as any other; who may approve their own is said aloud.
pub(super) fn policy_hooks(audit: Audit, config: &Config) -> Hooks {
    let observer: Observer = Arc::new(move |kind: &str, by: &str, body: Value| {
        let (audit, kind, by) = (audit.clone(), kind.to_owned(), by.to_owned());
        async move {
            if let Err(e) = audit.append(&kind, &by, DEFAULT_TENANT, None, body).await {
                tracing::error!(kind, error = %e, "a failed load of policies is not on record");
            }
        }
        .boxed()
    });
    let several_people = config.settings.identity.mode == "proxy";
    let live = Arc::new(move |policies: &[String]| {
        if several_people && !policies.is_empty() {
            tracing::warn!(
                policies = policies.join(", "),
                "whoever hands a task over may approve it too: set allow_requester = false in policies.toml, unless that is meant"
            );
        }
    });
    Hooks { observer, live, reparse: Some(Arc::new(crate::gates::tools::reparse)) }
}

/// Logins, tokens and roles go on record before they count.
pub(super) fn accounts(audit: Audit) -> Recorder {
    Arc::new(move |event: AccountEvent| {
        let audit = audit.clone();
        async move {
            let appended = audit.append(event.kind, &event.actor, &event.tenant, None, event.body).await;
            appended.map(drop).map_err(|e| e.to_string())
        }
        .boxed()
    })
}

/// What keeps the server from taking work.
pub(super) fn readiness(policies: Policies, accounts: Accounts) -> Readiness {
    Arc::new(move || {
        let mut reasons = Vec::new();
        if let Err(why) = policies.ready() {
            reasons.push(format!("policies: {why}"));
        }
        reasons.extend(accounts.roles_error().map(|why| format!("roles.toml: {why}")));
        reasons
    })
}

/// The recorder of metrics, installed once per process.
pub(super) fn metrics() -> anyhow::Result<RenderMetrics> {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok().context("metrics are recorded already")?;
    Ok(Arc::new(move || handle.render()))
}

/// SIGHUP loads the policy folder again.
pub(super) async fn reload(policies: Policies, shutdown: Shutdown) {
    let asked = shutdown.reload();
    let ending = shutdown.token();
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            () = asked.notified() => {
                if let Err(e) = policies.load("system", Trigger::Signal).await {
                    tracing::error!(error = %e, "the policies were not reloaded; the set before stays");
                }
            }
        }
    }
}
