//! Which entry leaves: two queues, and how their shares adapt to what comes back.

use crate::cost::Costs;
use crate::ghost::{Ghost, Left};
use crate::slab::{Node, Place, Queue, Slab};

/// Two clock queues, probation and proven, as in S3-FIFO (Yang et al., SOSP 2023): a hit only sets a
/// counter in the entry; moving happens when room is made. Two things adapt.
///
/// **The share of probation.** As in ARC (Megiddo and Modha, FAST 2003) what was evicted is remembered for
/// a while, but only a return soon after the eviction counts, for that is what a little more room for the
/// queue would have made a hit: it moves the share towards the queue that the entry had left.
///
/// **The horizon of return.** A remembered entry that comes back goes straight to the proven ones when it
/// left less than a horizon ago. Those that then earn a hit before they are evicted lengthen the horizon,
/// those that do not shorten it, so that a loop larger than the cache cannot wash the proven ones out.
#[derive(Debug)]
pub(crate) struct Policy {
    recent: Queue,
    frequent: Queue,
    ghost: Ghost,
    /// What probation may weigh before it gives way: its share of the capacity.
    allowed: u64,
    /// The part of the capacity that probation may take before it gives way.
    share: f64,
    /// In multiples of the resident entries.
    horizon: f64,
    capacity: u64,
    /// Where what entries cost counts.
    costs: Option<Box<Costs>>,
}

const SHARE: std::ops::RangeInclusive<f64> = 0.01..=0.9;
const HORIZON: std::ops::RangeInclusive<f64> = 1.0..=3.0;
/// How soon a return must be to count as one that a little more room would have saved.
const SOON: f64 = 0.2;
const SHARE_STEP: f64 = 4.0;
const HORIZON_GAIN: f64 = 1.0;
const HORIZON_LOSS: f64 = 1.0;
/// Entries spared in one eviction at most, which bounds the time under the lock.
const SPARED: usize = 256;
/// Links without an entry that the queues may keep: so many, and this part of the entries.
const GONE: usize = 32;
const GONE_PART: usize = 4;

