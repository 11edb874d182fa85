//! Every decoder against damaged and made-up bytes: seeded, bounded, never a panic and never a wrong state.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use mainspring_delta_snapshot::{
    Backing, CommitOptions, MemoryBacking, Options, Snapshots, VersionId,
};

use crate::basics::options;
use crate::counting::peak_of;

const ROUNDS: u64 = 400;

/// Sealed quickly: what is read looks the same.
fn tight() -> Options {
    let options = options().block_bytes(1024).max_state_bytes(4 << 20);
    options.level(1).seal_level(1)
}

/// Live and sealed segments, JSON and bytes, patches, blocks, a fork.
fn prepared() -> (BTreeMap<String, Vec<u8>>, BTreeMap<VersionId, Vec<u8>>) {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = Snapshots::open(backing.clone(), tight()).expect("open");
    let mut seen = BTreeMap::new();
    for name in ["live", "sealed", "bytes"] {
        let thread = snapshots.thread(name).expect("thread");
        let mut list = Vec::new();
        for n in 0..8usize {
            list.push(format!("\"{name} {n} {}\"", "word ".repeat(n * n * 7)));
            let state = match name {
                "bytes" => (0..9000).map(|i| (i * (n + 3) % 251) as u8).collect(),
                _ => format!("{{\"n\":{},\"l\":[{}]}}", n * 7, list.join(",")).into_bytes(),
            };
            let options = CommitOptions::new().label("a label").checkpoint("an id");
            let id = thread.commit_full(&state, options).expect("commit");
            seen.insert(id, state);
        }
    }
    let sealed = snapshots.thread("sealed").expect("thread");
    sealed.seal().expect("seal");
    let head = sealed.head().expect("head");
    let fork = snapshots.fork(head, "fork").expect("fork");
    let id = fork.commit_full(b"[1]", CommitOptions::new());
    seen.insert(id.expect("commit"), b"[1]".to_vec());
    let stored = backing.list("").expect("list");
    let value = |key: &str| backing.get(key).expect("get").expect("there").to_vec();
    let stored = stored.iter().map(|e| (e.key.clone(), value(&e.key)));
    (stored.collect(), seen)
}

fn mutate(random: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..=bytes.len());
        match random.u8(..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.usize(..20)).min(bytes.len()))),
            4 => drop(bytes.splice(at..at, (0..random.usize(..12)).map(|_| random.u8(..)))),
            5 => {
                let from = random.usize(..=other.len());
                let part = &other[from..(from + random.usize(..200)).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            _ => {
                let end = (at + random.usize(..100)).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
        }
    }
}

/// Sums what is in the records anew, so that the decoders behind the checksum see it.
fn resum(key: &str, bytes: &[u8], random: &mut Rng, mutated: bool) -> Vec<u8> {
    let (mut out, mut at, mut number) = (bytes[..5.min(bytes.len())].to_vec(), 5, 0u64);
    while at < bytes.len() {
        let (mut len, mut shift) = (0usize, 0);
        while let Some(byte) = bytes.get(at) {
            len |= usize::from(byte & 0x7f) << shift;
            (at, shift) = (at + 1, shift + 7);
            if *byte < 0x80 || shift > 28 {
                break;
            }
        }
        let end = (at + len).min(bytes.len());
        let mut body = bytes[at.min(end)..end].to_vec();
        if mutated && random.u8(..3) == 0 {
            mutate(random, &mut body, bytes);
        }
        let start = out.len();
        let mut left = body.len();
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
        out.extend_from_slice(&body);
        let sum = crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), &number.to_le_bytes());
        let sum = crc32c::crc32c_append(sum, &out[start..]);
        out.extend_from_slice(&sum.to_le_bytes());
        (at, number) = (end + 4, number + 1);
    }
    out
}

fn run(seed: u64, summed: bool) {
    let (stored, seen) = prepared();
    let keys: Vec<&String> = stored.keys().collect();
    let mut random = Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let backing = Arc::new(MemoryBacking::new());
        for (key, value) in &stored {
            backing.put(key, value).expect("put");
        }
        let (key, other) = (
            keys[random.usize(..keys.len())],
            keys[random.usize(..keys.len())],
        );
        let mut bytes = stored[key].clone();
        if summed {
            bytes = resum(key, &bytes, &mut random, true);
        } else {
            mutate(&mut random, &mut bytes, &stored[other]);
        }
        backing.put(key, &bytes).expect("put");
        // `verify` replays them all; what is not in the damaged thread is restored now and then.
        let near = |id: &VersionId| {
            let thread = key.strip_prefix("s/").map(|rest| &rest[..16]);
            round % 8 == 0 || thread.is_none_or(|thread| id.to_string().starts_with(thread))
        };
        let (peak, ()) = peak_of(|| {
            let snapshots = Snapshots::open(backing.clone(), tight()).expect("open");
            for (id, state) in seen.iter().filter(|(id, _)| near(id)) {
                if let Ok(restored) = snapshots.restore(*id) {
                    // Who makes checksums fit can give a state another version's number, but not make up a state.
                    let right = match summed {
                        false => restored == state[..],
                        true => seen.values().any(|state| restored == state[..]),
                    };
                    assert!(right, "round {round}: {id} of {key} is wrong");
                }
            }
            let _ = snapshots.verify();
            for name in ["live", "sealed", "bytes", "fork"] {
                if let Ok(thread) = snapshots.thread(name) {
                    let versions = thread.versions().unwrap_or_default();
                    if !versions.first().is_none_or(|version| near(&version.id)) {
                        continue;
                    }
                    let _ = thread.commit_full(b"[2,3]", CommitOptions::new());
                    let _ = thread.seal();
                }
            }
            let _ = snapshots.gc();
        });
        assert!(peak < 64 << 20, "round {round} of {key}: {peak} bytes");
    }
}

#[test]
fn damaged_bytes_never_give_a_wrong_state() {
    run(1, false);
}

#[test]
fn damaged_records_with_checksums_that_fit_never_give_a_wrong_state() {
    run(2, true);
}
