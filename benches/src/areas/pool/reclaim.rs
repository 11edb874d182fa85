//! What giving memory back costs the thread that has other things to do.

use std::hint::black_box;

use anyhow::Result;
use mainspring_pool::{BufferPool, PooledBuf, Pressure};

use super::mimalloc::Block;
use crate::{Bench, Clock, Contest, Measured, check, quantile};

const LARGE: usize = 64 << 10;
static FULL: [u8; LARGE] = [1; LARGE];
const BURSTS: usize = 8;
/// Buffers alive in a burst, and in every eighth one.
const LIVE: usize = 32;
const PEAK: usize = 128;
const INLINE: &str = "each freed at once";

fn live(burst: usize) -> usize {
    if burst.is_multiple_of(BURSTS) {
        PEAK
    } else {
        LIVE
    }
}

/// Bursts of large buffers: the time of getting and giving them back, passes included, the work on
/// them and the page faults of that left out.
pub(super) fn hot_path(bench: &Bench) -> Result<Measured> {
    idle_memory_goes(bench)?;
    let (pool, emptied) = (roomy(), roomy());
    let from = |pool: &BufferPool| pool.get(LARGE);
    let fill = |buffer: &mut PooledBuf| buffer.extend_from_slice(black_box(&FULL));
    let buffers = (0..BURSTS).map(live).sum::<usize>() as u64;
    let standing = Contest::new(bench, buffers)
        .side_timed("mainspring-pool, passes deferred", "", |clock| {
            bursts(clock, || from(&pool), fill, drop)
        })
        .side_timed(INLINE, "system allocator", |clock| {
            let get = || Vec::<u8>::with_capacity(LARGE);
            bursts(
                clock,
                get,
                |new| new.extend_from_slice(black_box(&FULL)),
                drop,
            )
        })
        .side_timed("each freed at once, mimalloc", "0.1", |clock| {
            bursts(clock, || Block::new(LARGE), |new| new.touch(1), drop)
        })
        .side_timed("our pool, emptied after every burst", "", |clock| {
            let release = |burst| {
                drop(burst);
                black_box(emptied.trim(Pressure::Critical));
            };
            bursts(clock, || from(&emptied), fill, release)
        })
        .run();
    let passes = bench.answer(pool.stats().young_passes > 0);
    check(passes, "no pass ran")?;
    Ok(standing.saved(INLINE).noting(pauses(&pool)))
}

fn roomy() -> BufferPool {
    BufferPool::builder().budget(2 * PEAK * LARGE).build()
}

fn pooled(pool: &BufferPool) -> PooledBuf {
    let mut buffer = pool.get(LARGE);
    buffer.extend_from_slice(black_box(&FULL));
    buffer
}

/// What getting and releasing take for all bursts.
fn bursts<B>(
    clock: Clock,
    get: impl Fn() -> B,
    touch: impl Fn(&mut B),
    release: impl Fn(Vec<B>),
) -> f64 {
    let mut spent = 0.0;
    for burst in 0..BURSTS {
        let mut held = Vec::with_capacity(live(burst));
        spent += clock.time(|| held.extend((0..live(burst)).map(|_| get())));
        held.iter_mut().for_each(&touch);
        spent += clock.time(|| release(held));
    }
    spent
}

/// Deferred is not never: what a peak left goes after some young passes, what is old stays until a
/// full one.
fn idle_memory_goes(bench: &Bench) -> Result<()> {
    let pool = roomy();
    let peak: Vec<_> = (0..PEAK).map(|_| pooled(&pool)).collect();
    drop(peak);
    let held = |pool: &BufferPool| pool.stats().classes[3].total;
    let after_peak = bench.answer(held(&pool));
    check(after_peak == PEAK, "the peak is not kept at first")?;
    pool.reclaim_young();
    pool.reclaim_young();
    let base = bench.answer(held(&pool));
    check(base == 10, "young passes do not lead back to the base size")?;
    pool.trim(Pressure::Critical);
    let left = bench.answer(pool.stats().bytes);
    check(left == 0, "a critical trim leaves something")
}

/// The 99th percentile of single returns.
fn pauses(pool: &BufferPool) -> String {
    let mut pauses = Vec::new();
    for burst in 0..8 * BURSTS {
        let held: Vec<_> = (0..live(burst)).map(|_| pooled(pool)).collect();
        for buffer in held {
            pauses.push(Clock::Thread.time(|| drop(buffer)));
        }
    }
    pauses.sort_by(f64::total_cmp);
    let p99 = quantile(&pauses, 0.99);
    format!("p99 of one return {p99:.0} ns, reading the clock included")
}
