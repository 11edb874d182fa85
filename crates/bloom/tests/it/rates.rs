//! False positive rates and estimates inside what chance allows.

use mainspring_bloom::BloomBuilder;

/// Five standard deviations of a binomial above its mean.
fn bound(trials: f64, rate: f64) -> f64 {
    trials * rate + 5.0 * (trials * rate * (1.0 - rate)).sqrt()
}

const TRIALS: u64 = 400_000;

fn absent() -> impl Iterator<Item = u64> {
    (0..TRIALS).map(|key| key + (1 << 40))
}

#[test]
fn the_rate_is_kept_at_capacity() {
    for (capacity, fpr) in [
        (1_000, 0.1),
        (20_000, 0.01),
        (50_000, 0.001),
        (50_000, 0.0001),
    ] {
        let mut filter = BloomBuilder::new(capacity)
            .fpr(fpr)
            .seed(3)
            .build()
            .unwrap();
        filter.insert_many(0..capacity as u64);
        let mut found = Vec::new();
        filter.contains_many(absent(), &mut found);
        let positives = found.iter().filter(|&&positive| positive).count() as f64;
        // The filter's own draw of keys moves its rate too, so the rate of its bits is bounded first.
        let rate = filter.estimated_fpr();
        assert!(
            rate < fpr * 1.25,
            "{capacity} at {fpr}: the bits say {rate}"
        );
        assert!(
            positives <= bound(TRIALS as f64, rate),
            "{capacity} at {fpr}: {positives} of {TRIALS}"
        );
        assert!(
            positives >= 2.0 * TRIALS as f64 * rate - bound(TRIALS as f64, rate),
            "{positives}"
        );
    }
}

/// The draw of the keys moves the rate of one filter, not the mean over seeds: a size that is off by two
/// percent would show here.
#[test]
fn the_mean_rate_over_seeds_is_the_one_asked_for() {
    const SEEDS: u64 = 12;
    for (capacity, fpr) in [(5_000, 0.1), (20_000, 0.01), (20_000, 0.001)] {
        let builder = BloomBuilder::new(capacity).fpr(fpr);
        let (mut split, mut shared, mut claim) = (0.0, 0.0, 0.0);
        for seed in 1..=SEEDS {
            let builder = builder.clone().seed(seed);
            let mut filter = builder.clone().build().unwrap();
            filter.insert_many(0..capacity as u64);
            let claims = builder.clone().build_claim().unwrap();
            let others = builder.build_shared().unwrap();
            others.insert_many(0..capacity as u64);
            (0..capacity as u64).for_each(|key| {
                claims.claim(&key);
            });
            split += filter.estimated_fpr() / fpr / SEEDS as f64;
            shared += others.estimated_fpr() / fpr / SEEDS as f64;
            claim += claims.estimated_fpr() / fpr / SEEDS as f64;
        }
        assert!((0.93..1.03).contains(&split), "split {split} at {fpr}");
        assert!((split - shared).abs() < 1e-9, "{split} and {shared}");
        assert!((0.93..1.03).contains(&claim), "claim {claim} at {fpr}");
    }
}

#[test]
fn claims_keep_the_rate_at_capacity() {
    for (capacity, fpr) in [(5_000, 0.1), (50_000, 0.01), (100_000, 0.001)] {
        let claims = BloomBuilder::new(capacity)
            .fpr(fpr)
            .seed(3)
            .build_claim()
            .unwrap();
        for key in 0..capacity as u64 {
            claims.claim(&key);
        }
        let refused = absent().filter(|key| claims.is_claimed(key)).count() as f64;
        let rate = claims.estimated_fpr();
        assert!(
            rate < fpr * 1.25,
            "{capacity} at {fpr}: the bits say {rate}"
        );
        assert!(
            refused <= bound(TRIALS as f64, rate),
            "{capacity} at {fpr}: {refused} of {TRIALS}"
        );
        assert!(
            refused >= 2.0 * TRIALS as f64 * rate - bound(TRIALS as f64, rate),
            "{refused}"
        );
    }
}

#[test]
fn a_growing_filter_keeps_the_whole_rate() {
    let mut filter = BloomBuilder::new(500).fpr(0.01).build_scalable().unwrap();
    filter.insert_many(0..40_000_u64).unwrap();
    let positives = absent().filter(|key| filter.contains(key)).count() as f64;
    assert!(
        positives <= bound(TRIALS as f64, 0.01),
        "{positives} of {TRIALS}"
    );
    let rate = filter.estimated_fpr();
    assert!(rate <= 0.0105, "{rate}");
}

#[test]
fn counts_are_estimated_within_two_percent() {
    for keys in [1_000_u64, 10_000, 40_000] {
        let mut filter = BloomBuilder::new(20_000).build().unwrap();
        filter.insert_many(0..keys);
        let claims = BloomBuilder::new(20_000).build_claim().unwrap();
        for key in 0..keys {
            claims.claim(&key);
        }
        for estimate in [filter.estimated_count(), claims.estimated_count()] {
            let error = (estimate as f64 / keys as f64 - 1.0).abs();
            assert!(error < 0.02, "{estimate} for {keys}");
        }
    }
}
