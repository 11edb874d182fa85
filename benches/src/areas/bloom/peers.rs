//! Every filter on the same keys at the same rate of false positives.

use std::{collections::HashSet, hint::black_box};

use anyhow::{Result, anyhow};
use bloomfilter::Bloom;
use foldhash::fast::FixedState;
use mainspring_bloom::{BloomBuilder, BloomFilter};
use mainspring_inputs::Random;
use sbbf_rs_safe::Filter;
use xorf::{BinaryFuse8, BinaryFuse16, Filter as _};

use super::rate;
use crate::{Bench, Contest, PerInput, check};

pub(super) const SBBF: &str = "sbbf-rs-safe";
const FUSE: &str = "xorf binary fuse, immutable";

/// What a contest does with the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// All of them into an empty filter.
    Insert,
    /// Asks for keys that are there.
    Hit,
    /// Asks for keys that are not.
    Miss,
}

/// Absent keys, and the queries of one run.
const QUERIES: usize = 100_000;

/// Distinct keys, in no order.
pub(super) fn keys(seed: u64, count: usize) -> Vec<u64> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.bits()).collect()
}

/// Ours and the other split-block filter, of the same size: by the size follows the rate.
pub(super) struct Pair {
    pub(super) ours: BloomFilter,
    pub(super) sbbf: Filter,
    fpr: f64,
    keys: Vec<u64>,
    absent: Vec<u64>,
}

impl Pair {
    /// Both filled with `count` keys.
    pub(super) fn build(count: usize, fpr: f64) -> Result<Self> {
        let keys = keys(1, count);
        let mut ours = BloomBuilder::new(count).fpr(fpr).build()?;
        let mut sbbf = as_large_as(&ours);
        for key in &keys {
            ours.insert(key);
            sbbf.insert_hash(ours.key_hash().hash(key));
        }
        Ok(Self {
            ours,
            sbbf,
            fpr,
            keys,
            absent: self::keys(2, QUERIES.min(10 * count)),
        })
    }

    /// Nothing is denied, and neither says yes too often.
    pub(super) fn check(&self, bench: &Bench) -> Result<()> {
        let hash = self.ours.key_hash();
        let sides: [&dyn Fn(&u64) -> bool; 2] = [&|key| self.ours.contains(key), &|key| {
            self.sbbf.contains_hash(hash.hash(key))
        }];
        for side in sides {
            check_side(bench, side, &self.keys, &self.absent, self.fpr)?;
        }
        Ok(())
    }

    pub(super) fn contest<'a>(&'a self, bench: &Bench, work: Work) -> Contest<'a> {
        let hash = self.ours.key_hash();
        if work == Work::Insert {
            return Contest::new(bench, self.keys.len() as u64)
                .side_timed("mainspring-bloom", "", |clock| {
                    let mut empty = self.ours.clone();
                    empty.clear();
                    clock.time(|| {
                        for key in &self.keys {
                            black_box(empty.insert(key));
                        }
                    })
                })
                .side_timed(SBBF, "0.3", move |clock| {
                    let mut empty = as_large_as(&self.ours);
                    empty.reset();
                    clock.time(|| {
                        for key in &self.keys {
                            black_box(empty.insert_hash(hash.hash(key)));
                        }
                    })
                });
        }
        let queries = self.queries(work);
        Contest::new(bench, queries.len() as u64)
            .side("mainspring-bloom", "", || {
                black_box(
                    queries
                        .iter()
                        .filter(|key| self.ours.contains(*key))
                        .count(),
                );
            })
            .side(SBBF, "0.3", move || {
                let found = queries
                    .iter()
                    .filter(|key| self.sbbf.contains_hash(hash.hash(*key)));
                black_box(found.count());
            })
    }

    fn queries(&self, work: Work) -> &[u64] {
        match work {
            Work::Miss => &self.absent,
            _ => &self.keys[..QUERIES.min(self.keys.len())],
        }
    }
}

/// The peer takes whole bits a key only, so it is given the bits of our filter as one key.
pub(super) fn as_large_as(ours: &BloomFilter) -> Filter {
    Filter::new(8 * ours.byte_len(), 1)
}

pub(super) fn check_side(
    bench: &Bench,
    side: &dyn Fn(&u64) -> bool,
    keys: &[u64],
    absent: &[u64],
    fpr: f64,
) -> Result<f64> {
    let found = bench.answer(keys.iter().filter(|key| side(key)).count());
    check(found == keys.len(), "a key that was inserted is missing")?;
    let wrong = absent.iter().filter(|key| side(key)).count();
    let rate = bench.answer(wrong as f64 / absent.len() as f64);
    check(rate <= 2.0 * fpr, "more than twice the false positives")?;
    Ok(rate)
}

/// All filters at `T` false positives in a thousand.
pub(super) struct Filters<const T: u32> {
    pair: Pair,
    fast: fastbloom::BloomFilter<FixedState>,
    textbook: Bloom<u64>,
    fuse: Fuse,
    set: HashSet<u64>,
}

/// The smaller of xorf's filters that keep the rate: theirs are fixed.
enum Fuse {
    /// Four in a thousand.
    Eight(BinaryFuse8),
    /// Fifteen in a million.
    Sixteen(BinaryFuse16),
}

impl Fuse {
    fn build(keys: &[u64], fpr: f64) -> Result<Self> {
        let built = if fpr > 0.004 {
            BinaryFuse8::try_from(keys).map(Self::Eight)
        } else {
            BinaryFuse16::try_from(keys).map(Self::Sixteen)
        };
        built.map_err(|what| anyhow!(what))
    }

