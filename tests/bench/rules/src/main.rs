//! The rules of the chain of three, native: the same crates, called as functions, with the same settings.
//!
//! The first line of standard input is JSON: the entries of policies.toml and the shell commands. Each further line is
//! the number of a command; the answer is a line with the nanoseconds that the three policies took for it.

#[path = "../../../../guest-policy/examples/rust/src/lib.rs"]
#[expect(unreachable_pub, reason = "the example is a crate of its own")]
mod no_force_push;

use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use coda_policy::{Event, Filter as _, Filtered, Finding, Guard as _, Policy, Verdict, configured, event};
use content_filter::ContentFilter;
use destructive_ops::DestructiveOps;
use no_force_push::NoForcePush;
use serde::Deserialize;
use serde_json::{Value, json};

/// The middle of so many counts: the rules as they are when warm.
const REPEATS: usize = 5;

#[derive(Deserialize)]
struct Setup {
    policies: Vec<Value>,
    commands: Vec<String>,
}

/// The three policies, configured.
struct Rules {
    filter: ContentFilter,
    first: DestructiveOps,
    second: NoForcePush,
}

impl Rules {
    fn of(policies: &[Value]) -> anyhow::Result<Self> {
        Ok(Self {
            filter: policy(policies, "content-filter")?,
            first: policy(policies, "destructive-ops")?,
            second: policy(policies, "no-force-push")?,
        })
    }

    /// What the chain does at the gate `tool-call`: the filter marks, then each guard sees the findings so far.
    fn judge(&self, event: &Event) -> [Verdict; 2] {
        let mut earlier: Vec<Finding> = match self.filter.apply(event).expect("it decides") {
            Filtered::Unchanged(findings) | Filtered::Replaced { findings, .. } | Filtered::Withhold(findings) => findings,
        };
        let first = self.first.review(event, &earlier).expect("it decides");
        earlier.extend_from_slice(first.findings());
        let second = self.second.review(event, &earlier).expect("it decides");
        [first, second]
    }

    fn nanoseconds(&self, event: &Event) -> u128 {
        let mut times = [0; REPEATS];
        for time in &mut times {
            let begun = Instant::now();
            black_box(self.judge(black_box(event)));
            *time = begun.elapsed().as_nanos();
        }
        times.sort_unstable();
        times[REPEATS / 2]
    }
}

fn policy<P: Policy>(policies: &[Value], name: &str) -> anyhow::Result<P> {
    let entry = policies.iter().find(|entry| entry["name"] == name).with_context(|| format!("there is no policy {name}"))?;
    let settings = entry.get("settings").cloned().unwrap_or_else(|| json!({}));
    configured(&settings.to_string()).map_err(|error| anyhow!("{name} does not take its settings: {error:?}"))
}

fn main() -> anyhow::Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let setup: Setup = serde_json::from_str(&lines.next().context("nothing on standard input")??)?;
    let rules = Rules::of(&setup.policies)?;
    let events: Vec<Event> = setup.commands.iter().map(|command| event::shell(command)).collect();
    let mut out = std::io::stdout().lock();
    for line in lines {
        let event = events.get(line?.trim().parse::<usize>()?).context("there is no such command")?;
        writeln!(out, "{}", rules.nanoseconds(event))?;
        out.flush()?;
    }
    Ok(())
}
