//! One measured row and its verdict.

use serde::{Deserialize, Serialize};

use crate::{Comparison, Interval, Measured, Options, Peer, PerInput, Scale, Target};

/// How far the canary may be off before times are not trusted.
pub const CANARY: f64 = 0.01;

/// How a row came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval is on the good side of the bar.
    Met,
    /// The whole interval is on the bad side, or the answer was wrong.
    Missed,
    /// The interval holds the bar, or the canary says that times cannot be trusted.
    Inconclusive,
    /// Not measured.
    Skipped,
}

/// A row as it is printed and written.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// See [`Target::comparison`].
    pub comparison: Comparison,
    /// See [`Target::bar`].
    pub bar: f64,
    /// The median, or nothing.
    pub measured: Option<f64>,
    /// The 99 % interval around it.
    pub interval: Option<[f64; 2]>,
    /// The others.
    pub peers: Vec<Peer>,
    /// Our own figure in `peer_unit`.
    pub own: Option<f64>,
    /// The unit of the peers' values.
    pub peer_unit: String,
    /// Whether the peer with the larger value does better.
    #[serde(default)]
    pub more_is_better: bool,
    /// How it came out.
    pub verdict: Verdict,
    /// Whether the measurement itself failed: a wrong answer, or an error.
    #[serde(default)]
    pub failed: bool,
    /// Why, where the verdict alone does not say it.
    pub reason: String,
    /// A remark that belongs beside the figure.
    #[serde(default)]
    pub note: String,
    /// The input that the bar is meant for, where this run took a smaller one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub full_input: String,
    /// The command that measures this row alone.
    pub command: String,
    /// The same work against itself in the same rounds, for timed rows.
    pub canary: Option<f64>,
    /// The values of the single rounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// Our own figure, round by round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_samples: Vec<f64>,
    /// What it found on each input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_input: Vec<PerInput>,
}

impl Row {
    /// A row that was measured.
    #[must_use]
    pub fn measured(target: &Target, scale: Scale, measured: Measured) -> Self {
        let mut row = Self::empty(target);
        if !measured.value.median.is_finite() {
            return Self::failed(target, &anyhow::anyhow!("a measurement that is no number"));
        }
        row.measured = Some(measured.value.median);
        row.interval = Some([measured.value.low, measured.value.high]);
        row.samples = measured.samples;
        row.own = measured.own;
        row.own_samples = measured.own_samples;
        row.peer_unit = measured.peer_unit;
        row.more_is_better = measured.more_is_better;
        row.peers = measured.peers;
        row.canary = measured.canary.map(|canary| canary.median);
        row.per_input = measured.per_input;
        row.note = measured.note;
        if scale != Scale::Full {
            row.full_input.clone_from(&target.full_input);
        }
        (row.verdict, row.reason) = row.judge();
        row
    }

