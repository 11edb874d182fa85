//! Byte buffers.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use mainspring_pool::{BufferPool, PooledBuf, Pressure};
use proptest::prelude::*;

use crate::counting::{allocations, held};

#[test]
fn a_buffer_is_filled_and_read_like_bytes_mut() {
    let pool = BufferPool::new();
    let mut buf = pool.get(100);
    buf.put_u16_le(0x0201);
    buf.extend_from_slice(&[3, 4]);
    write!(buf, "ab").unwrap();
    buf.put_bytes(7, 2);
    assert_eq!(&buf[..], [1, 2, 3, 4, b'a', b'b', 7, 7]);
    buf[0] = 9;
    buf.truncate(2);
    assert_eq!(buf.freeze(), Bytes::from_static(&[9, 2]));
}

#[test]
fn bytes_of_an_earlier_user_cannot_be_read() {
    let pool = BufferPool::new();
    let mut secret = pool.get(1_000);
    secret.extend_from_slice(&[0x5e; 1_000]);
    drop(secret);
    let mut next = pool.get(1_000);
    assert_eq!(
        pool.stats().classes[0].allocated,
        1,
        "it is the same buffer"
    );
    assert!(next.is_empty());
    next.resize(1_000, 0);
    assert!(next.iter().all(|byte| *byte == 0));
}

#[test]
fn frozen_bytes_come_home_when_the_last_clone_drops() {
    let pool = BufferPool::new();
    let mut buf = pool.get(10);
    buf.extend_from_slice(b"0123456789");
    let whole = buf.freeze();
    let parts: Vec<Bytes> = (0..10).map(|at| whole.slice(at..)).collect();
    drop(whole);
    assert_eq!(pool.get(10).capacity(), 1_024);
    assert_eq!(
        pool.stats().classes[0].allocated,
        2,
        "the first is still shared"
    );
    let elsewhere = std::thread::spawn(move || drop(parts));
    elsewhere.join().unwrap();
    let _both = (pool.get(1), pool.get(1));
    assert_eq!(
        pool.stats().classes[0].allocated,
        2,
        "it came home from the other thread"
    );
}

#[test]
fn a_steady_checkout_allocates_nothing() {
    let pool = BufferPool::new();
    drop((pool.get(1), pool.get(5_000), pool.get(60_000)));
    let counted = allocations(|| {
        for round in 0..10_000 {
            let mut buf = pool.get(round % 65_536);
            buf.put_u8(1);
            drop((buf, pool.get(1)));
        }
    });
    // A class that is used for the first time allocates its buffer and its list.
    assert!(counted <= 6, "{counted} allocations");
}

#[test]
fn memory_stays_within_the_budget_and_beyond_it_is_freed_on_return() {
    let pool = BufferPool::builder().budget(1 << 20).build();
    let held: Vec<PooledBuf> = (0..64).map(|_| pool.get(65_536)).collect();
    let stats = pool.stats();
    assert_eq!((stats.bytes, stats.budget), (1 << 20, 1 << 20));
    assert_eq!(stats.direct_allocations, 48);
    drop(held);
    assert_eq!(pool.stats().classes[3].total, 16);
    // A class that is used up takes the room of another's idle buffers.
    let small: Vec<PooledBuf> = (0..300).map(|_| pool.get(1_024)).collect();
    assert!(pool.stats().bytes <= 1 << 20);
    assert!(small.iter().all(|buf| buf.capacity() == 1_024));
}

#[test]
fn a_burst_of_large_buffers_is_pooled() {
    let pool = BufferPool::new();
    for _ in 0..10 {
        let burst: Vec<PooledBuf> = (0..64).map(|_| pool.get(65_536)).collect();
        drop(burst);
    }
    assert_eq!(pool.stats().classes[3].allocated, 64);
    assert_eq!(pool.stats().direct_allocations, 0);
}

