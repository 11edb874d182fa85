//! Bytes that are not what was written.

use std::collections::BTreeMap;

use mainspring_mmap_store::{Access, Error, Options, Store};

use crate::crash::{Map, contents, options};
use crate::hook::{Hooked, Moment};
use crate::sim::SimDisk;

type Files = BTreeMap<String, Vec<u8>>;

/// A closed store of one sealed and one active segment, an index and a manifest.
fn closed_store() -> (Files, Map) {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    let mut map = Map::new();
    for i in 0..24_u8 {
        let value = vec![i ^ 0x55; 26 * usize::from(i % 12)];
        store.put(&[b'k', i % 20], &value).unwrap();
        map.insert(vec![b'k', i % 20], value);
    }
    store.delete(b"k\x05").unwrap();
    map.remove(&b"k\x05"[..]);
    assert!(store.stats().segments >= 2);
    store.close().unwrap();
    (disk.contents(), map)
}

/// Gets and scans never show anything else than the map, except errors.
fn shows_no_wrong_data(store: &Store, map: &Map, place: &str) -> usize {
    let mut errors = 0;
    for i in 0..20_u8 {
        match store.get(&[b'k', i]) {
            Ok(found) => {
                let wanted = map.get(&vec![b'k', i]).map(Vec::as_slice);
                assert_eq!(found.as_deref(), wanted, "{place}: key {i}");
            }
            Err(Error::Damaged { .. }) => errors += 1,
            Err(e) => panic!("{place}: {e}"),
        }
    }
    let mut seen = 0;
    let mut refused = 0;
    for pair in store.scan_prefix(b"k").unwrap() {
        match pair {
            Ok((key, value)) => {
                seen += 1;
                assert_eq!(
                    map.get(&key[..]).map(Vec::as_slice),
                    Some(&value[..]),
                    "{place}"
                );
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        seen == map.len() || refused > 0,
        "{place}: a scan left out {}",
        map.len() - seen
    );
    errors
}

/// Whether the damage in `file` around `offset` is found, and nothing wrong is shown.
fn examine(files: &Files, map: &Map, file: &str, offset: u64) {
    let place = format!("{file} at {offset}");
    let disk = SimDisk::from_contents(files);
    let store = match Options::new().read_only(true).open_in(disk.storage()) {
        Ok(store) => store,
        Err(
            Error::Damaged { file: named, .. }
            | Error::Newer { file: named, .. }
            | Error::Unrecognised { file: named },
        ) => {
            assert_eq!(named, file, "{place}");
            return;
        }
        Err(e) => panic!("{place}: {e}"),
    };
    shows_no_wrong_data(&store, map, &place);
    let damage = store.verify().unwrap().damage;
    let named = damage.iter().any(|d| d.file == file && d.offset <= offset);
    assert!(named, "{place}: {damage:?}");
    let elsewhere = damage.iter().any(|d| d.file != file);
    assert!(!elsewhere, "{place}: a false alarm among {damage:?}");
    assert_eq!(&disk.contents(), files, "{place}: reading changed a file");
}

#[test]
fn every_flipped_byte_of_a_closed_store_is_found() {
    let (files, map) = closed_store();
    let names: Vec<_> = files.keys().cloned().collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        for offset in 0..files[&name].len() {
            let mut flipped = files.clone();
            let mask = (1_u8 << (offset % 8)) ^ (u8::from(offset % 3 == 0) * 0xff);
            flipped.get_mut(&name).unwrap()[offset] ^= mask;
            examine(&flipped, &map, &name, offset as u64);
        }
    }
}

#[test]
fn every_truncation_of_a_closed_store_is_found() {
    let (files, map) = closed_store();
    for name in files.keys() {
        for len in 0..files[name].len() {
            let mut cut = files.clone();
            cut.get_mut(name).unwrap().truncate(len);
            examine(&cut, &map, name, len as u64);
        }
    }
}

#[test]
fn every_missing_file_is_named() {
    let (files, map) = closed_store();
    for name in files.keys() {
        let mut fewer = files.clone();
        fewer.remove(name);
        if name.ends_with(".idx") {
            // The log holds all that it does; that it is missing is said all the same.
            let store = Options::new()
                .read_only(true)
                .open_in(SimDisk::from_contents(&fewer).storage())
                .unwrap();
            assert_eq!(store.damage()[0].file, *name);
            assert_eq!(contents(&store), map);
            continue;
        }
        examine(&fewer, &map, name, 0);
    }
}

#[test]
fn bytes_behind_the_end_of_a_sealed_segment_are_found() {
    let (mut files, map) = closed_store();
    files
        .get_mut("00000001.seg")
        .unwrap()
        .extend_from_slice(b"more");
    let end = files["00000001.seg"].len() as u64 - 4;
    examine(&files, &map, "00000001.seg", end);
}

#[test]
fn a_writer_over_damage_keeps_it_visible_and_repair_sets_it_aside() {
    let (files, map) = closed_store();
    for name in ["00000001.seg", "00000002.seg"] {
        for offset in (0..files[name].len()).step_by(13) {
            let mut flipped = files.clone();
            flipped.get_mut(name).unwrap()[offset] ^= 0x10;
            let disk = SimDisk::from_contents(&flipped);
            let place = format!("{name} at {offset}");
            let store = options().open_in(disk.storage()).unwrap();
            store.put(b"new", &[1; 3000]).unwrap();
            store.put(b"new", &[2; 3000]).unwrap();
            store.compact().unwrap();
            shows_no_wrong_data(&store, &map, &place);
            store.close().unwrap();
            let report = Store::repair_in(disk.storage()).unwrap();
            let store = options().open_in(disk.storage()).unwrap();
            assert!(store.verify().unwrap().is_clean(), "{place}");
            assert_eq!(store.get(b"new").unwrap().unwrap().len(), 3000);
            let found = contents(&store);
            assert!(
                found.len() + 1 >= map.len(),
                "{place}: {} keys, {report:?}",
                found.len()
            );
            let aside = disk
                .contents()
                .keys()
                .filter(|n| n.ends_with(".damaged"))
                .count();
            assert_eq!(aside, report.set_aside.len(), "{place}");
        }
    }
}

#[test]
fn a_lost_manifest_is_rebuilt_by_repair_and_nothing_else() {
    let (mut files, map) = closed_store();
    files.get_mut("MANIFEST").unwrap()[30] ^= 1;
    for files in [files.clone(), {
        files.remove("MANIFEST");
        files
    }] {
        let disk = SimDisk::from_contents(&files);
        assert!(matches!(
            options().open_in(disk.storage()),
            Err(Error::Damaged { .. })
        ));
        assert_eq!(disk.contents(), files, "a refused store was touched");
        let report = Store::repair_in(disk.storage()).unwrap();
        assert_eq!(report.keys, map.len() as u64);
        let store = options().open_in(disk.storage()).unwrap();
        assert_eq!(contents(&store), map);
        assert!(store.verify().unwrap().is_clean());
    }
}

#[test]
fn a_foreign_or_newer_store_is_refused_untouched() {
    let (files, _) = closed_store();
    let mut foreign = files.clone();
    foreign.insert(
        "MANIFEST".into(),
        b"a manifest of some other program, long enough to be read".to_vec(),
    );
    let mut newer = files.clone();
    let manifest = newer.get_mut("MANIFEST").unwrap();
    manifest[8] = 2;
    for (files, wanted) in [
        (foreign, "not a file of this store"),
        (newer, "format version 2"),
    ] {
        let disk = SimDisk::from_contents(&files);
        for options in [options(), Options::new().read_only(true)] {
            let error = options.open_in(disk.storage()).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
        assert!(Store::repair_in(disk.storage()).is_err());
        assert_eq!(disk.contents(), files);
    }
}

#[test]
fn damage_before_the_last_sync_of_an_unclosed_store_is_told_from_a_torn_tail() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..10_u8 {
        store.put(&[i], &[i; 100]).unwrap();
    }
    let files = disk.contents();
    drop(store);
    let frame = 32 + 104;
    for offset in 64..64 + 10 * frame {
        let mut flipped = files.clone();
        flipped.get_mut("00000001.seg").unwrap()[offset] ^= 0x80;
        let disk = SimDisk::from_contents(&flipped);
        let store = options().open_in(disk.storage()).unwrap();
        let record = (offset - 64) / frame;
        // Of the newest record nothing can prove that it was whole once.
        let reported = store
            .damage()
            .iter()
            .any(|d| d.offset == (64 + record * frame) as u64);
        assert_eq!(reported, record < 9, "{offset}: {:?}", store.damage());
        for i in 0..10_u8 {
            let found = store.get(&[i]);
            match usize::from(i) == record {
                true => assert!(!matches!(found, Ok(Some(_))), "{offset}"),
                false => assert_eq!(found.unwrap().unwrap(), vec![i; 100], "{offset}"),
            }
        }
    }
}

/// Somebody who fixes the checks up can make a store say anything, but not make it panic.
#[test]
fn a_forged_store_is_an_error_or_nonsense_and_no_panic() {
    let (files, _) = closed_store();
    let mut forged = Vec::new();
    let manifest = &files["MANIFEST"];
    for at in 12..manifest.len() - 4 {
        for byte in [1, 0xff] {
            let mut bytes = manifest.clone();
            bytes[at] = byte;
            let end = bytes.len() - 4;
            let check = crc32c::crc32c(&bytes[..end]);
            bytes[end..].copy_from_slice(&check.to_le_bytes());
            forged.push(("MANIFEST", bytes));
        }
    }
    let segment = &files["00000002.seg"];
    let mut id = [7_u64.to_le_bytes().to_vec(), 2_u32.to_le_bytes().to_vec()].concat();
    id.truncate(12);
    let start = crc32c::crc32c(&id) ^ (64 / 8);
    for at in 68..96 {
        for byte in [0, 1, 2, 3, 0x7f, 0xff] {
            let mut bytes = segment.clone();
            bytes[at] = byte;
            let check = crc32c::crc32c_append(start, &bytes[68..96]);
            bytes[64..68].copy_from_slice(&check.to_le_bytes());
            forged.push(("00000002.seg", bytes));
        }
    }
    for (name, bytes) in forged {
        let mut files = files.clone();
        files.insert(name.to_owned(), bytes);
        for without_index in [false, true] {
            if without_index {
                files.retain(|name, _| !name.ends_with(".idx"));
            }
            let disk = SimDisk::from_contents(&files);
            let Ok(store) = options().open_in(disk.storage()) else {
                continue;
            };
            let _ = store.verify();
            store.scan_prefix(b"").unwrap().rev().for_each(drop);
            store.scan_inserted(0).for_each(drop);
            let _ = store.put(b"k\x01", &[0; 5000]);
            let _ = store.put(b"k\x02", &[0; 5000]);
            let _ = store.compact();
            let _ = store.close();
        }
    }
}

/// What a segment lost stays reported, and the store stays usable, however often it is opened.
#[test]
fn a_segment_cut_short_does_not_keep_the_store_from_opening_twice() {
    let (files, map) = closed_store();
    for name in ["00000001.seg", "00000002.seg"] {
        for len in [
            None,
            Some(0),
            Some(64),
            Some(files[name].len() / 2),
            Some(files[name].len() - 8),
        ] {
            let mut cut = files.clone();
            match len {
                Some(len) => cut.get_mut(name).unwrap().truncate(len),
                None => drop(cut.remove(name)),
            }
            let disk = SimDisk::from_contents(&cut);
            for round in 0..3_u8 {
                let place = format!("{name} cut to {len:?}, opening {round}");
                let store = match options().open_in(disk.storage()) {
                    Ok(store) => store,
                    Err(e) => panic!("{place}: {e}"),
                };
                let named = store.damage().iter().any(|d| d.file == name);
                assert!(named, "{place}: {:?}", store.damage());
                shows_no_wrong_data(&store, &map, &place);
                store.put(b"new", &[round; 100]).unwrap();
                store.close().unwrap();
            }
        }
    }
}

/// Without its header a segment says nothing, but it may be all that is left of the data.
#[test]
fn repair_keeps_a_segment_that_it_cannot_read() {
    for name in ["00000001.seg", "00000002.seg"] {
        let (mut files, _) = closed_store();
        files.remove("MANIFEST");
        files.get_mut(name).unwrap()[20] ^= 1;
        let disk = SimDisk::from_contents(&files);
        let report = Store::repair_in(disk.storage()).unwrap();
        let aside = format!("{name}.damaged");
        let kept = disk.contents().get(&aside) == Some(&files[name]);
        assert!(kept, "{report:?}");
        assert!(report.set_aside.contains(&aside), "{report:?}");
        assert!(report.damage.iter().any(|d| d.file == name), "{report:?}");
        let store = options().open_in(disk.storage()).unwrap();
        assert!(store.verify().unwrap().is_clean());
    }
}

#[test]
fn after_a_repair_look_ups_and_scans_agree() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..6_u8 {
        store.put(&[i % 3], &[i; 100]).unwrap();
    }
    store.close().unwrap();
    let mut files = disk.contents();
    // The second value of the first key.
    files.get_mut("00000001.seg").unwrap()[64 + 3 * 136 + 50] ^= 1;
    let disk = SimDisk::from_contents(&files);
    let report = Store::repair_in(disk.storage()).unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    let found = contents(&store);
    for i in 0..3_u8 {
        let value = store.get(&[i]).unwrap();
        let scanned = found.get(&vec![i]).map(Vec::as_slice);
        assert_eq!(value.as_deref(), scanned, "{i}: {report:?}");
    }
    assert_eq!(report.keys, found.len() as u64);
}

