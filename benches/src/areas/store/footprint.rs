//! Loading, and what it leaves on disk and in memory.

use std::path::Path;

use anyhow::Result;
use mainspring_mmap_store::Options;

use super::{
    loaded::{Loaded, fill, holds},
    peers::{Handle, Job, KINDS, Kind, LMDB, OURS},
    records::{Records, key},
};
use crate::{Bench, Clock, Contest, Measured, Peer, PerInput, check};

const LAID_OUT: &str = "mainspring-mmap-store, whole blocks";

pub(super) fn load_bulk(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    let records = &loaded.records;
    for store in &loaded.stores {
        loaded.check(bench, store)?;
    }
    let root = loaded.root();
    let side = |kind: &'static Kind, read| move |_: Clock| load_afresh(kind, root, records, read);
    let mut contest = Contest::new(bench, records.len() as u64)
        .clock(Clock::Wall)
        .at_most(5);
    for kind in KINDS
        .iter()
        .filter(|kind| [OURS, LMDB].contains(&kind.name))
    {
        contest = contest.side_timed(kind.name, kind.version, side(kind, false));
    }
    contest = contest.side_timed(
        LAID_OUT,
        "as the rows on gets read it",
        side(&KINDS[0], true),
    );
    let mut measured = contest.run().faster(LMDB);
    let own = measured.own.unwrap_or_default();
    let per_record = |nanoseconds: f64| nanoseconds / records.len() as f64;
    let once = loaded.others().filter(|store| store.kind.name != LMDB);
    measured.peers.extend(once.map(|store| {
        let (name, version) = (store.kind.name, store.kind.version);
        Peer::counted(name, version, per_record(store.loading), own)
    }));
    Ok(measured.noting(format!(
        "{} records, {:.0} MB in batches of 1,000, durable at the end (files: never); LMDB in the \
         same rounds (NO_SYNC until the end), the others loaded once",
        records.len(),
        records.bytes() as f64 / 1e6
    )))
}

/// Loads into an empty folder, which is cleared away afterwards.
fn load_afresh(kind: &Kind, root: &Path, records: &Records, read: bool) -> f64 {
    let dir = tempfile::tempdir_in(root).expect("a folder can be made");
    // With segments of the default size, which fewer records do not fill as often.
    let job = Job {
        durable: false,
        read,
        bytes: 512 << 20,
    };
    let peer = kind.open_in(dir.path(), &job);
    let peer = peer.expect("an empty store opens");
    let spent = fill(&*peer, records).expect("the store takes the records");
    peer.close().expect("the store closes");
    spent
}

pub(super) fn disk(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    for store in &loaded.stores {
        loaded.check(bench, store)?;
    }
    let raw = loaded.records.bytes() as f64;
    let share = |bytes: u64| bytes as f64 / raw;
    let ours = share(loaded.ours().disk);
    Ok(Measured::counted(ours)
        .beside("ratio", ours, loaded.figures(|store| share(store.disk)))
        .noting(format!(
            "{:.0} MB of keys and values of compressible text; ours keeps them as they are, fjall \
             compresses blocks by LZ4",
            raw / 1e6
        )))
}

pub(super) fn index_bytes(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    let keys = loaded.records.len();
    let before = anonymous_bytes();
    let options = Options::new().read_only(true);
    let store = options.open(&loaded.ours().dir)?;
    let stats = store.stats();
    let grown = anonymous_bytes().saturating_sub(before);
    let live = bench.answer(stats.live_keys);
    check(live == keys as u64, "the store counts other keys")?;
    let peer = Handle(store);
    holds(bench, OURS, &peer, &loaded.records)?;
    let per_key = |bytes: u64| bytes as f64 / keys as f64;
    let ours = per_key(stats.index_bytes);
    let map = Peer::counted(
        "bare log + HashMap",
        "std",
        per_key(map_bytes(&loaded)),
        ours,
    );
    let figures = [("grown by opening, bytes a key", per_key(grown))];
    Ok(Measured::counted(ours)
        .beside("bytes", ours, vec![map])
        .on_inputs(vec![PerInput::new("anonymous resident memory", figures)])
        .noting("the store's own count; the growth misses what the allocator had left over"))
}

/// What a std map from keys to places takes: its slots at seven eighths of a power of two, a control
/// byte each, and the keys, each with eight bytes of the allocator.
fn map_bytes(loaded: &Loaded) -> u64 {
    let keys = loaded.records.len() as u64;
    let slots = (keys * 8 / 7).next_power_of_two();
    let slot = size_of::<(Box<[u8]>, (u64, u32))>() as u64 + 1;
    slots * slot + keys * (key(0).len() as u64 + 8)
}

fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
