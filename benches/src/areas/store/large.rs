//! Reads from a store of any size, against LMDB alone: what no machine has room for with all peers.

use std::hint::black_box;

use anyhow::Result;

use super::{
    loaded::fill,
    peers::{Handle, Job, KINDS, Kind, LMDB, OURS, Peer},
    records::{Records, absent, key},
};
use crate::{Clock, Scale};

const RECORDS: &str = "MAINSPRING_STORE_RECORDS";
const ROUNDS: usize = 60;
const GETS: usize = 2_000;

/// Elapsed nanoseconds of a get, in the median of all rounds.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] / GETS as f64
}

/// Prints hits and misses in both modes and LMDB's. 5,800,000 records are 10 GB and take 26 GB of disk:
/// `MAINSPRING_STORE_RECORDS=5800000 cargo test --release -p mainspring-benches --lib -- --ignored
/// --nocapture reads_of_a_large_store`
#[test]
#[ignore = "takes as much disk as it is told to, and minutes"]
fn reads_of_a_large_store() -> Result<()> {
    let count = std::env::var(RECORDS).map_or(Ok(300_000), |count| count.parse())?;
    let records = Records::of(Scale::Full, count);
    let root = tempfile::tempdir()?;
    let job = Job {
        durable: false,
        read: true,
        bytes: records.bytes(),
    };
    let open = |name| {
        let kind = KINDS.iter().find(|kind| kind.name == name);
        let kind: &Kind = kind.expect("one of the peers");
        let peer = kind.open_in(root.path(), &job)?;
        fill(&*peer, &records)?;
        anyhow::Ok((peer, kind.dir(root.path())))
    };
    let ((_writer, dir), (lmdb, _)) = (open(OURS)?, open(LMDB)?);
    let (safe, mapped) = (Handle::reader(&dir)?, Handle::mapped_reader(&dir)?);
    let sides: [(&str, &dyn Peer); 3] = [("safe", &safe), ("mapped", &mapped), ("LMDB", &*lmdb)];
    let numbers = records.of_one_kib();
    println!("{count} records, {:.1} GB", records.bytes() as f64 / 1e9);
    for (what, name) in [("hit", key as fn(usize) -> String), ("miss", absent)] {
        let mut times = [const { Vec::new() }; 3];
        for round in 0..ROUNDS {
            for ((_, peer), times) in sides.iter().zip(&mut times) {
                let at = round * GETS..(round + 1) * GETS;
                let keys: Vec<_> = at.map(|at| name(numbers[at % numbers.len()])).collect();
                let begun = Clock::Wall.now();
                for key in &keys {
                    let found = peer.visit(key.as_bytes(), &mut |value| {
                        black_box(value.iter().fold(0_u8, |all, byte| all ^ byte));
                    })?;
                    assert_eq!(found, what == "hit");
                }
                times.push(Clock::Wall.now() - begun);
            }
        }
        let [safe, mapped, lmdb] = times.map(median);
        println!(
            "{what}: safe {safe:.0} ns ({:.3}), mapped {mapped:.0} ns ({:.3}), LMDB {lmdb:.0} ns",
            safe / lmdb,
            mapped / lmdb
        );
    }
    Ok(())
}
