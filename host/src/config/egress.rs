//! `allow_hosts` and `allow_private` of `[agents.NAME]`: what an agent may reach besides its model.

use std::collections::BTreeMap;

use super::layer::Problem;
use super::named::RawAgent;
use crate::gateway::Egress;
use crate::gateway::egress::Private;

/// The lists that are not empty, by agent, checked. What is wrong goes to `problem`.
pub(super) fn lists(agents: &BTreeMap<String, RawAgent>, problem: &mut dyn FnMut(Problem)) -> BTreeMap<String, Egress> {
    let mut lists = BTreeMap::new();
    for (name, raw) in agents {
        let private = if raw.allow_private == Some(true) { Private::Allowed } else { Private::Refused };
        match Egress::parse(name, &raw.allow_hosts, private) {
            Ok(list) if list.is_empty() && raw.allow_private.is_some() => {
                let message = "says nothing without allow_hosts: name the hosts that the agent may reach";
                problem(Problem::at(format!("agents.{name}.allow_private"), message));
            }
            Ok(list) if list.is_empty() => {}
            Ok(list) => drop(lists.insert(name.clone(), list)),
            Err((entry, why)) => problem(Problem::at(format!("agents.{name}.allow_hosts"), format!("'{entry}': {why}"))),
        }
    }
    lists
}
