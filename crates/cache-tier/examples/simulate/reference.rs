//! What the cache is compared with: LRU, ARC, and the optimum that knows the future.

use std::collections::{BTreeMap, BinaryHeap, HashMap};

/// Keys from oldest to newest.
#[derive(Default)]
struct Order {
    at: HashMap<u32, u64>,
    keys: BTreeMap<u64, u32>,
    clock: u64,
}

impl Order {
    fn len(&self) -> usize {
        self.at.len()
    }

    fn push(&mut self, key: u32) {
        self.clock += 1;
        self.at.insert(key, self.clock);
        self.keys.insert(self.clock, key);
    }

    fn remove(&mut self, key: u32) -> bool {
        self.at
            .remove(&key)
            .map(|at| self.keys.remove(&at))
            .is_some()
    }

    fn pop(&mut self) -> Option<u32> {
        let (_, key) = self.keys.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }
}

/// The entry used longest ago leaves.
pub(crate) struct Lru {
    entries: usize,
    order: Order,
}

impl Lru {
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            entries,
            order: Order::default(),
        }
    }

    pub(crate) fn replay(mut self, keys: &[u32]) -> u64 {
        keys.iter().map(|key| u64::from(self.access(*key))).sum()
    }

    fn access(&mut self, key: u32) -> bool {
        let hit = self.order.remove(key);
        if !hit && self.order.len() >= self.entries {
            self.order.pop();
        }
        self.order.push(key);
        hit
    }
}

/// ARC (Megiddo and Modha, FAST 2003), after the paper's figure 4.
pub(crate) struct Arc {
    entries: usize,
    target: f64,
    recent: Order,
    frequent: Order,
    recent_ghosts: Order,
    frequent_ghosts: Order,
}

impl Arc {
    pub(crate) fn new(entries: usize) -> Self {
        let order = Order::default;
        Self {
            entries,
            target: 0.0,
            recent: order(),
            frequent: order(),
            recent_ghosts: order(),
            frequent_ghosts: order(),
        }
    }

    pub(crate) fn replay(mut self, keys: &[u32]) -> u64 {
        keys.iter().map(|key| u64::from(self.access(*key))).sum()
    }

    fn access(&mut self, key: u32) -> bool {
        if self.recent.remove(key) || self.frequent.remove(key) {
            self.frequent.push(key);
            return true;
        }
        let (b1, b2) = (
            self.recent_ghosts.len().max(1) as f64,
            self.frequent_ghosts.len().max(1) as f64,
        );
        if self.recent_ghosts.remove(key) {
            self.target = (self.target + (b2 / b1).max(1.0)).min(self.entries as f64);
            self.make_room(false);
            self.frequent.push(key);
        } else if self.frequent_ghosts.remove(key) {
            self.target = (self.target - (b1 / b2).max(1.0)).max(0.0);
            self.make_room(true);
            self.frequent.push(key);
        } else {
            self.make_room_for_stranger();
            self.recent.push(key);
        }
        false
    }

    fn make_room_for_stranger(&mut self) {
        let all = self.recent.len()
            + self.frequent.len()
            + self.recent_ghosts.len()
            + self.frequent_ghosts.len();
        if self.recent.len() + self.recent_ghosts.len() >= self.entries {
            if self.recent.len() < self.entries {
                self.recent_ghosts.pop();
                self.make_room(false);
            } else {
                self.recent.pop();
            }
        } else if all >= self.entries {
            if all >= 2 * self.entries {
                self.frequent_ghosts.pop();
            }
            self.make_room(false);
        }
    }

    fn make_room(&mut self, for_frequent_ghost: bool) {
        if self.recent.len() + self.frequent.len() < self.entries {
            return;
        }
        let recent = self.recent.len() as f64;
        let from_recent = recent > self.target || (for_frequent_ghost && recent == self.target);
        if (from_recent && self.recent.len() > 0) || self.frequent.len() == 0 {
            self.recent
                .pop()
                .into_iter()
                .for_each(|key| self.recent_ghosts.push(key));
        } else {
            self.frequent
                .pop()
                .into_iter()
                .for_each(|key| self.frequent_ghosts.push(key));
        }
    }
}

/// Hits of the clairvoyant optimum that may also leave a key out (Belady with bypass).
pub(crate) fn optimum(keys: &[u32], unique: usize, entries: usize) -> u64 {
    const NEVER: u32 = u32::MAX;
    let mut next = vec![NEVER; keys.len()];
    let mut last = vec![NEVER; unique];
    for (at, key) in keys.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut last[*key as usize], at as u32);
    }
    // The next use of each resident key; NEVER for those that are not resident.
    let mut resident = vec![NEVER; unique];
    let mut farthest: BinaryHeap<(u32, u32)> = BinaryHeap::new();
    let (mut size, mut hits) = (0, 0);
    for (key, next) in keys.iter().zip(next) {
        if std::mem::replace(&mut resident[*key as usize], NEVER) != NEVER {
            hits += 1;
            size -= 1;
        }
        if next == NEVER {
            continue;
        }
        if size == entries {
            while farthest
                .peek()
                .is_some_and(|(at, key)| resident[*key as usize] != *at)
            {
                farthest.pop();
            }
            match farthest.peek() {
                Some((at, out)) if *at > next => {
                    resident[*out as usize] = NEVER;
                    farthest.pop();
                }
                _ => continue,
            }
        } else {
            size += 1;
        }
        resident[*key as usize] = next;
        farthest.push((next, *key));
    }
    hits
}
