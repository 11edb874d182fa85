//! Many keys in one call: each block is asked for as soon as its key is hashed and worked on some keys
//! later, so that many cache misses are under way at any moment, from the first key to the last.

use crate::{
    block::{BlockBytes, index_of, low_half},
    simd::prefetch,
};

/// How many keys lie between asking for a block and working on it: more misses than that a core hardly
/// keeps under way.
const AHEAD: usize = 16;

/// What is next for a hash.
enum Step {
    /// Ask for its block.
    Ask(u64),
    /// Work on its block, which was asked for `AHEAD` keys ago.
    Work(u64),
}

/// Takes every hash through both steps, in their order.
#[inline(always)]
fn each(hashes: impl Iterator<Item = u64>, mut take: impl FnMut(Step)) {
    let mut asked = [0; AHEAD];
    let mut count = 0;
    for hash in hashes {
        take(Step::Ask(hash));
        let due = std::mem::replace(&mut asked[count % AHEAD], hash);
        if count >= AHEAD {
            take(Step::Work(due));
        }
        count += 1;
    }
    for last in count.saturating_sub(AHEAD)..count {
        take(Step::Work(asked[last % AHEAD]));
    }
}

/// Looks hashes up with the look-up `one` and appends an answer for each.
#[inline(always)]
pub(crate) fn contains<B>(
    blocks: &[B],
    hashes: impl Iterator<Item = u64>,
    found: &mut Vec<bool>,
    one: impl Fn(&B, u32) -> bool,
) {
    let block = |hash| &blocks[index_of(hash, blocks.len())];
    found.reserve(hashes.size_hint().0);
    each(hashes, |step| match step {
        Step::Ask(hash) => prefetch(block(hash)),
        Step::Work(hash) => found.push(one(block(hash), low_half(hash))),
    });
}

/// Inserts hashes through shared blocks with the insert `one` and counts the keys that were new.
#[inline(always)]
pub(crate) fn insert_shared<B>(
    blocks: &[B],
    hashes: impl Iterator<Item = u64>,
    one: impl Fn(&B, u32) -> bool,
) -> usize {
    let block = |hash| &blocks[index_of(hash, blocks.len())];
    let mut new = 0;
    each(hashes, |step| match step {
        Step::Ask(hash) => prefetch(block(hash)),
        Step::Work(hash) => new += usize::from(one(block(hash), low_half(hash))),
    });
    new
}

/// Inserts hashes with the insert `one` and counts the keys that were new.
#[inline(always)]
pub(crate) fn insert(
    blocks: &mut [BlockBytes],
    hashes: impl Iterator<Item = u64>,
    one: impl Fn(&mut BlockBytes, u32) -> bool,
) -> usize {
    let mut new = 0;
    each(hashes, |step| match step {
        Step::Ask(hash) => prefetch(&blocks[index_of(hash, blocks.len())]),
        Step::Work(hash) => {
            let index = index_of(hash, blocks.len());
            new += usize::from(one(&mut blocks[index], low_half(hash)));
        }
    });
    new
}
