//! How a run is told: for a terminal, as the Markdown that docs/benchmarks.md holds, as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figure::{Figure, Goal, Section, Target};
use crate::machine::Machine;

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where it ran.
    pub(crate) machine: Machine,
    /// What it measured.
    pub(crate) sections: Vec<Section>,
}

impl Report {
    /// For a terminal.
    pub(crate) fn for_people(&self) -> String {
        let mut out = format!("{}\n", self.machine);
        for section in &self.sections {
            let _ = write!(out, "\n{}\n  {}\n", section.title, section.how);
            let _ = writeln!(out, "  {:<62} {:>6} {:>10} {:>10} {:>10}", "", "n", "p50", "p99", "worst");
            for Figure { name, unit, n, p50, p99, max } in &section.figures {
                let [p50, p99, max] = [p50, p99, max].map(|value| short(*value));
                let _ = writeln!(out, "  {:<62} {n:>6} {p50:>10} {p99:>10} {max:>10}", format!("{name}, {unit}"));
            }
            for target in &section.targets {
                let _ = writeln!(out, "  {:<6} {}: {} (goal {})", word(target), target.name, value(target), goal(target));
            }
        }
        let met = self.targets().filter(|target| target.met).count();
        let _ = writeln!(out, "\n{met} of {} goals met", self.targets().count());
        out
    }

    /// As docs/benchmarks.md has it.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("{}\n\n| goal | came out | |\n|---|---|---|\n", self.machine);
        for target in self.targets() {
            let met = if target.met { "met" } else { "**missed**" };
            let _ = writeln!(out, "| {}: {} | {} | {met} |", target.name, goal(target), value(target));
        }
        for section in &self.sections {
            let _ =
                write!(out, "\n### {}\n\n{}\n\n| | n | p50 | p99 | worst |\n|---|--:|--:|--:|--:|\n", section.title, section.how);
            for Figure { name, unit, n, p50, p99, max } in &section.figures {
                let [p50, p99, max] = [p50, p99, max].map(|value| short(*value));
                let _ = writeln!(out, "| {name}, {unit} | {n} | {p50} | {p99} | {max} |");
            }
        }
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.sections.iter().flat_map(|section| &section.targets)
    }
}

fn word(target: &Target) -> &'static str {
    if target.met { "met" } else { "MISSED" }
}

fn value(target: &Target) -> String {
    format!("{} {}", short(target.value), target.unit)
}

fn goal(target: &Target) -> String {
    match target.goal {
        Goal::AtMost(most) => format!("≤ {} {}", short(most), target.unit),
        Goal::AtLeast(least) => format!("≥ {} {}", short(least), target.unit),
    }
}

/// Three digits that matter; whole from 100 on.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_goal_is_said_everywhere() {
        let section = Section {
            title: "Something",
            how: "measured.".into(),
            figures: vec![Figure::of("it", "ms", &[1.0, 2.0])],
            targets: vec![Target::new("it", 2.5, "×", Goal::AtMost(2.0)), Target::new("that", 1.0, "×", Goal::AtMost(2.0))],
        };
        let report = Report { machine: Machine::here(), sections: vec![section] };
        let people = report.for_people();
        assert!(people.contains("MISSED it: 2.50 × (goal ≤ 2.00 ×)") && people.contains("1 of 2 goals met"), "{people}");
        let markdown = report.markdown();
        assert!(markdown.contains("| it: ≤ 2.00 × | 2.50 × | **missed** |"), "{markdown}");
        assert!(markdown.contains("| it, ms | 2 | 1.00 | 2.00 | 2.00 |"), "{markdown}");
        let json: serde_json::Value = serde_json::from_str(&report.json().expect("it is JSON")).expect("it reads back");
        assert_eq!(json["sections"][0]["targets"][0]["met"], false);
    }
}
