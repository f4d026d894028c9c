//! Approval: people settle what a policy routed to `needs_approval`.
//!
//! A request is a stored object, bound to what it was asked for. On use the newest policy set judges again; consumption
//! is committed before anything is released, so an approval works at most once. Who may decide is checked here, whatever
//! face the decision came through.

pub mod decide;
pub mod request;
pub mod tally;

use crate::id::ApprovalId;
use crate::store::{Store, StoreError};

/// Proof that an approval was consumed, committed to the store. Only this module makes one.
#[derive(Debug)]
pub struct Consumed(());

/// Uses one item of an approved request, once, and proves it.
pub async fn consume(store: &Store, approval: &ApprovalId, item: usize, decision: &str) -> Result<Consumed, StoreError> {
    let (approval, decision) = (approval.clone(), decision.to_owned());
    store.call(move |s| s.consume_approval(&approval, item, &decision)).await?;
    Ok(Consumed(()))
}
