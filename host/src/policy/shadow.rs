//! Shadow policies: asked off the request path, on a thread of their own, from a bounded queue. When it is full, questions
//! are dropped and counted; nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::bindings::Filtered;
use super::chain::{self, Role, ShadowQuestion};
use super::contract::Verdict;
use super::engine::Runtime;
use super::judgment::Step;
use super::set::Live;

/// The queue.
pub(super) struct Shadow {
    queue: SyncSender<(Arc<Live>, ShadowQuestion)>,
    dropped: AtomicU64,
}

impl Shadow {
    pub(super) fn start(runtime: &Arc<Runtime>, queue: u32) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(queue.max(1) as usize);
        let runtime = Arc::clone(runtime);
        std::thread::Builder::new().name("coda-shadow".into()).spawn(move || answer_all(&runtime, &receiver))?;
        Ok(Self { queue: sender, dropped: AtomicU64::new(0) })
    }

    /// Hands questions over, as far as there is room.
    pub(super) fn ask(&self, live: &Arc<Live>, questions: Vec<ShadowQuestion>) {
        for question in questions {
            if self.queue.try_send((Arc::clone(live), question)).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("coda_policy_shadow_dropped_total").increment(1);
            }
        }
    }

    /// Questions that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn answer_all(runtime: &Runtime, questions: &Receiver<(Arc<Live>, ShadowQuestion)>) {
    while let Ok((live, question)) = questions.recv() {
        let step = answer(runtime, &live, &question);
        let (policy, outcome, generation) = (&step.policy, &step.outcome, live.generation);
        let (task, event) = (&question.event.task.id, &question.event.id);
        metrics::counter!("coda_policy_shadow_total", "policy" => policy.clone(), "outcome" => outcome.clone()).increment(1);
        tracing::info!(policy, outcome, generation, task, event, codes = ?step.codes, fault = step.fault, fuel = step.fuel, "shadow verdict");
    }
}

fn answer(runtime: &Runtime, live: &Live, question: &ShadowQuestion) -> Step {
    let policy = &live.set.policies[question.policy];
    match question.role {
        Role::Filter => {
            let asked = chain::ask_filter(runtime, policy, &question.event);
            let (outcome, found) = match &asked.result {
                Ok(Filtered::Unchanged(found)) => ("unchanged", found.clone()),
                Ok(Filtered::Replaced(_, found)) => ("replaced", found.clone()),
                Ok(Filtered::Withhold(found)) => ("withheld", found.clone()),
                Err(_) => ("fault", Vec::new()),
            };
            chain::step(policy, Role::Filter, outcome, &found, &asked)
        }
        Role::Guard => {
            let asked = chain::ask_guard(runtime, policy, &question.event, &question.earlier);
            let outcome = asked.result.as_ref().map_or("fault", Verdict::as_str);
            let found = asked.result.as_ref().map_or(&[][..], Verdict::findings).to_vec();
            chain::step(policy, Role::Guard, outcome, &found, &asked)
        }
    }
}
