//! What an entry takes beside its key and its value.

use anyhow::Result;

use super::peers::{Foyer, MiniMoka, Moka, MutexLru, Ours, Peer as Cache, QuickCache, Shape};
use crate::{Bench, Measured, Peer, PerInput, check};

const PAYLOAD: f64 = 16.0;

/// Bytes per entry beyond a key and a value of 8 bytes each, in caches that have evicted as many
/// entries as they hold. The row is the worst of two capacities: tables that double have their best
/// and their worst ones.
pub(super) fn metadata(bench: &Bench) -> Result<Measured> {
    let capacities = bench
        .scale()
        .pick([3_000, 4_000], [150_000, 200_000], [700_000, 1_000_000]);
    let mut per_input = Vec::new();
    let mut worst: Vec<Footprint> = Vec::new();
    for capacity in capacities {
        let sides = sides(bench, capacity)?;
        let mut input = PerInput::new(format!("{capacity} entries"), []);
        for side in &sides {
            input.values.insert(side.name.to_owned(), side.bytes);
        }
        per_input.push(input);
        if worst.is_empty() {
            worst = sides;
        } else {
            for (worst, side) in worst.iter_mut().zip(sides) {
                worst.bytes = worst.bytes.max(side.bytes);
            }
        }
    }
    let ours = worst[0].bytes;
    let peers = worst[1..]
        .iter()
        .map(|side| Peer::counted(side.name, side.version, side.bytes, ours));
    Ok(Measured::counted(ours)
        .beside("bytes", ours, peers.collect())
        .on_inputs(per_input)
        .noting("counted by the allocator, its own overhead included"))
}

struct Footprint {
    name: &'static str,
    version: &'static str,
    bytes: f64,
}

fn sides(bench: &Bench, capacity: usize) -> Result<Vec<Footprint>> {
    Ok(vec![
        footprint::<Ours<u64>>(bench, capacity)?,
        footprint::<QuickCache<u64>>(bench, capacity)?,
        footprint::<Foyer<u64>>(bench, capacity)?,
        footprint::<Moka<u64>>(bench, capacity)?,
        footprint::<MiniMoka<u64>>(bench, capacity)?,
        footprint::<MutexLru<u64>>(bench, capacity)?,
    ])
}

fn footprint<P: Cache<u64>>(bench: &Bench, capacity: usize) -> Result<Footprint> {
    let before = allocated()?;
    let peer = P::new(capacity, Shape::Usual);
    for key in 0..capacity as u64 * 2 {
        peer.insert(key, key + 1);
        if key % 64 == 0 {
            peer.settle();
        }
    }
    peer.settle();
    let bytes = allocated()?.saturating_sub(before);
    let found = (0..capacity as u64 * 2).filter(|key| peer.get(key) == Some(key + 1));
    let found = found.count();
    peer.settle();
    let len = bench.answer(peer.len());
    check(
        len == found && (capacity / 2..=capacity).contains(&found),
        &format!(
            "{} says that it holds {len} entries of {capacity} and has {found}",
            P::NAME
        ),
    )?;
    Ok(Footprint {
        name: P::NAME,
        version: P::VERSION,
        bytes: bytes as f64 / len as f64 - PAYLOAD,
    })
}

/// Bytes that the allocator has given out and not got back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "glibc's account of its own heap has no safe form"
)]
pub(super) fn allocated() -> Result<usize> {
    // SAFETY: `mallinfo2` takes no arguments and returns a struct of numbers by value.
    let account = unsafe { libc::mallinfo2() };
    Ok(account.uordblks + account.hblkhd)
}

/// Bytes that the allocator has given out and not got back.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn allocated() -> Result<usize> {
    Err(
        crate::areas::Unavailable("the allocator gives no account (glibc's does)".to_owned())
            .into(),
    )
}
