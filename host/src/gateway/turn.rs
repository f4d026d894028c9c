//! One turn's answer, written once and read by whoever asks the same question: the log of what goes to the agent. A
//! request that is repeated while its calls are held, or after they were decided, reads the same log from its beginning.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;

use super::dialect::Dialect;
use super::failure::Failure;

/// The log. One task writes, any number of `Reader`s read.
#[derive(Debug)]
pub(in crate::gateway) struct Turn {
    // A std mutex: held to look or to append, never across an await.
    log: Mutex<Log>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Log {
    chunks: Vec<Bytes>,
    end: Option<End>,
}

/// How a turn ended.
#[derive(Debug, Clone)]
enum End {
    Whole,
    Failed(Failure),
}

impl Turn {
    pub(in crate::gateway) fn new() -> Self {
        Self { log: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Appends to the answer.
    pub(in crate::gateway) fn write(&self, text: impl Into<Bytes>) {
        self.change(|log| log.chunks.push(text.into()));
    }

    /// Ends the answer. The first end counts.
    pub(in crate::gateway) fn end(&self, outcome: Result<(), Failure>) {
        let end = match outcome {
            Ok(()) => End::Whole,
            Err(failure) => End::Failed(failure),
        };
        self.change(|log| {
            log.end.get_or_insert(end);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
    }

    /// How long the answer is so far.
    pub(in crate::gateway) fn bytes(&self) -> usize {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).chunks.iter().map(Bytes::len).sum()
    }

    /// Completes when nobody has read for `linger`.
    pub(in crate::gateway) async fn abandoned(&self, linger: Duration) {
        loop {
            self.changed.closed().await;
            tokio::time::sleep(linger).await;
            if self.changed.receiver_count() == 0 {
                return;
            }
        }
    }

    /// Reads from the beginning.
    pub(in crate::gateway) fn read(self: &std::sync::Arc<Self>) -> Reader {
        Reader { changed: self.changed.subscribe(), turn: std::sync::Arc::clone(self), position: 0 }
    }
}

/// One reader of a turn.
pub(in crate::gateway) struct Reader {
    turn: std::sync::Arc<Turn>,
    changed: watch::Receiver<()>,
    position: usize,
}

/// What a reader comes upon.
pub(in crate::gateway) enum Read {
    /// More of the answer.
    More(Bytes),
    /// Nothing happened for the time given.
    Silence,
    /// The answer is whole.
    End,
    /// There will be no more.
    Failed(Failure),
}

impl Reader {
    /// The next thing, after at most `patience`.
    pub(in crate::gateway) async fn next(&mut self, patience: Option<Duration>) -> Read {
        loop {
            if let Some(read) = self.look() {
                return read;
            }
            let changed = self.changed.changed();
            let outcome = match patience {
                Some(patience) => match tokio::time::timeout(patience, changed).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Read::Silence,
                },
                None => changed.await,
            };
            outcome.expect("the sender lives in the turn, which this reader holds");
        }
    }

    fn look(&mut self) -> Option<Read> {
        // Marked before the look, so that a change after it is not lost.
        self.changed.borrow_and_update();
        let log = self.turn.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = log.chunks.get(self.position) {
            self.position += 1;
            return Some(Read::More(chunk.clone()));
        }
        match &log.end {
            Some(End::Whole) => Some(Read::End),
            Some(End::Failed(failure)) => Some(Read::Failed(failure.clone())),
            None => None,
        }
    }

    /// The rest as the body of an event stream: silence becomes signs of life, a failure an error event.
    pub(in crate::gateway) fn into_stream(
        self,
        first: Option<Bytes>,
        keepalive: Duration,
        dialect: Dialect,
    ) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> {
        let state = Some((self, first));
        futures_util::stream::unfold(state, move |state| async move {
            let (mut reader, first) = state?;
            if let Some(first) = first {
                return Some((Ok(first), Some((reader, None))));
            }
            match reader.next(Some(keepalive)).await {
                Read::More(bytes) => Some((Ok(bytes), Some((reader, None)))),
                Read::Silence => Some((Ok(Bytes::from_static(dialect.keepalive().as_bytes())), Some((reader, None)))),
                Read::End => None,
                Read::Failed(failure) => Some((Ok(Bytes::from(dialect.error_event(&failure))), None)),
            }
        })
    }
}
