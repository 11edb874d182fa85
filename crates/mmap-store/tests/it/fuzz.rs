//! Opening and recovering whatever bytes there are: a seeded mutator over real stores. The same
//! entry points that a fuzzer would drive, with the same seeds every time.

use std::collections::BTreeMap;

use mainspring_mmap_store::{Batch, Durability, LazyRecord, Store};

use crate::crash::options;
use crate::sim::SimDisk;

type Files = BTreeMap<String, Vec<u8>>;

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A store that was killed, and one that was closed.
fn seeds() -> [Files; 2] {
    let disk = SimDisk::new();
    let store = options()
        .durability(Durability::Os)
        .open_in(disk.storage())
        .unwrap();
    for i in 0..60_u8 {
        store
            .put(&[b'k', i % 24], &vec![i; usize::from(i) * 7])
            .unwrap();
        if i % 9 == 0 {
            let mut batch = Batch::new();
            batch
                .put(b"batch", &[i])
                .delete(&[b'k', i % 5])
                .put(b"batch/2", &[i; 90]);
            store.write(batch).unwrap();
        }
        if i == 30 {
            store.compact().unwrap();
        }
    }
    let killed = disk.contents();
    store.close().unwrap();
    [killed, disk.contents()]
}

/// One to four changes: bytes, stretches, lengths, whole files; sometimes with the checks put right.
fn mutate(files: &mut Files, dice: &mut Dice) {
    for _ in 0..1 + dice.below(4) {
        let names: Vec<String> = files.keys().cloned().collect();
        let name = names[dice.below(names.len())].clone();
        let other = names[dice.below(names.len())].clone();
        let donor = files[&other].clone();
        let Some(bytes) = files.get_mut(&name) else {
            return;
        };
        let at = dice.below(bytes.len());
        match dice.below(9) {
            0 => drop(files.remove(&name)),
            1 => bytes.truncate(at),
            2 => bytes.extend(vec![dice.next() as u8; at % 300]),
            3 if !donor.is_empty() => {
                let from = dice.below(donor.len());
                let len = dice
                    .below(200)
                    .min(donor.len() - from)
                    .min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&donor[from..from + len]);
            }
            4 => {
                let end = (at + dice.below(64)).min(bytes.len());
                bytes[at..end].fill(0);
            }
            5 => drop(files.insert(name, donor)),
            6 if bytes.len() >= 4 && name == "MANIFEST" => {
                let word = (dice.next() as u32 >> dice.below(32)).to_le_bytes();
                let at = (at & !3).min(bytes.len() - 4);
                bytes[at..at + 4].copy_from_slice(&word);
                let end = bytes.len() - 4;
                let check = crc32c::crc32c(&bytes[..end]);
                bytes[end..].copy_from_slice(&check.to_le_bytes());
            }
            7 if bytes.len() > 3116 && name.ends_with(".idx") => {
                let at = (at % 3112) & !3;
                bytes[at..at + 4].copy_from_slice(&(dice.next() as u32 & 0xff).to_le_bytes());
                let check = crc32c::crc32c(&bytes[..3112]);
                bytes[3112..3116].copy_from_slice(&check.to_le_bytes());
            }
            _ if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            _ => {}
        }
    }
}

/// Everything that reads, then everything that writes.
fn exercise(store: &Store) {
    let _ = store.verify();
    let _ = store.stats();
    for i in 0..24_u8 {
        let _ = store.get(&[b'k', i]);
        let _ = store.contains(&[b'k', i]);
        let _ = store.get_lazy(&[b'k', i]);
    }
    if let Ok(scan) = store.scan_prefix(b"") {
        scan.take(1000).for_each(drop);
    }
    store.scan_inserted(0).take(1000).for_each(drop);
    let _ = store.put(b"k\x01", &[1; 2000]);
    let _ = store.delete(b"k\x02");
    let _ = store.compare_and_set(b"k\x03", None, Some(b"x"));
    let _ = store.compact();
    let _ = store.flush(Durability::Always);
}

#[test]
fn open_and_recover_survive_whatever_the_files_hold() {
    let seeds = seeds();
    let mut opened = 0;
    let rounds = 300;
    for round in 0..rounds {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (round + 1));
        let mut files = seeds[(round % 2) as usize].clone();
        mutate(&mut files, &mut dice);
        let disk = SimDisk::from_contents(&files);
        match options().open_in(disk.storage()) {
            Ok(store) => {
                opened += 1;
                exercise(&store);
                let _ = store.close();
            }
            // What is refused is left as it is.
            Err(_) => assert_eq!(disk.contents(), files, "round {round}"),
        }
        // Whatever was done to it, a repaired store opens, unless it is not ours to touch.
        let disk = SimDisk::from_contents(&files);
        if Store::repair_in(disk.storage()).is_ok() {
            let store = options().open_in(disk.storage()).unwrap();
            assert!(store.verify().unwrap().is_clean(), "round {round}");
            exercise(&store);
        }
    }
    assert!(opened > rounds / 4, "{opened}");
}

#[test]
fn a_lazy_record_survives_whatever_its_bytes_are() {
    let record = mainspring_mmap_store::LazyRecordBuilder::new();
    let record = record.field("one", vec![1; 40]).unwrap();
    let bytes = record.field("two", vec![2; 400]).unwrap().finish().to_vec();
    let mut dice = Dice(77);
    for _ in 0..1_000 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.next() as u8;
        }
        bytes.truncate(bytes.len() - dice.below(20) * dice.below(20));
        if let Ok(record) = LazyRecord::parse(bytes.into()) {
            let names: Vec<String> = record.names().map(str::to_owned).collect();
            names.iter().for_each(|name| drop(record.raw(name)));
        }
    }
}
