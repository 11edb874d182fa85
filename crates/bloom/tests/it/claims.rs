//! At most one of racing callers is told "new".

use std::sync::{
    Barrier,
    atomic::{AtomicU64, Ordering},
};

use mainspring_bloom::{BloomBuilder, ClaimFilter};

/// Fewer keys where the code is not optimised.
const KEYS: u64 = if cfg!(debug_assertions) {
    300_000
} else {
    4_000_000
};

#[test]
fn no_key_is_won_twice_in_a_race() {
    let claims = ClaimFilter::with_capacity_and_fpr(KEYS as usize, 0.001).unwrap();
    let winners: Vec<AtomicU64> = (0..KEYS / 16 + 1).map(|_| AtomicU64::new(0)).collect();
    let (threads, start) = (4, Barrier::new(4));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                for key in 0..KEYS {
                    if claims.claim(&key) {
                        // Four bits for each key count its winners.
                        winners[(key / 16) as usize]
                            .fetch_add(1 << (key % 16 * 4), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let counts = (0..KEYS)
        .map(|key| winners[(key / 16) as usize].load(Ordering::Relaxed) >> (key % 16 * 4) & 15);
    let (mut none, mut several) = (0_u64, 0_u64);
    counts.for_each(|wins| {
        none += u64::from(wins == 0);
        several += u64::from(wins > 1);
    });
    assert_eq!(several, 0, "keys told new to more than one caller");
    assert!(
        (none as f64) < KEYS as f64 * 0.001,
        "{none} of {KEYS} suppressed"
    );
}

#[test]
fn a_claim_survives_storage() {
    let claims = BloomBuilder::new(1_000).seed(5).build_claim().unwrap();
    let won: Vec<u64> = (0..1_000).filter(|key| claims.claim(key)).collect();
    let read = ClaimFilter::from_bytes(&claims.to_bytes()).unwrap();
    assert!(
        won.iter()
            .all(|key| read.is_claimed(key) && !read.claim(key))
    );
    assert_eq!(read.key_hash(), claims.key_hash());
    assert_eq!(read.fill(), claims.fill());
}

#[test]
fn an_asked_for_key_is_not_claimed_by_asking() {
    let claims = ClaimFilter::with_capacity_and_fpr(100, 0.01).unwrap();
    assert!(!claims.is_claimed("a"));
    assert!(claims.claim("a"));
    assert!(claims.is_claimed("a"));
}
