//! An agent that goes on after its call was approved may make a slightly different one. It is asked about anew, beside what
//! people approved.

use std::time::Duration;

use super::ask::{Ask, item_of};
use super::keeper::Gatekeeper;
use super::running::Running;
use crate::approval::request::{Instead, Item};
use crate::policy::Judgment;
use crate::policy::contract::{Demand, Gate};
use crate::store::StoreError;

/// Below this similarity (0 to 1) two calls have nothing to do with each other.
const MIN_SIMILARITY: f32 = 0.5;
/// Longest text that is compared, bytes.
const MAX_BYTES: usize = 64 << 10;
/// Time for one comparison; then it becomes coarser.
const COMPARE_MS: u64 = 50;

impl Gatekeeper {
    /// The item that people see of a call, beside what they approved that is most like it.
    pub(super) async fn item(
        &self,
        running: &Running,
        ask: &Ask,
        judgment: &Judgment,
        demand: &Demand,
    ) -> Result<Item, StoreError> {
        let mut item = item_of(ask, judgment, &demand.findings);
        if judgment.gate == Gate::ToolCall && running.task.attempt > 1 {
            let task = running.task.id.clone();
            let grants = self.store().call(move |s| s.unused_grants(&task)).await?;
            let same_tool =
                grants.iter().map(|grant| &grant.approval.items[grant.item]).filter(|other| other.title == item.title);
            item.instead_of = nearest(&item, same_tool);
        }
        Ok(item)
    }
}

fn nearest<'a>(item: &Item, approved: impl Iterator<Item = &'a Item>) -> Option<Instead> {
    let known = |of: &Item| Instead { content: of.content.clone(), arguments: of.arguments.clone() };
    approved
        .map(|other| (similarity(&item.content, &other.content), other))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| known(other))
}

fn similarity(a: &str, b: &str) -> f32 {
    if a.len().max(b.len()) > MAX_BYTES {
        return 0.0;
    }
    let mut config = similar::TextDiff::configure();
    config.timeout(Duration::from_millis(COMPARE_MS)).diff_chars(a, b).ratio()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn item(content: &str) -> Item {
        Item {
            call_key: String::new(),
            title: "shell".into(),
            content: content.into(),
            arguments: String::new(),
            instead_of: None,
            content_sha256: String::new(),
            working_directory: String::new(),
            marked: Vec::new(),
            grounds: BTreeSet::new(),
        }
    }

    #[test]
    fn the_most_similar_call_is_the_one_that_it_stands_for() {
        let approved = [item("rm -rf /srv/build/cache"), item("rm -rf /srv/build/out"), item("git push --force")];
        let of = |content| nearest(&item(content), approved.iter()).map(|instead| instead.content);
        assert_eq!(of("rm -rf /srv/build/out2").as_deref(), Some("rm -rf /srv/build/out"));
        assert_eq!(of("git push --force origin").as_deref(), Some("git push --force"));
        assert_eq!(of("dropdb x"), None);
        assert_eq!(nearest(&item(&"x".repeat(MAX_BYTES + 1)), approved.iter()), None);
    }
}
