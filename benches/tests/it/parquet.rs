//! The bits of Apache Parquet's Bloom filters: its own crate and ours read each other's.

use mainspring_bloom::{BloomBuilder, BloomFilter, KeyHash};
use parquet::bloom_filter::Sbbf;

/// Keys of either kind that a filter of so many blocks is tried with.
const SHAPES: [(usize, i64); 4] = [(1, 6), (8, 100), (32, 500), (1_024, 20_000)];

fn name(i: i64) -> String {
    format!("id-{i}")
}

fn bits_of(filter: &Sbbf) -> Vec<u8> {
    let mut bits = Vec::new();
    filter.write_bitset(&mut bits).unwrap();
    bits
}

fn of_parquet(blocks: usize, keys: i64) -> Sbbf {
    let mut filter = Sbbf::new(&vec![0; blocks * 32]);
    for i in 0..keys {
        filter.insert(&i);
        filter.insert(name(i).as_str());
    }
    filter
}

fn of_ours(blocks: usize, keys: i64) -> BloomFilter {
    let mut filter = BloomFilter::from_parquet_bitset(&vec![0; blocks * 32]).unwrap();
    for i in 0..keys {
        filter.insert(&i);
        filter.insert(&name(i));
    }
    filter
}

/// Both say the same of keys that are there and of others.
fn assert_alike(ours: &BloomFilter, theirs: &Sbbf, keys: i64) {
    for i in -keys..2 * keys {
        assert_eq!(ours.contains(&i), theirs.check(&i), "{i}");
        let name = name(i);
        assert_eq!(ours.contains(&name), theirs.check(name.as_str()), "{name}");
        if (0..keys).contains(&i) {
            assert!(ours.contains(&i) && ours.contains(&name), "{i} is denied");
        }
    }
}

#[test]
fn both_make_the_same_bits() {
    for (blocks, keys) in SHAPES {
        let theirs = bits_of(&of_parquet(blocks, keys));
        assert!(
            of_ours(blocks, keys).as_bytes() == theirs,
            "{blocks} blocks"
        );
    }
}

#[test]
fn a_filter_that_parquet_wrote_is_answered_alike() {
    for (blocks, keys) in SHAPES {
        let theirs = of_parquet(blocks, keys);
        let ours = BloomFilter::from_parquet_bitset(&bits_of(&theirs)).unwrap();
        assert_alike(&ours, &theirs, keys);
        let view = ours.view();
        assert!((0..keys).all(|i| view.contains(&i) && view.contains(&name(i))));
    }
}

/// Through the whole stored form of Parquet, with its header in front of the bits.
#[test]
fn a_filter_that_we_wrote_is_answered_alike_by_parquet() {
    for (blocks, keys) in SHAPES {
        let ours = of_ours(blocks, keys);
        let mut stored = Vec::new();
        Sbbf::new(ours.as_bytes()).write(&mut stored).unwrap();
        assert!(stored.ends_with(ours.as_bytes()));
        let theirs = Sbbf::from_bytes(&stored).unwrap();
        assert_alike(&ours, &theirs, keys);
    }
}

#[test]
fn a_filter_sized_here_under_parquets_hash_serves_parquet() {
    for portable in [false, true] {
        let builder = BloomBuilder::new(5_000).fpr(0.001).portable(portable);
        let mut ours = builder.key_hash(KeyHash::PARQUET).build().unwrap();
        ours.insert_many(0..5_000_i64);
        let theirs = Sbbf::new(ours.as_bytes());
        assert!((0..5_000_i64).all(|i| theirs.check(&i)));
        assert_alike_integers(&ours, &theirs);
    }
}

fn assert_alike_integers(ours: &BloomFilter, theirs: &Sbbf) {
    let absent = (5_000..60_000_i64).filter(|i| {
        let found = ours.contains(i);
        assert_eq!(found, theirs.check(i), "{i}");
        found
    });
    let wrong = absent.count();
    assert!(wrong < 110, "{wrong} of 55,000 at 0.1 %");
}
