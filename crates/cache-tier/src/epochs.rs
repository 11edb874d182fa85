//! When each label was last invalidated: the table behind O(1) invalidation.

use crate::label::Label;
use crate::sync::{AtomicU64, Ordering, RwLock};
use crate::tier::Marks;
use hashbrown::HashMap;

/// A logical clock of invalidations, and the reading of it at which each label was last invalidated.
///
/// An entry notes the clock's reading when its load began (its birth) and is stale once any of its labels
/// was invalidated after that. The table is bounded: when it is full, the half invalidated longest ago
/// is forgotten and `floor` raised to the newest of them, so whatever was born before counts as stale
/// for any label that the table no longer knows. Forgetting costs misses, never a stale hit.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// The newest invalidation.
    generation: AtomicU64,
    /// Read without a lock on every hit of a labelled entry.
    version: AtomicU64,
    table: RwLock<Table>,
    bound: usize,
}

#[derive(Debug, Default)]
struct Table {
    marks: HashMap<Label, u64, foldhash::fast::RandomState>,
    floor: u64,
}

impl Table {
    fn epoch(&self, label: Label) -> u64 {
        // A mark that one tier remembers may be older than one that another has forgotten.
        let mark = self.marks.get(&label).copied().unwrap_or(0);
        mark.max(self.floor)
    }

    fn raise(&mut self, label: Label, epoch: u64, bound: usize) {
        if self.marks.len() >= bound && !self.marks.contains_key(&label) {
            self.forget_older_half();
        }
        let mark = self.marks.entry(label).or_insert(epoch);
        *mark = (*mark).max(epoch);
    }

    fn forget_older_half(&mut self) {
        let mut epochs: Vec<u64> = self.marks.values().copied().collect();
        let middle = epochs.len() / 2;
        let (_, cut, _) = epochs.select_nth_unstable(middle);
        let cut = *cut;
        self.marks.retain(|_, epoch| *epoch > cut);
        self.floor = self.floor.max(cut);
    }
}

impl Epochs {
    /// The default bound of the table: 65,536 labels, about 1.5 MB when full.
    pub(crate) const BOUND: usize = 65_536;

    /// How far a cache that opens moves the clock.
    pub(crate) const LEAP: u64 = 1 << 16;

    pub(crate) fn new(bound: usize) -> Self {
        Self {
            generation: AtomicU64::new(1),
            version: AtomicU64::new(1),
            table: RwLock::new(Table::default()),
            bound: bound.max(2),
        }
    }

    /// The reading of the clock now: the birth of whatever starts to load now.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Changes whenever any mark does: an entry found valid at a version is valid while it lasts.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The version at which an entry born then is known to be valid without a look at its labels; zero when
    /// something was invalidated since. The version is read first: of what it covers the clock has heard.
    #[inline]
    pub(crate) fn version_of_birth(&self, birth: u64) -> u64 {
        let version = self.version();
        if birth >= self.generation() {
            version
        } else {
            0
        }
    }

    /// Marks the labels as invalidated now; returns the epoch.
    pub(crate) fn invalidate(&self, labels: &[Label]) -> u64 {
        let mut table = self.table.write();
        let epoch = self.generation.load(Ordering::Relaxed).saturating_add(1);
        for label in labels {
            table.raise(*label, epoch, self.bound);
        }
        self.publish(epoch);
        epoch
    }

    /// Takes over marks that somebody else made: another process, or this one before it restarted.
    /// True when any of them was news.
    pub(crate) fn learn(&self, marks: &[(Label, u64)]) -> bool {
        let mut table = self.table.write();
        let mut newest = self.generation.load(Ordering::Relaxed);
        let mut news = false;
        for (label, epoch) in marks {
            if table.epoch(*label) < *epoch {
                table.raise(*label, *epoch, self.bound);
                news = true;
            }
            newest = newest.max(*epoch);
        }
        if news {
            self.publish(newest);
        } else {
            self.generation.fetch_max(newest, Ordering::Release);
        }
        news
    }

    /// Takes over what a tier remembers of earlier processes.
    pub(crate) fn adopt(&self, marks: &Marks) {
        {
            let mut table = self.table.write();
            table.floor = table.floor.max(marks.floor);
            self.publish(marks.latest.max(marks.floor));
        }
        self.learn(&marks.marks);
    }

    /// Moves the clock past everything that an earlier process may have stamped and not lived to tell.
    pub(crate) fn leap(&self) {
        self.advance(self.generation().saturating_add(Self::LEAP));
    }

    /// Begins a new time: what is born from now on is told from what was born before.
    pub(crate) fn begin(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Moves the clock to `generation` unless it is further already.
    pub(crate) fn advance(&self, generation: u64) {
        self.generation.fetch_max(generation, Ordering::Release);
    }

    /// Called with the table locked: the marks are in it before anybody can see the new version.
    fn publish(&self, generation: u64) {
        self.generation.fetch_max(generation, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// True when one of the labels was invalidated after `birth`. Takes the table's read lock.
    pub(crate) fn is_stale(&self, birth: u64, labels: &[Label]) -> bool {
        if labels.is_empty() {
            return false;
        }
        let table = self.table.read();
        labels.iter().any(|label| table.epoch(*label) > birth)
    }

    /// The newest epoch among the labels.
    pub(crate) fn newest(&self, labels: &[Label]) -> u64 {
        let table = self.table.read();
        labels
            .iter()
            .map(|label| table.epoch(*label))
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgetting_falls_back_to_a_coarser_generation_and_is_never_stale() {
        let epochs = Epochs::new(8);
        let birth = epochs.generation();
        for name in 0..100 {
            epochs.invalidate(&[Label::tag(&name.to_string())]);
            for earlier in 0..=name {
                assert!(epochs.is_stale(birth, &[Label::tag(&earlier.to_string())]));
            }
            assert!(epochs.table.read().marks.len() <= 8);
        }
        let fresh = epochs.generation();
        assert!(!epochs.is_stale(fresh, &[Label::tag("1"), Label::tag("never")]));
    }
}
