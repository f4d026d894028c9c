//! A guard that builds regular expressions in `configure`: what the host's snapshot of a configured instance is worth.
//!
//! With `memory = "held"` it keeps a stream open, which no snapshot can carry: then each instance is configured anew.

use std::io::Read as _;

use coda_policy::prelude::*;
use regex::Regex;

/// `settings = { patterns = 200, memory = "held" }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    patterns: u32,
    memory: Memory,
}

/// Whether the host can snapshot what `configure` leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Memory {
    Plain,
    Held,
}

/// The configured policy.
#[derive(Debug)]
pub struct Patterns(Vec<Regex>);

impl Policy for Patterns {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("patterns", "0.1.0").gate(Gate::ToolCall)
    }

    fn configure(settings: Settings, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        let failed = |error: &dyn std::fmt::Display| PolicyError::Failed(error.to_string());
        if settings.memory == Memory::Held {
            // The standard library keeps the stream, and with it the handle.
            std::io::stdin().read_to_string(&mut String::new()).map_err(|error| failed(&error))?;
        }
        let build = |n| Regex::new(&format!(r"\b(?:key|token|secret)[_-]?{n}\s*[:=]\s*[A-Za-z0-9]{{16,40}}\b"));
        Ok(Self((0..settings.patterns).map(build).collect::<Result<_, _>>().map_err(|error| failed(&error))?))
    }
}

impl Guard for Patterns {
    fn review(&self, event: &Event, _: &[Finding]) -> Result<Verdict, PolicyError> {
        // One pattern is asked: how long matching takes is not the question here.
        std::hint::black_box(self.0.first().is_some_and(|pattern| pattern.is_match(event.content())));
        Ok(allow())
    }
}

coda_policy::policy!(Patterns: guard);
