//! The free lists in every interleaving:
//! `RUSTFLAGS="--cfg loom" cargo test -p mainspring-pool --release --test it interleaved`.
//!
//! The checker also finds what is still referenced at the end, so a leak fails each of these.

use loom::model::Builder;
use loom::thread;
use mainspring_pool::{BufferPool, BufferStats, ObjectPool, PooledBuf, Pressure};

fn check(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scenario);
}

/// Every byte is in a class, and every buffer idle when nobody holds one.
fn adds_up(stats: &BufferStats) {
    let held: usize = stats.classes.iter().map(|c| c.total * c.capacity).sum();
    assert_eq!(stats.bytes, held, "{stats:?}");
    assert!(stats.bytes <= stats.budget, "{stats:?}");
}

/// More than a thread keeps (two, in a model), so that some go through the shared list.
fn burst(pool: &BufferPool) {
    let held: Vec<PooledBuf> = (0..3).map(|_| pool.get(1)).collect();
    drop(held);
}

/// The checker's threads are joined before what they keep is dropped, so they give it back themselves.
fn leave(pool: &BufferPool) {
    pool.trim(Pressure::Moderate);
}

#[test]
fn threads_that_share_a_list_lose_no_buffer() {
    check(|| {
        let pool = BufferPool::builder().budget(5 << 10).build();
        let other = pool.clone();
        let worker = thread::spawn(move || {
            burst(&other);
            leave(&other);
        });
        burst(&pool);
        worker.join().unwrap();
        let stats = pool.stats();
        adds_up(&stats);
        let [class, ..] = stats.classes;
        // This thread keeps some, the other has ended: nothing is anywhere else.
        assert!(class.idle + 2 >= class.total, "{stats:?}");
        pool.trim(Pressure::Critical);
        assert_eq!(pool.stats().bytes, 0);
    });
}

#[test]
fn a_buffer_returned_elsewhere_while_the_pool_is_trimmed_is_counted() {
    check(|| {
        let pool = BufferPool::new();
        let (other, lent) = (pool.clone(), pool.get(1));
        let worker = thread::spawn(move || {
            drop(lent);
            leave(&other);
        });
        pool.trim(Pressure::Critical);
        worker.join().unwrap();
        adds_up(&pool.stats());
        pool.trim(Pressure::Critical);
        assert_eq!(pool.stats().bytes, 0);
    });
}

#[test]
fn a_pool_that_is_dropped_while_buffers_return_keeps_nothing_alive() {
    check(|| {
        let pool = BufferPool::new();
        let lent = [pool.get(1), pool.get(1)];
        let worker = thread::spawn(move || drop(lent));
        drop(pool);
        worker.join().unwrap();
    });
}

#[test]
fn passes_race_with_use() {
    check(|| {
        let pool = BufferPool::builder().passes(1, 2).build();
        let other = pool.clone();
        let worker = thread::spawn(move || {
            burst(&other);
            leave(&other);
        });
        pool.reclaim_full();
        worker.join().unwrap();
        adds_up(&pool.stats());
        pool.trim(Pressure::Critical);
        assert_eq!(pool.stats().bytes, 0);
    });
}

#[test]
fn objects_are_lent_to_one_at_a_time_and_never_lost() {
    check(|| {
        let pool = ObjectPool::builder(|| 0_u8).initial(1).max(1).build();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let mut object = pool.get();
                    *object += 1;
                    assert_eq!(*object % 2, 1, "two hold it");
                    *object += 1;
                })
            })
            .collect();
        let trimmed = pool.trim(Pressure::Critical).items;
        for worker in workers {
            worker.join().unwrap();
        }
        let stats = pool.stats();
        assert_eq!((stats.acquired, stats.in_use), (2, 0), "{stats:?}");
        let gone = stats.created - stats.discarded;
        assert_eq!(stats.idle as u64, gone, "{trimmed} trimmed: {stats:?}");
    });
}
