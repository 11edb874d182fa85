//! Buffers.

use std::hint::black_box;

use anyhow::Result;
use mainspring_pool::BufferPool;

use super::Benchmark;
use crate::{Bench, Contest, Measured, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("pool.alloc", against_zeroed_vectors),
    ("pool.alloc_burst", burst),
];

const SIZE: usize = 16 << 10;
const OPERATIONS: u64 = 1_000;

/// A buffer of 16 KiB whose bytes must be defined, one at a time.
fn against_zeroed_vectors(bench: &Bench) -> Result<Measured> {
    let pool = BufferPool::new();
    let mut buffer = pool.get(SIZE);
    buffer.extend_from_slice(b"left behind");
    drop(buffer);
    let shown = bench.answer(pool.get(SIZE).to_vec());
    check(
        shown.is_empty(),
        "a pooled buffer shows what was left behind",
    )?;
    let standing = Contest::new(bench, OPERATIONS)
        .side("mainspring-pool", "", || {
            for _ in 0..OPERATIONS {
                let mut buffer = pool.get(SIZE);
                buffer.extend_from_slice(black_box(b"message"));
                black_box(&buffer);
            }
        })
        .side("vec![0; n]", "system allocator", || {
            for _ in 0..OPERATIONS {
                let mut buffer = vec![0u8; SIZE];
                buffer[..7].copy_from_slice(black_box(b"message"));
                black_box(&buffer);
            }
        })
        .side(
            "Vec::with_capacity(n), not zeroed",
            "system allocator",
            || {
                for _ in 0..OPERATIONS {
                    let mut buffer = Vec::<u8>::with_capacity(SIZE);
                    buffer.extend_from_slice(black_box(b"message"));
                    black_box(&buffer);
                }
            },
        )
        .run();
    Ok(standing.ratio("vec![0; n]"))
}

/// 64 live buffers of 64 KiB, every page touched.
fn burst(bench: &Bench) -> Result<Measured> {
    const LIVE: usize = 64;
    const LARGE: usize = 64 << 10;
    let pool = BufferPool::builder().budget(2 * LIVE * LARGE).build();
    let live = |pool: &BufferPool| {
        let mut live = Vec::with_capacity(LIVE);
        for _ in 0..LIVE {
            let mut buffer = pool.get(LARGE);
            buffer.resize(LARGE, 0);
            live.push(buffer);
        }
        live
    };
    for buffer in live(&pool) {
        let bytes = bench.answer(buffer.to_vec());
        check(
            bytes == [0; LARGE],
            "a pooled buffer is not what it was made",
        )?;
    }
    let page = [1u8; 1];
    let standing = Contest::new(bench, LIVE as u64)
        .side("mainspring-pool", "", || drop(black_box(live(&pool))))
        .side("vec![0; n]", "system allocator", || {
            let mut live = Vec::with_capacity(LIVE);
            for _ in 0..LIVE {
                let mut buffer = vec![0u8; LARGE];
                for at in (0..LARGE).step_by(4096) {
                    buffer[at] = black_box(page[0]);
                }
                live.push(buffer);
            }
            black_box(&live);
        })
        .run();
    Ok(standing.ratio("vec![0; n]"))
}
