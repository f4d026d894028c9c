//! A chain of three policies at a gate: as components in fresh instances, as native functions, and three that do nothing.

use std::time::Instant;

use coda::policy::{Policies, guests};

use crate::commands::COMMANDS;
use crate::engine::{Engine, entry, shell_event};
use crate::figure::{Figure, Goal, Section, Target, median, median_ratio};
use crate::native::Rules;
use crate::place::Place;

const WARM_UP: usize = 400;
const ROUNDS: usize = 4_000;
/// Of the chain, to three empty calls and the rules themselves.
const RATIO: f64 = 1.3;
const CHAIN_US: f64 = 100.0;

/// The times of one round, in microseconds.
#[derive(Default)]
struct Times {
    chain: Vec<f64>,
    empty: Vec<f64>,
    native: Vec<f64>,
}

/// Runs it.
pub(crate) async fn run(place: &Place) -> anyhow::Result<Section> {
    let third = entry("no-force-push", "no_force_push", "branches = [\"main\"]");
    let policies = format!("{}\n{third}", guests::DEFAULT_POLICIES);
    let nothing: String = (1..=3).map(|n| entry(&format!("empty-{n}"), "coda_empty", "")).collect();
    let chain = Engine::start(place, &policies, &["no_force_push"], place.policy_cache()).await?;
    let empty = Engine::start(place, &nothing, &["coda_empty"], place.policy_cache()).await?;
    let mut rules = Rules::start(place, &policies)?;
    let times = rounds(&chain.policies, &empty.policies, &mut rules).await?;
    let below: Vec<f64> = times.empty.iter().zip(&times.native).map(|(empty, native)| empty + native).collect();
    let mut figures = vec![
        Figure::of("content-filter, destructive-ops, no-force-push in fresh instances", "µs", &times.chain),
        Figure::of("three empty guards in fresh instances", "µs", &times.empty),
        Figure::of("the same rules native", "µs", &times.native),
    ];
    figures.extend(each(&chain.policies).await);
    Ok(Section {
        title: "Chain of three",
        how: format!(
            "`Policies::judge` at the gate tool-call over {} shell commands, in turn with the others; waiting for a worker \
             and digests included. The native rules run warm, in a process of their own. The lines of single policies are the engine's own record.",
            COMMANDS.len()
        ),
        targets: vec![
            Target::new(
                "chain of three, to three empty calls + native rules, median of rounds",
                median_ratio(&times.chain, &below),
                "×",
                Goal::AtMost(RATIO),
            ),
            Target::new("chain of three, p50", median(&times.chain), "µs", Goal::AtMost(CHAIN_US)),
        ],
        figures,
    })
}

async fn rounds(chain: &Policies, empty: &Policies, rules: &mut Rules) -> anyhow::Result<Times> {
    let mut times = Times::default();
    for round in 0..WARM_UP + ROUNDS {
        let command = COMMANDS[round % COMMANDS.len()];
        let (chain_us, empty_us);
        // Neither is always the one that finds the caches warm.
        if (round / COMMANDS.len()).is_multiple_of(2) {
            chain_us = judged(chain, command).await;
            empty_us = judged(empty, command).await;
        } else {
            empty_us = judged(empty, command).await;
            chain_us = judged(chain, command).await;
        }
        let native_us = rules.judge_us(round % COMMANDS.len())?;
        if round >= WARM_UP {
            times.chain.push(chain_us);
            times.empty.push(empty_us);
            times.native.push(native_us);
        }
    }
    Ok(times)
}

async fn judged(policies: &Policies, command: &str) -> f64 {
    let event = shell_event(command);
    let begun = Instant::now();
    let judgment = policies.judge(event).await;
    let time = begun.elapsed().as_secs_f64() * 1e6;
    assert!(judgment.steps.len() == 3 && judgment.steps.iter().all(|step| step.fault.is_none()), "{:?}", judgment.steps);
    time
}

/// What the engine notes of each policy: from the fresh store to the answer.
async fn each(policies: &Policies) -> Vec<Figure> {
    let mut micros: Vec<(String, Vec<f64>)> = Vec::new();
    for command in COMMANDS.iter().cycle().take(COMMANDS.len() * 50) {
        for (at, step) in policies.judge(shell_event(command)).await.steps.into_iter().enumerate() {
            if micros.len() <= at {
                micros.push((step.policy, Vec::new()));
            }
            micros[at].1.push(step.micros as f64);
        }
    }
    micros.iter().map(|(policy, values)| Figure::of(format!("of it {policy}"), "µs", values)).collect()
}
