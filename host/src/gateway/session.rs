//! One task at the gateway: its token, its upstream, what is remembered of it, and its turns that run or are decided.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::hosted::{Answered, Declaration, HostedTools, Offered};
use super::memory::{Hash, Results, Screened, Splices, hash};
use super::record::Recorder;
use super::released::Released;
use super::results::NO_TEXT;
use super::turn::{Reader, Turn};
use super::upstream::Line;
use crate::gates::{ResultVerdict, ToolGates};
use crate::id::TaskId;
use crate::task::conversation::Conversation;
use crate::task::envelope::Told;

/// SHA-256 of a token: tokens themselves are not kept, and not compared.
pub(in crate::gateway) type TokenKey = Hash;

/// The key of a token.
pub(in crate::gateway) fn token_key(token: &str) -> TokenKey {
    hash(&[token.as_bytes()])
}

/// The tasks whose access is open.
#[derive(Default)]
pub(in crate::gateway) struct Sessions(Mutex<HashMap<TokenKey, Arc<Session>>>);

impl Sessions {
    pub(in crate::gateway) fn insert(&self, key: TokenKey, session: Arc<Session>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, session);
    }

    pub(in crate::gateway) fn find(&self, token: &str) -> Option<Arc<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&token_key(token)).cloned()
    }

    /// Whose it is.
    pub(in crate::gateway) fn of(&self, key: &TokenKey) -> Option<Arc<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Takes one out that goes on elsewhere.
    pub(in crate::gateway) fn take(&self, key: &TokenKey) -> Option<Arc<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    pub(in crate::gateway) fn close(&self, key: &TokenKey) {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(session) = session {
            session.closed.cancel();
        }
    }
}

/// One task.
pub(in crate::gateway) struct Session {
    pub(in crate::gateway) task: TaskId,
    /// What the model reads where the agent was told a stand-in.
    pub(in crate::gateway) told: Told,
    /// What the model was asked so far.
    pub(in crate::gateway) heard: watch::Sender<Heard>,
    pub(in crate::gateway) line: Line,
    pub(in crate::gateway) splices: Splices,
    /// What the hooks of its agent need not ask about again.
    pub(in crate::gateway) released: Released,
    /// Hosted tools that its agent may ask for, if any.
    pub(in crate::gateway) hosted: OnceLock<HostedTools>,
    /// Where its model traffic is written, if that is recorded.
    pub(in crate::gateway) recorder: OnceLock<Arc<Recorder>>,
    /// Cancelled when the access is closed.
    pub(in crate::gateway) closed: CancellationToken,
    /// Bounds requests that are being answered.
    pub(in crate::gateway) requests: Arc<Semaphore>,
    /// Bounds turns that run, which may outlive the request that began them.
    pub(in crate::gateway) running: Arc<Semaphore>,
    results: Results,
    turns: Mutex<Turns>,
    max_decided: usize,
    max_decided_bytes: usize,
}

#[derive(Default)]
struct Turns {
    running: HashMap<Hash, Arc<Turn>>,
    decided: VecDeque<(Hash, Arc<Turn>)>,
}

/// What a task's model, or its gates, were asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whether they were asked anything: then the agent may have done something.
    pub is_asked: bool,
    /// Which conversation the agent holds with it, once it was told the task.
    pub conversation: Option<Conversation>,
}

/// Where a request finds its answer.
pub(in crate::gateway) enum Found {
    /// The same question was asked before: its answer, from the beginning.
    Known(Reader),
    /// A new question: somebody must write the answer.
    New(Arc<Turn>, Reader),
}

/// Whether a turn that has ended is kept for a repeated request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Keep {
    /// Calls were decided in it: the verdicts stand.
    Decided,
    /// Nothing was decided, or it failed: a repeated request asks the upstream anew.
    Nothing,
}

