//! Opening a runtime that has sessions.

use anyhow::Result;

use super::{
    forget,
    stored::{MESSAGES, Stored, name},
};
use crate::{Bench, Clock, Contest, Measured, check};

pub(super) fn cold(bench: &Bench) -> Result<Measured> {
    let measured = opened(bench, true)?;
    let note = "page cache of its files dropped with posix_fadvise(DONTNEED) before each opening";
    Ok(noting(measured, note))
}

pub(super) fn warm(bench: &Bench) -> Result<Measured> {
    opened(bench, false)
}

fn noting(measured: Measured, more: &str) -> Measured {
    let note = format!("{}; {more}", measured.note);
    measured.noting(note)
}

fn opened(bench: &Bench, cold: bool) -> Result<Measured> {
    let stored = Stored::of(bench)?;
    let runtime = stored.open();
    let found = bench.answer(runtime.sessions()?.len());
    check(found == stored.count, "sessions are missing")?;
    let session = runtime.resume(&name(stored.count - 1))?;
    let message = bench.answer(session.message(1)?);
    check(message == stored.message(1), "a session has other messages")?;
    drop(session);
    stored.close(runtime);
    let read = bench.answer(read_all(&stored)?);
    let bytes: usize = (0..MESSAGES).map(|n| stored.message(n).len() + 1).sum();
    check(
        read == (bytes - 1) * stored.count,
        "the files have other bytes",
    )?;
    let drop_cached = |folder: &std::path::Path| {
        if cold {
            forget(folder).expect("the page cache can be dropped");
        }
    };
    let standing = Contest::new(bench, 1)
        .clock(Clock::Wall)
        .at_most(30)
        .side_timed("mainspring", "", |clock| {
            drop_cached(&stored.folder());
            let mut runtime = None;
            let spent = clock.time(|| runtime = Some(stored.open()));
            runtime.into_iter().for_each(|r| stored.close(r));
            spent
        })
        .side_timed("one file per session, all read", "fs::read", |clock| {
            drop_cached(&stored.files());
            clock.time(|| drop(std::hint::black_box(read_all(&stored))))
        })
        .run();
    let note = format!("{} stored sessions, one checkpoint each", stored.count);
    Ok(standing.time(1e6).noting(note))
}

/// What a runtime does that keeps one file a session and reads them when it starts.
fn read_all(stored: &Stored) -> Result<usize> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(stored.files())? {
        bytes += std::fs::read(entry?.path())?.len();
    }
    Ok(bytes)
}
