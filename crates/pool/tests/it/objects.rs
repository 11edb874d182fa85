//! Reused objects.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mainspring_pool::{ObjectPool, PooledObject, Pressure};

use crate::counting::allocations;

fn lists() -> ObjectPool<Vec<u8>> {
    ObjectPool::builder(|| Vec::with_capacity(64))
        .reset(Vec::clear)
        .max_weight(1_000, Vec::capacity)
        .initial(2)
        .max(4)
        .build()
}

#[test]
fn an_object_is_reset_and_reused() {
    let pool = lists();
    let mut list = pool.get();
    list.push(1);
    drop(list);
    assert!(pool.get().is_empty());
    let stats = pool.stats();
    assert_eq!(
        (stats.created, stats.acquired, stats.idle, stats.in_use),
        (2, 2, 2, 0)
    );
}

#[test]
fn retained_objects_are_capped_in_number_and_weight() {
    let pool = lists();
    let held: Vec<PooledObject<Vec<u8>>> = (0..10).map(|_| pool.get()).collect();
    drop(held);
    assert_eq!((pool.stats().idle, pool.stats().discarded), (4, 6));
    let mut huge = pool.get();
    huge.reserve(1 << 20);
    drop(huge);
    assert_eq!((pool.stats().idle, pool.stats().discarded), (3, 7));
}

#[test]
fn an_object_returned_in_a_panic_is_discarded() {
    let pool = lists();
    let object = pool.get();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _object = object;
        resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.in_use, stats.discarded), (1, 0, 1));
}

#[test]
fn a_panicking_reset_loses_the_object_and_nothing_else() {
    let pool = ObjectPool::builder(|| 0_u8)
        .reset(|value| {
            if *value == 1 {
                resume_unwind(Box::new(()));
            }
        })
        .initial(0)
        .build();
    let mut object = pool.get();
    *object = 1;
    drop(object);
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.in_use, stats.discarded), (0, 0, 1));
    drop(pool.get());
    assert_eq!(pool.stats().idle, 1);
}

#[test]
fn detached_objects_are_the_callers() {
    let pool = lists();
    let list = pool.get().detach();
    assert_eq!(list.capacity(), 64);
    assert_eq!((pool.stats().idle, pool.stats().in_use), (1, 0));
}

#[test]
fn unused_objects_are_reclaimed_and_trimmed() {
    let pool = lists();
    let held: Vec<PooledObject<Vec<u8>>> = (0..4).map(|_| pool.get()).collect();
    drop(held);
    assert_eq!(pool.reclaim().items, 0, "they were needed in this period");
    assert_eq!(pool.trim(Pressure::Low).items, 2);
    assert_eq!(pool.trim(Pressure::Moderate).items, 0);
    assert_eq!(pool.trim(Pressure::Critical).items, 2);
    assert_eq!(pool.stats().idle, 0);
}

#[test]
fn a_burst_decays_without_being_asked() {
    let pool = ObjectPool::builder(|| 0_u8).initial(2).max(100).build();
    let burst: Vec<PooledObject<u8>> = (0..50).map(|_| pool.get()).collect();
    drop(burst);
    assert_eq!(pool.stats().idle, 50);
    for _ in 0..3_000 {
        drop((pool.get(), pool.get(), pool.get()));
    }
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.discarded), (3, 47), "{stats:?}");
}

#[test]
fn a_panicking_constructor_leaves_the_pool_as_it_was() {
    let pool: ObjectPool<u8> = ObjectPool::builder(|| resume_unwind(Box::new(())))
        .initial(0)
        .build();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(pool.get()))).is_err());
    let stats = pool.stats();
    assert_eq!((stats.created, stats.acquired, stats.in_use), (0, 0, 0));
}

#[test]
fn a_steady_checkout_allocates_nothing() {
    let pool = lists();
    assert_eq!(allocations(|| (0..1_000).for_each(|_| drop(pool.get()))), 0);
}
