//! Stored data and values made to hurt: refused within a memory bound, never a panic.

use std::sync::Arc;

use mainspring_delta_snapshot::{Backing, CommitOptions, Error, MemoryBacking, Snapshots};
use proptest::prelude::*;

use crate::basics::{memory, options};
use crate::counting::peak_of;

fn key_of(snapshots: &Snapshots, backing: &MemoryBacking) -> String {
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[1,2,3]").expect("set");
    thread.commit(CommitOptions::new()).expect("commit");
    backing.list("s/").expect("list").remove(0).key
}

/// A record with a checksum that fits, so that what is inside is looked at.
fn record(key: &str, number: u64, body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut len = body.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(body);
    let sum = crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), &number.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn poke(backing: &Arc<MemoryBacking>) {
    let snapshots =
        Snapshots::open(backing.clone(), options().max_state_bytes(1 << 20)).expect("open");
    let _ = snapshots.threads();
    let _ = snapshots.verify();
    let _ = snapshots.gc();
    if let Ok(thread) = snapshots.thread("t") {
        for version in thread.versions().unwrap_or_default() {
            let _ = snapshots.restore(version.id);
        }
        let _ = thread.append("", &["1"]);
        let _ = thread.commit(CommitOptions::new());
        let _ = thread.seal();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_records_are_refused(
        header in proptest::collection::vec(any::<u8>(), 0..60),
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4),
        good_header in any::<bool>(),
    ) {
        let backing = Arc::new(MemoryBacking::new());
        let key = key_of(&Snapshots::open(backing.clone(), options()).expect("open"), &backing);
        let mut bytes = b"MSDS\x01".to_vec();
        record(&key, 0, if good_header { b"\x01t\0\0\0\0\0\0\0" } else { &header }, &mut bytes);
        for (i, body) in bodies.iter().enumerate() {
            record(&key, i as u64 + 1, body, &mut bytes);
        }
        backing.put(&key, &bytes).expect("put");
        poke(&backing);
    }

    #[test]
    fn random_operations_are_refused(ops in proptest::collection::vec(any::<u8>(), 1..80), tag in 0..9u8) {
        let backing = Arc::new(MemoryBacking::new());
        let key = key_of(&Snapshots::open(backing.clone(), options()).expect("open"), &backing);
        let mut plain = vec![tag];
        plain.extend(ops);
        let mut frame = Vec::with_capacity(1024);
        zstd_safe::compress(&mut frame, &plain[..], 1).expect("compress");
        let mut bytes = b"MSDS\x01".to_vec();
        record(&key, 0, b"\x01t\0\0\0\0\0\0\0", &mut bytes);
        let mut body = vec![3, 0, 0, 14, plain.len() as u8, 0, 0, 0, 0];
        body.extend(frame);
        record(&key, 1, &body, &mut bytes);
        backing.put(&key, &bytes).expect("put");
        poke(&backing);
    }

    #[test]
    fn random_bytes_in_place_of_a_value_are_refused_or_kept(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
        let snapshots = memory();
        let thread = snapshots.thread("t").expect("thread");
        let valid = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&raw).is_ok();
        prop_assert_eq!(thread.set("", &raw).is_ok(), valid);
    }
}

