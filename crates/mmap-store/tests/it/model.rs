//! Random operations against a plain map.

use std::collections::BTreeMap;

use mainspring_mmap_store::{Batch, Durability, Options, Store};
use proptest::prelude::*;

use crate::sim::SimDisk;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Swap(Vec<u8>, bool, Option<Vec<u8>>),
    Compact,
    Close,
    Crash,
    Scan(Vec<u8>, u8),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xff)], 0..4),
        (0..30_u8).prop_map(|i| vec![b'k', i]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0..1200_usize).prop_map(|(b, n)| vec![b; n])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (key(), value()).prop_map(|(k, v)| Op::Put(k, v)),
        4 => key().prop_map(Op::Delete),
        3 => prop::collection::vec((key(), prop::option::of(value())), 0..6).prop_map(Op::Batch),
        3 => (key(), any::<bool>(), prop::option::of(value())).prop_map(|(k, m, v)| Op::Swap(k, m, v)),
        1 => Just(Op::Compact),
        1 => Just(Op::Close),
        1 => Just(Op::Crash),
        3 => (key(), any::<u8>()).prop_map(|(k, ends)| Op::Scan(k, ends)),
    ]
}

fn options(durability: Durability) -> Options {
    Options::new()
        .create(true)
        .segment_size(4096)
        .preallocate(256)
        .durability(durability)
}

fn pairs(map: &Map, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = map.iter().filter(|(k, _)| k.starts_with(prefix));
    all.map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Takes from either end as the bits of `ends` say.
fn scan(store: &Store, prefix: &[u8], ends: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = store.scan_prefix(prefix).unwrap();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    for i in 0_u32.. {
        let item = match ends.rotate_right(i) & 1 {
            0 => scan.next().map(|pair| front.push(pair.unwrap())),
            _ => scan.next_back().map(|pair| back.push(pair.unwrap())),
        };
        if item.is_none() {
            break;
        }
    }
    assert!(scan.next().is_none() && scan.next_back().is_none());
    back.reverse();
    front.extend(back);
    front
        .into_iter()
        .map(|(k, v)| (k.to_vec(), v.to_vec()))
        .collect()
}

fn apply(store: &Store, map: &mut Map, op: &Op) {
    match op {
        Op::Put(k, v) => {
            store.put(k, v).unwrap();
            map.insert(k.clone(), v.clone());
        }
        Op::Delete(k) => assert_eq!(store.delete(k).unwrap(), map.remove(k).is_some()),
        Op::Batch(changes) => {
            let mut batch = Batch::new();
            for (k, v) in changes {
                match v {
                    Some(v) => drop(map.insert(k.clone(), v.clone())),
                    None => drop(map.remove(k)),
                }
                match v {
                    Some(v) => batch.put(k, v),
                    None => batch.delete(k),
                };
            }
            store.write(batch).unwrap();
        }
        Op::Swap(k, matching, new) => {
            let now = map.get(k).cloned();
            let expected = if *matching {
                now.clone()
            } else {
                Some(b"something else".to_vec())
            };
            let swapped = store
                .compare_and_set(k, expected.as_deref(), new.as_deref())
                .unwrap();
            assert_eq!(swapped, expected == now);
            if swapped {
                match new {
                    Some(v) => drop(map.insert(k.clone(), v.clone())),
                    None => drop(map.remove(k)),
                }
            }
        }
        Op::Compact => {
            let report = store.compact().unwrap();
            assert!(report.bytes_after <= report.bytes_before + 4096);
        }
        Op::Scan(prefix, ends) => assert_eq!(scan(store, prefix, *ends), pairs(map, prefix)),
        Op::Close | Op::Crash => {}
    }
}

fn agrees(store: &Store, map: &Map) {
    assert_eq!(scan(store, b"", 0), pairs(map, b""));
    assert_eq!(store.stats().live_keys, map.len() as u64);
    let bytes: usize = map.iter().map(|(k, v)| k.len() + v.len()).sum();
    assert_eq!(store.stats().live_bytes, bytes as u64);
    let mut inserted: Vec<_> = store.scan_inserted(0).map(|i| i.unwrap()).collect();
    assert!(inserted.is_sorted_by(|a, b| a.number < b.number));
    inserted.sort_by(|a, b| a.key.cmp(&b.key));
    let inserted: Vec<_> = inserted
        .into_iter()
        .map(|i| (i.key.to_vec(), i.value.to_vec()))
        .collect();
    assert_eq!(inserted, pairs(map, b""));
    for (k, v) in map {
        assert_eq!(store.get(k).unwrap().as_deref(), Some(&v[..]));
        assert!(store.contains(k).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_a_map(ops in prop::collection::vec(op(), 1..90), durable in any::<bool>()) {
        let durability = if durable { Durability::Always } else { Durability::Os };
        let mut disk = SimDisk::new();
        let mut store = options(durability).open_in(disk.storage()).unwrap();
        let mut map = Map::new();
        for op in &ops {
            apply(&store, &mut map, op);
            match op {
                Op::Close => {
                    store.close().unwrap();
                    store = options(durability).open_in(disk.storage()).unwrap();
                    agrees(&store, &map);
                }
                // The process dies; what it handed to the system stays.
                Op::Crash => {
                    disk = disk.abandoned();
                    store = options(durability).open_in(disk.storage()).unwrap();
                    agrees(&store, &map);
                }
                _ => {}
            }
        }
        agrees(&store, &map);
        prop_assert!(store.verify().unwrap().is_clean());
        let reader = Options::new().read_only(true).open_in(disk.storage()).unwrap();
        agrees(&reader, &map);
    }

    #[test]
    fn no_bytes_make_a_store_panic(
        manifest in prop::collection::vec(any::<u8>(), 0..200),
        segment in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut files = BTreeMap::new();
        files.insert("MANIFEST".to_owned(), manifest);
        files.insert("00000001.seg".to_owned(), segment);
        let disk = SimDisk::from_contents(&files);
        prop_assert!(Options::new().create(true).open_in(disk.storage()).is_err());
        prop_assert_eq!(disk.contents(), files);
    }
}
