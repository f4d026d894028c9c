//! One turn: ask the upstream, pass its text on, have its calls judged together, and either release what may run or, if
//! nothing may, tell the model so and let it go on, as the rest of the same answer.

use std::sync::Arc;

use axum::http::StatusCode;

use super::dialect::{Answer, Clearing, Intact, Malformed, Question};
use super::failure::Failure;
use super::memory::{Hash, Refused, Round, Splice};
use super::meter::Meter;
use super::model::{Draft, Message};
use super::outbound::Outbound;
use super::record::{self, Entry, Heard};
use super::session::{Keep, Session};
use super::sse;
use super::turn::Turn;
use super::upstream::Reply;
use super::{Settings, Shared};
use crate::gates::{CallVerdict, ToolCall};

/// After the message is complete, how long the rest of the stream (usage) is waited for.
const TAIL: std::time::Duration = std::time::Duration::from_secs(5);

/// A turn to be written.
pub(in crate::gateway) struct Exchange {
    pub(in crate::gateway) shared: Arc<Shared>,
    pub(in crate::gateway) session: Arc<Session>,
    pub(in crate::gateway) turn: Arc<Turn>,
    pub(in crate::gateway) question: Hash,
    pub(in crate::gateway) request: Box<dyn Question>,
    pub(in crate::gateway) meter: Meter,
}

/// Ends the turn on every way out, a panic included.
struct Ended<'a> {
    exchange: &'a Exchange,
    outcome: Option<(Keep, Result<(), Failure>)>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let broken =
            || (Keep::Nothing, Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "gateway_ended", "the turn was ended")));
        let (keep, outcome) = self.outcome.take().unwrap_or_else(broken);
        self.exchange.session.detach(self.exchange.question, keep);
        self.exchange.turn.end(outcome);
    }
}

/// Writes the turn to its end.
pub(in crate::gateway) async fn run(exchange: Exchange) {
    let mut ended = Ended { exchange: &exchange, outcome: None };
    let outcome = tokio::select! {
        outcome = exchange.write() => outcome,
        () = exchange.session.closed.cancelled() => Err(Failure::unauthenticated()),
    };
    if let Some(spent) = exchange.meter.left(&exchange.session.line) {
        // What it says is said by the next request.
        let _ = exchange.shared.gates.spend(&exchange.session.task, spent).await;
    }
    ended.outcome = Some(match outcome {
        Ok(keep) => (keep, Ok(())),
        Err(failure) => (Keep::Nothing, Err(failure)),
    });
}

/// What became of one call.
enum Outcome {
    /// It may run. `same`: exactly as the model wrote it.
    Run { draft: Draft, same: Intact },
    /// It must not; the model is told this.
    Refused(String),
}

impl Exchange {
    fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    async fn write(&self) -> Result<Keep, Failure> {
        let offered = self.session.offer(&*self.shared.gates, self.request.hosted()).await;
        let by = Clearing { session: &self.session, gates: &*self.shared.gates, offered: &offered };
        let mut outbound = self.request.compose(by).await;
        let mut answer = self.request.answer(&self.settings().repairs, &offered.expected);
        let mut rounds: Vec<Round> = Vec::new();
        loop {
            let (gates, task) = (&self.shared.gates, &self.session.task);
            gates.may_spend(task).await.map_err(Failure::budget)?;
            let (message, entry) = self.recorded(&outbound, &mut *answer).await?;
            self.meter.whole(&message, &self.session.line);
            let (released, refused, intact) = sort(&message, self.judge(&message, entry.as_ref()).await?);
            if !released.is_empty() || refused.is_empty() {
                let keep = if message.calls.is_empty() && rounds.is_empty() { Keep::Nothing } else { Keep::Decided };
                let end = answer.finish(&message, &released, intact);
                // Before the agent has them: its hooks ask at once.
                released.iter().filter_map(|draft| draft.to_call().ok()).for_each(|call| self.session.released.keep(call));
                let call_ids = released.iter().map(|draft| draft.id.clone()).collect();
                // Kept before the agent has the answer, so that its next request finds it.
                self.session.splices.keep(Splice { call_ids, text: answer.text().to_owned(), rounds, beside: refused });
                self.turn.write(end);
                return Ok(keep);
            }
            self.pass(answer.set_aside(&message));
            let round = Round { text: message.text, wire: message.wire, refused };
            self.request.round(&round, by).await.into_iter().for_each(|passage| outbound.push(passage));
            rounds.push(round);
            if rounds.len() > self.settings().max_continuations as usize {
                let words =
                    format!("The turn was ended by coda: {} answers in a row held nothing but refused tool calls.", rounds.len());
                let end = answer.stop(&words);
                self.session.splices.keep(Splice {
                    call_ids: Vec::new(),
                    text: answer.text().to_owned(),
                    rounds,
                    beside: Vec::new(),
                });
                self.turn.write(end);
                return Ok(Keep::Decided);
            }
        }
    }

