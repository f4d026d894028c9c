//! Whether votes meet a demand, and whether an approval still covers what a newer policy set asks. Pure.

use std::collections::BTreeSet;

use super::request::{Ground, Item, Standing, Vote};
use crate::policy::contract::{Demand, Requirement};

/// What the votes on these items amount to so far: it ends when every item was refused by somebody, and each requirement
/// needs its number of different people. A person counts once, also where they hold several of the roles.
#[must_use]
pub fn tally(items: &[usize], requirements: &[Requirement], votes: &[Vote]) -> Standing {
    let is_refused = |item: &usize| votes.iter().any(|v| v.refuses(*item));
    if votes.iter().any(|v| !v.approve) || (!items.is_empty() && items.iter().all(is_refused)) {
        return Standing::Denied;
    }
    let seats: Vec<&str> = requirements.iter().flat_map(|r| std::iter::repeat_n(r.role.as_str(), r.count as usize)).collect();
    let mut seated: Vec<Option<usize>> = vec![None; votes.len()];
    let all = (0..seats.len()).all(|seat| seat_one(seat, &seats, votes, &mut seated, &mut BTreeSet::new()));
    if all && !seats.is_empty() { Standing::Approved } else { Standing::Open }
}

/// Finds a person for a seat, moving others to seats that they can also take (augmenting path).
fn seat_one(seat: usize, seats: &[&str], votes: &[Vote], seated: &mut Vec<Option<usize>>, tried: &mut BTreeSet<usize>) -> bool {
    for (person, vote) in votes.iter().enumerate() {
        if !vote.roles.iter().any(|r| r == seats[seat]) || !tried.insert(person) {
            continue;
        }
        let free = match seated[person] {
            None => true,
            Some(other) => seat_one(other, seats, votes, seated, tried),
        };
        if free {
            seated[person] = Some(seat);
            return true;
        }
    }
    false
}

/// Why an approval does not cover what is asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCovered {
    /// A rule, effect or target that the approvers did not see.
    NewGround(Ground),
    /// More people, others, or fewer who may.
    StrongerDemand(String),
}

/// Whether what people approved (`item`, `approved`, `allow_requester`) covers a newer demand for the same call.
pub fn covers(
    item: &Item,
    approved: &[Requirement],
    allow_requester: bool,
    grounds_now: &BTreeSet<Ground>,
    requirements_now: &[Requirement],
    demand_now: &Demand,
) -> Result<(), NotCovered> {
    if let Some(new) = grounds_now.difference(&item.grounds).next() {
        return Err(NotCovered::NewGround(new.clone()));
    }
    for now in requirements_now {
        let before = approved.iter().filter(|r| r.role == now.role).map(|r| r.count).max().unwrap_or(0);
        if now.count > before {
            return Err(NotCovered::StrongerDemand(format!("{} x {} instead of {before}", now.count, now.role)));
        }
    }
    if allow_requester && !demand_now.allow_requester {
        return Err(NotCovered::StrongerDemand("the requester no longer counts".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vote(principal: &str, roles: &[&str], approve: bool) -> Vote {
        Vote {
            principal: principal.into(),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            approve,
            refused: BTreeSet::new(),
            reason: String::new(),
            time_ms: 0,
        }
    }

    fn need(role: &str, count: u32) -> Requirement {
        Requirement { role: role.into(), count }
    }

    #[test]
    fn one_person_fills_one_seat_only() {
        let both = [need("approver", 1), need("dba", 1)];
        assert_eq!(tally(&[0], &both, &[vote("ann", &["approver", "dba"], true)]), Standing::Open);
        assert_eq!(
            tally(&[0], &both, &[vote("ann", &["approver", "dba"], true), vote("bob", &["approver"], true)]),
            Standing::Approved
        );
        assert_eq!(
            tally(&[0], &both, &[vote("bob", &["approver"], true), vote("ann", &["approver", "dba"], true)]),
            Standing::Approved
        );
        assert_eq!(tally(&[0], &both, &[vote("bob", &["approver"], true), vote("eve", &["approver"], true)]), Standing::Open);
    }

    #[test]
    fn an_item_ends_by_itself_and_the_request_with_its_last_item() {
        let refuses = |principal, items: &[usize]| Vote {
            refused: items.iter().copied().collect(),
            ..vote(principal, &["approver"], true)
        };
        let one = [need("approver", 1)];
        assert_eq!(tally(&[0, 1], &one, &[refuses("ann", &[0])]), Standing::Approved, "the other may pass");
        assert_eq!(tally(&[0, 1], &one, &[refuses("ann", &[0, 1])]), Standing::Denied);
        let two = [need("approver", 2)];
        assert_eq!(tally(&[0, 1], &two, &[refuses("ann", &[0])]), Standing::Open);
        assert_eq!(tally(&[0, 1], &two, &[refuses("ann", &[0]), refuses("bob", &[1])]), Standing::Denied, "nothing is left");
        assert!(vote("ann", &["approver"], false).refuses(7), "a refusal is one of everything");
    }

    #[test]
    fn one_refusal_ends_it_and_no_requirement_is_never_met() {
        assert_eq!(
            tally(&[0], &[need("approver", 1)], &[vote("ann", &["approver"], true), vote("bob", &["approver"], false)]),
            Standing::Denied
        );
        assert_eq!(tally(&[0], &[], &[]), Standing::Open);
    }

    proptest! {
        #[test]
        fn the_order_of_votes_does_not_matter(holds in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..6), a in 0..3u32, b in 0..3u32) {
            let people: Vec<Vote> = holds.iter().enumerate().map(|(i, (x, y))| {
                let mut roles = Vec::new();
                if *x { roles.push("a"); }
                if *y { roles.push("b"); }
                vote(&i.to_string(), &roles, true)
            }).collect();
            let requirements = [need("a", a), need("b", b)];
            let mut reversed = people.clone();
            reversed.reverse();
            prop_assert_eq!(tally(&[0], &requirements, &people), tally(&[0], &requirements, &reversed));
            let (only_a, only_b) = (holds.iter().filter(|h| h.0).count(), holds.iter().filter(|h| h.1).count());
            let either = holds.iter().filter(|h| h.0 || h.1).count();
            let enough = only_a >= a as usize && only_b >= b as usize && either >= (a + b) as usize && a + b > 0;
            prop_assert_eq!(tally(&[0], &requirements, &people) == Standing::Approved, enough);
        }
    }
}
