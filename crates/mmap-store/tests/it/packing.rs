//! Values that are compressed.

use mainspring_mmap_store::{Batch, Error, LazyRecord, LazyRecordBuilder, Options};

use crate::crash::{contents, options};
use crate::sim::SimDisk;

fn text(n: usize) -> Vec<u8> {
    b"a line that says little and says it often; "
        .iter()
        .copied()
        .cycle()
        .take(n)
        .collect()
}

fn noise(n: usize) -> Vec<u8> {
    let mut x = 1_u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..n).map(|_| next()).collect()
}

fn packed() -> Options {
    options().segment_size(64 << 10).compress_above(100)
}

#[test]
fn compressed_values_read_as_they_were_written_everywhere() {
    let disk = SimDisk::new();
    let store = packed().open_in(disk.storage()).unwrap();
    for i in 0..40_u8 {
        store.put(&[i], &text(50 + 400 * usize::from(i))).unwrap();
    }
    store.put(b"noise", &noise(5000)).unwrap();
    let mut batch = Batch::new();
    batch.put(b"b1", &text(3000)).put(b"b2", &noise(3000));
    store.write(batch).unwrap();
    assert!(
        store.stats().log_bytes < 40_000,
        "{}",
        store.stats().log_bytes
    );
    assert!(
        store
            .compare_and_set(b"b1", Some(&text(3000)), Some(&text(4000)))
            .unwrap()
    );
    assert!(
        !store
            .compare_and_set(b"b1", Some(&text(3000)), None)
            .unwrap()
    );
    store.delete(&[3]).unwrap();
    store.compact().unwrap();
    let before = contents(&store);
    store.close().unwrap();
    // Without the setting they are read all the same.
    let store = options().open_in(disk.storage()).unwrap();
    assert!(contents(&store) == before);
    assert_eq!(store.get(&[39]).unwrap().unwrap(), text(50 + 400 * 39));
    assert_eq!(store.get(b"b1").unwrap().unwrap(), text(4000));
    assert_eq!(store.get(b"noise").unwrap().unwrap(), noise(5000));
    let inserted: Vec<_> = store.scan_inserted(0).map(Result::unwrap).collect();
    assert!(inserted.iter().all(|i| before[&i.key[..]] == i.value[..]));
    assert_eq!(inserted.len(), before.len());
    assert!(store.verify().unwrap().is_clean());
}

/// In one group a condition sees what the request before it wrote, compressed or not.
#[test]
fn conditions_inside_a_group_see_values_and_not_their_compressed_form() {
    let disk = SimDisk::new();
    disk.slow_syncs(50);
    let store = packed().open_in(disk.storage()).unwrap();
    store.put(b"n", &text(1000)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 20 {
                    let now = store.get(b"n").unwrap().unwrap();
                    let next = text(now.len() + 1);
                    done += u32::from(
                        store
                            .compare_and_set(b"n", Some(&now), Some(&next))
                            .unwrap(),
                    );
                }
            });
        }
    });
    assert_eq!(store.get(b"n").unwrap().unwrap(), text(1080));
}

/// A value that somebody made to look larger than it is takes no more memory than it has.
#[test]
fn a_forged_length_is_an_error() {
    let disk = SimDisk::new();
    let store = packed().open_in(disk.storage()).unwrap();
    store.put(b"k", &text(2000)).unwrap();
    store.close().unwrap();
    for forged in [0_u32, 1999, 2001, u32::MAX] {
        let mut files = disk.contents();
        let segment = files.get_mut("00000001.seg").unwrap();
        let total = segment.len() - 64;
        segment[64 + 32 + 1..64 + 32 + 5].copy_from_slice(&forged.to_le_bytes());
        let body = crc32c::crc32c(&segment[64 + 32..64 + total]);
        segment[68..72].copy_from_slice(&body.to_le_bytes());
        let id = [7_u64.to_le_bytes().to_vec(), 1_u32.to_le_bytes().to_vec()].concat();
        let start = crc32c::crc32c(&id) ^ (64 / 8);
        let check = crc32c::crc32c_append(start, &segment[68..96]);
        segment[64..68].copy_from_slice(&check.to_le_bytes());
        let store = options()
            .open_in(SimDisk::from_contents(&files).storage())
            .unwrap();
        assert!(
            matches!(store.get(b"k"), Err(Error::Damaged { .. })),
            "{forged}"
        );
    }
}

#[test]
fn a_compressed_lazy_record_is_read_whole() {
    let disk = SimDisk::new();
    let store = packed().open_in(disk.storage()).unwrap();
    let record = LazyRecordBuilder::new()
        .field("a", text(900))
        .unwrap()
        .field("b", text(50));
    let bytes = record.unwrap().finish();
    store.put(b"r", &bytes).unwrap();
    let record: LazyRecord = store.get_lazy(b"r").unwrap().unwrap();
    assert_eq!(record.raw("b").unwrap().unwrap(), text(50));
    assert_eq!(record.raw("a").unwrap().unwrap(), text(900));
}
