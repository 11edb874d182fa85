//! Buffers against the allocators.

use std::hint::black_box;

use anyhow::Result;
use mainspring_pool::BufferPool;

use super::mimalloc::Block;
use crate::{Bench, Contest, Measured, PerInput, Standing, check, on_threads};

const SIZE: usize = 16 << 10;
const SIZES: [usize; 4] = [1 << 10, 4 << 10, SIZE, 64 << 10];
const OPERATIONS: u64 = 1_000;
const MESSAGE: &[u8] = b"message";

const ZEROED: &str = "vec![0; n]";
const UNTOUCHED: &str = "Vec::with_capacity(n), not zeroed";
const MIMALLOC: &str = "mimalloc, not zeroed";
const MIMALLOC_ZEROED: &str = "mimalloc, zeroed";

/// Buffers of which nobody may see undefined bytes, one at a time: an allocator must zero them, the
/// pool shows only what was written.
pub(super) fn against_zeroed_vectors<const KIB: usize>(bench: &Bench) -> Result<Measured> {
    shows_nothing(bench)?;
    others_hold_the_message(bench, KIB << 10)?;
    let pool = BufferPool::new();
    let mut inputs = Vec::new();
    if KIB << 10 == SIZE {
        let standing = on_two_threads(bench, &pool).at_most(30).run();
        inputs.push(figures("16 KiB, two threads".to_owned(), &standing));
    }
    let standing = one_at_a_time(bench, &pool, KIB << 10).run();
    inputs.push(figures(format!("{KIB} KiB"), &standing));
    Ok(standing.ratio(ZEROED).on_inputs(inputs))
}

/// Against memory that nobody has defined: the worse of 16 and 64 KiB against mimalloc.
pub(super) fn against_untouched_memory(bench: &Bench) -> Result<Measured> {
    shows_nothing(bench)?;
    others_hold_the_message(bench, SIZE)?;
    others_hold_the_message(bench, 64 << 10)?;
    let pool = BufferPool::new();
    let [small, large] = [SIZE, 64 << 10].map(|size| {
        let standing = one_at_a_time(bench, &pool, size).at_most(120).run();
        (size, standing)
    });
    let inputs = [&small, &large].map(|(size, standing)| {
        let size = format!("{} KiB", size >> 10);
        figures(size, standing)
    });
    let [a, b] = [&small, &large].map(|(_, standing)| standing.ratio(MIMALLOC));
    let worse = if a.value.median >= b.value.median {
        a
    } else {
        b
    };
    Ok(worse.on_inputs(inputs.to_vec()))
}

fn shows_nothing(bench: &Bench) -> Result<()> {
    let pool = BufferPool::new();
    for size in SIZES {
        let mut buffer = pool.get(size);
        buffer.extend_from_slice(b"left behind");
        drop(buffer);
        let again = pool.get(size);
        let shown = bench.answer(again.to_vec());
        check(
            shown.is_empty(),
            "a pooled buffer shows what was left behind",
        )?;
        let room = bench.answer(again.capacity() == size);
        check(room, "a pooled buffer has less room than asked for")?;
    }
    Ok(())
}

fn one_at_a_time<'a>(bench: &Bench, pool: &'a BufferPool, size: usize) -> Contest<'a> {
    Contest::new(bench, OPERATIONS)
        .side("mainspring-pool", "", move || pooled(pool, size))
        .side(ZEROED, "system allocator", move || zeroed(size))
        .side(UNTOUCHED, "system allocator", move || untouched(size))
        .side(MIMALLOC_ZEROED, "0.1", move || {
            repeat(|| drop(black_box(written(Block::zeroed(size)))));
        })
        .side(MIMALLOC, "0.1", move || from_mimalloc(size))
}

/// What the sides without a pool work on is what ours works on.
fn others_hold_the_message(bench: &Bench, size: usize) -> Result<()> {
    let message = |name: &str, bytes: Vec<u8>| {
        let held = bench.answer(bytes);
        check(held == MESSAGE, &format!("{name} holds another message"))
    };
    let zeros = |name: &str, rest: usize| {
        let rest = bench.answer(rest);
        check(rest == 0, &format!("{name} shows what nobody wrote"))
    };
    let defined = zeroed_vector(size);
    let (head, rest) = defined.split_at(MESSAGE.len());
    message(ZEROED, head.to_vec())?;
    zeros(ZEROED, rest.iter().filter(|byte| **byte != 0).count())?;
    let pushed = untouched_vector(size);
    message(UNTOUCHED, pushed.clone())?;
    let room = bench.answer(pushed.capacity() == size);
    check(room, "a vector has less room than asked for")?;
    let bytes = |block: &Block| (0..MESSAGE.len()).map(|at| block.byte(at)).collect();
    message(MIMALLOC, bytes(&written(Block::new(size))))?;
    let block = written(Block::zeroed(size));
    message(MIMALLOC_ZEROED, bytes(&block))?;
    let rest = (MESSAGE.len()..size).filter(|at| block.byte(*at) != 0);
    zeros(MIMALLOC_ZEROED, rest.count())
}

