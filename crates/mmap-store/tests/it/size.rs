//! What grows with a store, and what does not.

use mainspring_mmap_store::Durability;

use crate::crash::{contents, options};
use crate::sim::SimDisk;

/// Each segment is an open file: there must not be as many as there are megabytes.
#[test]
fn segments_get_larger_as_they_get_more() {
    let disk = SimDisk::new();
    let options = || {
        options()
            .durability(Durability::Os)
            .checkpoint_every(1 << 20)
    };
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..3_000_u32 {
        store.put(&i.to_le_bytes(), &[i as u8; 1000]).unwrap();
    }
    // 3 MB in segments of 4 KiB would be 750 or more.
    let stats = store.stats();
    assert!(stats.log_bytes > 3_000_000);
    assert!((64..300).contains(&stats.segments), "{}", stats.segments);
    // A compaction joins the small ones, and nothing gets lost on the way.
    let before = contents(&store);
    store.compact().unwrap();
    assert!(store.stats().segments < stats.segments / 2);
    assert!(contents(&store) == before);
    store.close().unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    assert!(contents(&store) == before);
    assert!(store.verify().unwrap().is_clean());
}

/// Each opening goes on with a file of its own; they are merged as they come together, and the
/// merged one holds everything.
#[test]
fn the_files_of_the_index_stay_few_and_complete() {
    let mut disk = SimDisk::new();
    let options = || options().durability(Durability::Os).segment_size(64 << 10);
    let (mut map, mut most, mut merged) = (crate::crash::Map::new(), 0, 0);
    for run in 0..120_u8 {
        let store = options().open_in(disk.storage()).unwrap();
        for i in 0..20_u8 {
            store.put(&[run, i], &[i]).unwrap();
            map.insert(vec![run, i], vec![i]);
        }
        store.delete(&[run / 2, 7]).unwrap();
        map.remove(&[run / 2, 7][..]);
        store.put(&[run / 3, 1], &[run]).unwrap();
        map.insert(vec![run / 3, 1], vec![run]);
        store.close().unwrap();
        disk = disk.abandoned();
        let files = disk.contents();
        let base = u32::from_le_bytes(files["MANIFEST"][48..52].try_into().unwrap());
        merged = merged.max(base);
        assert!(base == 0 || files.contains_key(&format!("{base:08}.idx")));
        most = most.max(files.keys().filter(|n| n.ends_with(".idx")).count());
    }
    assert!(merged > 0 && (40..60).contains(&most), "{merged} {most}");
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(store.stats().live_keys, map.len() as u64);
    for (key, value) in &map {
        assert_eq!(store.get(key).unwrap().unwrap(), value[..]);
    }
    assert!(contents(&store) == map && store.verify().unwrap().is_clean());
}
