//! What a policy is measured against: LRU, ARC, and the optimum that knows the future.

use std::collections::BinaryHeap;

const NOBODY: u32 = u32::MAX;

/// `N` queues over keys below `unique`, each key in at most one of them: doubly linked lists in one
/// array.
struct Queues<const N: usize> {
    links: Vec<Link>,
    ends: [End; N],
}

#[derive(Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
    queue: u8,
}

#[derive(Clone, Copy)]
struct End {
    oldest: u32,
    newest: u32,
    len: usize,
}

impl<const N: usize> Queues<N> {
    const NOWHERE: u8 = u8::MAX;

    fn new(unique: usize) -> Self {
        let link = Link {
            older: NOBODY,
            newer: NOBODY,
            queue: Self::NOWHERE,
        };
        let end = End {
            oldest: NOBODY,
            newest: NOBODY,
            len: 0,
        };
        Self {
            links: vec![link; unique],
            ends: [end; N],
        }
    }

    fn len(&self, queue: usize) -> usize {
        self.ends[queue].len
    }

    fn queue_of(&self, key: u32) -> Option<usize> {
        let queue = self.links[key as usize].queue;
        (queue != Self::NOWHERE).then_some(usize::from(queue))
    }

    /// Makes the key, which is in no queue, the newest of this one.
    fn push(&mut self, queue: usize, key: u32) {
        let end = &mut self.ends[queue];
        let older = std::mem::replace(&mut end.newest, key);
        end.len += 1;
        if older == NOBODY {
            end.oldest = key;
        } else {
            self.links[older as usize].newer = key;
        }
        self.links[key as usize] = Link {
            older,
            newer: NOBODY,
            queue: queue as u8,
        };
    }

    fn remove(&mut self, key: u32) {
        let link = &mut self.links[key as usize];
        let Link {
            older,
            newer,
            queue,
        } = *link;
        link.queue = Self::NOWHERE;
        let end = &mut self.ends[usize::from(queue)];
        end.len -= 1;
        if older == NOBODY {
            end.oldest = newer;
        } else {
            self.links[older as usize].newer = newer;
        }
        if newer == NOBODY {
            end.newest = older;
        } else {
            self.links[newer as usize].older = older;
        }
    }

    /// Takes the oldest out of its queue.
    fn pop(&mut self, queue: usize) -> Option<u32> {
        let key = self.ends[queue].oldest;
        if key == NOBODY {
            return None;
        }
        self.remove(key);
        Some(key)
    }
}

/// Hits and misses of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) hits: u64,
    pub(super) misses: u64,
}

impl Tally {
    pub(super) fn count(&mut self, hit: bool) {
        self.hits += u64::from(hit);
        self.misses += u64::from(!hit);
    }
}

/// The entry used longest ago leaves.
pub(super) fn lru(keys: &[u32], unique: usize, entries: usize) -> Tally {
    let mut queue = Queues::<1>::new(unique);
    let mut tally = Tally::default();
    for &key in keys {
        let hit = queue.queue_of(key).is_some();
        if hit {
            queue.remove(key);
        } else if queue.len(0) >= entries {
            queue.pop(0);
        }
        queue.push(0, key);
        tally.count(hit);
    }
    tally
}

/// ARC (Megiddo and Modha, FAST 2003, figure 4).
pub(super) fn arc(keys: &[u32], unique: usize, entries: usize) -> Tally {
    let mut arc = Arc {
        entries,
        target: 0.0,
        queues: Queues::new(unique),
    };
    let mut tally = Tally::default();
    for &key in keys {
        tally.count(arc.access(key));
    }
    tally
}

/// The paper's T1 and T2 (resident) and B1 and B2 (remembered).
const T1: usize = 0;
const T2: usize = 1;
const B1: usize = 2;
const B2: usize = 3;

struct Arc {
    entries: usize,
    /// The size that T1 should have.
    target: f64,
    queues: Queues<4>,
}

impl Arc {
    fn access(&mut self, key: u32) -> bool {
        let found = self.queues.queue_of(key);
        match found {
            Some(T1 | T2) => self.queues.remove(key),
            Some(ghost) => {
                self.adapt(ghost);
                self.replace(ghost == B2);
                self.queues.remove(key);
            }
            None => {
                self.make_room();
                self.queues.push(T1, key);
                return false;
            }
        }
        self.queues.push(T2, key);
        matches!(found, Some(T1 | T2))
    }

    fn adapt(&mut self, ghost: usize) {
        let (b1, b2) = (self.queues.len(B1) as f64, self.queues.len(B2) as f64);
        self.target = if ghost == B1 {
            (self.target + (b2 / b1).max(1.0)).min(self.entries as f64)
        } else {
            (self.target - (b1 / b2).max(1.0)).max(0.0)
        };
    }