/// golang#23199: one huge use pins its memory for ever.
#[test]
fn a_pool_does_not_pin_huge_buffers() {
    let pool = BufferPool::new();
    let mut grown = pool.get(1_000);
    grown.extend_from_slice(&vec![0; 10 << 20]);
    drop(grown);
    drop(pool.get(10 << 20));
    let stats = pool.stats();
    assert_eq!(
        (stats.bytes, stats.outgrown, stats.direct_allocations),
        (0, 1, 1)
    );
    assert_eq!(stats.by_requested_size[23], 1);
}

#[test]
fn what_a_burst_left_behind_decays() {
    let pool = BufferPool::builder().passes(100, 10).build();
    let burst: Vec<PooledBuf> = (0..1_000).map(|_| pool.get(1_024)).collect();
    drop(burst);
    let peak = pool.stats().bytes;
    assert!(peak >= 1_000 << 10);
    // Little use, many passes: the surplus goes.
    for _ in 0..200 {
        let some: Vec<PooledBuf> = (0..70).map(|_| pool.get(1_024)).collect();
        drop(some);
    }
    assert!(pool.stats().young_passes > 0);
    assert!(pool.stats().bytes < peak / 4, "{:?}", pool.stats());
}

#[test]
fn young_passes_spare_the_base_and_full_passes_come_by_the_clock() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let pool = BufferPool::builder()
        .passes(usize::MAX, 10)
        .clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)))
        .build();
    let held: Vec<PooledBuf> = (0..150).map(|_| pool.get(1_024)).collect();
    drop(held);
    pool.reclaim_young();
    assert!(pool.reclaim_young().items <= 50);
    assert!(pool.stats().classes[0].total >= 100);
    time.store(61, Ordering::Relaxed);
    for _ in 0..64 {
        drop(pool.get_with_tag(1, "tick"));
        let held: Vec<PooledBuf> = (0..65).map(|_| pool.get(1_024)).collect();
        drop(held);
    }
    assert_eq!(pool.stats().full_passes, 1);
    assert_eq!(pool.stats().tags[0].acquired, 64);
}

#[test]
fn trimming_frees_idle_memory() {
    let pool = BufferPool::new();
    let held: Vec<PooledBuf> = (0..40).map(|_| pool.get(65_536)).collect();
    drop(held);
    assert!(pool.trim(Pressure::Moderate).items >= 30);
    assert_eq!(pool.stats().classes[3].total, 10);
    assert_eq!(pool.trim(Pressure::Critical).bytes, 10 << 16);
    assert_eq!(pool.stats().bytes, 0);
}

#[test]
fn a_dropped_pool_frees_what_is_idle_and_later_what_returns() {
    let pool = BufferPool::new();
    let (kept, dropped) = (pool.get(10), pool.get(10));
    drop(dropped);
    drop(pool);
    let mut kept = kept;
    kept.extend_from_slice(b"still mine");
    assert_eq!(&kept.freeze()[..], b"still mine");
}

#[test]
fn a_dropped_pool_pins_no_memory() {
    let before = held();
    let pool = BufferPool::new();
    drop((pool.get(60_000), pool.get(60_000)));
    let late: Vec<PooledBuf> = (0..4).map(|_| pool.get(60_000)).collect();
    drop(pool);
    assert!(held() - before < 6 << 16, "idle buffers go at once");
    drop(late);
    assert!(
        held() - before < 16 << 10,
        "{} bytes pinned",
        held() - before
    );
}

#[test]
fn a_pool_that_another_thread_dropped_pins_no_memory_here() {
    let (gone, other) = (BufferPool::new(), BufferPool::new());
    let before = held();
    drop((gone.get(60_000), gone.get(60_000), other.get(1)));
    std::thread::spawn(move || drop(gone)).join().unwrap();
    // A slow operation of any pool tidies up.
    let burst: Vec<PooledBuf> = (0..70).map(|_| other.get(1)).collect();
    drop(burst);
    assert!(
        held() - before < 100 << 10,
        "{} bytes pinned",
        held() - before
    );
}

