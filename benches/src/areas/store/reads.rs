//! Single reads: hits and misses.

use std::hint::black_box;

use anyhow::Result;

use super::{
    loaded::Loaded,
    peers::{Handle, LMDB, OURS, Peer},
    records::{absent, key},
};
use crate::{Bench, Contest, Measured, check};

const COPIED: &str = "heed (LMDB), copied out";
const PLAIN: &str = "mainspring-mmap-store, default layout";

/// Our store mapped, against LMDB: both lend the value where it lies.
pub(super) fn get_hit_mapped(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    let ours = Handle::mapped_reader(&loaded.ours().dir)?;
    let plain = Handle::mapped_reader(&loaded.plain.dir)?;
    let measured = hits(bench, &loaded, [&ours, &plain], LMDB)?;
    Ok(measured.noting(
        "every side adds up the value it got; ours from mapped segments of whole blocks, checked, \
         LMDB inside a transaction of its own, not copied",
    ))
}

/// Our store in its safe default, against LMDB copied out: both hand over memory of one's own.
pub(super) fn get_hit_safe(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    let ours = Handle::reader(&loaded.ours().dir)?;
    let plain = Handle::reader(&loaded.plain.dir)?;
    let measured = hits(bench, &loaded, [&ours, &plain], COPIED)?;
    Ok(measured.noting(
        "every side adds up the value it got; ours, of whole blocks, read by position into memory \
         of its own, checked",
    ))
}

fn hits(
    bench: &Bench,
    loaded: &Loaded,
    [ours, plain]: [&Handle; 2],
    against: &str,
) -> Result<Measured> {
    let numbers = loaded.records.of_one_kib();
    let keys: Vec<String> = numbers.iter().copied().map(key).collect();
    let lmdb = &loaded.stores.iter().find(|store| store.kind.name == LMDB);
    let lmdb = &lmdb.expect("LMDB is loaded").peer;
    let values = numbers.iter().map(|number| loaded.records.value(*number));
    let right = values.fold(0, |all, value| mixed(all, &value));
    let all_sides = sides(loaded, ours).chain([(PLAIN, plain as &dyn Peer)]);
    for (name, peer) in all_sides {
        let mut all = 0;
        for key in &keys {
            peer.visit(key.as_bytes(), &mut |value| all = mixed(all, value))?;
        }
        let wrong = format!("{name} gave other bytes than were written");
        check(bench.answer(all) == right, &wrong)?;
    }
    let mut all = 0;
    for key in &keys {
        let copied = lmdb.get(key.as_bytes())?.unwrap_or_default();
        all = mixed(all, &copied);
    }
    check(bench.answer(all) == right, "LMDB copied other bytes out")?;
    let count = bench.scale().pick(8, 1_000, 2_000);
    let mut contest = Contest::new(bench, count as u64);
    contest = contest.side(OURS, "", visiting(ours, &keys, count));
    contest = contest.side(PLAIN, "not in whole blocks", visiting(plain, &keys, count));
    for store in loaded.others() {
        let work = visiting(&*store.peer, &keys, count);
        contest = contest.side(store.kind.name, store.kind.version, work);
    }
    let mut next = Turn::new(count);
    let standing = contest
        .side(COPIED, "0.23", || {
            for at in next.turn() {
                let value = lmdb.get(keys[at % keys.len()].as_bytes());
                let value = value.expect("the store answers").expect("it is there");
                black_box(sum(&value));
            }
        })
        .run();
    Ok(standing.ratio(against))
}

fn sides<'a>(
    loaded: &'a Loaded,
    ours: &'a Handle,
) -> impl Iterator<Item = (&'static str, &'a dyn Peer)> {
    let others = loaded.others();
    let others = others.map(|store| (store.kind.name, &*store.peer as &dyn Peer));
    std::iter::once((OURS, ours as &dyn Peer)).chain(others)
}

fn visiting<'a>(peer: &'a dyn Peer, keys: &'a [String], count: usize) -> impl FnMut() + 'a {
    let mut next = Turn::new(count);
    move || {
        for at in next.turn() {
            let key = keys[at % keys.len()].as_bytes();
            let found = peer.visit(key, &mut |value| {
                black_box(sum(value));
            });
            assert!(found.expect("the store answers"), "the record is there");
        }
    }
}

pub(super) fn miss(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    let ours = Handle::reader(&loaded.ours().dir)?;
    let numbers = loaded.records.of_one_kib();
    let keys: Vec<String> = numbers.into_iter().map(absent).collect();
    for (name, peer) in sides(&loaded, &ours) {
        let mut found = 0;
        for key in &keys {
            found += usize::from(peer.visit(key.as_bytes(), &mut |_| ())?);
        }
        let found = bench.answer(found);
        check(found == 0, &format!("{name} found what nobody wrote"))?;
    }
    let count = bench.scale().pick(8, 1_000, 2_000);
    let mut contest = Contest::new(bench, count as u64);
    for (at, (name, peer)) in sides(&loaded, &ours).enumerate() {
        let version = loaded.stores[at].kind.version;
        contest = contest.side(name, version, missing(peer, &keys, count));
    }
    let measured = contest.run().ratio(LMDB);
    Ok(measured.noting("keys of sessions that are there, one transaction per get for LMDB"))
}

fn missing<'a>(peer: &'a dyn Peer, keys: &'a [String], count: usize) -> impl FnMut() + 'a {
    let mut next = Turn::new(count);
    move || {
        for at in next.turn() {
            let found = peer.visit(keys[at % keys.len()].as_bytes(), &mut |_| ());
            assert!(!found.expect("the store answers"), "nobody wrote it");
        }
    }
}

/// Which keys a run asks for: others every time, the same ones for every side.
struct Turn {
    at: usize,
    count: usize,
}

impl Turn {
    fn new(count: usize) -> Self {
        Self { at: 0, count }
    }

    fn turn(&mut self) -> std::ops::Range<usize> {
        let start = self.at;
        self.at += self.count;
        start..self.at
    }
}

/// The sums of values so far, in their order, and that of one more.
fn mixed(all: u64, value: &[u8]) -> u64 {
    all.rotate_left(7) ^ sum(value) ^ value.len() as u64
}

/// Touches every byte.
fn sum(value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chain(rest).fold(0, u64::wrapping_add)
}
