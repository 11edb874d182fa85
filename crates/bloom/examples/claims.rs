//! Each tool call runs exactly once, however many workers are offered it.
//!
//! The filter decides nearly all offers with one atomic instruction. What it refuses may be a fresh
//! call that only looks claimed, so a refusal asks the authority, a set of the calls that did run.
//!
//! `cargo run -p mainspring-bloom --example claims`

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use mainspring_bloom::ClaimFilter;

const CALLS: usize = 20_000;
const WORKERS: usize = 4;

struct Calls {
    filter: ClaimFilter,
    /// Calls that won although the filter refused them: about one in a thousand.
    refused_but_fresh: Mutex<HashSet<usize>>,
    /// Calls whose winner the filter named, one bit of truth per call.
    won: Vec<AtomicUsize>,
}

impl Calls {
    /// True for exactly one caller per call, once every offer has been made.
    fn claim(&self, call: usize, last_offer: bool) -> bool {
        if self.filter.claim(&(call as u64)) {
            self.won[call].store(1, Ordering::Release);
            return true;
        }
        // Only the last offer asks: by then a winner, if there is one, has signed.
        last_offer
            && self.won[call].load(Ordering::Acquire) == 0
            && self
                .refused_but_fresh
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(call)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let calls = Calls {
        filter: ClaimFilter::with_capacity_and_fpr(CALLS, 0.001)?,
        refused_but_fresh: Mutex::default(),
        won: (0..CALLS).map(|_| AtomicUsize::new(0)).collect(),
    };
    let runs: Vec<AtomicUsize> = (0..CALLS).map(|_| AtomicUsize::new(0)).collect();
    let offer_all = |last_offer| {
        for (call, run) in runs.iter().enumerate() {
            if calls.claim(call, last_offer) {
                run.fetch_add(1, Ordering::Relaxed);
            }
        }
    };

    // All workers are offered every call at once.
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| offer_all(false));
        }
    });
    // A sweep offers what is left.
    offer_all(true);

    assert!(runs.iter().all(|run| run.load(Ordering::Relaxed) == 1));
    let swept = calls
        .refused_but_fresh
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len();
    println!(
        "{CALLS} calls offered to {WORKERS} workers: each ran once, {swept} of them in the sweep"
    );
    Ok(())
}
