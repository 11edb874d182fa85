//! The stable-hash promise: known answers of the published functions and of stored files.

use mainspring_bloom::{BloomBuilder, BloomKey, HashKind, KeyHash};

fn spelt<K: BloomKey + ?Sized>(key: &K) -> Vec<u8> {
    key.with_bytes(<[u8]>::to_vec)
}

#[test]
fn xxh3_known_answers() {
    let long = "a much longer key, of more than two hundred and forty bytes";
    let plain = KeyHash::default();
    let seeded = KeyHash::new(HashKind::Xxh3, 42);
    assert_eq!(plain.hash(""), 0x2d06_8005_38d3_94c2);
    assert_eq!(seeded.hash(""), 0xb029_411f_f43d_84d2);
    assert_eq!(plain.hash("session-1"), 0xc07e_a649_48c9_a305);
    assert_eq!(seeded.hash("session-1"), 0x0d84_5c08_1169_c4a4);
    assert_eq!(plain.hash(long), 0x8815_1b7a_b204_c99c);
    assert_eq!(seeded.hash(long), 0xa1ae_18fa_8402_0b85);
    assert_eq!(plain.hash(&1_u64), 0x2fbc_5935_64db_792e);
    assert_eq!(
        KeyHash::new(HashKind::Xxh3, 7).hash(&[7_u8; 300]),
        0x9926_2afb_d799_0b92
    );
}

#[test]
fn a_hash_is_told_by_its_kind_and_seed() {
    assert_eq!(KeyHash::new(HashKind::Xxh3, 0), KeyHash::default());
    assert_eq!(KeyHash::new(HashKind::Xxh64, 0), KeyHash::PARQUET);
    for (kind, seed) in [
        (HashKind::Xxh3, 0),
        (HashKind::Xxh3, 9),
        (HashKind::Xxh64, 0),
        (HashKind::Xxh64, 9),
    ] {
        let hash = KeyHash::new(kind, seed);
        assert_eq!((hash.kind(), hash.seed()), (kind, seed));
        let told = format!("{hash:?}");
        assert!(told.contains(&format!("{kind:?}")) && told.contains(&seed.to_string()));
    }
}

#[test]
fn xxh64_known_answer() {
    // Published with the Parquet implementation in Rust as 17241709254077376921.
    assert_eq!(KeyHash::PARQUET.hash(""), 17_241_709_254_077_376_921);
}

#[test]
fn a_key_spells_the_same_however_it_is_held() {
    assert_eq!(spelt(&0x0102_0304_u32), [4, 3, 2, 1]);
    assert_eq!(spelt(&-1_i16), [255, 255]);
    assert_eq!(spelt("id"), b"id");
    assert_eq!(spelt(&String::from("id")), b"id");
    assert_eq!(spelt(&std::borrow::Cow::Borrowed("id")), b"id");
    assert_eq!(spelt(b"id".as_slice()), b"id");
    assert_eq!(spelt(&b"id".to_vec()), b"id");
    assert_eq!(spelt(&&"id"), b"id");
    assert_eq!(spelt(&1_u128).len(), 16);
}

/// Files of version 1, as first written: what they hold, and that they are still written so.
#[test]
fn fixtures_of_version_1() {
    let builder = || BloomBuilder::new(20).fpr(0.01).seed(9);
    let keys = || (0..20).map(|i| format!("session-{i}"));

    let mut filter = builder().build().unwrap();
    filter.insert_many(keys());
    let stored = include_bytes!("fixtures/split-block-v1.bin");
    assert_eq!(filter.to_bytes(), stored);
    let read = mainspring_bloom::BloomFilter::from_bytes(stored).unwrap();
    assert!(keys().all(|key| read.contains(&key)));

    let claims = builder().build_claim().unwrap();
    for key in keys() {
        claims.claim(&key);
    }
    let stored = include_bytes!("fixtures/claim-v1.bin");
    assert_eq!(claims.to_bytes(), stored);
    let read = mainspring_bloom::ClaimFilter::from_bytes(stored).unwrap();
    assert!(keys().all(|key| !read.claim(&key)));

    let mut growing = BloomBuilder::new(5)
        .fpr(0.01)
        .seed(9)
        .build_scalable()
        .unwrap();
    growing.insert_many(keys()).unwrap();
    let stored = include_bytes!("fixtures/scalable-v1.bin");
    assert_eq!(growing.to_bytes(), stored);
    let read = mainspring_bloom::ScalableBloomFilter::from_bytes(stored).unwrap();
    assert!(keys().all(|key| read.contains(&key)));
    assert_eq!(read.stats(), growing.stats());
}

/// Writes the fixtures anew; only for a new version of the format, under new names.
#[test]
#[ignore = "writes files; run by hand when the format gains a version"]
fn write_fixtures() {
    let to = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    std::fs::create_dir_all(&to).unwrap();
    let keys = || (0..20).map(|i| format!("session-{i}"));
    let mut filter = BloomBuilder::new(20).fpr(0.01).seed(9).build().unwrap();
    filter.insert_many(keys());
    std::fs::write(to.join("split-block-v1.bin"), filter.to_bytes()).unwrap();
    let claims = BloomBuilder::new(20)
        .fpr(0.01)
        .seed(9)
        .build_claim()
        .unwrap();
    for key in keys() {
        claims.claim(&key);
    }
    std::fs::write(to.join("claim-v1.bin"), claims.to_bytes()).unwrap();
    let mut growing = BloomBuilder::new(5)
        .fpr(0.01)
        .seed(9)
        .build_scalable()
        .unwrap();
    growing.insert_many(keys()).unwrap();
    std::fs::write(to.join("scalable-v1.bin"), growing.to_bytes()).unwrap();
}
