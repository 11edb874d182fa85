//! A filter that no cache holds.

use std::{cell::RefCell, hint::black_box, ops::Range, rc::Rc};

use anyhow::Result;
use mainspring_bloom::{BloomFilter, KeyHash};
use mainspring_inputs::Random;
use sbbf_rs_safe::Filter;

use super::peers::{SBBF, Work, as_large_as, check_side};
use super::rate;
use crate::{Bench, Contest};

/// Keys asked for in one run.
const QUERIES: usize = 200_000;

/// Ours and the other split-block filter with the same bits, nearly full, at `T` false positives in
/// a thousand.
pub(super) struct Large<const T: u32> {
    pub(super) ours: BloomFilter,
    pub(super) sbbf: Filter,
    stripes: Stripes,
}

impl<const T: u32> Large<T> {
    /// Built once for all rows.
    pub(super) fn shared(bench: &Bench) -> Result<Rc<RefCell<Self>>> {
        bench.fixture(|| Ok(RefCell::new(Self::build(size(bench))?)))
    }

    fn build(count: usize) -> Result<Self> {
        let mut ours = BloomFilter::with_capacity_and_fpr(count, rate(T))?;
        let mut sbbf = as_large_as(&ours);
        let stripes = Stripes { count };
        ours.insert_many(stripes.filled().map(key));
        sbbf.as_bytes_mut().copy_from_slice(ours.as_bytes());
        Ok(Self {
            ours,
            sbbf,
            stripes,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.stripes.count
    }

    pub(super) fn hash(&self) -> KeyHash {
        self.ours.key_hash()
    }

    /// Keys that are there and keys that are not, in turn.
    pub(super) fn queries(&self) -> Vec<u64> {
        let absent = self.absent();
        let pairs = self.stripes.present().into_iter().zip(absent);
        pairs.flat_map(|(there, not)| [there, not]).collect()
    }

    /// Keys that are not there.
    pub(super) fn absent(&self) -> Vec<u64> {
        self.stripes.absent()
    }

    /// Nothing is denied, and neither says yes too often.
    pub(super) fn check(&self, bench: &Bench) -> Result<()> {
        let (present, absent) = (self.stripes.present(), self.stripes.absent());
        let hash = self.hash();
        let sides: [&dyn Fn(&u64) -> bool; 2] = [&|key| self.ours.contains(key), &|key| {
            self.sbbf.contains_hash(hash.hash(key))
        }];
        for side in sides {
            check_side(bench, side, &present, &absent, rate(T))?;
        }
        Ok(())
    }

    /// One by one. Inserts are of fresh keys in each round.
    pub(super) fn contest(&mut self, bench: &Bench, work: Work) -> Contest<'_> {
        let (hash, stripes) = (self.hash(), self.stripes);
        if work == Work::Insert {
            let (ours, sbbf) = (&mut self.ours, &mut self.sbbf);
            let (mut mine, mut theirs) = (stripes.fresh(), stripes.fresh());
            return Contest::new(bench, stripes.length() as u64)
                .at_most(STRIPES_A_ROW)
                .side_timed("mainspring-bloom", "", move |clock| {
                    let keys = mine.next().unwrap_or_default();
                    clock.time(|| {
                        for key in &keys {
                            black_box(ours.insert(key));
                        }
                    })
                })
                .side_timed(SBBF, "0.3", move |clock| {
                    let keys = theirs.next().unwrap_or_default();
                    clock.time(|| {
                        for key in &keys {
                            black_box(sbbf.insert_hash(hash.hash(key)));
                        }
                    })
                });
        }
        let queries = match work {
            Work::Miss => stripes.absent(),
            _ => stripes.present(),
        };
        let (ours, sbbf, same) = (&self.ours, &self.sbbf, queries.clone());
        Contest::new(bench, queries.len() as u64)
            .side("mainspring-bloom", "", move || {
                black_box(queries.iter().filter(|key| ours.contains(*key)).count());
            })
            .side(SBBF, "0.3", move || {
                let found = same
                    .iter()
                    .filter(|key| sbbf.contains_hash(hash.hash(*key)));
                black_box(found.count());
            })
    }
}

pub(super) fn size(bench: &Bench) -> usize {
    bench.scale().pick(20_000, 10_000_000, 100_000_000)
}

/// Rounds of inserts of one row, the unmeasured one aside.
pub(super) const STRIPES_A_ROW: usize = 30;

/// The keys of a large filter: four fifths go in at first, the rest in stripes, one a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stripes {
    pub(super) count: usize,
}

impl Stripes {
    /// Numbers of the keys that are there from the start.
    pub(super) fn filled(self) -> Range<usize> {
        0..self.count / 5 * 4
    }

    pub(super) fn length(self) -> usize {
        self.count / 500
    }

    /// The other keys, stripe by stripe, over and over.
    pub(super) fn fresh(self) -> impl Iterator<Item = Vec<u64>> {
        let starts = self.filled().end..self.count;
        let starts = starts.step_by(self.length()).take(STRIPES_A_ROW + 1);
        starts
            .cycle()
            .map(move |start| (start..start + self.length()).map(key).collect())
    }

    /// Some that are there.
    pub(super) fn present(self) -> Vec<u64> {
        self.drawn(0)
    }

    /// Some that never will be.
    pub(super) fn absent(self) -> Vec<u64> {
        self.drawn(2 * self.count)
    }

    fn drawn(self, above: usize) -> Vec<u64> {
        let mut random = Random::new(7);
        let filled = self.filled().len();
        (0..QUERIES.min(self.count))
            .map(|_| key(above + random.below(filled)))
            .collect()
    }
}

/// Distinct keys without a list of them.
pub(super) fn key(n: usize) -> u64 {
    (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
