//! States cut where their content says, each piece stored once: what backup programs do.

use std::collections::HashMap;

use anyhow::Result;
use fastcdc::v2020::FastCDC;
use xxhash_rust::xxh3::xxh3_128;

use super::States;
use crate::{Bench, check};

/// Bytes of a piece: at least, on average, at most.
const SIZES: (usize, usize, usize) = (1 << 10, 4 << 10, 16 << 10);

pub(super) fn keep(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let mut store = Store::default();
    for step in 0..states.count() {
        let state = states.at(step);
        let recipe = store.put(&state)?;
        let restored = bench.answer(store.get(&recipe, state.len())?);
        check(restored == state, "the pieces make another state")?;
    }
    Ok(store.bytes)
}

#[derive(Default)]
struct Store {
    numbers: HashMap<u128, u32>,
    pieces: Vec<Vec<u8>>,
    bytes: u64,
}

impl Store {
    /// Stores the pieces that are new, and the numbers of all of them, which is what is given back.
    fn put(&mut self, state: &[u8]) -> Result<Vec<u8>> {
        let (least, average, most) = SIZES;
        let mut recipe = Vec::new();
        for chunk in FastCDC::new(state, least, average, most) {
            let piece = &state[chunk.offset..chunk.offset + chunk.length];
            let next = self.pieces.len() as u32;
            let number = *self.numbers.entry(xxh3_128(piece)).or_insert(next);
            if number == next {
                let packed = zstd::bulk::compress(piece, 3)?;
                self.bytes += packed.len() as u64;
                self.pieces.push(packed);
            }
            recipe.extend(number.to_le_bytes());
        }
        let recipe = zstd::bulk::compress(&recipe, 3)?;
        self.bytes += recipe.len() as u64;
        Ok(recipe)
    }

    fn get(&self, recipe: &[u8], len: usize) -> Result<Vec<u8>> {
        let mut state = Vec::with_capacity(len);
        for number in zstd::bulk::decompress(recipe, len + 64)?.as_chunks().0 {
            let piece = &self.pieces[u32::from_le_bytes(*number) as usize];
            state.extend(zstd::bulk::decompress(piece, SIZES.2)?);
        }
        Ok(state)
    }
}
