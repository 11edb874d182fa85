//! What is counted for single tags.

use crate::label::Label;
use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// The tags that a cache counts for.
#[derive(Debug, Default)]
pub(crate) struct Tags(Vec<Tag>);

#[derive(Debug)]
struct Tag {
    name: String,
    label: Label,
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    load_nanos: AtomicU64,
    saved_micros: AtomicU64,
}

/// Which of a cache's counted tags an entry is under, a bit each.
pub(crate) type Mask = u64;

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
}

impl Tags {
    pub(crate) fn new(names: Vec<String>) -> Self {
        let zero = || AtomicU64::new(0);
        let tag = |name: String| Tag {
            label: Label::tag(&name),
            name,
            hits: zero(),
            misses: zero(),
            loads: zero(),
            load_nanos: zero(),
            saved_micros: zero(),
        };
        Self(names.into_iter().take(MOST).map(tag).collect())
    }

    pub(crate) fn mask(&self, labels: &[Label]) -> Mask {
        let bit = |(at, tag): (usize, &Tag)| Mask::from(labels.contains(&tag.label)) << at;
        self.0.iter().enumerate().map(bit).sum()
    }

    fn each(&self, mask: Mask) -> impl Iterator<Item = &Tag> {
        let in_mask = move |(at, _): &(usize, &Tag)| mask >> at & 1 == 1;
        self.0
            .iter()
            .enumerate()
            .filter(in_mask)
            .map(|(_, tag)| tag)
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

    pub(crate) fn stats(&self) -> Vec<TagStats> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stats = |tag: &Tag| TagStats {
            name: tag.name.clone(),
            hits: read(&tag.hits),
            misses: read(&tag.misses),
            loads: read(&tag.loads),
            load_time: Duration::from_nanos(read(&tag.load_nanos)),
            time_saved: Duration::from_micros(read(&tag.saved_micros)),
        };
        self.0.iter().map(stats).collect()
    }
}
