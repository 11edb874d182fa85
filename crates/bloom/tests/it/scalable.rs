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