#[test]
fn a_bomb_is_refused_before_it_takes_memory() {
    let backing = Arc::new(MemoryBacking::new());
    let key = key_of(
        &Snapshots::open(backing.clone(), options()).expect("open"),
        &backing,
    );
    // 64 MiB of zeros in a few KiB, with an honest length, a lying one and one that no data could have.
    let mut frame = Vec::with_capacity(1 << 20);
    zstd_safe::compress(&mut frame, &vec![0u8; 64 << 20][..], 1).expect("compress");
    for ops in [
        &[0x80u8, 0x80, 0x80, 0x20][..],
        &[0x80, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let mut bytes = b"MSDS\x01".to_vec();
        record(&key, 0, b"\x01t\0\0\0\0\0\0\0", &mut bytes);
        let mut body = vec![3, 0, 0, 14];
        body.extend_from_slice(ops);
        body.extend([0; 4]);
        body.extend_from_slice(&frame);
        record(&key, 1, &body, &mut bytes);
        backing.put(&key, &bytes).expect("put");
        let snapshots =
            Snapshots::open(backing.clone(), options().max_state_bytes(1 << 20)).expect("open");
        let versions = snapshots
            .thread("t")
            .and_then(|thread| thread.versions())
            .unwrap_or_default();
        for version in versions {
            let refused = snapshots.restore(version.id);
            assert!(
                matches!(refused, Err(Error::TooLarge { .. } | Error::Damaged { .. })),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn states_that_lie_about_their_length_are_refused() {
    let backing = Arc::new(MemoryBacking::new());
    let key = key_of(
        &Snapshots::open(backing.clone(), options()).expect("open"),
        &backing,
    );
    // A state of bytes made of an array, spliced behind its only page; one block of 2^64 - 1 bytes, twice.
    let array = (
        &[8u8, 2, 0, 0, 1, 0, 0, 4, b'a', b'b', 6, 3, 4, 0][..],
        0,
        Vec::new(),
    );
    let mut huge = vec![1];
    huge.extend([7; 32]);
    huge.extend([0xff; 9]);
    huge.push(1);
    let blocks = (&[2u8, 0, 5, b'"', b'"', 2, 1, 0, 1, 0][..], 4, huge);
    for (plain, flags, extra) in [array, blocks] {
        let mut frame = Vec::with_capacity(64);
        zstd_safe::compress(&mut frame, plain, 1).expect("compress");
        let mut bytes = b"MSDS\x01".to_vec();
        record(&key, 0, b"\x01t\0\0\0\0\0\0\0", &mut bytes);
        let mut body = vec![3, flags, 0, 14, plain.len() as u8, 0, 0, 0, 0];
        body.extend(extra);
        body.extend(frame);
        record(&key, 1, &body, &mut bytes);
        backing.put(&key, &bytes).expect("put");
        poke(&backing);
    }
}

#[test]
fn version_numbers_that_cannot_be_counted_on_are_refused() {
    let backing = Arc::new(MemoryBacking::new());
    let key = key_of(
        &Snapshots::open(backing.clone(), options()).expect("open"),
        &backing,
    );
    let mut bytes = b"MSDS\x01".to_vec();
    let mut header = b"\x01t\0\0\0\0\0\0".to_vec();
    header.extend([0xff; 9]);
    header.push(1);
    record(&key, 0, &header, &mut bytes);
    backing.put(&key, &bytes).expect("put");
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    let mut seen = Vec::new();
    if let Ok(thread) = snapshots.thread("t") {
        for n in 0..3 {
            thread.set("", n.to_string()).expect("set");
            seen.push(thread.commit(CommitOptions::new()).expect("commit"));
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    poke(&backing);
}

#[test]
fn deep_nesting_is_refused() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(matches!(
        thread.set("", &deep),
        Err(Error::InvalidJson { offset: 256, .. })
    ));
    assert!(thread.set(&"/a".repeat(300), "1").is_err());
    assert!(snapshots.thread("").is_err());
    assert!(snapshots.thread(&"x".repeat(600)).is_err());
}

#[test]
fn a_state_that_does_not_have_its_hash_is_refused() {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    let key = key_of(&snapshots, &backing);
    let id = snapshots.thread("t").expect("thread").head().expect("head");
    let good = backing.get(&key).expect("get").expect("there");
    // Sets the whole state to `[4]`, correctly framed and summed, with the check of another state.
    let plain = b"\x02\x00\x06[4]";
    let mut frame = Vec::with_capacity(64);
    zstd_safe::compress(&mut frame, &plain[..], 1).expect("compress");
    let mut bytes = b"MSDS\x01".to_vec();
    record(&key, 0, b"\x01t\0\0\0\0\0\0\0", &mut bytes);
    let mut body = vec![3, 0, 0, 6, plain.len() as u8, 1, 2, 3, 4];
    body.extend(frame);
    record(&key, 1, &body, &mut bytes);
    backing.put(&key, &bytes).expect("put");
    let hostile = Snapshots::open(backing.clone(), options()).expect("open");
    let head = hostile.thread("t").expect("thread").head().expect("head");
    let refused = hostile.restore(head);
    assert!(
        matches!(&refused, Err(Error::Damaged { what, .. }) if what.contains("hash")),
        "{refused:?}"
    );
    assert!(!hostile.verify().expect("verify").is_clean());
    backing.put(&key, &good).expect("put");
    assert_eq!(
        Snapshots::open(backing, options())
            .expect("open")
            .restore(id)
            .expect("restore"),
        "[1,2,3]"
    );
}

/// A segment of format 3 with one group.
fn segment_of(key: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"MSDS\x03".to_vec();
    record(key, 0, b"\x01t\0\0\0\0\0\0\0", &mut bytes);
    record(key, 1, body, &mut bytes);
    bytes
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// What stands before the payload of a version that claims to become `ops` bytes.
fn group(form: u64, ops: u64) -> Vec<u8> {
    let mut body = Vec::new();
    varint(4 | form, &mut body);
    body.extend([0, 0]);
    varint(ops * 2, &mut body);
    varint(ops, &mut body);
    body.extend([1, 2, 3, 4]);
    body
}

/// Frames of blocks that claim as much as they can, in every form a group has, whole and in pieces.
#[test]
fn no_length_in_a_segment_takes_more_memory_than_the_limit() {
    const LIMIT: u64 = 4 << 20;
    let header = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x68];
    let (mut runs, mut empty) = (header.to_vec(), header.to_vec());
    for _ in 0..512 {
        // 128 KiB of one byte, and a compressed block that is none.
        runs.extend([2, 0, 0x10, 7]);
        empty.extend([(2 << 3) | 4, 0, 0, 0, 0]);
    }
    let backing = Arc::new(MemoryBacking::new());
    let first = Snapshots::open(backing.clone(), options()).expect("open");
    let key = key_of(&first, &backing);
    let mut tried = 0;
    for payload in [runs, empty, vec![9; 600], header.to_vec()] {
        for form in 0..4 {
            for ops in [
                1,
                600,
                200 << 10,
                3 << 20,
                4 << 20,
                60 << 20,
                1 << 40,
                u64::MAX >> 1,
            ] {
                let mut body = group(form, ops);
                body.extend_from_slice(&payload);
                let bytes = segment_of(&key, &body);
                let stored = bytes.len();
                backing.put(&key, &bytes).expect("put");
                let (peak, ()) = peak_of(|| {
                    let options = options().max_state_bytes(LIMIT);
                    let snapshots = Snapshots::open(backing.clone(), options).expect("open");
                    let _ = snapshots.verify();
                    if let Ok(thread) = snapshots.thread("t") {
                        for version in thread.versions().unwrap_or_default() {
                            assert!(snapshots.restore(version.id).is_err());
                            assert!(snapshots.restore_last_items(version.id, "", 1).is_err());
                        }
                        let _ = thread.seal();
                    }
                    let _ = snapshots.gc();
                });
                tried += 1;
                // What may be replayed for the largest state there may be.
                let most = 4 * LIMIT as usize + 4 * stored + (2 << 20);
                assert!(peak <= most, "form {form}, {ops} claimed: {peak} bytes");
            }
        }
    }
    assert_eq!(tried, 128);
}

/// Containers inside containers that each claim many children and have none.
#[test]
fn claimed_children_take_no_memory() {
    let backing = Arc::new(MemoryBacking::new());
    let first = Snapshots::open(backing.clone(), options()).expect("open");
    let key = key_of(&first, &backing);
    // A whole state of JSON: an open value with an array in it, whose first child is the same again.
    let mut plain = vec![8, 1];
    for _ in 0..250 {
        plain.extend([1, 0, 0, 0, 0]);
        varint(4_000, &mut plain);
    }
    plain.resize(plain.len() + 20_000, 0xff);
    let len = plain.len() as u64;
    let mut frame = Vec::with_capacity(1 << 16);
    zstd_safe::compress(&mut frame, &plain[..], 1).expect("compress");
    let mut body = group(1, len);
    body.extend(frame);
    backing.put(&key, &segment_of(&key, &body)).expect("put");
    let (peak, ()) = peak_of(|| {
        let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
        let thread = snapshots.thread("t").expect("thread");
        let head = thread.head().expect("head");
        let refused = snapshots.restore(head);
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    });
    assert!(peak < 2 << 20, "{peak} bytes");
}
