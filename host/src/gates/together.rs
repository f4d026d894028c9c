//! Calls of one message: judged side by side, and what people must decide is one request with a decision for each of them.

use std::sync::Arc;

use futures_util::future::join_all;

use super::ask::{Ask, ask_call, item_of, merge_demands};
use super::keeper::Gatekeeper;
use super::running::Running;
use super::shown;
use super::{CallVerdict, ToolCall};
use crate::policy::Judgment;
use crate::policy::contract::{Demand, Verdict};
use crate::store::StoreError;
use crate::store::items::MAX_ITEMS;

impl Gatekeeper {
    /// A verdict for each, in the order of the calls.
    pub(super) async fn judge_together(&self, running: &Arc<Running>, calls: Vec<ToolCall>) -> Vec<CallVerdict> {
        let asks: Vec<Ask> = calls.iter().map(|call| ask_call(running, call)).collect();
        let judged = join_all(asks.iter().map(|ask| self.judge(running, ask.subject.clone(), &ask.working_directory))).await;
        let asked: Vec<(&Ask, &Judgment)> = asks.iter().zip(&judged).filter_map(|(a, j)| Some((a, j.as_ref().ok()?))).collect();
        for some in asked.chunks(MAX_ITEMS) {
            if let Err(e) = self.ask_together(running, some).await {
                // Each call asks for itself then, and is refused where that fails, too.
                tracing::warn!(task.id = %running.task.id, error = %e, "calls of one message could not be asked about together");
            }
        }
        let one = async |(ask, (call, first)): (&Ask, (ToolCall, Result<Judgment, StoreError>))| {
            let passed = self.pass_judged(running, ask, first).await;
            self.release(running, call, ask, passed).await
        };
        join_all(asks.iter().zip(calls.into_iter().zip(judged)).map(one)).await
    }

    /// One request for those that need people and have not asked before. A single one asks for itself.
    async fn ask_together(&self, running: &Arc<Running>, judged: &[(&Ask, &Judgment)]) -> Result<(), StoreError> {
        let mut wanting: Vec<(&Ask, &Judgment, &Demand)> = Vec::new();
        for (ask, judgment) in judged {
            let Verdict::NeedsApproval(demand) = &judgment.verdict else { continue };
            if self.found(running, ask).await?.is_none() {
                wanting.push((ask, judgment, demand));
            }
        }
        let [_, .., (_, last, _)] = wanting.as_slice() else { return Ok(()) };
        let items = wanting.iter().map(|(ask, judgment, demand)| item_of(ask, judgment, &demand.findings)).collect();
        let items = self.beside_approved(running, items).await?;
        let seen = |(ask, judgment, demand): &(&Ask, &Judgment, &Demand)| shown::demand(demand, &ask.subject, &judgment.findings);
        let demands: Vec<Demand> = wanting.iter().map(seen).collect();
        let request = self.request(running, last, &merge_demands(&demands, self), items);
        self.store().call(move |s| s.request_approval(&request)).await
    }
}
