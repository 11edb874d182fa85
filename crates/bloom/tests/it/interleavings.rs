//! Interleavings of small races, under loom; all of them for claims, for shared inserts, which take eight
//! steps each, all with up to two preemptions:
//! `RUSTFLAGS="--cfg loom" cargo test -p mainspring-bloom --test it --release`.

use loom::{sync::Arc, thread};
use mainspring_bloom::{BloomBuilder, ClaimFilter, SharedBloomFilter};

fn explore(race: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(race);
}

fn shared() -> Arc<SharedBloomFilter> {
    Arc::new(
        BloomBuilder::new(1)
            .fpr(0.5)
            .portable(true)
            .build_shared()
            .unwrap(),
    )
}

#[test]
fn racing_inserts_lose_no_bit() {
    explore(|| {
        let filter = shared();
        let other = Arc::clone(&filter);
        let racer = thread::spawn(move || other.insert(&1_u64));
        filter.insert(&2_u64);
        racer.join().unwrap();
        assert!(filter.contains(&1_u64) && filter.contains(&2_u64));
    });
}

#[test]
fn racing_inserts_of_one_key_tell_somebody_it_is_new() {
    explore(|| {
        let filter = shared();
        let other = Arc::clone(&filter);
        let racer = thread::spawn(move || other.insert(&7_u64));
        let mine = filter.insert(&7_u64);
        assert!(racer.join().unwrap() || mine);
    });
}

/// Whoever is told "not new" may rely on it, though the bits were another thread's.
#[test]
fn a_key_is_found_by_whoever_learns_of_any_insert() {
    explore(|| {
        let filter = shared();
        let insert = |filter: &Arc<SharedBloomFilter>| {
            let filter = Arc::clone(filter);
            thread::spawn(move || filter.insert(&7_u64))
        };
        let (first, second) = (insert(&filter), insert(&filter));
        second.join().unwrap();
        assert!(filter.contains(&7_u64));
        first.join().unwrap();
    });
}

#[test]
fn a_union_and_a_racing_insert_lose_no_bit() {
    explore(|| {
        let filter = shared();
        let mut more = BloomBuilder::new(1).fpr(0.5).build().unwrap();
        more.insert(&1_u64);
        let other = Arc::clone(&filter);
        let racer = thread::spawn(move || other.insert(&2_u64));
        filter.union(&more).unwrap();
        let snapshot = filter.snapshot();
        assert!(snapshot.contains(&1_u64));
        racer.join().unwrap();
        let filter = filter.snapshot();
        assert!(filter.contains(&1_u64) && filter.contains(&2_u64));
    });
}

fn claims() -> Arc<ClaimFilter> {
    Arc::new(BloomBuilder::new(4).fpr(0.01).build_claim().unwrap())
}

#[test]
fn one_of_three_racing_claims_wins() {
    loom::model(|| {
        let filter = claims();
        let racers: Vec<_> = (0..2)
            .map(|_| {
                let filter = Arc::clone(&filter);
                thread::spawn(move || u32::from(filter.claim(&7_u64)))
            })
            .collect();
        let mut winners = u32::from(filter.claim(&7_u64));
        for racer in racers {
            winners += racer.join().unwrap();
        }
        assert_eq!(winners, 1);
    });
}

#[test]
fn a_refused_claim_sees_what_the_winner_did_before() {
    loom::model(|| {
        let filter = claims();
        let done = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let (other, flag) = (Arc::clone(&filter), Arc::clone(&done));
        let winner = thread::spawn(move || {
            flag.store(true, loom::sync::atomic::Ordering::Relaxed);
            other.claim(&7_u64)
        });
        if !filter.claim(&7_u64) {
            assert!(done.load(loom::sync::atomic::Ordering::Relaxed));
        }
        winner.join().unwrap();
    });
}
