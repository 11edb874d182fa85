//! Anonymous resident memory, of a process of its own where there is one.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use mainspring::{
    Runtime,
    cache_tier::{EntryOptions, Key},
    monitor::ProcessProbe,
};

use super::stored::{self, Stored, name};
use crate::{Bench, Measured, areas::alone, check};

pub(super) fn baseline(bench: &Bench) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    if let Some(measured) = alone::measured(bench, "memory.baseline", dir.path())? {
        return Ok(measured);
    }
    let mut probe = Probe::new()?;
    let tokio = super::tokio()?;
    let runtime = stored::open(&tokio, &alone::folder().unwrap_or(dir.path().to_owned()));
    let sessions = bench.answer(runtime.sessions()?.len());
    check(sessions == 0, "an idle runtime has sessions")?;
    let measured = probe.measured("an open runtime without sessions")?;
    tokio.block_on(runtime.close())?;
    Ok(measured)
}

pub(super) fn load(bench: &Bench) -> Result<Measured> {
    let Some(folder) = alone::folder() else {
        let stored = Stored::of(bench)?;
        return match alone::measured(bench, "memory.load", &stored.folder())? {
            Some(measured) => Ok(measured),
            None => loaded(bench, &stored.folder()),
        };
    };
    loaded(bench, &folder)
}

/// All sessions open, the cache's memory full, every pooled buffer used once.
fn loaded(bench: &Bench, folder: &Path) -> Result<Measured> {
    let mut probe = Probe::new()?;
    let tokio = super::tokio()?;
    let runtime = stored::open(&tokio, folder);
    let names = runtime.sessions()?;
    let sessions = names.iter().map(|name| runtime.resume(name));
    let sessions: Vec<_> = sessions.collect::<Result<_, _>>()?;
    let open: u64 = sessions.iter().map(mainspring::Session::messages).sum();
    let open = bench.answer(open);
    check(
        open == (names.len() * stored::MESSAGES) as u64 && names.contains(&name(0)),
        "messages are missing",
    )?;
    let cached = fill(&tokio, &runtime)?;
    let cached = bench.answer(cached);
    check(cached == 1_000, "the cache is not full")?;
    let note = format!(
        "{} sessions open, 1,000 cached values of 4 KiB, the pooled buffers in use",
        names.len()
    );
    let measured = probe.measured(&note)?;
    drop(sessions);
    tokio.block_on(runtime.close())?;
    Ok(measured)
}

/// Fills the cache's memory and the buffers; the number of values that are in memory then.
fn fill(tokio: &tokio::runtime::Runtime, runtime: &Runtime) -> Result<usize> {
    let cache = runtime.cache();
    let key = |number: usize| Key::new("bench", format!("value-{number}"));
    for number in 0..1_000 {
        let value = Bytes::from(vec![number as u8; 4_096]);
        tokio.block_on(cache.insert(&key(number), value, &EntryOptions::default()))?;
    }
    let classes = [
        (1 << 10, 100),
        (4 << 10, 50),
        (16 << 10, 25),
        (64 << 10, 10),
    ];
    let lent = classes.iter().flat_map(|(size, count)| {
        (0..*count).map(|_| {
            let mut buffer = runtime.buffers().get(*size);
            buffer.resize(*size, 1);
            buffer
        })
    });
    drop(lent.collect::<Vec<_>>());
    Ok((0..1_000).filter(|n| cache.in_memory(&key(*n))).count())
}

/// RssAnon of this process: all of it when it runs for this row alone, else what it grows by.
struct Probe {
    probe: ProcessProbe,
    before: u64,
}

impl Probe {
    fn new() -> Result<Self> {
        let mut probe = ProcessProbe::open()?;
        let before = if alone::folder().is_some() {
            0
        } else {
            probe.memory()?.rss_anon_bytes
        };
        Ok(Self { probe, before })
    }

    fn measured(&mut self, what: &str) -> Result<Measured> {
        let now = self.probe.memory()?.rss_anon_bytes;
        let bytes = now.saturating_sub(self.before);
        let whose = if alone::folder().is_some() {
            "RssAnon of a process of its own"
        } else {
            "growth of RssAnon in a process that did other work before"
        };
        Ok(Measured::counted(bytes as f64 / 1e6).noting(format!("{what}; {whose}")))
    }
}
