//! What a benchmark found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Interval;

/// A value in the row's unit, with all that it rests on.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The value.
    pub value: Interval,
    /// The values of the single rounds; empty for what is counted.
    pub samples: Vec<f64>,
    /// Our own figure in the unit of the peers' values, where that is not the row's unit.
    pub own: Option<f64>,
    /// The same, round by round.
    pub own_samples: Vec<f64>,
    /// The unit of `own` and of the peers' values.
    pub peer_unit: String,
    /// Whether the peer with the larger value does better, as with hit ratios; else less is better.
    pub more_is_better: bool,
    /// The same work done by others.
    pub peers: Vec<Peer>,
    /// The canary of the rounds: the same work against itself.
    pub canary: Option<Interval>,
    /// What the row found on each input, for rows over many inputs.
    pub per_input: Vec<PerInput>,
    /// A remark that belongs beside the figure.
    pub note: String,
}

/// Somebody else's value for the same work in the same run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    /// The peer's name.
    pub name: String,
    /// Its version, or what it stands for.
    pub version: String,
    /// Its value, in the row's `peer_unit`.
    pub value: f64,
    /// Ours over its; 0 where its value is 0.
    pub ratio: f64,
    /// Its values, round by round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
}

/// What a row found on one of its inputs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PerInput {
    /// The input: a file, or a generated one's description.
    pub input: String,
    /// The figures, by name.
    pub values: BTreeMap<String, f64>,
}

impl PerInput {
    /// Figures of one input.
    #[must_use]
    pub fn new<const N: usize>(input: impl Into<String>, values: [(&str, f64); N]) -> Self {
        let values = values.map(|(name, value)| (name.to_owned(), value));
        Self {
            input: input.into(),
            values: values.into_iter().collect(),
        }
    }
}

impl Peer {
    /// A peer whose figure is counted and not sampled.
    #[must_use]
    pub fn counted(name: &str, version: &str, value: f64, ours: f64) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            value,
            ratio: if value == 0.0 { 0.0 } else { ours / value },
            samples: Vec::new(),
        }
    }
}

impl Measured {
    /// A value that is counted, not timed: its interval is itself.
    #[must_use]
    pub fn counted(value: f64) -> Self {
        Self::from_interval(Interval::exactly(value))
    }

    /// A value with an interval that came about elsewhere.
    #[must_use]
    pub fn from_interval(value: Interval) -> Self {
        Self {
            value,
            samples: Vec::new(),
            own: None,
            own_samples: Vec::new(),
            peer_unit: String::new(),
            more_is_better: false,
            peers: Vec::new(),
            canary: None,
            per_input: Vec::new(),
            note: String::new(),
        }
    }

    /// The median of samples in the row's unit.
    ///
    /// # Panics
    /// When there are no samples.
    #[must_use]
    pub fn sampled(samples: Vec<f64>) -> Self {
        Self {
            value: Interval::of(&samples),
            samples,
            ..Self::counted(0.0)
        }
    }

    /// Others, and our own figure, in `unit`.
    #[must_use]
    pub fn beside(mut self, unit: &str, own: f64, peers: Vec<Peer>) -> Self {
        self.peer_unit = unit.to_owned();
        self.own = Some(own);
        self.peers = peers;
        self
    }

    /// Says that the peer with the larger value does better.
    #[must_use]
    pub fn more_is_better(mut self) -> Self {
        self.more_is_better = true;
        self
    }

    /// What it found on each input.
    #[must_use]
    pub fn on_inputs(mut self, per_input: Vec<PerInput>) -> Self {
        self.per_input = per_input;
        self
    }

    /// A remark that belongs beside the figure.
    #[must_use]
    pub fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}
