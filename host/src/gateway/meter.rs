//! What a turn uses of its model. Upstreams say it at the end of an answer, if at all: what they do not say is estimated from
//! bytes, also of an answer that nobody read to its end, so that silence and hanging up cost as much as speaking.

use std::sync::atomic::{AtomicU64, Ordering};

use super::model::Message;
use super::upstream::Line;
use crate::usage::{Owed, Spent};

/// What a token has in most texts and models.
const BYTES_PER_TOKEN: u64 = 4;
/// About what an event of a stream has around the piece of text that it brings.
const BYTES_AROUND_A_PIECE: u64 = 200;

/// The answer that is being read: what is known of it before it is whole.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Meter {
    /// About how many tokens the request has; 0 where no answer began.
    input: AtomicU64,
    /// About how many tokens came.
    output: AtomicU64,
    /// What the last whole answer used, until it is kept.
    pub(in crate::gateway) owed: Owed,
}

impl Meter {
    /// An answer to a request of so many bytes begins.
    pub(in crate::gateway) fn begin(&self, request_bytes: usize) {
        self.input.store(tokens_in(request_bytes).max(1), Ordering::Relaxed);
        self.output.store(0, Ordering::Relaxed);
    }

    /// One event of a stream came.
    pub(in crate::gateway) fn event(&self, data: &str) {
        let piece = u64::try_from(data.len()).unwrap_or(u64::MAX).saturating_sub(BYTES_AROUND_A_PIECE);
        self.output.fetch_add((piece / BYTES_PER_TOKEN).max(1), Ordering::Relaxed);
    }

    /// So many bytes of a document came.
    pub(in crate::gateway) fn bytes(&self, count: usize) {
        self.output.fetch_add(tokens_in(count), Ordering::Relaxed);
    }

    /// The answer is whole: what it used is owed, as the upstream says, and as it is estimated where it does not.
    pub(in crate::gateway) fn whole(&self, message: &Message, line: &Line) {
        let (input, _) = self.take();
        let output = tokens_in(message.text.len().max(message.wire.to_string().len()));
        let said = message.tokens.unwrap_or_default();
        // Nothing is read for nothing: a zero is no figure.
        let is_empty = message.text.is_empty() && message.calls.is_empty();
        let read = if said.input == 0 { Counted::About(input) } else { Counted::Said(said.input) };
        let written = if said.output == 0 && !is_empty { Counted::About(output) } else { Counted::Said(said.output) };
        self.owed.set(spent(line, read, written));
    }

    /// What an answer used that did not become whole, or that nobody has kept; `None` where there is none.
    pub(in crate::gateway) fn left(&self, line: &Line) -> Option<Spent> {
        let (input, output) = self.take();
        let broken_off = || (input > 0).then(|| spent(line, Counted::About(input), Counted::About(output)));
        self.owed.take().or_else(broken_off)
    }

    fn take(&self) -> (u64, u64) {
        (self.input.swap(0, Ordering::Relaxed), self.output.swap(0, Ordering::Relaxed))
    }
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy)]
enum Counted {
    Said(u64),
    About(u64),
}

fn spent(line: &Line, read: Counted, written: Counted) -> Spent {
    let figure = |counted: Counted| match counted {
        Counted::Said(tokens) => (tokens, 0),
        Counted::About(tokens) => (tokens, tokens),
    };
    let ((input, about_input), (output, about_output)) = (figure(read), figure(written));
    Spent {
        model: line.name.clone(),
        input_tokens: input,
        output_tokens: output,
        estimated_tokens: about_input.saturating_add(about_output),
        cost_micro_usd: line.prices.map(|prices| prices.cost_micro_usd(input, output)),
    }
}

/// About how many tokens so many bytes are.
pub(in crate::gateway) fn tokens_in(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(BYTES_PER_TOKEN)
}
