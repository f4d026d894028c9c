//! What a fresh instance costs with and without the snapshot of a configured one, and what loading the bundled set costs.

use std::time::Instant;

use coda::policy::guests;

use crate::commands::COMMANDS;
use crate::engine::{Engine, entry, shell_event};
use crate::figure::{Figure, Section};
use crate::place::Place;

const PATTERNS: u32 = 200;
const WITH: usize = 1_000;
const WITHOUT: usize = 40;
const CACHED_LOADS: usize = 10;

/// Runs it.
pub(crate) async fn run(place: &Place) -> anyhow::Result<Section> {
    let settings = |memory: &str| format!("patterns = {PATTERNS}, memory = \"{memory}\"");
    let (plain, held) = (settings("plain"), settings("held"));
    let mut figures = vec![
        calls(place, "an empty guard", "coda_empty", "", Snapshot::Taken, WITH).await?,
        calls(place, "with the snapshot", "coda_patterns", &plain, Snapshot::Taken, WITH).await?,
        calls(place, "configured in each instance", "coda_patterns", &held, Snapshot::Impossible, WITHOUT).await?,
    ];
    let cold = place.folder()?;
    let first = Engine::start(place, guests::DEFAULT_POLICIES, &[], cold.path().join("cache")).await?;
    figures.push(Figure::of("loading the bundled set, nothing compiled", "ms", &[first.loading.as_secs_f64() * 1e3]));
    let mut again = Vec::new();
    for _ in 0..CACHED_LOADS {
        let engine = Engine::start(place, guests::DEFAULT_POLICIES, &[], cold.path().join("cache")).await?;
        again.push(engine.loading.as_secs_f64() * 1e3);
    }
    figures.push(Figure::of("loading the bundled set, compiled before", "ms", &again));
    Ok(Section {
        title: "Fresh instance",
        how: format!(
            "`Policies::judge` with one guard whose configure builds {PATTERNS} regular expressions; it asks one of them. \
             Loading is reading, compiling, configuring, snapshotting and the policies' own tests."
        ),
        figures,
        targets: Vec::new(),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Snapshot {
    Taken,
    Impossible,
}

async fn calls(
    place: &Place,
    name: &str,
    component: &str,
    settings: &str,
    snapshot: Snapshot,
    count: usize,
) -> anyhow::Result<Figure> {
    let policies = entry("guard", component, settings);
    let engine = Engine::start(place, &policies, &[component], place.policy_cache()).await?;
    let status = engine.policies.status().await?;
    let taken = status.live.is_some_and(|set| set.policies[0].cost.snapshot);
    anyhow::ensure!(taken == (snapshot == Snapshot::Taken), "{name}: whether there is a snapshot is {taken}");
    let mut times = Vec::with_capacity(count);
    for at in 0..count + count / 10 {
        let event = shell_event(COMMANDS[at % COMMANDS.len()]);
        let begun = Instant::now();
        let judgment = engine.policies.judge(event).await;
        let time = begun.elapsed().as_secs_f64() * 1e6;
        anyhow::ensure!(judgment.steps[0].fault.is_none(), "{name}: {:?}", judgment.steps[0].fault);
        if at >= count / 10 {
            times.push(time);
        }
    }
    Ok(Figure::of(name, "µs", &times))
}
