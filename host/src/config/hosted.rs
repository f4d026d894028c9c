//! `hosted_tools` of `[agents.NAME]`: tools of its model's provider that an agent may ask for, where the policies allow them.

use std::collections::BTreeMap;

use super::layer::Problem;
use super::named::RawAgent;
use crate::gateway::HostedTools;

/// The lists that are not empty, by agent, checked. What is wrong goes to `problem`.
pub(super) fn lists(agents: &BTreeMap<String, RawAgent>, problem: &mut dyn FnMut(Problem)) -> BTreeMap<String, HostedTools> {
    let mut lists = BTreeMap::new();
    for (name, raw) in agents {
        match HostedTools::parse(&raw.hosted_tools) {
            Ok(list) if list.is_empty() => {}
            Ok(list) => drop(lists.insert(name.clone(), list)),
            Err((entry, why)) => problem(Problem::at(format!("agents.{name}.hosted_tools"), format!("'{entry}': {why}"))),
        }
    }
    lists
}
