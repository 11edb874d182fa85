//! Opening a store whose writer never closed it.

use std::{fs, path::Path};

use anyhow::Result;

use super::{
    loaded::{Loaded, Store},
    peers::{FILES, OURS},
    records::key,
};
use crate::{Bench, Clock, Interval, Measured, Peer, Scale, check, quantile};

pub(super) fn open_killed(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    let mut own = Vec::new();
    let mut peers = Vec::new();
    for store in &loaded.stores {
        let milliseconds = match store.kind.name {
            FILES => continue,
            OURS => openings(bench, &loaded, store, bench.scale().pick(5, 9, 9))?,
            _ => openings(bench, &loaded, store, bench.scale().pick(1, 1, 3))?,
        };
        match store.kind.name {
            OURS => own = milliseconds,
            _ => peers.push((store.kind, milliseconds)),
        }
    }
    let ours = Interval::of(&own).median;
    let peers = peers.into_iter().map(|(kind, mut milliseconds)| {
        milliseconds.sort_by(f64::total_cmp);
        let figure = quantile(&milliseconds, 0.5);
        Peer::counted(kind.name, kind.version, figure, ours)
    });
    let peers = peers.collect();
    Ok(Measured::sampled(own).beside("ms", ours, peers).noting(format!(
        "opening and one get, on a copy of the live folder of {:.0} MB taken while its writer, idle, \
         had it open since it was empty; no process was killed",
        loaded.records.bytes() as f64 / 1e6
    )))
}

/// Milliseconds of opening fresh copies, up to the first answer.
fn openings(bench: &Bench, loaded: &Loaded, store: &Store, times: usize) -> Result<Vec<f64>> {
    if bench.scale() != Scale::Tiny {
        // What works in the background comes to rest, so that the copy is of one moment.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let wanted = loaded.records.value(0);
    let mut spent = Vec::with_capacity(times);
    for _ in 0..times {
        let root = tempfile::tempdir_in(loaded.root())?;
        copy(&store.dir, &store.kind.dir(root.path()))?;
        let before = Clock::Wall.now();
        let peer = store.kind.open_in(root.path(), &loaded.job())?;
        let found = peer.get(key(0).as_bytes())?;
        spent.push((Clock::Wall.now() - before) / 1e6);
        let found = bench.answer(found);
        let wrong = format!("{} lost a record", store.kind.name);
        check(found.as_ref() == Some(&wanted), &wrong)?;
        let last = loaded.records.len() - 1;
        let found = bench.answer(peer.get(key(last).as_bytes())?);
        check(found == Some(loaded.records.value(last)), &wrong)?;
        peer.close()?;
    }
    Ok(spent)
}

/// A copy of a live folder.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