    /// Work that is worth doing only while somebody reads the answer.
    async fn attended<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let linger = std::time::Duration::from_secs(self.settings().linger_s);
        tokio::select! {
            outcome = work => outcome,
            () = self.turn.abandoned(linger) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "abandoned", "nobody reads the answer")),
        }
    }

    fn pass(&self, text: String) {
        if !text.is_empty() {
            self.turn.write(text);
        }
    }

    /// Asks the upstream once; where the task's traffic is recorded, with the entry that this makes.
    async fn recorded(&self, outbound: &Outbound, answer: &mut dyn Answer) -> Result<(Message, Option<Entry>), Failure> {
        let (entry, heard) = record::begin(&self.session, &*self.request, outbound).await.unzip();
        let mut heard = heard.unwrap_or_default();
        let asked = self.attended(self.ask(outbound, answer, &mut heard)).await;
        if let Some(entry) = &entry {
            entry.end(heard, asked.as_ref().err()).await;
        }
        Ok((asked?, entry))
    }

    /// Asks the upstream once, and passes on what may go on at once.
    async fn ask(&self, outbound: &Outbound, answer: &mut dyn Answer, heard: &mut Heard) -> Result<Message, Failure> {
        self.shared.gates.note_activity(&self.session.task);
        let asked = self.shared.client.send(&self.session.line, &*self.request, outbound).await;
        let mut reply = self.shared.heed(&self.session.task, asked)?;
        self.meter.begin(reply.request_bytes);
        let broken = |Malformed(why): Malformed| Failure::upstream(self.session.line.mask(&why));
        heard.begin(reply.is_stream);
        self.check_form(reply.is_stream)?;
        if reply.is_stream {
            return self.read_stream(&mut reply, answer, heard).await;
        }
        let mut body = Vec::new();
        while let Some(bytes) = reply.next().await? {
            self.shared.gates.note_activity(&self.session.task);
            self.meter.bytes(bytes.len());
            heard.take(&bytes);
            body.extend_from_slice(&bytes);
            self.check_size(body.len())?;
        }
        let message = answer.whole(&body).map_err(broken)?;
        match self.screen_hosted(answer).await {
            0 => Ok(message),
            _ => answer.end().map_err(broken),
        }
    }

    async fn read_stream(&self, reply: &mut Reply, answer: &mut dyn Answer, heard: &mut Heard) -> Result<Message, Failure> {
        let broken = |Malformed(why): Malformed| Failure::upstream(self.session.line.mask(&why));
        let no_text = |_: sse::NotText| Failure::upstream("the upstream model sent bytes that are no text");
        let (mut parser, mut size) = (sse::Parser::default(), 0);
        answer.begin();
        while !answer.is_done() {
            let bytes = match answer.is_finished() {
                false => reply.next().await?,
                // The message is complete: what fails or lacks from here on is only the usage.
                true => tokio::time::timeout(TAIL, reply.next()).await.ok().and_then(Result::ok).flatten(),
            };
            self.shared.gates.note_activity(&self.session.task);
            let events = match &bytes {
                Some(bytes) => parser.push(bytes).map_err(no_text)?,
                None => parser.finish().map_err(no_text)?.into_iter().collect(),
            };
            size += bytes.as_ref().map_or(0, |b| b.len());
            heard.take(bytes.as_deref().unwrap_or_default());
            self.check_size(size)?;
            for event in events {
                self.meter.event(&event);
                self.pass(answer.event(&event).map_err(broken)?);
                self.screen_hosted(answer).await;
            }
            if bytes.is_none() {
                break;
            }
        }
        answer.end().map_err(broken)
    }

    /// Judges what hosted tools answered as any tool's result, before the agent has it. Gives how many there were.
    async fn screen_hosted(&self, answer: &mut dyn Answer) -> usize {
        let mut judged = 0;
        while let Some(found) = answer.unjudged() {
            let verdict = self.session.screen_found(&*self.shared.gates, &found).await;
            self.pass(answer.judged(verdict));
            judged += 1;
        }
        judged
    }

    /// Whether the answer comes in the form that was asked for.
    fn check_form(&self, is_stream: bool) -> Result<(), Failure> {
        match (self.request.stream(), is_stream) {
            (true, false) if !self.session.line.dialect.bridges() => {
                Err(Failure::upstream("the upstream model sent no stream, though one was asked for"))
            }
            (false, true) if !self.session.line.dialect.bridges() => {
                Err(Failure::upstream("the upstream model sent a stream that nobody asked for"))
            }
            _ => Ok(()),
        }
    }

    fn check_size(&self, size: usize) -> Result<(), Failure> {
        let limit = self.settings().max_response_bytes;
        if size > limit {
            return Err(Failure::upstream(format!("the upstream model's answer is longer than {limit} bytes")));
        }
        Ok(())
    }

    /// All calls of a message, together, and what it used. A call that can't be judged can't run, nor one without a budget.
    async fn judge(&self, message: &Message, entry: Option<&Entry>) -> Result<Vec<Outcome>, Failure> {
        let read: Vec<Result<ToolCall, String>> = message.calls.iter().map(Draft::to_call).collect();
        let calls: Vec<ToolCall> = read.iter().filter_map(|call| call.as_ref().ok().cloned()).collect();
        let asked = calls.len();
        let kept = entry.map(|_| calls.clone()).unwrap_or_default();
        let (gates, task, owed) = (&self.shared.gates, &self.session.task, &self.meter.owed);
        let judged = match (calls.is_empty(), owed) {
            (false, owed) => gates.judge_calls(task, calls, owed).await,
            (true, owed) => match owed.take() {
                Some(spent) => gates.spend(task, spent).await.map(|()| Vec::new()),
                None => Ok(Vec::new()),
            },
        };
        let verdicts = judged.map_err(Failure::budget)?;
        if let Some(entry) = entry.filter(|_| asked > 0) {
            entry.verdicts(&kept, &verdicts).await;
        }
        if verdicts.len() != asked {
            tracing::error!(task.id = %self.session.task, asked, answered = verdicts.len(), "verdicts do not match the calls");
            let refusal = "refused by coda: the call could not be judged; the host's log says why".to_owned();
            return Ok(message.calls.iter().map(|_| Outcome::Refused(refusal.clone())).collect());
        }
        let mut verdicts = verdicts.into_iter();
        let outcome = |(draft, call): (&Draft, Result<ToolCall, String>)| match call {
            Ok(call) => outcome(draft, &call, verdicts.next().expect("as many verdicts as calls, checked above")),
            Err(why) => Outcome::Refused(format!(
                "refused by coda: the call can't be judged, because {why}. Nothing ran; make the call again."
            )),
        };
        Ok(message.calls.iter().zip(read).map(outcome).collect())
    }
}