fn on_two_threads<'a>(bench: &Bench, pool: &'a BufferPool) -> Contest<'a> {
    Contest::new(bench, OPERATIONS)
        .side_timed("mainspring-pool", "", |_| {
            on_threads(2, |_| pooled(pool, SIZE))
        })
        .side_timed(ZEROED, "system allocator", |_| {
            on_threads(2, |_| zeroed(SIZE))
        })
        .side_timed(UNTOUCHED, "system allocator", |_| {
            on_threads(2, |_| untouched(SIZE))
        })
        .side_timed(MIMALLOC, "0.1", |_| on_threads(2, |_| from_mimalloc(SIZE)))
}

fn repeat(work: impl Fn()) {
    for _ in 0..OPERATIONS {
        work();
    }
}

fn pooled(pool: &BufferPool, size: usize) {
    repeat(|| {
        let mut buffer = pool.get(size);
        buffer.extend_from_slice(black_box(MESSAGE));
        black_box(&buffer);
    });
}

fn zeroed(size: usize) {
    repeat(|| drop(black_box(zeroed_vector(size))));
}

fn zeroed_vector(size: usize) -> Vec<u8> {
    let mut buffer = vec![0u8; size];
    buffer[..MESSAGE.len()].copy_from_slice(black_box(MESSAGE));
    buffer
}

fn untouched(size: usize) {
    repeat(|| drop(black_box(untouched_vector(size))));
}

fn untouched_vector(size: usize) -> Vec<u8> {
    let mut buffer = Vec::<u8>::with_capacity(size);
    buffer.extend_from_slice(black_box(MESSAGE));
    buffer
}

fn from_mimalloc(size: usize) {
    repeat(|| drop(black_box(written(Block::new(size)))));
}

fn written(mut block: Block) -> Block {
    block.write(black_box(MESSAGE));
    block
}

/// Ours in nanoseconds, and over each of the others.
fn figures(input: String, standing: &Standing) -> PerInput {
    let ratio = |name: &str| standing.ratio(name).value.median;
    PerInput::new(
        input,
        [
            ("ns", standing.time(1.0).value.median),
            ("ratio to vec![0; n]", ratio(ZEROED)),
            ("ratio to Vec::with_capacity", ratio(UNTOUCHED)),
            ("ratio to mimalloc", ratio(MIMALLOC)),
        ],
    )
}

const LIVE: usize = 64;
const LARGE: usize = 64 << 10;
const PAGE: usize = 4_096;

/// 64 live buffers of 64 KiB, every page touched.
pub(super) fn burst(bench: &Bench) -> Result<Measured> {
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
    for buffer in live_vectors() {
        let ones = (0..LARGE)
            .step_by(PAGE)
            .map(|at| u32::from(buffer[at]))
            .sum();
        all_pages(
            bench,
            ZEROED,
            ones,
            buffer.iter().map(|byte| u32::from(*byte)).sum(),
        )?;
    }
    for block in live_blocks() {
        let ones = (0..LARGE)
            .step_by(PAGE)
            .map(|at| u32::from(block.byte(at)))
            .sum();
        let all = (0..LARGE).map(|at| u32::from(block.byte(at))).sum();
        all_pages(bench, MIMALLOC_ZEROED, ones, all)?;
    }
    let standing = Contest::new(bench, LIVE as u64)
        .side("mainspring-pool", "", || drop(black_box(live(&pool))))
        .side(ZEROED, "system allocator", || {
            drop(black_box(live_vectors()));
        })
        .side(MIMALLOC_ZEROED, "0.1", || drop(black_box(live_blocks())))
        .run();
    Ok(standing.ratio(ZEROED))
}

fn live_vectors() -> Vec<Vec<u8>> {
    let mut live = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        let mut buffer = vec![0u8; LARGE];
        for at in (0..LARGE).step_by(PAGE) {
            buffer[at] = black_box(1);
        }
        live.push(buffer);
    }
    live
}

fn live_blocks() -> Vec<Block> {
    let mut live = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        let mut block = Block::zeroed(LARGE);
        block.touch(black_box(1));
        live.push(block);
    }
    live
}

/// A one at the start of every page, and nothing else.
fn all_pages(bench: &Bench, name: &str, ones: u32, all: u32) -> Result<()> {
    let touched = bench.answer(ones);
    let right = touched as usize == LARGE / PAGE && touched == all;
    check(right, &format!("{name}: a page is not what it was made"))
}
