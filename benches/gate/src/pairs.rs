//! Two builds against each other, burst by burst.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{HotPath, Interval, Probe, TOLERANCE, Verdict};

/// How far the baseline may differ from itself.
const CANARY: f64 = 0.01;

/// What the bursts of one process pair may take together, where ten rounds fit into it.
const PAIR_NANOSECONDS: f64 = 0.4e9;

/// How often pairs are added while nothing can be said.
const TRIES: usize = 3;

/// How much to run.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Process pairs: each has an address layout of its own. Where they say nothing, as many are added
    /// to them, twice at most.
    pub pairs: usize,
    /// Rounds in each pair; fewer, but never fewer than 10, for paths whose bursts take long.
    pub rounds: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            pairs: 9,
            rounds: 40,
        }
    }
}

/// Head against baseline on one hot path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compared {
    /// The path.
    pub name: String,
    /// Head's time over the baseline's: the median over everything.
    pub ratio: f64,
    /// The 99 % interval around it.
    pub interval: [f64; 2],
    /// The median of each process pair.
    pub pairs: Vec<f64>,
    /// The baseline over itself.
    pub canary: f64,
    /// What that says.
    pub verdict: Verdict,
}

/// The ratios of the rounds of one process pair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    pub(crate) head: Vec<f64>,
    pub(crate) canary: Vec<f64>,
}

/// Runs head and baseline of one hot path against each other.
///
/// Bursts of three processes alternate: the baseline, the baseline again, and head.
///
/// # Errors
/// When a probe cannot be started or fails.
pub fn compare(
    baseline: &Path,
    head: &Path,
    path: &HotPath,
    slowdown: f64,
    effort: Effort,
) -> Result<Compared> {
    settle(path.name, effort.pairs, || {
        pair(baseline, head, path, slowdown, effort.rounds)
    })
}

/// Judges process pairs, and adds more of them while they say nothing.
fn settle(name: &str, each: usize, mut pair: impl FnMut() -> Result<Rounds>) -> Result<Compared> {
    let mut pairs = Vec::with_capacity(each);
    loop {
        for _ in 0..each {
            pairs.push(pair()?);
        }
        let compared = judge(name, &pairs);
        if compared.verdict != Verdict::Inconclusive || pairs.len() >= each * TRIES {
            return Ok(compared);
        }
    }
}

fn pair(
    baseline: &Path,
    head: &Path,
    path: &HotPath,
    slowdown: f64,
    rounds: usize,
) -> Result<Rounds> {
    let mut probes = [
        Probe::start(baseline, path.name, 0.0)?,
        Probe::start(baseline, path.name, 0.0)?,
        Probe::start(head, path.name, slowdown)?,
    ];
    let mut once = 1.0;
    for probe in &mut probes {
        once += probe.burst(path.burst)?;
    }
    let fitting = (PAIR_NANOSECONDS / once) as usize;
    let mut found = Rounds::default();
    for round in 0..fitting.clamp(10, rounds.max(10)) {
        let mut times = [0.0; 3];
        for turn in 0..3 {
            let which = (round + turn) % 3;
            times[which] = probes[which].burst(path.burst)?.max(1.0);
        }
        found.head.push(times[2] / times[0]);
        found.canary.push(times[1] / times[0]);
    }
    Ok(found)
}

/// Says what the rounds say. A regression is one that the pooled interval shows and that nearly
/// every process pair shows for itself, so that one unlucky address layout accuses nobody.
pub(crate) fn judge(name: &str, pairs: &[Rounds]) -> Compared {
    let pooled = |of: fn(&Rounds) -> &Vec<f64>| {
        let all: Vec<f64> = pairs.iter().flat_map(of).copied().collect();
        Interval::of(&all)
    };
    let Interval { median, low, high } = pooled(|pair| &pair.head);
    let canary = pooled(|pair| &pair.canary).median;
    let medians: Vec<f64> = pairs
        .iter()
        .map(|pair| Interval::of(&pair.head).median)
        .collect();
    let limit = 1.0 + TOLERANCE;
    let slower = medians.iter().filter(|ratio| **ratio > limit).count();
    let verdict = if (canary - 1.0).abs() > CANARY {
        Verdict::Inconclusive
    } else if low > limit && slower * 5 >= medians.len() * 4 {
        Verdict::Regressed
    } else if high <= limit {
        Verdict::Met
    } else {
        Verdict::Inconclusive
    };
    Compared {
        name: name.to_owned(),
        ratio: median,
        interval: [low, high],
        pairs: medians,
        canary,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainspring_inputs::Random;

    /// A process pair on a noisy machine: bursts vary by 3 %, every tenth is disturbed by up to half of
    /// its time, and a process keeps a bias of up to `layout` from its addresses.
    fn noisy_pair(random: &mut Random, slowdown: f64, layout: f64) -> Rounds {
        let bias = [(); 3].map(|()| 1.0 + layout * (2.0 * random.unit() - 1.0));
        let time = |random: &mut Random, which: usize| {
            let disturbed = if random.chance(0.1) {
                0.5 * random.unit()
            } else {
                0.0
            };
            bias[which] * (1.0 + 0.03 * random.unit() + disturbed)
        };
        let mut rounds = Rounds::default();
        for _ in 0..40 {
            let base = time(random, 0);
            rounds.canary.push(time(random, 1) / base);
            rounds.head.push(time(random, 2) * (1.0 + slowdown) / base);
        }
        rounds
    }

    fn noisy(seed: u64, slowdown: f64) -> Vec<Rounds> {
        let mut random = Random::new(seed);
        let pair = |_| noisy_pair(&mut random, slowdown, 0.004);
        (0..7).map(pair).collect()
    }

    #[test]
    fn the_same_code_never_regresses_on_a_noisy_machine() {
        for seed in 0..200 {
            let compared = judge("same", &noisy(seed, 0.0));
            assert_ne!(
                compared.verdict,
                Verdict::Regressed,
                "seed {seed}: {compared:?}"
            );
        }
    }

    #[test]
    fn five_percent_more_work_is_caught_on_a_noisy_machine() {
        for seed in 0..200 {
            let compared = judge("slower", &noisy(seed, 0.05));
            assert_eq!(
                compared.verdict,
                Verdict::Regressed,
                "seed {seed}: {compared:?}"
            );
        }
    }

    #[test]
    fn pairs_are_added_while_nothing_can_be_said_and_accuse_nobody() {
        let mut caught = 0;
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let mut settled = |slowdown| {
                let pair = || Ok(noisy_pair(&mut random, slowdown, 0.02));
                settle("wide", 9, pair).unwrap()
            };
            let same = settled(0.0);
            assert_ne!(same.verdict, Verdict::Regressed, "seed {seed}: {same:?}");
            caught += usize::from(settled(0.05).verdict == Verdict::Regressed);
        }
        assert!(caught >= 80, "caught {caught} of 100");
    }

    #[test]
    fn a_baseline_that_differs_from_itself_says_nothing() {
        let mut pairs = noisy(1, 0.05);
        for pair in &mut pairs {
            pair.canary.iter_mut().for_each(|ratio| *ratio *= 1.03);
        }
        assert_eq!(judge("moved", &pairs).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn one_process_pair_alone_accuses_nobody() {
        let mut pairs = noisy(2, 0.0);
        pairs[0].head.iter_mut().for_each(|ratio| *ratio *= 1.5);
        assert_ne!(judge("unlucky", &pairs).verdict, Verdict::Regressed);
    }
}
