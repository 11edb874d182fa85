//! Inserting into full caches.

use anyhow::Result;
use mainspring_cache_tier::Clock as CacheClock;

use super::{
    field::{Field, each, fill, value_of},
    hits::{COARSE, FULL_MOKA, Named, coarse_clock, full_cache, full_moka, full_options, named},
    peers::{Peer, QuickCache},
};
use crate::{Bench, Clock, Contest, Measured, check, on_threads};

const CAPACITY: usize = 10_000;
const REFERENCE: &str = <QuickCache<u64> as Peer<u64>>::NAME;

/// Fills a cache twice over and sees that it holds its capacity and nothing wrong.
fn overfill<P: Peer<u64>>(bench: &Bench, peer: &P) -> Result<()> {
    let entries = CAPACITY * 2;
    fill(peer, entries);
    verify(bench, peer, entries as u64)
}

/// Of the keys below `entries` a full cache has as many as it says, and not more than it may.
fn verify<P: Peer<u64>>(bench: &Bench, peer: &P, entries: u64) -> Result<()> {
    let mut found = 0;
    for key in 0..entries {
        if let Some(value) = peer.get(&key) {
            found += 1;
            let right = value == value_of(&key);
            check(right, &format!("{} gave back another value", P::NAME))?;
        }
    }
    peer.settle();
    let len = bench.answer(peer.len());
    let holds = len == found && (CAPACITY / 2..=CAPACITY).contains(&found);
    let what = format!(
        "{} says that it holds {len} entries of {CAPACITY} and has {found}",
        P::NAME
    );
    check(holds, &what)
}

/// Keys that were never there before, run by run.
struct Fresh {
    next: u64,
    count: u64,
}

impl Fresh {
    fn new(count: u64) -> Self {
        Self {
            next: 1 << 32,
            count,
        }
    }

    fn take(&mut self) -> std::ops::Range<u64> {
        let start = self.next;
        self.next += self.count;
        start..self.next
    }
}

fn join<'a, P: Peer<u64>>(
    contest: Contest<'a>,
    (name, version): Named,
    peer: &'a P,
    count: u64,
    insert: impl Fn(u64) + 'a,
) -> Contest<'a> {
    let mut fresh = Fresh::new(count);
    contest.side(name, version, move || {
        fresh.take().for_each(&insert);
        peer.settle();
    })
}

fn join_by_two<'a, P: Peer<u64>>(
    contest: Contest<'a>,
    (name, version): Named,
    peer: &'a P,
    count: u64,
    insert: impl Fn(u64) + Sync + 'a,
) -> Contest<'a> {
    let mut fresh = Fresh::new(count * 2);
    contest.side_timed(name, version, move |_| {
        let keys = fresh.take();
        on_threads(2, |thread| {
            let start = keys.start + thread as u64 * count;
            (start..start + count).for_each(&insert);
            peer.settle();
        })
    })
}

fn count(bench: &Bench) -> u64 {
    bench.scale().pick(500, 10_000, 20_000)
}

/// Inserting a new key into a full cache, which evicts another.
pub(super) fn bare(bench: &Bench) -> Result<Measured> {
    let field = Field::<u64>::new(CAPACITY);
    each!(field, |peer| overfill(bench, peer)?);
    let count = count(bench);
    // stretto inserts on a thread of its own, whose time the calling thread's clock does not see.
    let mut contest = Contest::new(bench, count).clock(Clock::Process);
    each!(field, |peer| contest =
        join(contest, named(peer), peer, count, |key| Peer::insert(
            peer, key, key
        )));
    Ok(contest.run().ratio(REFERENCE).noting(
        "stretto draws what must leave by going through all of its entries, on its own thread",
    ))
}

/// The same on two threads. Without stretto: what its own thread does would not be counted.
pub(super) fn bare_by_two(bench: &Bench) -> Result<Measured> {
    let field = Field::<u64>::new(CAPACITY);
    each!(
        field,
        [ours, quick_cache, foyer, moka, mini_moka, lru],
        |peer| overfill(bench, peer)?
    );
    let count = count(bench);
    let mut contest = Contest::new(bench, count);
    each!(
        field,
        [ours, quick_cache, foyer, moka, mini_moka, lru],
        |peer| contest = join_by_two(contest, named(peer), peer, count, |key| Peer::insert(
            peer, key, key
        ))
    );
    Ok(contest.run().ratio(REFERENCE))
}

/// The same with everything on, against quick_cache's bare insert.
pub(super) fn full(bench: &Bench) -> Result<Measured> {
    let quick_cache: QuickCache<u64> = Peer::new(CAPACITY, super::peers::Shape::Usual);
    let ours = full_cache(CAPACITY, CacheClock::system());
    let coarse = full_cache(CAPACITY, coarse_clock());
    let moka = full_moka(CAPACITY);
    overfill(bench, &ours)?;
    overfill(bench, &coarse)?;
    overfill(bench, &moka)?;
    overfill(bench, &quick_cache)?;
    let options = full_options();
    let tagged = |cache: &super::peers::Ours<u64>, key| {
        cache.insert_with(key, key, &options);
    };
    let count = count(bench);
    let contest = Contest::new(bench, count);
    let contest = join(contest, named(&ours), &ours, count, |key| {
        tagged(&ours, key)
    });
    let contest = join(contest, named(&quick_cache), &quick_cache, count, |key| {
        Peer::insert(&quick_cache, key, key);
    });
    let contest = join(contest, COARSE, &coarse, count, |key| tagged(&coarse, key));
    let contest = join(contest, FULL_MOKA, &moka, count, |key| {
        Peer::insert(&moka, key, key);
    });
    Ok(contest.run().ratio(REFERENCE))
}