/// No cliff at the budget: what makes room is what is needed, not everything idle.
#[test]
fn making_room_frees_no_more_than_needed() {
    let pool = BufferPool::builder().budget(2 << 20).build();
    let burst: Vec<PooledBuf> = (0..32).map(|_| pool.get(65_536)).collect();
    drop(burst);
    for _ in 0..20 {
        let one = pool.get(1_000);
        assert_eq!(one.capacity(), 1_024);
    }
    let stats = pool.stats();
    assert_eq!(stats.direct_allocations, 0);
    assert_eq!((stats.classes[3].total, stats.reclaimed), (31, 1));
}

/// What a thread keeps for itself decays as well.
#[test]
fn buffers_that_a_thread_keeps_go_home_at_full_passes() {
    let pool = BufferPool::new();
    let burst: Vec<PooledBuf> = (0..8).map(|_| pool.get(65_536)).collect();
    drop(burst);
    assert_eq!(pool.stats().classes[3].idle, 0, "the thread keeps them");
    for _ in 0..3 {
        pool.reclaim_full();
        drop(pool.get(1_000));
    }
    assert_eq!(pool.stats().classes[3].total, 0);
}

#[test]
fn a_pass_says_what_it_took_out() {
    let pool = BufferPool::builder().passes(1, u64::MAX).build();
    let burst: Vec<PooledBuf> = (0..200).map(|_| pool.get(1_024)).collect();
    drop(burst);
    drop(pool.get_with_tag(1, "after"));
    let stats = pool.stats();
    assert!(stats.young_passes > 0);
    assert!(stats.last_young_pass.items <= 100);
    assert_eq!(stats.last_full_pass.items, 0);
    pool.reclaim_young();
    let taken = pool.reclaim_full();
    assert!(taken.items > 50, "{taken:?}");
    assert_eq!(pool.stats().last_full_pass, taken);
}

#[test]
fn threads_share_buffers_and_lose_none() {
    let pool = BufferPool::new();
    let workers: Vec<_> = (0..4_usize)
        .map(|worker| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                for round in 0..2_000_usize {
                    let held: Vec<PooledBuf> = (0..round % 20)
                        .map(|n| pool.get((n * 997 + worker) % 70_000))
                        .collect();
                    drop(held);
                }
            })
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    let stats = pool.stats();
    let by_class: usize = stats
        .classes
        .iter()
        .map(|class| class.total * class.capacity)
        .sum();
    assert_eq!(stats.bytes, by_class);
    let idle: usize = stats
        .classes
        .iter()
        .map(|class| class.idle * class.capacity)
        .sum();
    assert_eq!(
        idle, by_class,
        "all threads have ended, so everything is on the shared lists"
    );
    assert!(stats.bytes <= stats.budget);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A buffer holds exactly what was written since its checkout, whatever happened before.
    #[test]
    fn content_is_private(steps in proptest::collection::vec((0..80_000_usize, 0..200_usize, any::<u8>(), any::<bool>()), 1..60)) {
        let pool = BufferPool::builder().budget(1 << 20).passes(8, 2).build();
        let mut held: Vec<(PooledBuf, Vec<u8>)> = Vec::new();
        let mut frozen: Vec<(Bytes, Vec<u8>)> = Vec::new();
        for (len, written, byte, freeze) in steps {
            let mut buf = pool.get(len);
            prop_assert!(buf.is_empty() && buf.capacity() >= len);
            let content = vec![byte; written];
            buf.extend_from_slice(&content);
            held.push((buf, content));
            if held.len() > 8 {
                let (buf, content) = held.swap_remove(usize::from(byte) % 8);
                if freeze {
                    frozen.push((buf.freeze(), content));
                }
            }
            for (buf, content) in &held {
                prop_assert_eq!(&buf[..], &content[..]);
            }
            for (buf, content) in &frozen {
                prop_assert_eq!(&buf[..], &content[..]);
            }
            prop_assert!(pool.stats().bytes <= 1 << 20);
        }
    }
}
