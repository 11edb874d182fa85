//! Which entry leaves: two queues, and how their shares adapt to what comes back.

use crate::ghost::{Ghost, Left};
use crate::slab::{Place, Queue, Slab};

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
    /// The part of the capacity that probation may take before it gives way.
    share: f64,
    /// In multiples of the resident entries.
    horizon: f64,
    capacity: u64,
}

const SHARE: std::ops::RangeInclusive<f64> = 0.01..=0.9;
const HORIZON: std::ops::RangeInclusive<f64> = 0.5..=3.0;
/// How soon a return must be to count as one that a little more room would have saved.
const SOON: f64 = 0.2;
const SHARE_STEP: f64 = 4.0;
const HORIZON_GAIN: f64 = 1.0;
const HORIZON_LOSS: f64 = 1.5;
/// Entries spared in one eviction at most, which bounds the time under the lock.
const SPARED: usize = 256;

impl Policy {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            recent: Queue::new(),
            frequent: Queue::new(),
            ghost: Ghost::new(),
            share: 0.05,
            horizon: *HORIZON.end(),
            capacity,
        }
    }

    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.recent.weight + self.frequent.weight
    }

    fn len(&self) -> f64 {
        (self.recent.len + self.frequent.len).max(1) as f64
    }

    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// The place of a key that is not resident; learns from what is remembered of it.
    pub(crate) fn admit(&mut self, hash: u32) -> Place {
        match self.ghost.recall(hash) {
            None => Place::Recent,
            Some(Left::Frequent(age)) => {
                if age <= SOON {
                    self.lean(-SHARE_STEP);
                }
                Place::Frequent
            }
            Some(Left::Recent(age)) => {
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
    }

    fn look(&mut self, step: f64) {
        self.horizon = (self.horizon + step / self.len()).clamp(*HORIZON.start(), *HORIZON.end());
    }

    pub(crate) fn link<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32, place: Place) {
        if let Some(node) = slab.get_mut(index) {
            node.place = place;
            self.queue(place).push(slab, index);
        }
    }

    pub(crate) fn unlink<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32) {
        if let Some(node) = slab.get(index) {
            let place = node.place;
            self.queue(place).unlink(slab, index);
        }
    }

    fn queue(&mut self, place: Place) -> &mut Queue {
        match place {
            Place::Recent => &mut self.recent,
            Place::Returned | Place::Frequent => &mut self.frequent,
        }
    }

    /// Chooses the entry to evict, moving those that earned their stay.
    pub(crate) fn victim<K, V>(&mut self, slab: &mut Slab<K, V>) -> Option<u32> {
        let allowed = ((self.capacity as f64 * self.share) as u64).max(1);
        for spared in 0.. {
            let probation =
                self.recent.len > 0 && (self.recent.weight >= allowed || self.frequent.len == 0);
            let queue = if probation {
                &self.recent
            } else {
                &self.frequent
            };
            let index = queue.oldest()?;
            let node = slab.get(index)?;
            let (hits, place) = (node.hits(), node.place);
            if hits == 0 || spared >= SPARED {
                return Some(index);
            }
            node.set_hits(if probation { 0 } else { hits - 1 });
            if place == Place::Returned {
                self.look(HORIZON_GAIN);
            }
            self.unlink(slab, index);
            self.link(slab, index, Place::Frequent);
        }
        None
    }

    /// Notes that an entry was evicted to make room; so many are left.
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

    pub(crate) fn clear(&mut self) {
        self.recent = Queue::new();
        self.frequent = Queue::new();
        self.ghost.clear();
    }
}
