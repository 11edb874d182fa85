//! Batch calls: blocks are asked for a fixed distance ahead of the one that is worked on, so that many
//! cache misses are under way at any moment.

use crate::{
    block::{BlockBytes, index_of, low_half},
    simd::prefetch,
};

/// Keys that are hashed before the first of their blocks is touched.
const BATCH: usize = 256;

/// How many keys ahead a block is asked for: about as many misses as a core keeps under way.
const AHEAD: usize = 24;

/// Hands the hashes on in runs of at most `BATCH`.
pub(crate) fn in_batches(hashes: impl IntoIterator<Item = u64>, mut run: impl FnMut(&[u64])) {
    let mut batch = [0; BATCH];
    let mut len = 0;
    for hash in hashes {
        batch[len] = hash;
        len += 1;
        if len == BATCH {
            run(&batch);
            len = 0;
        }
    }
    run(&batch[..len]);
}

/// Works through the hashes, each `AHEAD` steps after its block was asked for.
#[inline(always)]
fn each<B>(blocks: &[B], hashes: &[u64], mut work: impl FnMut(&B, u32)) {
    let block = |hash| &blocks[index_of(hash, blocks.len())];
    hashes
        .iter()
        .take(AHEAD)
        .for_each(|&hash| prefetch(block(hash)));
    for (position, &hash) in hashes.iter().enumerate() {
        if let Some(&later) = hashes.get(position + AHEAD) {
            prefetch(block(later));
        }
        work(block(hash), low_half(hash));
    }
}

/// Looks a batch up with the look-up `one`.
#[inline(always)]
pub(crate) fn contains<B>(
    blocks: &[B],
    hashes: &[u64],
    found: &mut Vec<bool>,
    one: impl Fn(&B, u32) -> bool,
) {
    found.reserve(hashes.len());
    each(blocks, hashes, |block, low| found.push(one(block, low)));
}

/// Inserts a batch through shared blocks with the insert `one` and counts the keys that were new.
#[inline(always)]
pub(crate) fn insert_shared<B>(
    blocks: &[B],
    hashes: &[u64],
    one: impl Fn(&B, u32) -> bool,
) -> usize {
    let mut new = 0;
    each(blocks, hashes, |block, low| {
        new += usize::from(one(block, low))
    });
    new
}

/// Inserts a batch with the insert `one` and counts the keys that were new.
#[inline(always)]
pub(crate) fn insert(
    blocks: &mut [BlockBytes],
    hashes: &[u64],
    one: impl Fn(&mut BlockBytes, u32) -> bool,
) -> usize {
    let index = |hash, blocks: &[BlockBytes]| index_of(hash, blocks.len());
    hashes
        .iter()
        .take(AHEAD)
        .for_each(|&hash| prefetch(&blocks[index(hash, blocks)]));
    let mut new = 0;
    for (position, &hash) in hashes.iter().enumerate() {
        if let Some(&later) = hashes.get(position + AHEAD) {
            prefetch(&blocks[index(later, blocks)]);
        }
        new += usize::from(one(&mut blocks[index(hash, blocks)], low_half(hash)));
    }
    new
}