impl Session {
    pub(in crate::gateway) fn new(task: TaskId, told: Told, line: Line, settings: &Settings) -> Self {
        Self {
            task,
            told,
            heard: watch::Sender::default(),
            line,
            splices: Splices::new(settings.max_remembered_refusals),
            released: Released::new(settings.max_remembered_results, Duration::from_secs(settings.hook_match_s)),
            hosted: OnceLock::new(),
            recorder: OnceLock::new(),
            closed: CancellationToken::new(),
            requests: Arc::new(Semaphore::new(settings.max_requests.max(1))),
            running: Arc::new(Semaphore::new(settings.max_requests.max(1))),
            results: Results::new(settings.max_remembered_results),
            turns: Mutex::default(),
            max_decided: settings.max_remembered_turns,
            max_decided_bytes: settings.max_remembered_turn_bytes,
        }
    }

    /// The model, or a gate, is about to be asked, with what was found of stand-ins. Some agents ask beside their conversation, with
    /// its last words alone: once it was seen to go on, it does.
    pub(in crate::gateway) fn asked(&self, found: Option<Conversation>) {
        self.heard.send_modify(|heard| {
            let goes_on = [heard.conversation, found].contains(&Some(Conversation::Resumed));
            let conversation = if goes_on { Some(Conversation::Resumed) } else { heard.conversation.or(found) };
            *heard = Heard { is_asked: true, conversation };
        });
    }

    /// Attaches to the turn of the same question, or begins one.
    pub(in crate::gateway) fn attach(&self, question: Hash) -> Found {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = turns.decided.iter().rev().find(|(key, _)| *key == question).map(|(_, turn)| turn);
        if let Some(turn) = turns.running.get(&question).or(decided) {
            return Found::Known(turn.read());
        }
        let turn = Arc::new(Turn::new());
        turns.running.insert(question, Arc::clone(&turn));
        let reader = turn.read();
        Found::New(turn, reader)
    }

    /// The turn of a question has ended.
    pub(in crate::gateway) fn detach(&self, question: Hash, keep: Keep) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.running.remove(&question);
        if let (Some(turn), Keep::Decided) = (turn, keep) {
            turns.decided.push_back((question, turn));
            let mut bytes: usize = turns.decided.iter().map(|(_, turn)| turn.bytes()).sum();
            while turns.decided.len() > self.max_decided || bytes > self.max_decided_bytes {
                let Some((_, oldest)) = turns.decided.pop_front() else { break };
                bytes -= oldest.bytes();
            }
        }
    }

    /// The hosted tools of a request that may be offered to its model.
    pub(in crate::gateway) async fn offer(&self, gates: &dyn ToolGates, declared: &[Declaration]) -> Offered {
        match self.hosted.get() {
            Some(listed) => Offered::judge(gates, &self.task, listed, declared).await,
            None => Offered::default(),
        }
    }

    /// What may be read of a hosted tool's answer. One that can't be judged may not. Agents send these back without ids, so
    /// that one is known by its tool and content.
    pub(in crate::gateway) async fn screen_found(&self, gates: &dyn ToolGates, found: &Answered) -> Screened {
        let Some(text) = &found.text else { return Screened::Withhold(format!("withheld by coda: {NO_TEXT}")) };
        let judged = || judged(gates, &self.task, &found.id, &found.tool, text);
        self.results.cell(&found.tool, text).get_or_init(judged).await.clone()
    }

    /// What the model may read of a tool's result. Judged at its first appearance, remembered afterwards.
    pub(in crate::gateway) async fn screen(&self, gates: &dyn ToolGates, call_id: &str, tool: &str, content: &str) -> Screened {
        let judged = || judged(gates, &self.task, call_id, tool, content);
        self.results.cell(call_id, content).get_or_init(judged).await.clone()
    }
}

async fn judged(gates: &dyn ToolGates, task: &TaskId, call_id: &str, tool: &str, content: &str) -> Screened {
    match gates.judge_result(task, call_id, tool, content.to_owned()).await {
        ResultVerdict::Deliver(text) => Screened::Deliver(text),
        ResultVerdict::Withhold { message } => Screened::Withhold(message),
    }
}
