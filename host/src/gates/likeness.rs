//! An agent that goes on after its call was approved may make a slightly different one. It is asked about anew, beside what
//! people approved.

use std::time::{Duration, Instant};

use super::keeper::Gatekeeper;
use super::running::Running;
use crate::approval::request::{Instead, Item};
use crate::policy::contract::Gate;
use crate::store::StoreError;

/// Below this similarity (0 to 1) two calls have nothing to do with each other.
const MIN_SIMILARITY: f32 = 0.5;
/// Longest text that is compared, bytes.
const MAX_BYTES: usize = 16 << 10;
/// Time for all comparisons of one request; what is left then is shown without.
const COMPARE_MS: u64 = 200;

impl Gatekeeper {
    /// The items of a request, each beside what people approved that is most like it.
    pub(super) async fn beside_approved(&self, running: &Running, items: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        if running.task.attempt <= 1 {
            return Ok(items);
        }
        let task = running.task.id.clone();
        let compared = self.store().call(move |s| {
            let grants = s.unused_grants(&task)?;
            let calls = grants.iter().filter(|grant| grant.approval.gate == Gate::ToolCall);
            let approved: Vec<&Item> = calls.map(|grant| &grant.approval.items[grant.item]).collect();
            let deadline = Instant::now() + Duration::from_millis(COMPARE_MS);
            let beside = |item: Item| Item { instead_of: nearest(&item, &approved, deadline), ..item };
            Ok(items.into_iter().map(beside).collect())
        });
        compared.await
    }
}

fn nearest(item: &Item, approved: &[&Item], deadline: Instant) -> Option<Instead> {
    let same_tool = approved.iter().filter(|other| other.title == item.title);
    same_tool
        .map(|other| (similarity(&item.content, &other.content, deadline), other))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| Instead { content: other.content.clone(), arguments: other.arguments.clone() })
}

fn similarity(a: &str, b: &str, deadline: Instant) -> f32 {
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    // As similar as its lengths allow at most.
    if long > MAX_BYTES || short * 3 < long || Instant::now() > deadline {
        return 0.0;
    }
    similar::TextDiff::configure().deadline(deadline).diff_chars(a, b).ratio()
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
        let approved: Vec<&Item> = approved.iter().collect();
        let later = Instant::now() + Duration::from_secs(60);
        let of = |content| nearest(&item(content), &approved, later).map(|instead| instead.content);
        assert_eq!(of("rm -rf /srv/build/out2").as_deref(), Some("rm -rf /srv/build/out"));
        assert_eq!(of("git push --force origin").as_deref(), Some("git push --force"));
        assert_eq!(of("dropdb x"), None);
        assert_eq!(of(&"rm -rf /srv/build/out".repeat(MAX_BYTES)), None, "too long");
    }
}
