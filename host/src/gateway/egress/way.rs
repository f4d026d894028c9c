//! A task's way out: its list, its own secret, and what it has used of its bounds. The secret opens tunnels and nothing
//! else: programs write the address of their proxy into logs, and the task's token would open its model and its gates.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Bounds, Egress};
use crate::env;
use crate::gateway::session::{TokenKey, token_key};
use crate::id::TaskId;

/// Refusals of one attempt that are put on record, each destination once. An agent can ask for ever.
const MAX_REFUSALS_ON_RECORD: usize = 200;

/// The ways out that are open.
#[derive(Default)]
pub(in crate::gateway) struct Ways(Mutex<HashMap<TokenKey, Arc<Way>>>);

impl Ways {
    pub(in crate::gateway) fn insert(&self, key: TokenKey, way: Arc<Way>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, way);
    }

    pub(in crate::gateway) fn find(&self, secret: &str) -> Option<Arc<Way>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&token_key(secret)).cloned()
    }

    pub(in crate::gateway) fn take(&self, key: &TokenKey) -> Option<Arc<Way>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    /// Ends its tunnels too.
    pub(in crate::gateway) fn close(&self, key: &TokenKey) {
        if let Some(way) = self.take(key) {
            way.closed.cancel();
        }
    }
}

/// One task's.
pub(in crate::gateway) struct Way {
    pub(in crate::gateway) task: TaskId,
    pub(in crate::gateway) egress: Egress,
    /// Bounds tunnels that are open.
    pub(in crate::gateway) tunnels: Arc<Semaphore>,
    /// Cancelled when the access is closed.
    pub(in crate::gateway) closed: CancellationToken,
    opened: AtomicU64,
    bytes: AtomicU64,
    // A std mutex: held for a look, never across an await.
    refused: Mutex<HashSet<String>>,
}

impl Way {
    pub(in crate::gateway) fn new(task: TaskId, egress: Egress, bounds: &Bounds) -> Self {
        Self {
            task,
            egress,
            tunnels: Arc::new(Semaphore::new(bounds.max_tunnels)),
            closed: CancellationToken::new(),
            opened: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }

    /// Counts one more tunnel, unless there were `most`.
    pub(in crate::gateway) fn count_tunnel(&self, most: u64) -> bool {
        self.opened.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1)).is_ok()
    }

    /// Counts bytes, unless they would be more than `most`.
    pub(in crate::gateway) fn count_bytes(&self, bytes: u64, most: u64) -> bool {
        let add = |n: u64| n.checked_add(bytes).filter(|sum| *sum <= most);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Whether a refusal is to be put on record: the first of its kind, while there are not too many.
    pub(in crate::gateway) fn is_new_refusal(&self, refusal: String) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.len() < MAX_REFUSALS_ON_RECORD && refused.insert(refusal)
    }
}

/// What an agent is told of its way out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WayOut {
    /// The secret in it, to be masked where it shows.
    pub secret: Option<String>,
    /// For the agent's environment.
    pub environment: BTreeMap<String, String>,
}

/// A secret, and the environment in which programs look for their proxy. What is on this machine they reach by themselves:
/// the gateway is.
pub(in crate::gateway) fn way_out(port: u16) -> (String, BTreeMap<String, String>) {
    let secret = format!("coda_egress_{}", env::hex(&env::random_bytes::<32>()));
    let proxy = format!("http://task:{secret}@127.0.0.1:{port}");
    let loopback = "127.0.0.1,localhost,::1".to_owned();
    let proxies = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].map(|name| (name, proxy.clone()));
    let others = [("NO_PROXY", loopback.clone()), ("no_proxy", loopback), ("NODE_USE_ENV_PROXY", "1".to_owned())];
    let environment = proxies.into_iter().chain(others).map(|(name, value)| (name.to_owned(), value)).collect();
    (secret, environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::egress::Private;

    #[test]
    fn what_was_used_stays_used() {
        let egress = Egress::parse("a", &[], Private::Refused).expect("a list");
        let way = Way::new(TaskId::new(), egress, &Bounds::default());
        assert!(way.count_tunnel(2) && way.count_tunnel(2) && !way.count_tunnel(2));
        assert!(way.count_bytes(6, 10) && !way.count_bytes(5, 10) && way.count_bytes(4, 10) && !way.count_bytes(1, 10));
        assert!(!way.count_bytes(u64::MAX, u64::MAX), "no overflow");
        assert!(way.is_new_refusal("a".into()) && !way.is_new_refusal("a".into()));
        let kept = (0..1000).filter(|n| way.is_new_refusal(n.to_string())).count();
        assert_eq!(kept, MAX_REFUSALS_ON_RECORD - 1);
    }
}
