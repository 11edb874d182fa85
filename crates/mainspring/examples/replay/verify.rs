//! Everything again from disk: resume, restore, compare.

use std::{path::Path, time::Instant};

use mainspring::{Runtime, monitor::ProcessSample};

use crate::{
    drive::Driven,
    figures::{Restore, Resume},
};

/// What reopening one session showed.
#[derive(Debug)]
pub(crate) struct Verified {
    pub restore: Restore,
    pub resume: Resume,
    /// The times of all restores, microseconds.
    pub times: Vec<f64>,
    pub problems: Vec<String>,
}

/// Resumes a session and compares its context and each of its checkpoints with what went in.
pub(crate) fn verify(runtime: &Runtime, driven: &Driven, open_ms: f64) -> Verified {
    let mut verified = Verified {
        restore: Restore::default(),
        resume: Resume {
            open_ms: Some(open_ms),
            ..Resume::default()
        },
        times: Vec::with_capacity(driven.versions.len()),
        problems: Vec::new(),
    };
    let started = Instant::now();
    let session = match runtime.resume(&driven.name) {
        Ok(session) => session,
        Err(error) => {
            verified.restore.identical = false;
            verified
                .problems
                .push(format!("it cannot be resumed: {error}"));
            return verified;
        }
    };
    let same = session.context().items().eq(driven.context.iter());
    verified.resume.to_first_context_ms = Some(started.elapsed().as_secs_f64() * 1e3);
    verified.resume.rss_bytes = ProcessSample::now().ok().map(|sample| sample.rss_bytes);
    if !same {
        verified
            .problems
            .push("the resumed context differs from the one before".to_owned());
    }
    for (step, version) in driven.versions.iter().enumerate() {
        let started = Instant::now();
        let restored = session.restore(*version);
        verified.times.push(started.elapsed().as_secs_f64() * 1e6);
        verified.restore.versions_checked += 1;
        let wrong = match restored {
            Ok(bytes) => difference(&bytes, &driven.state(step)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(wrong) = wrong {
            verified.restore.identical = false;
            verified
                .problems
                .push(format!("checkpoint {} ({version}): {wrong}", step + 1));
        }
    }
    summarise(&mut verified.restore, &mut verified.times.clone());
    verified
}

/// Median, 99th percentile and maximum of the times.
pub(crate) fn summarise(restore: &mut Restore, times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = times.len().checked_sub(1)?;
        times.get((last as f64 * share).round() as usize).copied()
    };
    (restore.p50_us, restore.p99_us, restore.max_us) = (at(0.5), at(0.99), at(1.0));
}

fn difference(found: &[u8], wanted: &[u8]) -> Option<String> {
    let common = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let same = found.len() == wanted.len() && common == wanted.len();
    let (found, wanted) = (found.len(), wanted.len());
    (!same).then(|| format!("differs from byte {common} on ({found} bytes, {wanted} went in)"))
}

/// Every byte of every store: what is damaged, with file and offset.
pub(crate) fn stores(runtime: &Runtime, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let stores = [
        ("sessions", runtime.session_store()),
        ("snapshots", runtime.snapshot_store()),
        ("cache", runtime.cache_store()),
    ];
    for (name, store) in stores {
        let place = dir.join(name);
        let mut damage = store.damage();
        match store.verify() {
            Ok(report) => damage.extend(report.damage),
            Err(error) => found.push(format!("{}: {error}", place.display())),
        }
        damage.dedup();
        found.extend(
            damage
                .iter()
                .map(|damage| format!("{}: {damage}", place.display())),
        );
    }
    match runtime.snapshots().verify() {
        Ok(report) => found.extend(report.damage.iter().map(|damage| {
            let affected = damage.versions.len();
            format!(
                "checkpoints: {} at byte {}: {} ({affected} versions affected)",
                damage.key, damage.offset, damage.what
            )
        })),
        Err(error) => found.push(format!("checkpoints: {error}")),
    }
    found
}
