//! Approval: people settle what a policy routed to `needs_approval`.
//!
//! A request is a stored object, bound to what it was asked for. On use the newest policy set judges again; consumption
//! is committed before anything is released, so an approval works at most once.

/// Proof that an approval was consumed, committed to the store. Only this module makes one.
#[derive(Debug)]
pub struct Consumed(());
