//! What the kernel says about the process.

use std::{fs, hint::black_box};

use anyhow::{Context, Result};
use mainspring_monitor::{ProcessProbe, ProcessSample};

use crate::{Bench, Contest, Measured, areas::Unavailable, check};

const SAMPLES: u64 = 100;
const FILES: [&str; 3] = ["/proc/self/statm", "/proc/self/stat", "/proc/self/status"];

/// One sample of memory, CPU, threads and descriptors.
pub(super) fn process(bench: &Bench) -> Result<Measured> {
    let Ok(mut probe) = ProcessProbe::open() else {
        return Err(Unavailable("no /proc here".to_owned()).into());
    };
    check_against_status(bench, &probe.sample()?)?;
    let standing = Contest::new(bench, SAMPLES)
        .side("mainspring-monitor", "", || {
            for _ in 0..SAMPLES {
                black_box(probe.sample().expect("it could before"));
            }
        })
        .side("the same without kept descriptors", "", || {
            for _ in 0..SAMPLES {
                black_box(ProcessSample::now().expect("it could before"));
            }
        })
        .side("the files read to strings, not parsed", "std", || {
            for _ in 0..SAMPLES {
                for file in FILES {
                    black_box(fs::read_to_string(file).expect("it could before"));
                }
                black_box(fs::read_dir("/proc/self/fd").map_or(0, Iterator::count));
            }
        })
        .run();
    Ok(standing.time(1e3))
}

/// Memory within a fifth of what `/proc/self/status` says, descriptors as counted.
fn check_against_status(bench: &Bench, sample: &ProcessSample) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        Ok(value.context("a field of the status")?.parse()?)
    };
    let near = |ours: f64, theirs: f64| (ours / theirs - 1.0).abs() < 0.2;
    let rss = bench.answer(sample.rss_bytes as f64);
    check(
        near(rss, field("VmRSS:")? * 1024.0),
        "resident memory is off",
    )?;
    let anonymous = bench.answer(sample.rss_anon_bytes as f64);
    check(
        near(anonymous, field("RssAnon:")? * 1024.0),
        "anonymous memory is off",
    )?;
    let descriptors = fs::read_dir("/proc/self/fd")?.count() as f64;
    let counted = bench.answer(sample.descriptors as f64);
    // Counting opens one more.
    check((counted - descriptors).abs() < 1.5, "descriptors are off")
}