    /// A row that was not measured, and why.
    #[must_use]
    pub fn skipped(target: &Target, reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            ..Self::empty(target)
        }
    }

    /// A row whose measurement failed: missed, with what went wrong.
    #[must_use]
    pub fn failed(target: &Target, error: &anyhow::Error) -> Self {
        Self {
            verdict: Verdict::Missed,
            failed: true,
            reason: format!("{error:#}"),
            ..Self::empty(target)
        }
    }

    fn empty(target: &Target) -> Self {
        Self {
            id: target.id.clone(),
            area: target.area.clone(),
            title: target.title.clone(),
            unit: target.unit.clone(),
            documented: target.documented.clone(),
            comparison: target.comparison,
            bar: target.bar,
            measured: None,
            interval: None,
            peers: Vec::new(),
            own: None,
            peer_unit: String::new(),
            more_is_better: false,
            verdict: Verdict::Skipped,
            failed: false,
            reason: String::new(),
            note: String::new(),
            full_input: String::new(),
            command: format!("cargo xtask bench --only {}", target.id),
            canary: None,
            samples: Vec::new(),
            own_samples: Vec::new(),
            per_input: Vec::new(),
        }
    }

    /// The verdict that the row's own figures ask for, and its reason. A row that failed or was
    /// skipped has no figures and keeps its verdict.
    #[must_use]
    pub fn judge(&self) -> (Verdict, String) {
        let Some([low, high]) = self.interval else {
            return (self.verdict, self.reason.clone());
        };
        if let Some(canary) = self.canary.filter(|c| (c - 1.0).abs() > CANARY) {
            let off = (canary - 1.0) * 100.0;
            let reason = format!("the same code differed from itself by {off:+.1} %");
            return (Verdict::Inconclusive, reason);
        }
        if !self.full_input.is_empty() {
            let reason = format!(
                "a smaller input than the bar is meant for ({})",
                self.full_input
            );
            return (Verdict::Inconclusive, reason);
        }
        let good = |x: f64| match self.comparison {
            Comparison::AtMost => x <= self.bar,
            Comparison::AtLeast => x >= self.bar,
        };
        match (good(low), good(high)) {
            (true, true) => (Verdict::Met, String::new()),
            (false, false) => (Verdict::Missed, String::new()),
            _ => (
                Verdict::Inconclusive,
                "the interval holds the bar".to_owned(),
            ),
        }
    }

    /// The row with a command that measures it on the same inputs.
    #[must_use]
    pub fn reproduced_with(mut self, options: &Options) -> Self {
        if options.scale == Scale::Quick {
            self.command.push_str(" --quick");
        }
        for (name, folder) in [
            ("--sessions", &options.sessions),
            ("--traces", &options.traces),
        ] {
            if let Some(folder) = folder {
                self.command
                    .push_str(&format!(" {name} {}", folder.display()));
            }
        }
        if let Some(window) = options.window {
            self.command.push_str(&format!(" --window {window}"));
        }
        self
    }

    /// The row after its last attempt: what stays inconclusive counts as missed.
    #[must_use]
    pub fn given_up(mut self, attempts: u64) -> Self {
        if self.verdict == Verdict::Inconclusive {
            self.verdict = Verdict::Missed;
            self.reason = format!("inconclusive {attempts} times: {}", self.reason);
        }
        self
    }

    /// The peer that does best.
    #[must_use]
    pub fn best(&self) -> Option<&Peer> {
        let ahead = |a: &&Peer, b: &&Peer| {
            let order = b.value.total_cmp(&a.value);
            if self.more_is_better {
                order.reverse()
            } else {
                order
            }
        };
        self.peers.iter().max_by(ahead)
    }

    /// Whether the verdict follows from the figures: as judged, or missed after it was given up. A row
    /// without figures can only be skipped or have failed, and an interval is that of its rounds.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        if self.interval.is_none() {
            return match self.verdict {
                Verdict::Skipped => true,
                Verdict::Missed => self.failed,
                _ => false,
            };
        }
        if !self.samples.is_empty() {
            let again = Interval::of(&self.samples);
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
            let [low, high] = self.interval.unwrap_or([0.0; 2]);
            if !near(again.low, low) || !near(again.high, high) {
                return false;
            }
        }
        let (judged, _) = self.judge();
        judged == self.verdict
            || (judged == Verdict::Inconclusive
                && self.verdict == Verdict::Missed
                && self.reason.starts_with("inconclusive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(comparison: Comparison, bar: f64) -> Target {
        Target {
            id: "x".into(),
            area: "x".into(),
            title: String::new(),
            unit: "ratio".into(),
            comparison,
            documented: String::new(),
            bar,
            full_input: String::new(),
        }
    }

    fn judged(low: f64, high: f64, canary: f64) -> Row {
        let at = |low, median, high| Interval { low, median, high };
        let mut measured = Measured::from_interval(at(low, f64::midpoint(low, high), high));
        measured.canary = Some(Interval::exactly(canary));
        Row::measured(&target(Comparison::AtMost, 0.3), Scale::Full, measured)
    }

    #[test]
    fn a_row_is_met_only_when_its_whole_interval_is_on_the_good_side() {
        assert_eq!(judged(0.1, 0.2, 1.0).verdict, Verdict::Met);
        assert_eq!(judged(0.2, 0.4, 1.0).verdict, Verdict::Inconclusive);
        assert_eq!(judged(0.4, 0.5, 1.0).verdict, Verdict::Missed);
    }

    #[test]
    fn a_bar_to_be_reached_is_judged_from_the_other_side() {
        let target = target(Comparison::AtLeast, 0.99);
        let row = |value| Row::measured(&target, Scale::Full, Measured::counted(value));
        assert_eq!(row(0.995).verdict, Verdict::Met);
        assert_eq!(row(0.98).verdict, Verdict::Missed);
    }

    #[test]
    fn a_noisy_machine_makes_timed_rows_inconclusive_never_met() {
        assert_eq!(judged(0.1, 0.2, 1.02).verdict, Verdict::Inconclusive);
        assert_eq!(judged(0.1, 0.2, 0.98).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn what_stays_inconclusive_is_missed_and_a_changed_verdict_shows() {
        let row = judged(0.2, 0.4, 1.0).given_up(3);
        assert_eq!(row.verdict, Verdict::Missed);
        assert!(row.is_consistent());
        let mut forged = judged(0.4, 0.5, 1.0);
        forged.verdict = Verdict::Met;
        assert!(!forged.is_consistent());
        let mut empty = Row::skipped(&target(Comparison::AtMost, 0.3), "not here");
        assert!(empty.is_consistent());
        empty.verdict = Verdict::Met;
        assert!(!empty.is_consistent());
    }

    #[test]
    fn the_interval_must_be_that_of_the_rounds() {
        let samples: Vec<f64> = (0..40).map(|n| 0.2 + f64::from(n) / 1e3).collect();
        let target = target(Comparison::AtMost, 0.3);
        let mut row = Row::measured(&target, Scale::Full, Measured::sampled(samples));
        assert!(row.is_consistent());
        row.interval = Some([0.01, 0.02]);
        assert!(!row.is_consistent());
    }

    #[test]
    fn a_smaller_input_than_the_bar_is_meant_for_decides_nothing() {
        let mut target = target(Comparison::AtMost, 0.3);
        target.full_input = "515 MB".to_owned();
        let at = |scale| Row::measured(&target, scale, Measured::counted(0.1));
        assert_eq!(at(Scale::Full).verdict, Verdict::Met);
        let quick = at(Scale::Quick);
        assert_eq!(quick.verdict, Verdict::Inconclusive);
        assert!(quick.reason.contains("515 MB") && quick.is_consistent());
    }

    #[test]
    fn the_best_peer_is_the_fastest_or_the_largest() {
        let peers = vec![
            Peer::counted("slow", "", 9.0, 1.0),
            Peer::counted("quick", "", 2.0, 1.0),
        ];
        let measured = Measured::counted(1.0).beside("ns", 1.0, peers);
        let target = target(Comparison::AtMost, 0.3);
        let best = |measured| {
            Row::measured(&target, Scale::Full, measured)
                .best()
                .map(|peer| peer.name.clone())
        };
        assert_eq!(best(measured.clone()).as_deref(), Some("quick"));
        assert_eq!(best(measured.more_is_better()).as_deref(), Some("slow"));
    }
}
