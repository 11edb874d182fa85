//! What a repair leaves alone.

use std::sync::Arc;

use mainspring_mmap_store::{Access, Store};

use crate::crash::{contents, options};
use crate::hook::Hooked;
use crate::sim::SimDisk;

/// A closed store of several segments.
fn closed() -> SimDisk {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    (0..40_u8).for_each(|i| store.put(&[i], &[i; 300]).unwrap());
    store.close().unwrap();
    disk
}

fn word(disk: &SimDisk, file: &str, at: usize) -> u32 {
    let bytes = &disk.contents()[file];
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// What an earlier repair set aside of a segment of the same name may be all there is of it.
#[test]
fn a_copy_set_aside_keeps_its_name() {
    let disk = closed();
    let older = disk.storage();
    let older = older.open("00000001.seg.damaged", Access::Create).unwrap();
    older.write_at(b"older", 0).unwrap();
    let segment = disk.storage().open("00000001.seg", Access::Write).unwrap();
    segment.write_at(&[0xff; 4], 200).unwrap();
    let report = Store::repair_in(disk.storage()).unwrap();
    assert_eq!(report.set_aside, ["00000001.seg.2.damaged"]);
    let files = disk.contents();
    assert_eq!(files["00000001.seg.damaged"], b"older");
    assert_eq!(files["00000001.seg.2.damaged"][200..204], [0xff; 4]);
}

/// Files that only have to be read and synced need not be writable.
#[cfg(not(windows))]
#[test]
fn a_lost_manifest_is_rebuilt_without_opening_a_segment_for_writing() {
    let disk = closed();
    disk.storage().remove("MANIFEST").unwrap();
    let hooked = Hooked::new(disk.storage());
    let report = Store::repair_in(Arc::new(hooked.clone())).unwrap();
    assert_eq!(report.keys, 40);
    let opened = hooked.opened();
    let written = opened
        .iter()
        .filter(|(name, access)| name.ends_with(".seg") && *access == Access::Write);
    assert_eq!(written.count(), 0, "{opened:?}");
}

/// A reader that holds the lost manifest must not take another file for one that it names, nor the new
/// manifest for its own.
#[test]
fn a_rebuilt_manifest_gives_no_number_again() {
    let disk = closed();
    let newest = word(&disk, "MANIFEST", 44);
    let generation = word(&disk, "MANIFEST", 24);
    assert!(newest > 2, "{newest}");
    disk.storage().remove("MANIFEST").unwrap();
    Store::repair_in(disk.storage()).unwrap();
    assert!(word(&disk, "MANIFEST", 44) > newest);
    assert!(word(&disk, "MANIFEST", 24).abs_diff(generation) > 100);
    let store = options().open_in(disk.storage()).unwrap();
    let found = contents(&store);
    store.put(b"more", b"of it").unwrap();
    store.close().unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(contents(&store).len(), found.len() + 1);
    assert!(store.verify().unwrap().is_clean());
}
