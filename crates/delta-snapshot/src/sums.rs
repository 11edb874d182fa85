//! A hash tree of fan-out 64 over the children of a container: a change costs the groups on its way to the root.

use xxhash_rust::xxh3::xxh3_128_with_seed;

const FAN: usize = 64;
const NODE: u64 = 0x6e6f_6465;

/// Hashes of groups of children, of groups of groups, and so on; knows which of them are out of date.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    levels: Vec<Vec<u128>>,
    changed: Vec<usize>,
    changed_from: Option<usize>,
}

impl Sums {
    /// Everything has to be computed.
    pub(crate) fn all_changed() -> Self {
        Self {
            changed_from: Some(0),
            ..Self::default()
        }
    }

    /// Child `index` has another hash now.
    pub(crate) fn changed(&mut self, index: usize) {
        let group = index / FAN;
        if self.changed.last() != Some(&group) {
            self.changed.push(group);
        }
    }

    /// Children from `index` on have moved.
    pub(crate) fn changed_from(&mut self, index: usize) {
        let group = index / FAN;
        self.changed_from = Some(self.changed_from.map_or(group, |from| from.min(group)));
    }

    /// The root over `count` children, whose hashes `leaf` gives.
    pub(crate) fn root(&mut self, count: usize, mut leaf: impl FnMut(usize) -> u128) -> u128 {
        let mut dirty = self.take_dirty(count.div_ceil(FAN));
        let mut below = count;
        let mut level = 0;
        loop {
            let groups = below.div_ceil(FAN).max(1);
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let (lower, upper) = self.levels.split_at_mut(level);
            upper[0].resize(groups, 0);
            for &group in &dirty {
                let range = group * FAN..below.min((group + 1) * FAN);
                upper[0][group] = match lower.last() {
                    None => combine(range.map(&mut leaf)),
                    Some(lower) => combine(range.map(|i| lower[i])),
                };
            }
            if groups == 1 {
                self.levels.truncate(level + 1);
                return self.levels[level][0];
            }
            dirty.iter_mut().for_each(|group| *group /= FAN);
            dirty.dedup();
            below = groups;
            level += 1;
        }
    }

    fn take_dirty(&mut self, groups: usize) -> Vec<usize> {
        let mut dirty = std::mem::take(&mut self.changed);
        if let Some(from) = self.changed_from.take() {
            dirty.extend(from..groups);
        }
        // Growing or shrinking changes the last group and may add a level.
        dirty.push(groups.saturating_sub(1));
        dirty.sort_unstable();
        dirty.dedup();
        dirty.retain(|&group| group < groups.max(1));
        dirty
    }
}

fn combine(hashes: impl Iterator<Item = u128>) -> u128 {
    let mut bytes = [0u8; FAN * 16];
    let mut used = 0;
    for (slot, hash) in bytes.chunks_exact_mut(16).zip(hashes) {
        slot.copy_from_slice(&hash.to_le_bytes());
        used += 16;
    }
    xxh3_128_with_seed(&bytes[..used], NODE)
}
