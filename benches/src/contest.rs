//! Several pieces of work side by side, compared round by round.

use std::{hint::black_box, time::Duration};

use mainspring_inputs::Random;

use crate::{Bench, Clock, Interval, Measured, Peer, Scale};

/// Our work and that of others, run in the same rounds.
///
/// Every round runs each side once, in an order drawn anew, so that none always follows the one that
/// left the caches cold; between them runs a fixed piece of work twice, the canary. Sides are
/// compared by the median of the ratios within rounds.
pub struct Contest<'a> {
    clock: Clock,
    operations: f64,
    budget: Duration,
    rounds: (usize, usize),
    seed: u64,
    sides: Vec<Side<'a>>,
}

struct Side<'a> {
    name: String,
    version: String,
    /// Runs once and says how many nanoseconds that took.
    work: Box<dyn FnMut(Clock) -> f64 + 'a>,
}

impl std::fmt::Debug for Contest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sides: Vec<_> = self.sides.iter().map(|side| &side.name).collect();
        f.debug_struct("Contest")
            .field("sides", &sides)
            .finish_non_exhaustive()
    }
}

impl<'a> Contest<'a> {
    /// A contest on the calling thread's CPU clock, whose sides do `operations` operations a run.
    /// The first side that joins is ours.
    #[must_use]
    pub fn new(bench: &Bench, operations: u64) -> Self {
        let (budget, rounds) = match bench.scale() {
            Scale::Tiny => (Duration::ZERO, (8, 8)),
            Scale::Quick => (Duration::from_millis(1_500), (12, 80)),
            Scale::Full => (Duration::from_secs(12), (30, 400)),
        };
        Self {
            clock: Clock::Thread,
            operations: operations.max(1) as f64,
            budget,
            rounds,
            seed: bench.seed(),
            sides: Vec::new(),
        }
    }

    /// Rests on another clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// At most so many rounds, for sides that take seconds each; never fewer than the 8 that a 99 %
    /// interval wants.
    #[must_use]
    pub fn at_most(mut self, rounds: usize) -> Self {
        let rounds = rounds.max(8);
        self.rounds = (self.rounds.0.min(rounds), self.rounds.1.min(rounds));
        self
    }

    /// A side whose every run is timed as a whole.
    #[must_use]
    pub fn side(self, name: &str, version: &str, mut work: impl FnMut() + 'a) -> Self {
        self.side_timed(name, version, move |clock| clock.time(&mut work))
    }

    /// A side that says itself how many nanoseconds of the clock its run took, so that it can
    /// prepare and clear away outside of them.
    #[must_use]
    pub fn side_timed(
        mut self,
        name: &str,
        version: &str,
        work: impl FnMut(Clock) -> f64 + 'a,
    ) -> Self {
        self.sides.push(Side {
            name: name.to_owned(),
            version: version.to_owned(),
            work: Box::new(work),
        });
        self
    }

    /// Runs the rounds: one unmeasured, then as many as the time allowed holds.
    ///
    /// # Panics
    /// When no side has joined, or a side panics.
    #[must_use]
    pub fn run(mut self) -> Standing {
        let started = std::time::Instant::now();
        for side in &mut self.sides {
            (side.work)(self.clock);
        }
        let once = started.elapsed().as_secs_f64().max(1e-9);
        let fitting = (self.budget.as_secs_f64() / once) as usize;
        let rounds = fitting.clamp(self.rounds.0, self.rounds.1);
        let mut samples = vec![Vec::with_capacity(rounds); self.sides.len()];
        let mut canary = Vec::with_capacity(rounds);
        let mut random = Random::new(self.seed);
        let mut order: Vec<usize> = (0..=self.sides.len()).collect();
        for _ in 0..rounds {
            shuffle(&mut order, &mut random);
            for which in &order {
                match self.sides.get_mut(*which) {
                    Some(side) => samples[*which].push((side.work)(self.clock) / self.operations),
                    None => canary.push(same_twice(self.clock)),
                }
            }
        }
        let sides = self.sides.into_iter().zip(samples);
        Standing {
            sides: sides
                .map(|(side, samples)| (side.name, side.version, samples))
                .collect(),
            canary: Interval::of(&canary),
        }
    }
}

fn shuffle(order: &mut [usize], random: &mut Random) {
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last + 1));
    }
}

/// The same work twice: the ratio that should be 1.
pub(crate) fn same_twice(clock: Clock) -> f64 {
    // Numbers, and memory beyond the first cache.
    let mut memory = vec![1u64; 1 << 15];
    let mut work = || {
        let mut sum = 0u64;
        for i in 0..200_000usize {
            let cell = &mut memory[i.wrapping_mul(2_654_435_761) & 0x7fff];
            sum = sum
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(*cell);
            *cell = sum;
        }
        black_box(sum);
    };
    work();
    let first = clock.time(&mut work);
    first / clock.time(&mut work).max(1.0)
}

/// How a contest came out.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Name, version and nanoseconds an operation, round by round; ours first.
    sides: Vec<(String, String, Vec<f64>)>,
    canary: Interval,
}

impl Standing {
    /// Nanoseconds an operation of the side of that name; of ours when there is none.
    #[must_use]
    pub fn nanoseconds(&self, name: &str) -> Interval {
        Interval::of(self.samples(name))
    }

    /// Our time over that of the side of that name, round by round.
    #[must_use]
    pub fn ratios(&self, name: &str) -> Vec<f64> {
        let theirs = self.samples(name).iter();
        let ours = self.sides[0].2.iter();
        ours.zip(theirs).map(|(a, b)| a / b.max(1e-9)).collect()
    }

    fn samples(&self, name: &str) -> &[f64] {
        let side = self.sides.iter().find(|side| side.0 == name);
        &side.unwrap_or(&self.sides[0]).2
    }

    /// The row: our time over that of `name`.
    #[must_use]
    pub fn ratio(&self, name: &str) -> Measured {
        self.measured(self.ratios(name))
    }

    /// The row: how many times faster than `name`.
    #[must_use]
    pub fn faster(&self, name: &str) -> Measured {
        self.measured(self.ratios(name).iter().map(|ratio| 1.0 / ratio).collect())
    }

    /// The row: the share of `name`'s time that ours saves.
    #[must_use]
    pub fn saved(&self, name: &str) -> Measured {
        self.measured(self.ratios(name).iter().map(|ratio| 1.0 - ratio).collect())
    }

    /// The row: our time an operation, in units of `unit` nanoseconds.
    #[must_use]
    pub fn time(&self, unit: f64) -> Measured {
        self.measured(self.sides[0].2.iter().map(|ns| ns / unit).collect())
    }

    fn measured(&self, samples: Vec<f64>) -> Measured {
        let peers = self.sides[1..].iter().map(|(name, version, theirs)| Peer {
            name: name.clone(),
            version: version.clone(),
            value: Interval::of(theirs).median,
            ratio: Interval::of(&self.ratios(name)).median,
            samples: theirs.clone(),
        });
        Measured {
            value: Interval::of(&samples),
            samples,
            own: Some(Interval::of(&self.sides[0].2).median),
            own_samples: self.sides[0].2.clone(),
            peer_unit: "ns".to_owned(),
            more_is_better: false,
            peers: peers.collect(),
            canary: Some(self.canary),
            per_input: Vec::new(),
            note: String::new(),
        }
    }
}
