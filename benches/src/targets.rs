//! `targets.toml`: what the documents promise and what we ask of ourselves.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

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
    /// What the documents promise, as written there; empty for a bar of our own.
    #[serde(default)]
    pub documented: String,
    /// Our bar, in `unit`.
    pub bar: f64,
    /// The size of input that the bar is meant for, where quick runs take less: those say nothing
    /// about the bar.
    #[serde(default)]
    pub full_input: String,
}

/// Which side of the bar is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The rows that `only` names, by area or by id, area by area; all of them when it names none.
    ///
    /// # Errors
    /// When a name fits no row: the areas there are.
    pub fn choose(&self, only: &[String]) -> Result<Vec<&Target>> {
        let named = |target: &&Target, name: &String| *name == target.area || *name == target.id;
        for name in only {
            if !self.rows.iter().any(|target| named(&target, name)) {
                anyhow::bail!(
                    "no row or area `{name}`; areas: {}",
                    self.areas().join(", ")
                );
            }
        }
        let areas = self.areas();
        let rows = self.rows.iter();
        let mut chosen: Vec<&Target> = rows
            .filter(|target| only.is_empty() || only.iter().any(|name| named(target, name)))
            .collect();
        chosen.sort_by_key(|target| areas.iter().position(|area| *area == target.area));
        Ok(chosen)
    }

    /// The areas, in the order of their first rows.
    #[must_use]
    pub fn areas(&self) -> Vec<&str> {
        let mut areas: Vec<&str> = Vec::new();
        for target in &self.rows {
            if !areas.contains(&target.area.as_str()) {
                areas.push(&target.area);
            }
        }
        areas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let targets = Targets::load().unwrap();
        let mut ids: Vec<_> = targets.rows.iter().map(|target| &target.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), targets.rows.len());
    }

    #[test]
    fn a_name_that_fits_nothing_is_refused_with_the_areas() {
        let targets = Targets::load().unwrap();
        let refused = targets.choose(&["stroe".to_owned()]).unwrap_err();
        assert!(refused.to_string().contains("store"), "{refused}");
    }
}
