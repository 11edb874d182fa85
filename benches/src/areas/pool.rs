//! Buffers.

use std::hint::black_box;

use anyhow::Result;
use mainspring_pool::BufferPool;

use super::{Settings, check, peer, ratio};
use crate::{Measured, paired};

const SIZE: usize = 16 << 10;
const OPERATIONS: u64 = 1_000;

/// A buffer of 16 KiB whose bytes must be defined, one at a time.
pub(super) fn against_zeroed_vectors(settings: &Settings) -> Result<Measured> {
    let pool = BufferPool::new();
    let mut buffer = pool.get(SIZE);
    buffer.extend_from_slice(b"left behind");
    drop(buffer);
    check(
        pool.get(SIZE).is_empty(),
        "a pooled buffer shows what was left behind",
    )?;
    let ours = || {
        for _ in 0..OPERATIONS {
            let mut buffer = pool.get(SIZE);
            buffer.extend_from_slice(black_box(b"message"));
            black_box(&buffer);
        }
    };
    let zeroed = paired(settings.rounds(), OPERATIONS, ours, || {
        for _ in 0..OPERATIONS {
            let mut buffer = vec![0u8; SIZE];
            buffer[..7].copy_from_slice(black_box(b"message"));
            black_box(&buffer);
        }
    });
    let undefined = paired(settings.rounds(), OPERATIONS, ours, || {
        for _ in 0..OPERATIONS {
            let mut buffer = Vec::<u8>::with_capacity(SIZE);
            buffer.extend_from_slice(black_box(b"message"));
            black_box(&buffer);
        }
    });
    let peers = vec![
        peer("vec![0; n]", "system allocator", &zeroed),
        peer(
            "Vec::with_capacity(n), not zeroed",
            "system allocator",
            &undefined,
        ),
    ];
    Ok(ratio(&zeroed, peers))
}

/// 64 live buffers of 64 KiB, every page touched.
pub(super) fn burst(settings: &Settings) -> Result<Measured> {
    const LIVE: usize = 64;
    const LARGE: usize = 64 << 10;
    let pool = BufferPool::builder().budget(2 * LIVE * LARGE).build();
    let page = [1u8; 1];
    let result = paired(
        settings.rounds(),
        LIVE as u64,
        || {
            let mut live = Vec::with_capacity(LIVE);
            for _ in 0..LIVE {
                let mut buffer = pool.get(LARGE);
                buffer.resize(LARGE, 0);
                live.push(buffer);
            }
            black_box(&live);
        },
        || {
            let mut live = Vec::with_capacity(LIVE);
            for _ in 0..LIVE {
                let mut buffer = vec![0u8; LARGE];
                for at in (0..LARGE).step_by(4096) {
                    buffer[at] = black_box(page[0]);
                }
                live.push(buffer);
            }
            black_box(&live);
        },
    );
    Ok(ratio(
        &result,
        vec![peer("vec![0; n]", "system allocator", &result)],
    ))
}
