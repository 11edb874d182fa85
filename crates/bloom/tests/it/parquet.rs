//! Bits as Apache Parquet has them, against known answers.

use mainspring_bloom::{BloomBuilder, BloomFilter, Error, KeyHash};

/// A bitset published with Parquet's implementations: written by parquet-mr for "a0" to "a9".
const PARQUET_MR: [u8; 32] = [
    200, 1, 80, 20, 64, 68, 8, 109, 6, 37, 4, 67, 144, 80, 96, 32, 8, 132, 43, 33, 0, 5, 99, 65, 2,
    0, 224, 44, 64, 78, 96, 4,
];

#[test]
fn a_bitset_of_parquet_mr_is_read_and_written_alike() {
    let read = BloomFilter::from_parquet_bitset(&PARQUET_MR).unwrap();
    assert!((0..10).all(|i| read.contains(&format!("a{i}"))));
    for portable in [false, true] {
        let mut ours = BloomBuilder::new(10)
            .fpr(0.01)
            .key_hash(KeyHash::PARQUET)
            .portable(portable)
            .build()
            .unwrap();
        assert_eq!(ours.byte_len(), 32);
        ours.extend((0..10).map(|i| format!("a{i}")));
        assert_eq!(ours.as_bytes(), PARQUET_MR);
    }
}

/// XXH64 over the bitset that the crate `parquet` 60.1 makes of the integers and the texts "id-{i}".
#[test]
fn bits_equal_those_of_the_parquet_crate() {
    for (blocks, keys, expected) in [
        (1_usize, 6_u64, 0x882c_4360_30d9_6bad_u64),
        (8, 100, 0xb508_31d0_8906_d317),
        (32, 500, 0x764c_5145_5dab_a17d),
        (1024, 20_000, 0xfbf0_6dff_bd52_0278),
    ] {
        let mut filter = BloomFilter::from_parquet_bitset(&vec![0; blocks * 32]).unwrap();
        for i in 0..keys {
            filter.insert(&i);
            filter.insert(&format!("id-{i}"));
        }
        assert_eq!(
            KeyHash::PARQUET.hash(filter.as_bytes()),
            expected,
            "{blocks} blocks, {keys} keys"
        );
    }
}

#[test]
fn a_bitset_that_is_no_run_of_blocks_is_refused() {
    for len in [0, 1, 31, 33] {
        assert!(matches!(
            BloomFilter::from_parquet_bitset(&vec![0; len]),
            Err(Error::Damaged { .. })
        ));
    }
}
