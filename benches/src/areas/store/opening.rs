//! Opening a store whose writer never closed it.

use std::{fs, path::Path};

use anyhow::Result;

use super::{
    loaded::{Loaded, Store},
    peers::{FILES, Job, Kind, OURS},
    records::key,
};
use crate::{Bench, Clock, Interval, Measured, Peer, Scale, check, quantile};

pub(super) fn open_killed(bench: &Bench) -> Result<Measured> {
    let loaded = bench.fixture(|| Loaded::new(bench))?;
    let often = bench.scale().pick(5, 9, 9);
    let own = openings(bench, &loaded, &loaded.plain, &plain(&loaded), often)?;
    let mut peers = Vec::new();
    for store in &loaded.stores {
        let Kind { name, version, .. } = store.kind;
        let (name, version, times) = match name {
            FILES => continue,
            OURS => (OURS, "whole blocks", often),
            _ => (name, version, bench.scale().pick(1, 1, 3)),
        };
        let milliseconds = openings(bench, &loaded, store, &loaded.job(), times)?;
        peers.push((name, version, milliseconds));
    }
    let ours = Interval::of(&own).median;
    let peers = peers.into_iter().map(|(name, version, mut milliseconds)| {
        milliseconds.sort_by(f64::total_cmp);
        let figure = quantile(&milliseconds, 0.5);
        Peer::counted(name, version, figure, ours)
    });
    let peers = peers.collect();
    Ok(Measured::sampled(own).beside("ms", ours, peers).noting(format!(
        "opening and one get, on a copy of the live folder of {:.0} MB taken while its writer, idle, \
         had it open since it was empty; no process was killed",
        loaded.records.bytes() as f64 / 1e6
    )))
}

/// What the default layout is opened with.
fn plain(loaded: &Loaded) -> Job {
    Job {
        read: false,
        ..loaded.job()
    }
}

/// Milliseconds of opening fresh copies, up to the first answer.
fn openings(
    bench: &Bench,
    loaded: &Loaded,
    store: &Store,
    job: &Job,
    times: usize,
) -> Result<Vec<f64>> {
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
        let peer = store.kind.open_in(root.path(), job)?;
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
