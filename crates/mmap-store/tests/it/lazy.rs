//! Records whose fields are decoded when they are touched.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use mainspring_mmap_store::{Error, LazyRecord, LazyRecordBuilder};
use proptest::prelude::*;

use crate::crash::options;
use crate::sim::SimDisk;

fn fifty() -> Bytes {
    let mut builder = LazyRecordBuilder::new();
    for i in 0..50_u8 {
        builder = builder
            .field(&format!("field{i:02}"), vec![i; 1000])
            .unwrap();
    }
    builder.finish()
}

#[test]
fn only_touched_fields_are_decoded_and_each_once() {
    let record = LazyRecord::parse(fifty()).unwrap();
    let decoded = AtomicUsize::new(0);
    let length = |name: &str| {
        let decode = |bytes: &[u8]| {
            decoded.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Error>(bytes.len() + usize::from(bytes[0]))
        };
        record.decode(name, decode).unwrap().map(|n| *n)
    };
    assert_eq!(length("field07"), Some(1007));
    assert_eq!(length("field07"), Some(1007));
    assert_eq!(length("field31"), Some(1031));
    assert_eq!(length("none"), None);
    assert_eq!(decoded.into_inner(), 2);
    assert_eq!(record.names().count(), 50);
}

#[test]
fn damage_in_one_field_leaves_the_others_readable() {
    let mut bytes = fifty().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let record = LazyRecord::parse(bytes.into()).unwrap();
    assert!(
        matches!(record.raw("field49"), Err(Error::Damaged { offset, .. }) if offset == last as u64 - 999)
    );
    assert_eq!(record.raw("field48").unwrap().unwrap(), vec![48; 1000]);
}

#[test]
fn a_decoder_that_fails_is_asked_again() {
    let record = LazyRecord::parse(fifty()).unwrap();
    let fails = record.decode::<u8, _>("field01", |_| Err(Error::Closed));
    assert!(matches!(fails, Err(Error::Closed)));
    let other = record.decode("field01", |b| Ok::<_, Error>(b[0])).unwrap();
    assert_eq!(other.as_deref(), Some(&1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(fields in prop::collection::btree_map(".{0,8}", prop::collection::vec(any::<u8>(), 0..50), 0..10)) {
        let mut builder = LazyRecordBuilder::new();
        for (name, body) in &fields {
            builder = builder.field(name, body.clone()).unwrap();
        }
        let record = LazyRecord::parse(builder.finish()).unwrap();
        prop_assert!(record.names().eq(fields.keys().map(String::as_str)));
        for (name, body) in &fields {
            prop_assert_eq!(&record.raw(name).unwrap().unwrap()[..], &body[..]);
        }
    }

    #[test]
    fn any_changed_byte_is_an_error_or_the_right_data(at in any::<prop::sample::Index>(), mask in 1..=255_u8) {
        let good = LazyRecordBuilder::new().field("a", &b"one"[..]).unwrap().field("bb", &b"two"[..]).unwrap().finish();
        let mut bytes = good.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        if let Ok(record) = LazyRecord::parse(bytes.into()) {
            let read = [record.raw("a"), record.raw("bb")];
            prop_assert!(read.iter().any(Result::is_err));
            for (found, wanted) in read.into_iter().zip([&b"one"[..], b"two"]) {
                if let Ok(found) = found {
                    prop_assert_eq!(found.unwrap(), wanted);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"MLR1".to_vec();
        framed.extend(bytes);
        let _ = LazyRecord::parse(framed.into());
    }
}

/// Of a large record in the store only the directory and the touched fields are read.
#[test]
fn a_lazy_record_reads_what_is_touched_and_no_more() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    let mut builder = LazyRecordBuilder::new();
    for i in 0..50_u8 {
        builder = builder
            .field(&format!("field{i:02}"), vec![i; 40_000])
            .unwrap();
    }
    let bytes = builder.finish();
    store.put(b"record", &bytes).unwrap();
    store.put(b"plain", b"no record").unwrap();
    // In the active segment, then in a sealed one.
    for round in 0..2 {
        let before = disk.read();
        let record = store.get_lazy(b"record").unwrap().unwrap();
        assert_eq!(record.raw("field07").unwrap().unwrap(), vec![7; 40_000]);
        assert_eq!(record.raw("field31").unwrap().unwrap(), vec![31; 40_000]);
        let read = disk.read() - before;
        assert!(read < 2 * 40_000 + 5_000, "{read} bytes for 2 fields");
        // Again costs nothing, and what was taken outlives a compaction.
        store.put(b"fill", &vec![round; 5_000]).unwrap();
        store.put(b"fill", &vec![round; 5_000]).unwrap();
        store.compact().unwrap();
        let before = disk.read();
        assert_eq!(record.raw("field07").unwrap().unwrap(), vec![7; 40_000]);
        assert_eq!(disk.read(), before);
        assert_eq!(record.raw("field08").unwrap().unwrap(), vec![8; 40_000]);
        assert!(record.raw("none").unwrap().is_none());
    }
    assert!(matches!(
        store.get_lazy(b"plain"),
        Err(Error::Damaged { .. })
    ));
    assert!(store.get_lazy(b"missing").unwrap().is_none());
}

/// Damage in one field of a record in the store is found when that field is touched.
#[test]
fn damage_in_the_store_is_found_by_the_field_that_it_is_in() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    store.put(b"record", &fifty()).unwrap();
    store.close().unwrap();
    let mut files = disk.contents();
    let segment = files.get_mut("00000001.seg").unwrap();
    let at = segment.len() - 3_000;
    segment[at] ^= 1;
    let disk = SimDisk::from_contents(&files);
    let store = options().open_in(disk.storage()).unwrap();
    let record = store.get_lazy(b"record").unwrap().unwrap();
    let bad = |name: &&str| record.raw(name).is_err();
    assert_eq!(record.names().filter(bad).count(), 1);
}