impl Policy {
    pub(crate) fn new(capacity: u64, by_cost: bool) -> Self {
        let mut policy = Self {
            recent: Queue::new(),
            frequent: Queue::new(),
            ghost: Ghost::new(),
            allowed: 0,
            share: 0.05,
            horizon: *HORIZON.end(),
            capacity,
            costs: by_cost.then(Box::default),
        };
        policy.lean(0.0);
        policy
    }

    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.recent.weight + self.frequent.weight
    }

    fn len(&self) -> f64 {
        (self.recent.len + self.frequent.len).max(1) as f64
    }

    /// Bytes allocated.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.ghost.allocated()
    }

    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.lean(0.0);
    }

    /// The place of a key that is not resident; learns from what is remembered of it.
    #[inline]
    pub(crate) fn admit(&mut self, hash: u32) -> Place {
        match self.ghost.recall(hash) {
            None => Place::Recent,
            Some(left) => self.readmit(left),
        }
    }

    #[inline(never)]
    fn readmit(&mut self, left: Left) -> Place {
        match left {
            Left::Frequent(age) => {
                if age <= SOON {
                    self.lean(-SHARE_STEP);
                }
                Place::Frequent
            }
            Left::Recent(age) => {
                if age <= SOON {
                    self.lean(SHARE_STEP);
                }
                if age <= self.horizon {
                    Place::Returned
                } else {
                    Place::Recent
                }
            }
        }
    }

    fn lean(&mut self, step: f64) {
        self.share = (self.share + step / self.len()).clamp(*SHARE.start(), *SHARE.end());
        self.allowed = ((self.capacity as f64 * self.share) as u64).max(1);
    }

    #[inline(never)]
    fn look(&mut self, step: f64) {
        self.horizon = (self.horizon + step / self.len()).clamp(*HORIZON.start(), *HORIZON.end());
    }

    /// Puts an entry at the new end of the queue of its place.
    #[inline]
    pub(crate) fn link<K, V>(
        &mut self,
        slab: &mut Slab<K, V>,
        index: u32,
        place: Place,
        weight: u32,
    ) {
        self.queue(place).push(slab, index, weight);
    }

    /// Takes the oldest of its queue out.
    #[inline(always)]
    pub(crate) fn pop<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32) -> Option<Node<K, V>> {
        let weight = slab.weight(index);
        let node = slab.take(index, false)?;
        self.queue(node.place).leave(&node, weight);
        Some(node)
    }

    /// Takes an entry out, wherever it waits.
    pub(crate) fn remove<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32) -> Option<Node<K, V>> {
        let place = slab.get(index)?.place;
        let node = self.queue(place).remove(slab, index);
        let gone = self.recent.gone + self.frequent.gone;
        if gone > GONE && gone > slab.len() / GONE_PART {
            self.tighten(slab);
        }
        node
    }

    #[cold]
    fn tighten<K, V>(&mut self, slab: &mut Slab<K, V>) {
        self.recent.tighten(slab);
        self.frequent.tighten(slab);
    }

    /// Notes that an entry weighs something else from now on.
    pub(crate) fn reweigh<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32, weight: u32) {
        let Some(place) = slab.get(index).map(|node| node.place) else {
            return;
        };
        let before = u64::from(slab.weight(index));
        slab.set_weight(index, weight);
        let queue = self.queue(place);
        queue.weight = queue.weight - before + u64::from(weight);
    }

    #[inline]
    fn queue(&mut self, place: Place) -> &mut Queue {
        match place {
            Place::Recent => &mut self.recent,
            Place::Returned | Place::Frequent => &mut self.frequent,
        }
    }

    /// Chooses the entry to evict, moving those that earned their stay: its slot, its hash and what could end it.
    /// It is the oldest of its queue.
    #[inline(always)]
    pub(crate) fn victim<K, V>(&mut self, slab: &mut Slab<K, V>) -> Option<(u32, u32, u8)> {
        let mut spared = 0;
        loop {
            let probation = self.recent.len > 0
                && (self.recent.weight >= self.allowed || self.frequent.len == 0);
            let queue = if probation {
                &mut self.recent
            } else {
                &mut self.frequent
            };
            let index = queue.oldest(slab)?;
            let node = slab.get_mut(index)?;
            let hits = node.hits();
            if hits == 0 && self.costs.is_none() || spared >= SPARED {
                return Some((index, node.hash, node.ends()));
            }
            let (hash, ends) = (node.hash, node.ends());
            spared += 1;
            if hits > 0 {
                self.spare(slab, index, if probation { 0 } else { hits - 1 });
            } else if !self.passes_over(slab, index) {
                return Some((index, hash, ends));
            }
        }
    }

    /// Puts the oldest of its queue at the new end of the proven ones when it costs enough to make.
    #[cold]
    fn passes_over<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32) -> bool {
        let (Some(costs), Some(node)) = (&mut self.costs, slab.get_mut(index)) else {
            return false;
        };
        if !costs.spend(index) {
            return false;
        }
        let place = std::mem::replace(&mut node.place, Place::Frequent);
        let weight = slab.weight(index);
        self.queue(place).shift(slab, index, weight);
        self.frequent.push(slab, index, weight);
        true
    }

    /// Notes what an entry costs to make, where that counts.
    #[inline]
    pub(crate) fn appraise(&mut self, index: u32, cost: u64, weight: u32) {
        if let Some(costs) = &mut self.costs {
            costs.appraise(index, cost, weight);
        }
    }

    /// Puts the oldest of its queue at the new end of the proven ones.
    #[inline(never)]
    fn spare<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32, hits: u8) {
        let Some(node) = slab.get_mut(index) else {
            return;
        };
        let place = std::mem::replace(&mut node.place, Place::Frequent);
        node.set_hits(hits);
        if let Some(costs) = &mut self.costs {
            costs.renew(index);
        }
        let weight = slab.weight(index);
        self.queue(place).shift(slab, index, weight);
        self.frequent.push(slab, index, weight);
        if place == Place::Returned {
            self.look(HORIZON_GAIN);
        }
    }

    /// Notes that an entry was evicted to make room; so many are left.
    #[inline(always)]
    pub(crate) fn evicted(&mut self, hash: u32, place: Place, resident: usize) {
        if place == Place::Returned {
            self.look(-HORIZON_LOSS);
        }
        self.ghost.fit(resident);
        self.ghost.remember(hash, place != Place::Recent);
    }

    /// True when the key was evicted lately.
    pub(crate) fn remembers(&self, hash: u32) -> bool {
        self.ghost.peek(hash).is_some()
    }

    /// Every entry was taken out.
    pub(crate) fn clear<K, V>(&mut self, slab: &mut Slab<K, V>) {
        self.tighten(slab);
        self.ghost.clear();
    }
}
