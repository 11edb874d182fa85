//! One measured row and its verdict.

use serde::Serialize;

use crate::{Canary, Comparison, Interval, Target};

/// What a benchmark found for a row.
#[derive(Debug, Clone)]
pub enum Measured {
    /// A value in the row's unit, with its interval.
    Value {
        /// The value.
        value: Interval,
        /// The same work done by others.
        peers: Vec<Peer>,
    },
    /// Nothing, and why.
    Skipped(String),
}

/// Somebody else's value for the same work in the same run.
#[derive(Debug, Clone, Serialize)]
pub struct Peer {
    /// The peer's name.
    pub name: String,
    /// Its version, or what it stands for.
    pub version: String,
    /// Its value.
    pub value: f64,
    /// Ours over its.
    pub ratio: f64,
}

/// How a row came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval is on the good side of the bar.
    Met,
    /// The whole interval is on the bad side.
    Missed,
    /// The interval holds the bar, or the canary says that times cannot be trusted.
    Inconclusive,
    /// Not measured.
    Skipped,
}

/// A row as it is printed and written.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// See [`Target::id`].
    pub id: String,
    /// See [`Target::area`].
    pub area: String,
    /// See [`Target::title`].
    pub title: String,
    /// See [`Target::unit`].
    pub unit: String,
    /// See [`Target::documented`].
    pub documented: String,
    /// See [`Target::bar`].
    pub bar: f64,
    /// The median, or nothing.
    pub measured: Option<f64>,
    /// The interval around it.
    pub interval: Option<[f64; 2]>,
    /// The others.
    pub peers: Vec<Peer>,
    /// How it came out.
    pub verdict: Verdict,
    /// Why, where the verdict alone does not say it.
    pub reason: String,
    /// The command that measures this row alone.
    pub command: String,
}

impl Row {
    /// Judges a measurement by its target.
    #[must_use]
    pub fn judge(target: &Target, measured: Measured, canary: &Canary) -> Self {
        let (value, peers, skipped) = match measured {
            Measured::Value { value, peers } => (Some(value), peers, String::new()),
            Measured::Skipped(reason) => (None, Vec::new(), reason),
        };
        let (verdict, reason) = match value {
            None => (Verdict::Skipped, skipped),
            Some(_) if target.timed && !canary.trusted() => (
                Verdict::Inconclusive,
                format!(
                    "the same code differed from itself by {:+.1} %",
                    (canary.ratio.median - 1.0) * 100.0
                ),
            ),
            Some(value) => (verdict(target, value), String::new()),
        };
        Self {
            id: target.id.clone(),
            area: target.area.clone(),
            title: target.title.clone(),
            unit: target.unit.clone(),
            documented: target.documented.clone(),
            bar: target.bar,
            measured: value.map(|value| value.median),
            interval: value.map(|value| [value.low, value.high]),
            peers,
            verdict,
            reason,
            command: format!("cargo xtask bench --only {}", target.id),
        }
    }
}

fn verdict(target: &Target, value: Interval) -> Verdict {
    let good = |x: f64| match target.comparison {
        Comparison::AtMost => x <= target.bar,
        Comparison::AtLeast => x >= target.bar,
    };
    match (good(value.low), good(value.high)) {
        (true, true) => Verdict::Met,
        (false, false) => Verdict::Missed,
        _ => Verdict::Inconclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(low: f64, high: f64, canary: f64) -> Verdict {
        let at = |low, median, high| Interval { low, median, high };
        let target = Target {
            id: "x".into(),
            area: "x".into(),
            title: String::new(),
            unit: "ratio".into(),
            comparison: Comparison::AtMost,
            documented: String::new(),
            bar: 0.3,
            timed: true,
        };
        let value = at(low, f64::midpoint(low, high), high);
        let measured = Measured::Value {
            value,
            peers: Vec::new(),
        };
        Row::judge(
            &target,
            measured,
            &Canary {
                ratio: at(canary, canary, canary),
            },
        )
        .verdict
    }

    #[test]
    fn a_row_is_met_only_when_its_whole_interval_is_on_the_good_side() {
        assert_eq!(judged(0.1, 0.2, 1.0), Verdict::Met);
        assert_eq!(judged(0.2, 0.4, 1.0), Verdict::Inconclusive);
        assert_eq!(judged(0.4, 0.5, 1.0), Verdict::Missed);
    }

    #[test]
    fn a_noisy_machine_makes_timed_rows_inconclusive_never_met() {
        assert_eq!(judged(0.1, 0.2, 1.02), Verdict::Inconclusive);
    }
}
