//! No false negative, one set of bits on every path, and the plain set as the model.

use std::collections::HashSet;

use mainspring_bloom::{BloomBuilder, BloomFilter, Error, SharedBloomFilter};
use proptest::prelude::*;

fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..400)
}

/// The default seed has code of its own, so it comes up as often as all others.
fn seeds() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_went_in_is_found_on_every_path(keys in keys(), capacity in 1_usize..500, seed in seeds(), fpr in 1e-6..0.5) {
        let builder = BloomBuilder::new(capacity).fpr(fpr).seed(seed);
        let mut single = builder.clone().build().unwrap();
        let mut batch = builder.clone().build().unwrap();
        let mut hashed = builder.clone().build().unwrap();
        let mut portable = builder.clone().portable(true).build().unwrap();
        let mut portable_batch = builder.clone().portable(true).build().unwrap();
        let shared = builder.clone().build_shared().unwrap();
        let shared_portable = builder.portable(true).build_shared().unwrap();

        let mut model = HashSet::new();
        let mut new = 0;
        for key in &keys {
            let fresh = single.insert(key);
            prop_assert!(model.insert(key.clone()) || !fresh, "a repeated key was called new");
            let hash = single.key_hash().hash(key);
            prop_assert_eq!(hashed.insert_hash(hash), fresh);
            prop_assert!(single.contains_hash(hash));
            prop_assert_eq!(portable.insert(key), fresh);
            prop_assert_eq!(shared.insert(key), fresh);
            prop_assert_eq!(shared_portable.insert(key), fresh);
            new += usize::from(fresh);
        }
        prop_assert_eq!(batch.insert_many(&keys), new);
        prop_assert_eq!(portable_batch.insert_many(&keys), new);
        for other in [&batch, &hashed, &portable, &portable_batch, &shared.snapshot(), &shared_portable.snapshot()] {
            prop_assert_eq!(other.as_bytes(), single.as_bytes());
        }
        let filters = [&single, &portable];
        prop_assert!(keys.iter().all(|key| filters.iter().all(|filter| filter.contains(key) && filter.view().contains(key))));
        prop_assert!(keys.iter().all(|key| shared.contains(key) && shared_portable.contains(key)));
    }

    #[test]
    fn batch_answers_are_the_single_ones(keys in keys(), asked in keys(), seed in seeds()) {
        let builder = BloomBuilder::new(100).fpr(0.1).seed(seed);
        let mut filter = builder.clone().build().unwrap();
        let mut portable = builder.portable(true).build().unwrap();
        filter.insert_many(&keys);
        portable.insert_many(&keys);
        let shared = SharedBloomFilter::from(filter.clone());
        let expected: Vec<bool> = asked.iter().map(|key| filter.contains(key)).collect();
        let hash = filter.key_hash();
        for (key, expected) in asked.iter().zip(&expected) {
            prop_assert_eq!(filter.contains_hash(hash.hash(key)), *expected);
            prop_assert_eq!(portable.contains(key), *expected);
            prop_assert_eq!(filter.view().contains(key), *expected);
        }

        let mut found = vec![true; 3];
        filter.contains_many(&asked, &mut found);
        prop_assert_eq!(&found, &expected);
        filter.view().contains_many(&asked, &mut found);
        prop_assert_eq!(&found, &expected);
        portable.contains_many(&asked, &mut found);
        prop_assert_eq!(&found, &expected);
        shared.contains_many(&asked, &mut found);
        prop_assert_eq!(&found, &expected);
    }

    #[test]
    fn a_union_holds_both(left in keys(), right in keys()) {
        let builder = BloomBuilder::new(300);
        let (mut a, mut b, mut both) = (builder.clone().build().unwrap(), builder.clone().build().unwrap(), builder.build().unwrap());
        a.insert_many(&left);
        b.insert_many(&right);
        both.extend(left.iter().chain(&right));
        let shared = SharedBloomFilter::from(a.clone());
        shared.union(&b).unwrap();
        a.union(&b).unwrap();
        prop_assert_eq!(&a, &both);
        prop_assert_eq!(shared.freeze(), both);
    }
}

