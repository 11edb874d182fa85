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

/// The standard deviation of the estimate that the documentation of `estimated_count` promises.
fn deviation(keys: f64, blocks: f64) -> f64 {
    let beyond = |t: f64| t.exp_m1() - t;
    let t = keys / (32.0 * blocks);
    (blocks * (4.0 * beyond(t) + 896.0 * beyond(t / 32.0))).sqrt()
}

/// At every fill from empty to half as much again as the capacity: each estimate within five standard
/// deviations, their mean over the seeds free of bias, their spread neither more nor much less than promised.
#[test]
fn counts_are_estimated_as_closely_as_promised() {
    const SEEDS: u64 = 60;
    for (capacity, fpr) in [(2_000_u64, 0.01), (2_000, 0.0001), (3_000, 0.3)] {
        let builder = BloomBuilder::new(capacity as usize).fpr(fpr);
        let mut errors = vec![Vec::new(); 13];
        for seed in 1..=SEEDS {
            let mut filter = builder.clone().seed(seed).build().unwrap();
            let blocks = (filter.byte_len() / 32) as f64;
            for (step, errors) in errors.iter_mut().enumerate() {
                let held = capacity * step as u64 / 8;
                filter.insert_many(capacity * step.saturating_sub(1) as u64 / 8..held);
                let estimate = filter.estimated_count();
                if step == 0 {
                    assert_eq!(estimate, 0);
                    continue;
                }
                let promised = deviation(held as f64, blocks);
                if fpr <= 0.01 {
                    assert!(promised < 0.06 / blocks.sqrt() * held as f64);
                }
                let error = (estimate as f64 - held as f64) / promised;
                assert!(error.abs() < 5.0, "{estimate} for {held} at {fpr}");
                errors.push(error);
            }
        }
        for (step, errors) in errors.iter().enumerate().skip(1) {
            let mean = errors.iter().sum::<f64>() / SEEDS as f64;
            let spread = errors.iter().map(|error| error * error).sum::<f64>() / SEEDS as f64;
            assert!(mean.abs() < 0.6, "{step}/8 at {fpr}: bias {mean}");
            assert!(
                (0.4..1.8).contains(&spread),
                "{step}/8 at {fpr}: variance {spread}"
            );
        }
    }
}

/// All the way to the last bit the estimate never falls, and it is a sane number at any fill.
#[test]
fn counts_stay_numbers_until_the_last_bit() {
    for (capacity, fpr) in [(1, 0.5), (1, 0.01), (50, 0.01)] {
        let mut filter = BloomBuilder::new(capacity).fpr(fpr).build().unwrap();
        let mut last = filter.estimated_count();
        assert_eq!(last, 0);
        for key in 0_u64.. {
            if filter.insert(&key) {
                let estimate = filter.estimated_count();
                assert!(estimate >= last, "{key}: {estimate}");
                last = estimate;
            }
            let full = filter.fill() >= 1.0;
            assert_eq!(last == u64::MAX, full, "{key}");
            if full {
                break;
            }
            assert!(last < 1_000_000, "{key}: {last}");
        }
    }
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