#[test]
fn a_rebuilt_manifest_takes_no_half_of_a_batch_in() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    store.put(b"a", &[1; 100]).unwrap();
    let mut batch = mainspring_mmap_store::Batch::new();
    batch.put(b"b", &[2; 100]).put(b"c", &[3; 100]);
    store.write(batch).unwrap();
    let mut files = disk.contents();
    drop(store);
    files.remove("MANIFEST");
    // Killed in the second record of the batch.
    files
        .get_mut("00000001.seg")
        .unwrap()
        .truncate(64 + 2 * 136 + 40);
    let disk = SimDisk::from_contents(&files);
    Store::repair_in(disk.storage()).unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(contents(&store).into_keys().collect::<Vec<_>>(), [b"a"]);
}

/// The index has no room for a higher number: a compaction must stop there too.
#[test]
fn segment_numbers_end_with_an_error() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    // Garbage in the first segment, none in the second.
    for (key, len) in [(1, 1500), (1, 1500), (2, 500), (3, 1000)] {
        store.put(&[key], &vec![key; len]).unwrap();
    }
    let map = contents(&store);
    store.close().unwrap();
    let mut files = disk.contents();
    let manifest = files.get_mut("MANIFEST").unwrap();
    manifest[40..44].copy_from_slice(&(1_u32 << 22).to_le_bytes());
    let end = manifest.len() - 4;
    let check = crc32c::crc32c(&manifest[..end]);
    manifest[end..].copy_from_slice(&check.to_le_bytes());
    let store = options()
        .open_in(SimDisk::from_contents(&files).storage())
        .unwrap();
    assert!(matches!(store.compact(), Err(Error::TooLarge { .. })));
    assert_eq!(store.put(&[4], &[4; 10]).ok(), Some(()));
    assert!(store.get(&[1]).unwrap().is_some_and(|v| v == map[&[1][..]]));
    assert_eq!(contents(&store).len(), 4);
}

