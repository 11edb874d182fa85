//! Values at the limit of the format.

use mainspring_mmap_store::{Error, Options};

const LIMIT: u64 = u32::MAX as u64;

fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn is_right(value: &[u8]) -> bool {
    let all = value.len() as u64 == LIMIT;
    all && value
        .iter()
        .enumerate()
        .all(|(at, b)| *b == byte(at as u64))
}

/// Run with `cargo test --release -p mainspring-mmap-store -- --ignored a_value_of_four`.
#[test]
#[ignore = "takes 10 GB of memory and 5 GB of disk; to be run in release"]
fn a_value_of_four_gibibytes_less_one_comes_back() {
    let dir = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
    let open = || Options::new().create(true).open(dir.path()).unwrap();
    let store = open();
    store.put(b"before", b"1").unwrap();
    let value: Vec<u8> = (0..LIMIT).map(byte).collect();
    store.put(b"large", &value).unwrap();
    drop(value);
    store.put(b"behind", b"2").unwrap();
    assert!(is_right(&store.get(b"large").unwrap().unwrap()));
    // One byte more is refused before anything is written.
    let bytes = store.stats().log_bytes;
    let refused = store.put(b"larger", &vec![0; LIMIT as usize + 1]);
    assert!(matches!(
        refused,
        Err(Error::TooLarge { what: "value", len, limit }) if (len, limit) == (LIMIT + 1, LIMIT)
    ));
    assert_eq!(store.stats().log_bytes, bytes);
    store.close().unwrap();
    let store = open();
    assert!(is_right(&store.get(b"large").unwrap().unwrap()));
    assert_eq!(store.get(b"behind").unwrap().unwrap(), "2");
    let mut keys = 0;
    for pair in store.scan_prefix(b"").unwrap() {
        pair.unwrap();
        keys += 1;
    }
    assert_eq!(keys, 3);
    assert!(store.verify().unwrap().is_clean());
}
