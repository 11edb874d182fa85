//! The gate's own test: it must catch a small slowdown and stay silent without one.

use std::path::Path;

use anyhow::Result;

use crate::{Compared, Effort, HotPath, Verdict, compare};

/// What the proof found on one hot path.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The path.
    pub name: &'static str,
    /// The runs of the same build against itself.
    pub same: Vec<Compared>,
    /// The run with more work.
    pub slowed: Compared,
}

impl Proof {
    /// Whether the gate stayed silent on every run of the same build, and said so on half of them:
    /// a gate that never says anything proves nothing.
    #[must_use]
    pub fn silent(&self) -> bool {
        let fired = self
            .same
            .iter()
            .any(|run| run.verdict == Verdict::Regressed);
        !fired && self.inconclusive() * 2 <= self.same.len()
    }

    /// Whether it caught the slowdown.
    #[must_use]
    pub fn caught(&self) -> bool {
        self.slowed.verdict == Verdict::Regressed
    }

    /// Runs that said nothing, because the baseline differed from itself.
    #[must_use]
    pub fn inconclusive(&self) -> usize {
        let runs = self.same.iter();
        runs.filter(|run| run.verdict == Verdict::Inconclusive)
            .count()
    }
}

/// Runs the build against itself `runs` times, and once with `slowdown` more work.
///
/// # Errors
/// When a probe cannot be started or fails.
pub fn prove(probe: &Path, path: &HotPath, runs: usize, slowdown: f64) -> Result<Proof> {
    let effort = Effort::default();
    let mut same = Vec::with_capacity(runs);
    for _ in 0..runs {
        same.push(compare(probe, probe, path, 0.0, effort)?);
    }
    let slowed = compare(probe, probe, path, slowdown, effort)?;
    Ok(Proof {
        name: path.name,
        same,
        slowed,
    })
}