    /// For a key that is not even remembered.
    fn make_room(&mut self) {
        let all: usize = (T1..=B2).map(|queue| self.queues.len(queue)).sum();
        if self.queues.len(T1) + self.queues.len(B1) >= self.entries {
            if self.queues.len(T1) < self.entries {
                self.queues.pop(B1);
                self.replace(false);
            } else {
                self.queues.pop(T1);
            }
        } else if all >= self.entries {
            if all >= 2 * self.entries {
                self.queues.pop(B2);
            }
            self.replace(false);
        }
    }

    fn replace(&mut self, for_b2: bool) {
        let t1 = self.queues.len(T1);
        if t1 + self.queues.len(T2) < self.entries {
            return;
        }
        let over = t1 as f64 > self.target || (for_b2 && t1 as f64 == self.target);
        let (from, to) = if (t1 > 0 && over) || self.queues.len(T2) == 0 {
            (T1, B1)
        } else {
            (T2, B2)
        };
        if let Some(key) = self.queues.pop(from) {
            self.queues.push(to, key);
        }
    }
}

/// The clairvoyant optimum that may also leave a key out: of those resident and the one that comes,
/// the one that is used again last goes (Belady with bypass).
pub(super) fn optimum(keys: &[u32], unique: usize, entries: usize) -> Tally {
    const NEVER: u32 = u32::MAX;
    let mut next = vec![NEVER; keys.len()];
    let mut last = vec![NEVER; unique];
    for (at, key) in keys.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut last[*key as usize], at as u32);
    }
    // The next use of each resident key; NEVER for those that are not resident.
    let mut resident = vec![NEVER; unique];
    let mut farthest: BinaryHeap<(u32, u32)> = BinaryHeap::new();
    let mut size = 0;
    let mut tally = Tally::default();
    for (key, next) in keys.iter().zip(next) {
        let hit = std::mem::replace(&mut resident[*key as usize], NEVER) != NEVER;
        tally.count(hit);
        size -= usize::from(hit);
        if next == NEVER {
            continue;
        }
        if size == entries {
            // What the heap holds of former times of keys is passed over.
            while let Some((at, key)) = farthest.peek()
                && resident[*key as usize] != *at
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
    tally
}

#[cfg(test)]
mod tests {
    use mainspring_inputs::Random;

    use super::*;

    /// The most hits that any choice of what to keep reaches, tried one by one.
    fn best_of_all(keys: &[u32], resident: &mut Vec<u32>, entries: usize) -> u64 {
        let Some((key, rest)) = keys.split_first() else {
            return 0;
        };
        if resident.contains(key) {
            return 1 + best_of_all(rest, resident, entries);
        }
        let mut best = best_of_all(rest, &mut resident.clone(), entries);
        if resident.len() < entries {
            let mut grown = resident.clone();
            grown.push(*key);
            return best.max(best_of_all(rest, &mut grown, entries));
        }
        for at in 0..resident.len() {
            let mut changed = resident.clone();
            changed[at] = *key;
            best = best.max(best_of_all(rest, &mut changed, entries));
        }
        best
    }

    #[test]
    fn no_choice_of_keys_beats_the_optimum_and_one_reaches_it() {
        let mut random = Random::new(11);
        for _ in 0..60 {
            let keys: Vec<u32> = (0..11).map(|_| random.below(5) as u32).collect();
            for entries in 1..=3 {
                let best = best_of_all(&keys, &mut Vec::new(), entries);
                assert_eq!(
                    optimum(&keys, 5, entries).hits,
                    best,
                    "{keys:?} in {entries} entries"
                );
            }
        }
    }

    #[test]
    fn lru_and_arc_stay_below_the_optimum_and_count_every_access() {
        let mut random = Random::new(3);
        let keys: Vec<u32> = (0..20_000).map(|_| random.zipf(500) as u32).collect();
        for entries in [1, 5, 50, 500] {
            let best = optimum(&keys, 500, entries);
            for tally in [lru(&keys, 500, entries), arc(&keys, 500, entries), best] {
                assert_eq!(tally.hits + tally.misses, keys.len() as u64);
                assert!(tally.hits <= best.hits);
            }
        }
    }

    #[test]
    fn arc_keeps_what_is_used_twice_through_a_scan_and_lru_does_not() {
        let popular = (0..10).chain(0..10);
        let scanned = 10..200;
        let keys: Vec<u32> = popular.chain(scanned).chain(0..10).collect();
        assert_eq!(lru(&keys, 200, 20).hits, 10);
        assert_eq!(arc(&keys, 200, 20).hits, 20);
    }

    #[test]
    fn lru_hits_what_is_within_its_size_and_nothing_else() {
        let keys: Vec<u32> = (0..5).cycle().take(50).collect();
        assert_eq!(lru(&keys, 5, 5).hits, 45);
        assert_eq!(lru(&keys, 5, 4).hits, 0);
    }
}