/// A repair that could not read on saves no index of the half that it had read.
#[test]
fn a_repair_that_fails_can_be_done_again() {
    let (mut files, map) = closed_store();
    files.get_mut("00000001.seg").unwrap()[64 + 100] ^= 1;
    let mut failed = 0;
    for name in ["00000001.seg", "00000002.seg", "00000003.seg"] {
        for skip in 0..40 {
            let disk = SimDisk::from_contents(&files);
            let hooked = Hooked::new(disk.storage());
            hooked.before(Moment::Read, name, skip, || {
                Err(std::io::ErrorKind::Other.into())
            });
            let repaired = Store::repair_in(std::sync::Arc::new(hooked));
            failed += u32::from(repaired.is_err());
            Store::repair_in(disk.storage()).unwrap();
            let store = options().open_in(disk.storage()).unwrap();
            let found = contents(&store);
            assert!(found.len() + 1 >= map.len(), "{name} {skip}");
            for i in 0..20_u8 {
                let value = store.get(&[b'k', i]).unwrap();
                let scanned = found.get(&[b'k', i][..]).map(Vec::as_slice);
                assert_eq!(value.as_deref(), scanned, "{name} {skip}: {i}");
            }
        }
    }
    assert!(failed > 10, "{failed}");
}

/// Rooms are made by the number of keys that a file claims: it may not claim what it does not list.
#[test]
fn an_index_that_counts_more_keys_than_it_lists_is_damaged() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    (0..20_u8).for_each(|i| store.put(&[i], &[i; 30]).unwrap());
    let known = contents(&store);
    store.close().unwrap();
    let mut files = disk.contents();
    let newest = files.iter_mut().rfind(|(name, _)| name.ends_with(".idx"));
    let (name, bytes) = newest.unwrap();
    let name = name.clone();
    bytes[32..40].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let check = crc32c::crc32c(&bytes[..3112]);
    bytes[3112..3116].copy_from_slice(&check.to_le_bytes());
    let store = options().open_in(SimDisk::from_contents(&files).storage());
    let store = store.unwrap();
    assert!(
        store
            .damage()
            .iter()
            .any(|d| d.file == name && d.offset == 32)
    );
    assert_eq!(contents(&store), known);
    assert_eq!(store.stats().live_keys, 20);
}

/// Nothing is deleted: what an earlier repair set aside keeps its name.
#[test]
fn a_second_repair_sets_aside_beside_the_first() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    store.put(b"a", b"1").unwrap();
    store.close().unwrap();
    for mark in [1, 2, 3] {
        let manifest = disk.storage().open("MANIFEST", Access::Write).unwrap();
        manifest.write_at(&[mark; 4], 24).unwrap();
        let report = Store::repair_in(disk.storage()).unwrap();
        assert_eq!((report.keys, report.set_aside.len()), (1, 1));
        let kept = &disk.contents()[&report.set_aside[0]];
        assert_eq!(kept[24..28], [mark; 4]);
    }
    let files = disk.contents();
    let kept = files.keys().filter(|name| name.ends_with(".damaged"));
    assert_eq!(kept.count(), 3);
}
