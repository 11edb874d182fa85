//! Settings that are kept, and settings that are refused.

use mainspring_bloom::{BloomBuilder, BloomFilter, BuildError};

#[test]
fn impossible_settings_are_refused_with_the_reason() {
    assert_eq!(
        BloomFilter::with_capacity_and_fpr(0, 0.01).unwrap_err(),
        BuildError::ZeroCapacity
    );
    for fpr in [0.0, -1.0, 0.51, 1e-7, f64::INFINITY] {
        let error = BloomFilter::with_capacity_and_fpr(10, fpr).unwrap_err();
        assert!(
            matches!(error, BuildError::RateOutOfRange { .. }),
            "{fpr}: {error}"
        );
        assert!(BloomBuilder::new(10).fpr(fpr).build_shared().is_err());
        assert!(BloomBuilder::new(10).fpr(fpr).build_claim().is_err());
        assert!(BloomBuilder::new(10).fpr(fpr).build_scalable().is_err());
    }
    assert!(BloomFilter::with_capacity_and_fpr(10, f64::NAN).is_err());
}

#[test]
fn a_size_beyond_the_bound_is_refused_before_memory_is_taken() {
    let huge = BloomBuilder::new(usize::MAX);
    for builder in [
        huge.clone(),
        huge.max_bytes(usize::MAX),
        BloomBuilder::new(10_000_000_000),
    ] {
        assert!(matches!(
            builder.clone().build(),
            Err(BuildError::TooLarge { .. })
        ));
        assert!(matches!(
            builder.clone().build_scalable(),
            Err(BuildError::TooLarge { .. })
        ));
        assert!(matches!(
            builder.build_claim(),
            Err(BuildError::TooLarge { .. })
        ));
    }
    let error = BloomBuilder::new(1_000).max_bytes(100).build().unwrap_err();
    assert!(error.to_string().contains("may have 100"), "{error}");
}

#[test]
fn bits_per_key_are_those_documented() {
    let bits = |fpr| {
        BloomBuilder::new(1_000_000)
            .fpr(fpr)
            .build()
            .unwrap()
            .byte_len() as f64
            * 8.0
            / 1e6
    };
    assert!((bits(0.01) - 10.5).abs() < 0.1, "{}", bits(0.01));
    assert!((bits(0.001) - 16.9).abs() < 0.1, "{}", bits(0.001));
    let bits = |fpr| {
        BloomBuilder::new(1_000_000)
            .fpr(fpr)
            .build_claim()
            .unwrap()
            .stats()
            .bytes as f64
            * 8.0
            / 1e6
    };
    assert!((bits(0.01) - 12.1).abs() < 0.1, "{}", bits(0.01));
    assert!((bits(0.001) - 24.0).abs() < 0.1, "{}", bits(0.001));
}

#[test]
fn one_key_and_extreme_rates_work() {
    for (capacity, fpr) in [(1, 0.5), (1, 1e-6), (3, 0.2)] {
        let mut filter = BloomFilter::with_capacity_and_fpr(capacity, fpr).unwrap();
        filter.insert("k");
        assert!(filter.contains("k"));
        let claims = BloomBuilder::new(capacity).fpr(fpr).build_claim().unwrap();
        assert!(claims.claim("k") && !claims.claim("k"));
    }
}
