//! Figures that are read off the bits.

use crate::{
    block::{BLOCK_BYTES, BlockBytes, words},
    sizing,
};

fn set_bits(blocks: &[BlockBytes]) -> u64 {
    blocks
        .iter()
        .flat_map(words)
        .map(|word| u64::from(word.count_ones()))
        .sum()
}

fn total_bits(blocks: &[BlockBytes]) -> u64 {
    (blocks.len() * BLOCK_BYTES * 8) as u64
}

pub(crate) fn fill(blocks: &[BlockBytes]) -> f64 {
    set_bits(blocks) as f64 / total_bits(blocks).max(1) as f64
}

pub(crate) fn estimated_count(blocks: &[BlockBytes]) -> u64 {
    sizing::keys_from_fill(fill(blocks), blocks.len(), sizing::SPLIT_BLOCK_HIT)
}

/// Mean over the blocks of the product of their eight words' fill.
pub(crate) fn estimated_fpr(blocks: &[BlockBytes]) -> f64 {
    let sum: f64 = blocks.iter().map(|block| rate(words(block))).sum();
    sum / blocks.len().max(1) as f64
}

/// The rate of one block.
pub(crate) fn rate(words: [u64; 4]) -> f64 {
    let halves = words.map(|word| {
        f64::from((word as u32).count_ones()) / 32.0
            * (f64::from(((word >> 32) as u32).count_ones()) / 32.0)
    });
    halves.iter().product()
}