fn outcome(draft: &Draft, asked: &ToolCall, verdict: CallVerdict) -> Outcome {
    match verdict {
        CallVerdict::Run(cleared) => {
            let call = cleared.into_inner();
            if call.id != asked.id || call.tool != asked.tool {
                return Outcome::Refused("refused by coda: the verdict was about another call".into());
            }
            if call.arguments == asked.arguments {
                return Outcome::Run { draft: draft.clone(), same: Intact::Yes };
            }
            Outcome::Run { draft: Draft { arguments: call.arguments.to_string(), ..draft.clone() }, same: Intact::No }
        }
        CallVerdict::Refuse { message } | CallVerdict::Park { message, .. } => Outcome::Refused(message),
    }
}

/// What is released, what was refused, and whether the former is the whole message.
fn sort(message: &Message, outcomes: Vec<Outcome>) -> (Vec<Draft>, Vec<Refused>, Intact) {
    let (mut released, mut refused, mut intact) = (Vec::new(), Vec::new(), Intact::Yes);
    for (position, (outcome, draft)) in outcomes.into_iter().zip(&message.calls).enumerate() {
        match outcome {
            Outcome::Run { draft, same } => {
                if same == Intact::No {
                    intact = Intact::No;
                }
                released.push(draft);
            }
            Outcome::Refused(message) => {
                intact = Intact::No;
                refused.push(Refused { draft: draft.clone(), position, message });
            }
        }
    }
    (released, refused, intact)
}