    #[inline]
    fn contains(&self, key: &u64) -> bool {
        match self {
            Self::Eight(fuse) => fuse.contains(key),
            Self::Sixteen(fuse) => fuse.contains(key),
        }
    }

    fn found(&self, queries: &[u64]) -> usize {
        match self {
            Self::Eight(fuse) => queries.iter().filter(|key| fuse.contains(key)).count(),
            Self::Sixteen(fuse) => queries.iter().filter(|key| fuse.contains(key)).count(),
        }
    }

    fn bits(&self) -> usize {
        match self {
            Self::Eight(fuse) => 8 * fuse.len(),
            Self::Sixteen(fuse) => 16 * fuse.len(),
        }
    }
}

fn fast(count: usize, fpr: f64) -> fastbloom::BloomFilter<FixedState> {
    fastbloom::BloomFilter::with_false_pos(fpr)
        .hasher(FixedState::default())
        .expected_items(count)
}

fn textbook(count: usize, fpr: f64) -> Result<Bloom<u64>> {
    let seed = std::array::from_fn(|at| at as u8);
    Bloom::new_for_fp_rate_with_seed(count, fpr, &seed).map_err(|what| anyhow!(what))
}

impl<const T: u32> Filters<T> {
    pub(super) fn count(&self) -> usize {
        self.pair.keys.len()
    }

    pub(super) fn build(count: usize) -> Result<Self> {
        let fpr = rate(T);
        let pair = Pair::build(count, fpr)?;
        let (mut fast, mut textbook) = (fast(count, fpr), textbook(count, fpr)?);
        for key in &pair.keys {
            fast.insert(key);
            textbook.set(key);
        }
        Ok(Self {
            fuse: Fuse::build(&pair.keys, fpr)?,
            set: pair.keys.iter().copied().collect(),
            fast,
            textbook,
            pair,
        })
    }

    /// As [`Pair::check`], for all of them.
    pub(super) fn check(&self, bench: &Bench) -> Result<()> {
        self.pair.check(bench)?;
        let sides: [&dyn Fn(&u64) -> bool; 4] = [
            &|key| self.fast.contains(key),
            &|key| self.textbook.check(key),
            &|key| self.fuse.contains(key),
            &|key| self.set.contains(key),
        ];
        for side in sides {
            check_side(bench, side, &self.pair.keys, &self.pair.absent, rate(T))?;
        }
        Ok(())
    }

    pub(super) fn contest<'a>(&'a self, bench: &Bench, work: Work) -> Contest<'a> {
        let contest = self.pair.contest(bench, work);
        if work == Work::Insert {
            return self.with_inserts(contest);
        }
        let queries = self.pair.queries(work);
        contest
            .side("fastbloom, foldhash", "0.17", || {
                black_box(
                    queries
                        .iter()
                        .filter(|key| self.fast.contains(*key))
                        .count(),
                );
            })
            .side("bloomfilter", "3", || {
                black_box(
                    queries
                        .iter()
                        .filter(|key| self.textbook.check(key))
                        .count(),
                );
            })
            .side(FUSE, "0.13", || {
                black_box(self.fuse.found(queries));
            })
            .side("HashSet<u64>", "std", || {
                black_box(queries.iter().filter(|key| self.set.contains(key)).count());
            })
    }

    fn with_inserts<'a>(&'a self, contest: Contest<'a>) -> Contest<'a> {
        let keys = self.pair.keys.as_slice();
        contest
            .side_timed("fastbloom, foldhash", "0.17", move |clock| {
                let mut empty = fast(keys.len(), rate(T));
                clock.time(|| {
                    for key in keys {
                        black_box(empty.insert(key));
                    }
                })
            })
            .side_timed("bloomfilter", "3", move |clock| {
                let mut empty = self.textbook.clone();
                empty.clear();
                clock.time(|| {
                    for key in keys {
                        black_box(empty.check_and_set(key));
                    }
                })
            })
            .side("xorf binary fuse, built at once", "0.13", move || {
                black_box(Fuse::build(keys, rate(T)).is_ok());
            })
            .side_timed("HashSet<u64>", "std", move |clock| {
                let mut empty = HashSet::with_capacity(keys.len());
                clock.time(|| {
                    for key in keys {
                        black_box(empty.insert(*key));
                    }
                })
            })
    }

    /// Bits a key and rates as found, filter by filter.
    pub(super) fn figures(&self) -> Vec<PerInput> {
        let pair = &self.pair;
        let hash = pair.ours.key_hash();
        let figures = |name: &str, bits: usize, has: &dyn Fn(&u64) -> bool| {
            let wrong = pair.absent.iter().filter(|key| has(key)).count();
            PerInput::new(
                name,
                [
                    ("bits a key", bits as f64 / pair.keys.len() as f64),
                    ("false positives", wrong as f64 / pair.absent.len() as f64),
                ],
            )
        };
        vec![
            figures("mainspring-bloom", 8 * pair.ours.byte_len(), &|key| {
                pair.ours.contains(key)
            }),
            figures("sbbf-rs-safe", 8 * pair.sbbf.as_bytes().len(), &|key| {
                pair.sbbf.contains_hash(hash.hash(key))
            }),
            figures("fastbloom", self.fast.num_bits(), &|key| {
                self.fast.contains(key)
            }),
            figures("bloomfilter", self.textbook.len() as usize, &|key| {
                self.textbook.check(key)
            }),
            figures("xorf binary fuse", self.fuse.bits(), &|key| {
                self.fuse.contains(key)
            }),
        ]
    }
}
