//! What is counted for single tags.

use crate::label::Label;
use crate::ledger::{Counted, Tally, each};
use crate::stats::Evicted;
use crate::sync::{Arc, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use crate::ledger::Mask;

/// The tags that a cache counts for.
#[derive(Debug)]
pub(crate) struct Tags {
    tags: Vec<Tag>,
    counted: Arc<Counted>,
}

#[derive(Debug)]
struct Tag {
    name: String,
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    load_nanos: AtomicU64,
    saved_micros: AtomicU64,
}

/// The most tags that are counted for.
pub(crate) const MOST: usize = Mask::BITS as usize;

/// What was counted for one tag since the cache was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TagStats {
    /// The tag.
    pub name: String,
    /// Lookups that memory or a tier answered with an entry under the tag.
    pub hits: u64,
    /// Lookups for an entry under the tag (by the caller's options) that found none, and loaded it.
    pub misses: u64,
    /// Loads of entries under the tag that succeeded.
    pub loads: u64,
    /// Time spent in them.
    pub load_time: Duration,
    /// Time that hits in memory saved, going by how long each entry took to load here.
    pub time_saved: Duration,
    /// Entries under the tag that memory holds now, kept errors included. One that expired, or whose tag was invalidated,
    /// is in memory until it is met: by a lookup, by the inserts, which look for such at a slot each, or by its eviction.
    pub entries: u64,
    /// Their weight: bytes where the weigher gives bytes. Zero once they all left.
    pub weight: u64,
    /// Entries under the tag that left memory, or never went in, by cause. An entry counts for each of its tags.
    pub evicted: Evicted,
}

impl Tags {
    pub(crate) fn new(mut names: Vec<String>) -> Self {
        names.truncate(MOST);
        let counted = Counted::new(names.iter().map(|name| Label::tag(name)));
        let zero = || AtomicU64::new(0);
        let tag = |name| Tag {
            name,
            hits: zero(),
            misses: zero(),
            loads: zero(),
            load_nanos: zero(),
            saved_micros: zero(),
        };
        Self {
            tags: names.into_iter().map(tag).collect(),
            counted: Arc::new(counted),
        }
    }

    pub(crate) fn counted(&self) -> Arc<Counted> {
        Arc::clone(&self.counted)
    }

    #[inline]
    pub(crate) fn mask(&self, labels: &[Label]) -> Mask {
        self.counted.mask(labels)
    }

    fn each(&self, mask: Mask) -> impl Iterator<Item = &Tag> {
        each(self.tags.iter(), mask)
    }

    /// A hit, which saved so many microseconds.
    pub(crate) fn hit(&self, mask: Mask, saved: u64) {
        if mask == 0 {
            return;
        }
        for tag in self.each(mask) {
            tag.hits.fetch_add(1, Ordering::Relaxed);
            tag.saved_micros.fetch_add(saved, Ordering::Relaxed);
        }
    }

    /// A load that succeeded.
    pub(crate) fn loaded(&self, mask: Mask, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        for tag in self.each(mask) {
            tag.misses.fetch_add(1, Ordering::Relaxed);
            tag.loads.fetch_add(1, Ordering::Relaxed);
            tag.load_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// A load that failed.
    pub(crate) fn failed(&self, mask: Mask) {
        for tag in self.each(mask) {
            tag.misses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// With what memory has of each, in their order.
    pub(crate) fn stats(&self, tallies: &[Tally]) -> Vec<TagStats> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stats = |(tag, tally): (&Tag, &Tally)| {
            let mut evicted = Evicted::default();
            evicted.add(&tally.left);
            TagStats {
                name: tag.name.clone(),
                hits: read(&tag.hits),
                misses: read(&tag.misses),
                loads: read(&tag.loads),
                load_time: Duration::from_nanos(read(&tag.load_nanos)),
                time_saved: Duration::from_micros(read(&tag.saved_micros)),
                entries: tally.entries,
                weight: tally.weight,
                evicted,
            }
        };
        self.tags.iter().zip(tallies).map(stats).collect()
    }
}
