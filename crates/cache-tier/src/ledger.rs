//! What a shard knows of counted tags: who is there, and why others left.

use crate::cache::Cache;
use crate::label::Label;
use crate::stats::EvictionCause;
use crate::sync::Arc;
use crate::tags::TagStats;
use std::hash::{BuildHasher, Hash};

/// Which of a cache's counted tags an entry is under, a bit each.
pub(crate) type Mask = u64;

/// The labels of the counted tags, sorted, with their bits.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    bits: Vec<(Label, Mask)>,
    tags: usize,
    /// A bit for the last six bits of each label: most others are told apart by it.
    filter: u64,
}

fn place(label: Label) -> u64 {
    1 << (label.to_u64() & 63)
}

impl Counted {
    /// One bit for each label, in their order; a label that comes twice has both.
    pub(crate) fn new(labels: impl Iterator<Item = Label>) -> Self {
        let all: Vec<Label> = labels.take(Mask::BITS as usize).collect();
        let mut bits: Vec<(Label, Mask)> = Vec::with_capacity(all.len());
        for (at, label) in all.iter().enumerate() {
            match bits.iter_mut().find(|(known, _)| known == label) {
                Some((_, mask)) => *mask |= 1 << at,
                None => bits.push((*label, 1 << at)),
            }
        }
        bits.sort_unstable();
        Self {
            bits,
            tags: all.len(),
            filter: all.iter().fold(0, |filter, label| filter | place(*label)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    pub(crate) fn mask(&self, labels: &[Label]) -> Mask {
        let may = |label: &&Label| self.filter & place(**label) != 0;
        let likely = labels.iter().filter(may);
        let bit = |label: &Label| match self.bits.binary_search_by_key(label, |(known, _)| *known) {
            Ok(at) => self.bits[at].1,
            Err(_) => 0,
        };
        likely.map(bit).fold(0, |mask, bit| mask | bit)
    }
}

/// The entries under one tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) weight: u64,
    pub(crate) left: [u64; EvictionCause::COUNT],
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.weight += other.weight;
        for (sum, left) in self.left.iter_mut().zip(other.left) {
            *sum += left;
        }
    }
}

/// A shard's part of the statistics by tag: plain numbers that change under the shard's write lock, and only when an
/// entry with labels comes or goes.
#[derive(Debug)]
pub(crate) struct Ledger {
    counted: Arc<Counted>,
    /// Per slot, the tags of its entry; as long as the highest slot that had one.
    masks: Vec<Mask>,
    tallies: Box<[Tally]>,
    /// Per slot, the microseconds that its entry took to make, where hits are told of them; as long as `masks`.
    micros: Option<Vec<u32>>,
}

impl Ledger {
    pub(crate) fn new(counted: Arc<Counted>, timed: bool) -> Self {
        Self {
            micros: timed.then(Vec::new),
            tallies: vec![Tally::default(); counted.tags].into_boxed_slice(),
            masks: Vec::new(),
            counted,
        }
    }

    /// An entry with these labels came into the slot, in which none was, or which was told of its departure.
    #[inline(never)]
    pub(crate) fn came(&mut self, index: u32, labels: &[Label], weight: u32, nanos: u64) {
        let mask = self.counted.mask(labels);
        if mask == 0 {
            return;
        }
        let at = index as usize;
        if self.masks.len() <= at {
            self.masks.resize(at + 1, 0);
        }
        self.masks[at] = mask;
        if let Some(micros) = &mut self.micros {
            micros.resize(self.masks.len(), 0);
            micros[at] = u32::try_from(nanos / 1_000).unwrap_or(u32::MAX);
        }
        for tally in each(self.tallies.iter_mut(), mask) {
            tally.entries += 1;
            tally.weight += u64::from(weight);
        }
    }

    /// The tags of the slot's entry, and the microseconds that it took to make.
    pub(crate) fn at(&self, index: u32) -> (Mask, u64) {
        let at = index as usize;
        let mask = self.masks.get(at).copied().unwrap_or(0);
        let micros = self.micros.as_ref().and_then(|micros| micros.get(at));
        (mask, micros.copied().map_or(0, u64::from))
    }

    /// The entry of that weight left the slot.
    #[inline(never)]
    pub(crate) fn left(&mut self, index: u32, weight: u32, cause: EvictionCause) {
        let Some(mask) = self.masks.get_mut(index as usize) else {
            return;
        };
        let mask = std::mem::take(mask);
        for tally in each(self.tallies.iter_mut(), mask) {
            tally.entries -= 1;
            tally.weight -= u64::from(weight);
            tally.left[cause.index()] += 1;
        }
    }

    /// An entry with these labels never went in.
    pub(crate) fn refused(&mut self, labels: &[Label]) {
        let mask = self.counted.mask(labels);
        for tally in each(self.tallies.iter_mut(), mask) {
            tally.left[EvictionCause::TooLarge.index()] += 1;
        }
    }

    fn add_to(&self, sums: &mut [Tally]) {
        for (sum, tally) in sums.iter_mut().zip(&self.tallies) {
            sum.add(tally);
        }
    }
}

/// Of all these, what belongs to the bits of the mask.
pub(crate) fn each<T>(mut all: impl Iterator<Item = T>, mut mask: Mask) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let skipped = mask.trailing_zeros();
        mask = mask >> skipped >> 1;
        all.nth(skipped as usize)
    })
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Cache<K, V, S> {
    /// What was counted for each tag given to [`CacheBuilder::count_tags`](crate::CacheBuilder::count_tags), in that order.
    /// Hits are those of lookups; misses and loads those of `get_or_try_insert`, by the options given to it; the time
    /// saved goes by [`EntryOptions::cost`](crate::EntryOptions::cost), else by how long the entry took to load.
    /// O(shards × tags).
    #[must_use]
    pub fn tag_stats(&self) -> Vec<TagStats> {
        let told = self.inner.settings.told.as_ref();
        told.map_or_else(Vec::new, |tags| tags.stats(&self.tallies()))
    }

    /// What there is of each counted tag, in their order: O(shards × tags).
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let mut sums = Vec::new();
        for part in self.parts() {
            let shard = part.shard.read();
            if let Some(ledger) = shard.ledger() {
                sums.resize(ledger.tallies.len(), Tally::default());
                ledger.add_to(&mut sums);
            }
        }
        sums
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
