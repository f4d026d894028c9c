//! How verdicts and demands combine. Pure.
//!
//! Deny wins, then needs-approval, then allow. Demands add up: for each role the larger count, so that every part's
//! demand is met by meeting the sum (one person counts once anyway); the shortest expiry; the requester counts only if
//! every part lets them. What a part leaves to the operator's configuration is filled in first: an empty list beside a
//! full one must not vanish.

use std::collections::BTreeMap;

use super::contract::{Demand, Requirement, Verdict};

const MAX_REASON_BYTES: usize = 1_000;

/// What the operator configured for demands that leave it open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Who must agree where a demand names nobody.
    pub approvals: Vec<Requirement>,
    /// When a demand expires that says nothing of it; never 0.
    pub expires_after_s: u32,
}

/// The strictest of the parts; allow of nothing is allow without findings.
#[must_use]
pub fn combine(parts: impl IntoIterator<Item = Verdict>, defaults: &Defaults) -> Verdict {
    parts.into_iter().map(|part| resolve(part, defaults)).fold(Verdict::Allow { findings: Vec::new() }, stricter)
}

/// Fills in what a demand leaves to the configuration.
fn resolve(part: Verdict, defaults: &Defaults) -> Verdict {
    match part {
        Verdict::NeedsApproval(mut demand) => {
            if demand.approvals.is_empty() {
                demand.approvals.clone_from(&defaults.approvals);
            }
            if demand.expires_after_s == 0 {
                demand.expires_after_s = defaults.expires_after_s;
            }
            demand.approvals = larger_counts(demand.approvals, Vec::new());
            Verdict::NeedsApproval(demand)
        }
        Verdict::Allow { .. } | Verdict::Deny { .. } => part,
    }
}

/// Both parts in one. The findings of a weaker verdict do not move into a stricter one: they explain something else.
fn stricter(left: Verdict, right: Verdict) -> Verdict {
    match (left, right) {
        (Verdict::Deny { findings }, Verdict::Deny { findings: more }) => Verdict::Deny { findings: joined(findings, more) },
        (deny @ Verdict::Deny { .. }, Verdict::Allow { .. } | Verdict::NeedsApproval(_))
        | (Verdict::Allow { .. } | Verdict::NeedsApproval(_), deny @ Verdict::Deny { .. }) => deny,
        (Verdict::NeedsApproval(left), Verdict::NeedsApproval(right)) => Verdict::NeedsApproval(sum(left, right)),
        (demand @ Verdict::NeedsApproval(_), Verdict::Allow { .. })
        | (Verdict::Allow { .. }, demand @ Verdict::NeedsApproval(_)) => demand,
        (Verdict::Allow { findings }, Verdict::Allow { findings: more }) => Verdict::Allow { findings: joined(findings, more) },
    }
}

/// A demand that is met exactly when both are.
fn sum(left: Demand, right: Demand) -> Demand {
    let reason = if left.reason == right.reason || right.reason.is_empty() {
        left.reason
    } else if left.reason.is_empty() {
        right.reason
    } else {
        let mut both = format!("{}; {}", left.reason, right.reason);
        both.truncate(both.floor_char_boundary(MAX_REASON_BYTES));
        both
    };
    Demand {
        findings: joined(left.findings, right.findings),
        approvals: larger_counts(left.approvals, right.approvals),
        allow_requester: left.allow_requester && right.allow_requester,
        expires_after_s: left.expires_after_s.min(right.expires_after_s),
        reason,
    }
}

/// For each role the larger count, sorted by role.
fn larger_counts(left: Vec<Requirement>, right: Vec<Requirement>) -> Vec<Requirement> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for Requirement { role, count } in left.into_iter().chain(right) {
        let known = counts.entry(role).or_default();
        *known = (*known).max(count);
    }
    counts.into_iter().map(|(role, count)| Requirement { role, count }).collect()
}

fn joined<T>(mut left: Vec<T>, right: Vec<T>) -> Vec<T> {
    left.extend(right);
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::fault::{Fault, FaultKind};

    fn defaults() -> Defaults {
        Defaults { approvals: vec![Requirement { role: "approver".into(), count: 1 }], expires_after_s: 3_600 }
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        (prop::sample::select(vec!["approver", "prod-data", "security"]), 1_u32..4)
            .prop_map(|(role, count)| Requirement { role: role.into(), count })
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        let findings = || vec![Fault::new(FaultKind::Trap, "x").finding("p")];
        prop_oneof![
            Just(Verdict::Allow { findings: Vec::new() }),
            Just(Verdict::Deny { findings: findings() }),
            (prop::collection::vec(requirement(), 0..4), any::<bool>(), 0_u32..10_000, "[a-c]{0,2}").prop_map(
                move |(approvals, allow_requester, expires_after_s, reason)| {
                    Verdict::NeedsApproval(Demand { findings: findings(), approvals, allow_requester, expires_after_s, reason })
                }
            ),
        ]
    }

    /// Whether whatever satisfies `strong` satisfies `weak`.
    fn at_least(strong: &Verdict, weak: &Verdict) -> bool {
        match (strong, weak) {
            (Verdict::Deny { .. }, _) | (_, Verdict::Allow { .. }) => true,
            (Verdict::NeedsApproval(strong), Verdict::NeedsApproval(weak)) => {
                let covered =
                    |wanted: &Requirement| strong.approvals.iter().any(|r| r.role == wanted.role && r.count >= wanted.count);
                weak.approvals.iter().all(covered)
                    && (!strong.allow_requester || weak.allow_requester)
                    && strong.expires_after_s <= weak.expires_after_s
            }
            (Verdict::Allow { .. }, _) | (Verdict::NeedsApproval(_), Verdict::Deny { .. }) => false,
        }
    }

    proptest! {
        #[test]
        fn the_sum_is_never_weaker_than_a_part(parts in prop::collection::vec(verdict(), 0..6)) {
            let whole = combine(parts.clone(), &defaults());
            for part in parts {
                prop_assert!(at_least(&whole, &resolve(part, &defaults())));
            }
        }

        #[test]
        fn one_more_part_never_weakens(parts in prop::collection::vec(verdict(), 0..5), more in verdict()) {
            let before = combine(parts.clone(), &defaults());
            let after = combine(parts.into_iter().chain([more]), &defaults());
            prop_assert!(at_least(&after, &before));
        }

        #[test]
        fn order_does_not_change_who_must_agree(parts in prop::collection::vec(verdict(), 0..5)) {
            let forward = combine(parts.clone(), &defaults());
            let backward = combine(parts.into_iter().rev(), &defaults());
            prop_assert!(at_least(&forward, &backward) && at_least(&backward, &forward));
            prop_assert_eq!(forward.findings().len(), backward.findings().len());
        }

        #[test]
        fn a_demand_is_complete(parts in prop::collection::vec(verdict(), 0..5)) {
            if let Verdict::NeedsApproval(demand) = combine(parts, &defaults()) {
                prop_assert!(!demand.approvals.is_empty() && demand.expires_after_s > 0);
                let mut roles: Vec<_> = demand.approvals.iter().map(|r| &r.role).collect();
                roles.dedup();
                prop_assert_eq!(roles.len(), demand.approvals.len());
            }
        }
    }
}
