//! Growth, its bound, and joining of growing filters.

use mainspring_bloom::{BloomBuilder, Error, ScalableBloomFilter};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_went_in_is_found_in_every_layer(count in 0_u64..3_000, first in 1_usize..100) {
        let mut filter = ScalableBloomFilter::with_capacity_and_fpr(first, 0.01).unwrap();
        filter.insert_many(0..count).unwrap();
        prop_assert!((0..count).all(|key| filter.contains(&key)));
        let mut found = Vec::new();
        filter.contains_many(0..count, &mut found);
        prop_assert_eq!(found, vec![true; count as usize]);
        let read = ScalableBloomFilter::from_bytes(&filter.to_bytes()).unwrap();
        prop_assert!((0..count).all(|key| read.contains(&key)));
        prop_assert_eq!(read.stats(), filter.stats());
    }
}

#[test]
fn growth_stops_at_the_bound_and_says_so() {
    let mut filter = BloomBuilder::new(1_000)
        .max_bytes(8_000)
        .build_scalable()
        .unwrap();
    let mut key = 0_u64;
    let error = loop {
        match filter.insert(&key) {
            Ok(_) => key += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Full { max_bytes: 8_000 });
    assert!(filter.stats().bytes <= 8_000);
    assert!((0..key).all(|key| filter.contains(&key)));
    assert_eq!(
        filter.insert(&0_u64),
        Ok(false),
        "a known key needs no room"
    );
}

/// A layer follows when the newest has taken as many new keys as its capacity, and neither a copy through
/// bytes nor repeated keys move that point.
#[test]
fn layers_follow_by_the_exact_count() {
    let mut filter = ScalableBloomFilter::with_capacity_and_fpr(100, 0.01).unwrap();
    let (mut new, mut layers) = (0, 1);
    for key in 0..2_000_u64 {
        let before = filter.stats();
        let full = before.capacity == new;
        let fresh = filter.insert(&key).unwrap();
        layers += usize::from(full && fresh);
        new += u64::from(fresh);
        assert_eq!(filter.insert(&key), Ok(false));
        assert_eq!(filter.stats().inserted, Some(new), "key {key}");
        assert_eq!(filter.stats().layers, layers, "key {key}");
        if key % 37 == 0 {
            let bytes = filter.to_bytes();
            assert_eq!(bytes[32..40], new.to_le_bytes());
            filter = ScalableBloomFilter::from_bytes(&bytes).unwrap();
            assert_eq!(filter.stats().inserted, Some(new));
        }
    }
    assert_eq!(layers, 5);

    let mut joined = filter.clone();
    joined.union(&filter).unwrap();
    assert_eq!(joined.stats().inserted, Some(joined.estimated_count()));
    joined.clear();
    assert_eq!(joined.stats().inserted, Some(0));
}

#[test]
fn a_union_takes_over_the_longer_tail() {
    let mut short = ScalableBloomFilter::with_capacity_and_fpr(100, 0.01).unwrap();
    let mut long = short.clone();
    short.insert_many(0..50_u64).unwrap();
    long.insert_many(1_000..5_000_u64).unwrap();
    short.union(&long).unwrap();
    assert!(
        (0..50)
            .chain(1_000..5_000_u64)
            .all(|key| short.contains(&key))
    );
    assert_eq!(short.stats().layers, long.stats().layers);
    assert_eq!(short.stats().bytes, long.stats().bytes);

    let other = ScalableBloomFilter::with_capacity_and_fpr(200, 0.01).unwrap();
    assert!(matches!(
        short.union(&other),
        Err(Error::Incompatible { .. })
    ));
    short.clear();
    assert_eq!(short.stats().layers, 1);
    assert!(!short.contains(&1_000_u64));
}

#[test]
fn growth_stops_at_twenty_layers_and_says_so() {
    let mut filter = BloomBuilder::new(1).fpr(0.5).build_scalable().unwrap();
    let error = (0_u64..).find_map(|key| filter.insert(&key).err()).unwrap();
    assert_eq!(filter.stats().layers, 20);
    assert!(error.to_string().contains("20 layers"), "{error}");
    assert!(
        error.to_string().contains("larger first capacity"),
        "{error}"
    );
}

#[test]
fn the_rates_of_the_layers_add_up_to_the_one_asked_for() {
    for fpr in [0.5, 0.01, 1e-5] {
        let mut filter = BloomBuilder::new(64).fpr(fpr).build_scalable().unwrap();
        let mut key = 0_u64;
        while filter.stats().layers < 8 {
            filter.insert(&key).unwrap();
            key += 1;
        }
        // Layers are told apart by the stored form: one header each.
        let stored = filter.to_bytes();
        let (mut at, mut sum, mut capacities) = (96, 0.0, Vec::new());
        while at < stored.len() {
            let field = |place: usize| stored[at + place..at + place + 8].try_into().unwrap();
            sum += f64::from_le_bytes(field(48));
            capacities.push(u64::from_le_bytes(field(40)));
            at += 96 + u64::from_le_bytes(field(56)) as usize;
        }
        assert_eq!(capacities, (0..8).map(|n| 64 << n).collect::<Vec<u64>>());
        assert!(sum <= fpr && sum > fpr * 0.99, "{sum} for {fpr}");
    }
}

#[test]
fn a_union_of_full_filters_grows_on_and_tells_its_rate() {
    let full = |from: u64| {
        let mut filter = BloomBuilder::new(1_000).build_scalable().unwrap();
        filter.insert_many(from..from + 3_000).unwrap();
        filter
    };
    let (mut left, right) = (full(0), full(1 << 32));
    let before = left.estimated_fpr();
    left.union(&right).unwrap();
    assert!(left.estimated_fpr() > 2.0 * before);
    let layers = left.stats().layers;
    left.insert_many(1 << 40..(1 << 40) + 10_u64).unwrap();
    assert_eq!(
        left.stats().layers,
        layers + 1,
        "an overfull layer took more"
    );
    assert!(
        (0..3_000)
            .chain(1 << 32..(1 << 32) + 3_000_u64)
            .all(|key| left.contains(&key))
    );
}
