//! `targets.toml`: what the documents promise and what we ask of ourselves.

use anyhow::{Context, Result};
use serde::Deserialize;

/// All rows of the scoreboard, in order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// The rows.
    #[serde(rename = "row")]
    pub rows: Vec<Target>,
}

/// One row: what is measured and how it is judged.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The row's name, such as `bloom.check`.
    pub id: String,
    /// The area it belongs to, such as `bloom`.
    pub area: String,
    /// What is measured, against what.
    pub title: String,
    /// The unit of the measured value.
    pub unit: String,
    /// Which side of the bar is good.
    pub comparison: Comparison,
    /// What the documents promise, as written there.
    pub documented: String,
    /// Our bar, in `unit`.
    pub bar: f64,
    /// Whether the value rests on time, and so on the canary.
    #[serde(default)]
    pub timed: bool,
}

/// Which side of the bar is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// The bar or less.
    AtMost,
    /// The bar or more.
    AtLeast,
}

impl Targets {
    /// The rows of this build.
    ///
    /// # Errors
    /// When the file that was built in is not of its form.
    pub fn load() -> Result<Self> {
        toml::from_str(include_str!("../targets.toml")).context("benches/targets.toml")
    }
}
