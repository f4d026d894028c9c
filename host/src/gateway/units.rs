//! What the dialects with messages in units (blocks, items, parts) have in common: their order carries meaning, and some
//! of them are signed, so that none is edited.

use serde_json::Value;

use super::memory::Round;

/// How a dialect tells its units apart.
#[derive(Clone, Copy)]
pub(in crate::gateway) struct Kinds {
    /// Whether it is a call.
    pub(in crate::gateway) is_call: fn(&Value) -> bool,
    /// Whether the first is the second as an agent sends it back.
    pub(in crate::gateway) is_same: fn(&Value, &Value) -> bool,
}

/// A message of the agent's history without the units of the rounds before it, as far as the agent left those as they were:
/// they go back to the upstream with their calls.
pub(in crate::gateway) fn without_rounds(units: Vec<Value>, rounds: &[Round], kinds: Kinds) -> Vec<Value> {
    let mut rest: std::collections::VecDeque<Value> = units.into();
    let sent = rounds.iter().filter_map(|round| round.wire.as_array()).flatten().filter(|unit| !(kinds.is_call)(unit));
    for unit in sent {
        let Some(first) = rest.front_mut() else { break };
        if (kinds.is_same)(first, unit) {
            rest.pop_front();
        } else if let (Some(text), Some(begin)) = (first["text"].as_str(), unit["text"].as_str())
            && let Some(after) = text.trim_start().strip_prefix(begin.trim())
            && !begin.trim().is_empty()
        {
            // An agent may have put two texts into one.
            first["text"] = after.trim_start().into();
        }
    }
    rest.into()
}

/// The units of a round.
pub(in crate::gateway) fn of(round: &Round) -> Vec<Value> {
    round.wire.as_array().cloned().unwrap_or_default()
}
