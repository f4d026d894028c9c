//! Calls of one message: judged side by side, and what people must decide is one request with a decision for each of them.

use std::sync::Arc;

use futures_util::future::join_all;

use super::agent_side::{as_cleared, release_of};
use super::ask::{Ask, ask_call, item_of, merge_demands};
use super::keeper::{Gatekeeper, unkept};
use super::running::Running;
use super::screen::record_of;
use super::shown;
use super::{CallVerdict, ToolCall};
use crate::env;
use crate::policy::contract::{Demand, Verdict};
use crate::policy::{Cleared, Judgment};
use crate::store::StoreError;
use crate::store::items::MAX_ITEMS;
use crate::store::settle::{Fate, JudgedCall};
use crate::usage::Owed;

/// A call of the message, judged.
struct Asked {
    call: ToolCall,
    ask: Ask,
    first: Judgment,
    /// As it runs, where the policies allow it.
    cleared: Option<(ToolCall, Cleared<String>)>,
    fate: Fate,
}

impl Gatekeeper {
    /// A verdict for each, in the order of the calls. `Err`: a budget is used up, and the task has ended.
    pub(super) async fn judge_together(
        &self,
        running: &Arc<Running>,
        calls: Vec<ToolCall>,
        owed: &Owed,
    ) -> Result<Vec<CallVerdict>, String> {
        if let Some(spent) = owed.look() {
            running.foresee(&spent);
        }
        let asks: Vec<Ask> = calls.iter().map(|call| ask_call(running, call)).collect();
        let event = |ask: &Ask| running.event(ask.subject.clone(), &ask.working_directory);
        let judged = join_all(asks.iter().map(|ask| self.0.policies.judge(event(ask)))).await;
        let mut asked: Vec<Asked> = Vec::with_capacity(calls.len());
        for (call, (ask, first)) in calls.into_iter().zip(asks.into_iter().zip(judged)) {
            let cleared = first.clone().cleared().ok().and_then(|cleared| Some((as_cleared(&call, &cleared).ok()?, cleared)));
            asked.push(Asked { call, ask, first, cleared, fate: Fate::Open });
        }
        for some in asked.chunks_mut(MAX_ITEMS) {
            match self.settle(running, some, owed).await {
                Ok(within) => within?,
                Err(e) => {
                    let message = unkept(running, &e);
                    return Ok(asked.iter().map(|_| CallVerdict::Refuse { message: message.clone() }).collect());
                }
            }
        }
        for some in asked.chunks(MAX_ITEMS) {
            if let Err(e) = self.ask_together(running, some).await {
                // Each call asks for itself then, and is refused where that fails, too.
                tracing::warn!(task.id = %running.task.id, error = %e, "calls of one message could not be asked about together");
            }
        }
        Ok(join_all(asked.into_iter().map(|asked| self.verdict(running, asked))).await)
    }

    /// Keeps what the answer used and the decisions, and releases what nothing else speaks about, at once.
    async fn settle(&self, running: &Running, asked: &mut [Asked], owed: &Owed) -> Result<Result<(), String>, StoreError> {
        let judged = asked.iter().map(|asked| {
            let release = asked.cleared.is_some().then(|| release_of(running, &asked.call, &asked.ask));
            JudgedCall { record: record_of(running, &asked.first, &asked.ask.subject), release }
        });
        let (task, judged, budgets) = (running.task.id.clone(), judged.collect::<Vec<_>>(), self.settings().budgets.clone());
        // Taken and handed on without a pause: who ends this in the middle neither loses nor doubles it.
        let spent = owed.take();
        let settled = self.store().call(move |s| s.settle(&task, spent.as_ref(), &budgets, &judged, env::now_ms())).await?;
        running.set_marks(settled.marks);
        for (asked, fate) in asked.iter_mut().zip(settled.fates) {
            if matches!(fate, Fate::Released) {
                running.count_call();
            }
            asked.fate = fate;
        }
        Ok(match settled.standing {
            Some(standing) => self.heed(&running.task.id, standing).await,
            None => Ok(()),
        })
    }

    /// What becomes of a call whose decision is kept.
    async fn verdict(&self, running: &Arc<Running>, asked: Asked) -> CallVerdict {
        match (asked.fate, asked.cleared) {
            (Fate::Released, Some((call, cleared))) => CallVerdict::Run(cleared.wrap(|_| call)),
            (Fate::Barred(why), _) => CallVerdict::Refuse { message: format!("refused: {why}") },
            (Fate::Open | Fate::Released, _) => {
                let passed = self.pass_judged(running, &asked.ask, Ok(asked.first)).await;
                self.release(running, asked.call, &asked.ask, passed).await
            }
        }
    }

    /// One request for those that need people and have not asked before. A single one asks for itself.
    async fn ask_together(&self, running: &Arc<Running>, asked: &[Asked]) -> Result<(), StoreError> {
        let mut wanting: Vec<(&Ask, &Judgment, &Demand)> = Vec::new();
        for Asked { ask, first: judgment, .. } in asked {
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