/// The calls for many keys keep some under way: none is lost, doubled or out of turn at any number of them.
#[test]
fn every_number_of_keys_is_worked_off() {
    for count in (0..70_u64).chain([1_000]) {
        for portable in [false, true] {
            let builder = || BloomBuilder::new(2_000).fpr(0.000_1).portable(portable);
            let (mut filter, mut single) = (builder().build().unwrap(), builder().build().unwrap());
            let shared = builder().build_shared().unwrap();
            let new = (0..count).filter(|key| single.insert(key)).count();
            assert_eq!(filter.insert_many(0..count), new);
            assert_eq!(filter.insert_many(0..count), 0);
            assert_eq!(shared.insert_many(0..count), new);
            assert_eq!(filter, single);
            assert_eq!(shared.snapshot(), single);

            let asked = || (0..count).flat_map(|key| [key, key + 1_000_000]);
            let told: Vec<bool> = asked().map(|key| single.contains(&key)).collect();
            let mut found = vec![true; 5];
            filter.contains_many(asked(), &mut found);
            assert_eq!(found, told, "{count} keys");
            shared.contains_many(asked(), &mut found);
            assert_eq!(found, told, "{count} keys, shared");
            filter.view().contains_many(asked(), &mut found);
            assert_eq!(found, told, "{count} keys, a view");
        }
    }
}

#[test]
fn filters_of_other_shape_or_seed_are_not_joined() {
    let mut small = BloomBuilder::new(100).build().unwrap();
    small.insert("kept");
    let before = small.clone();
    let large = BloomBuilder::new(10_000).build().unwrap();
    let seeded = BloomBuilder::new(100).seed(1).build().unwrap();
    assert_eq!(
        small.union(&large),
        Err(Error::Incompatible { what: "size" })
    );
    assert_eq!(
        small.union(&seeded),
        Err(Error::Incompatible {
            what: "hash or seed"
        })
    );
    assert_eq!(small, before);
}

#[test]
fn a_frozen_filter_is_the_shared_one() {
    let shared = SharedBloomFilter::with_capacity_and_fpr(1_000, 0.01).unwrap();
    assert_eq!(shared.insert_many(0..1_000_u64), shared_new(&shared));
    let (fill, count) = (shared.fill(), shared.estimated_count());
    let frozen = shared.freeze();
    assert!((0..1_000_u64).all(|key| frozen.contains(&key)));
    assert_eq!((frozen.fill(), frozen.estimated_count()), (fill, count));
    assert_eq!(frozen.stats().inserted, None, "nothing was counted");
}

fn shared_new(shared: &SharedBloomFilter) -> usize {
    let mut model = BloomFilter::with_capacity_and_fpr(1_000, 0.01).unwrap();
    let new = (0..1_000_u64).filter(|key| model.insert(key)).count();
    assert_eq!(shared.snapshot(), model);
    new
}

#[test]
fn clear_forgets_and_keeps_the_size() {
    let mut filter = BloomFilter::with_capacity_and_fpr(1_000, 0.01).unwrap();
    let empty = filter.clone();
    filter.insert_many(0..1_000_u64);
    filter.clear();
    assert_eq!(filter, empty);
    assert_eq!(filter.stats(), empty.stats());
    assert_eq!(filter.estimated_count(), 0);
}

#[test]
fn threads_that_insert_lose_nothing() {
    let shared = SharedBloomFilter::with_capacity_and_fpr(40_000, 0.01).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let shared = &shared;
            scope.spawn(move || {
                for i in 0..10_000 {
                    shared.insert(&(i * 4 + worker));
                    assert!(shared.contains(&(i * 4 + worker)));
                }
            });
        }
    });
    assert!((0..40_000_u64).all(|key| shared.contains(&key)));
}

#[test]
fn a_full_filter_says_so_and_never_denies() {
    let mut filter = BloomFilter::with_capacity_and_fpr(1, 0.5).unwrap();
    filter.insert_many(0..100_000_u64);
    assert_eq!(filter.fill(), 1.0);
    assert_eq!(filter.estimated_fpr(), 1.0);
    assert_eq!(filter.estimated_count(), u64::MAX);
    assert!(filter.contains("anything"));
}
