//! The textbook filter behind the same trait.

use mainspring_bloom::{
    BloomFilter, BuildError, ClaimFilter, ClassicFilter, MembershipFilter, ScalableBloomFilter,
    SharedBloomFilter,
};

#[test]
fn every_filter_serves_behind_the_trait() {
    let mut filters: Vec<Box<dyn MembershipFilter>> = vec![
        Box::new(ClassicFilter::new(5_000, 0.01, 0).unwrap()),
        Box::new(BloomFilter::with_capacity_and_fpr(5_000, 0.01).unwrap()),
        Box::new(SharedBloomFilter::with_capacity_and_fpr(5_000, 0.01).unwrap()),
        Box::new(ClaimFilter::with_capacity_and_fpr(5_000, 0.01).unwrap()),
        Box::new(ScalableBloomFilter::with_capacity_and_fpr(500, 0.01).unwrap()),
    ];
    for filter in &mut filters {
        for key in 0..5_000_u32 {
            filter.insert_bytes(&key.to_le_bytes()).unwrap();
            assert!(filter.contains_bytes(&key.to_le_bytes()));
        }
        let positives = (10_000..60_000_u32)
            .filter(|key| filter.contains_bytes(&key.to_le_bytes()))
            .count();
        assert!(positives < 750, "{positives} of 50,000");
        assert!(
            (5_000..20_000).contains(&filter.bytes_held()),
            "{}",
            filter.bytes_held()
        );
    }
}

#[test]
fn impossible_settings_are_refused() {
    assert_eq!(
        ClassicFilter::new(0, 0.01, 0).unwrap_err(),
        BuildError::ZeroCapacity
    );
    assert!(matches!(
        ClassicFilter::new(10, f64::NAN, 0),
        Err(BuildError::RateOutOfRange { .. })
    ));
    assert!(matches!(
        ClassicFilter::new(usize::MAX, 0.01, 0),
        Err(BuildError::TooLarge { .. })
    ));
}
