//! What was measured: figures as they came, and targets, which compare figures of the same run with a goal.

use serde::Serialize;

/// One series of measurements.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// Of every value.
    pub(crate) unit: &'static str,
    /// How many measurements.
    pub(crate) n: usize,
    /// The median.
    pub p50: f64,
    /// Of a hundred, the worst but one.
    pub p99: f64,
    /// The worst.
    pub(crate) max: f64,
}

impl Figure {
    /// Of values of which less is better: the worst is the largest.
    pub(crate) fn of(name: impl Into<String>, unit: &'static str, values: &[f64]) -> Self {
        let sorted = sorted(values);
        Self {
            name: name.into(),
            unit,
            n: sorted.len(),
            p50: quantile(&sorted, 0.50),
            p99: quantile(&sorted, 0.99),
            max: quantile(&sorted, 1.0),
        }
    }

    /// Of values of which more is better: the worst is the smallest.
    pub(crate) fn of_rates(name: impl Into<String>, unit: &'static str, values: &[f64]) -> Self {
        let sorted = sorted(values);
        Self {
            name: name.into(),
            unit,
            n: sorted.len(),
            p50: quantile(&sorted, 0.50),
            p99: quantile(&sorted, 0.01),
            max: quantile(&sorted, 0.0),
        }
    }
}

/// Where a value has to lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    /// Not above.
    AtMost(f64),
    /// Not below.
    AtLeast(f64),
}

/// One value and its goal.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    /// What is compared.
    pub(crate) name: String,
    /// What came out.
    pub(crate) value: f64,
    /// Of value and goal; `×` for ratios.
    pub(crate) unit: &'static str,
    /// What was wanted.
    pub(crate) goal: Goal,
    /// Whether it came out so.
    pub(crate) met: bool,
}

impl Target {
    /// Holds a value against its goal.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str, goal: Goal) -> Self {
        let met = match goal {
            Goal::AtMost(most) => value <= most,
            Goal::AtLeast(least) => value >= least,
        };
        Self { name: name.into(), value, unit, goal, met }
    }
}

/// The figures of one subject.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    /// The subject.
    pub(crate) title: &'static str,
    /// How it was measured, in a sentence or two.
    pub(crate) how: String,
    /// What came out.
    pub(crate) figures: Vec<Figure>,
    /// What it means for the goals.
    pub(crate) targets: Vec<Target>,
}

/// The median of ratios that were taken pair by pair: what disturbs the machine for a moment disturbs both.
pub(crate) fn median_ratio(above: &[f64], below: &[f64]) -> f64 {
    let ratios: Vec<f64> = above.iter().zip(below).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// The median.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The nearest rank; not a number where nothing was measured.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.saturating_sub(1).min(last)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let figure = Figure::of("x", "ms", &values);
        assert_eq!((figure.n, figure.p50, figure.p99, figure.max), (200, 100.0, 198.0, 200.0));
        let rates = Figure::of_rates("x", "MB/s", &values);
        assert_eq!((rates.p50, rates.p99, rates.max), (100.0, 2.0, 1.0));
        assert_eq!(Figure::of("one", "ms", &[7.0]).p99, 7.0);
        assert!(Figure::of("none", "ms", &[]).p50.is_nan());
    }

    #[test]
    fn a_goal_is_met_or_missed_and_nothing_measured_meets_none() {
        assert!(Target::new("x", 1.3, "×", Goal::AtMost(1.3)).met);
        assert!(!Target::new("x", 1.31, "×", Goal::AtMost(1.3)).met);
        assert!(!Target::new("x", 0.4, "×", Goal::AtLeast(0.5)).met);
        assert!(!Target::new("x", f64::NAN, "×", Goal::AtMost(1.0)).met);
        assert!(!Target::new("x", f64::NAN, "×", Goal::AtLeast(1.0)).met);
    }

    #[test]
    fn a_ratio_is_the_median_of_pairs() {
        assert_eq!(median_ratio(&[2.0, 300.0, 2.0], &[1.0, 100.0, 1.0]), 2.0);
    }
}
