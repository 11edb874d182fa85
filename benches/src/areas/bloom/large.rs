//! A filter that no cache holds.

use std::hint::black_box;

use anyhow::Result;
use mainspring_bloom::BloomFilter;
use mainspring_inputs::Random;

use crate::{Bench, Contest, Measured, PerInput, check};

/// Keys asked for in one run; half of them are there.
const QUERIES: usize = 200_000;

/// Look-ups in batches against one by one, times faster.
pub(super) fn batches(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(20_000, 10_000_000, 100_000_000);
    let mut filter = BloomFilter::with_capacity_and_fpr(count, 0.01)?;
    let mut sbbf = sbbf_rs_safe::Filter::new(8 * filter.byte_len(), 1);
    filter.insert_many((0..count).map(key));
    let hash = filter.key_hash();
    sbbf.as_bytes_mut().copy_from_slice(filter.as_bytes());
    let queries = queries(count);
    let mut found = Vec::with_capacity(queries.len());
    filter.contains_many(&queries, &mut found);
    for (query, found) in queries.iter().zip(&found) {
        let found = bench.answer(*found);
        let right =
            found == filter.contains(query) && found == sbbf.contains_hash(hash.hash(query));
        check(right, "a batch differs from single calls")?;
    }
    let there = queries.iter().step_by(2);
    let missing = there.filter(|query| !filter.contains(*query)).count();
    check(
        bench.answer(missing) == 0,
        "a key that was inserted is missing",
    )?;
    let standing = Contest::new(bench, queries.len() as u64)
        .side("mainspring-bloom, a batch", "", || {
            filter.contains_many(black_box(&queries), &mut found);
            black_box(&found);
        })
        .side(SINGLE, "", || {
            single(&queries, |query| filter.contains(query))
        })
        .side("sbbf-rs-safe, one by one", "0.3", || {
            single(&queries, |query| sbbf.contains_hash(hash.hash(query)));
        })
        .run();
    let size = filter.byte_len() as f64 / (1 << 20) as f64;
    let input = PerInput::new(
        format!("{count} keys"),
        [
            ("MiB", size),
            ("ns, a batch", standing.time(1.0).value.median),
            ("ns, one by one", standing.nanoseconds(SINGLE).median),
        ],
    );
    let inserts = inserts(bench, &mut filter, &mut sbbf, count)?;
    Ok(standing.faster(SINGLE).on_inputs(vec![input, inserts]))
}

/// Keys of their own into the full filters, the same ones in every round, one by one and in a batch.
fn inserts(
    bench: &Bench,
    filter: &mut BloomFilter,
    sbbf: &mut sbbf_rs_safe::Filter,
    count: usize,
) -> Result<PerInput> {
    let keys: Vec<u64> = (2 * count..2 * count + QUERIES.min(count))
        .map(key)
        .collect();
    let (hash, mut batch) = (filter.key_hash(), filter.clone());
    let standing = Contest::new(bench, keys.len() as u64)
        .side("mainspring-bloom", "", || {
            for key in &keys {
                black_box(filter.insert(key));
            }
        })
        .side("sbbf-rs-safe", "0.3", || {
            for key in &keys {
                black_box(sbbf.insert_hash(hash.hash(key)));
            }
        })
        .side("mainspring-bloom, a batch", "", || {
            black_box(batch.insert_many(&keys));
        })
        .run();
    let same = filter.as_bytes() == sbbf.as_bytes() && *filter == batch;
    check(bench.answer(same), "the filters differ after their inserts")?;
    Ok(PerInput::new(
        format!("inserts beside {count} keys"),
        [
            ("ns, one by one", standing.time(1.0).value.median),
            (
                "ratio to sbbf-rs-safe",
                standing.ratio("sbbf-rs-safe").value.median,
            ),
            (
                "ns, a batch",
                standing.nanoseconds("mainspring-bloom, a batch").median,
            ),
        ],
    ))
}

const SINGLE: &str = "mainspring-bloom, one by one";

/// The same answers, one call each, into the same kind of list.
fn single(queries: &[u64], has: impl Fn(&u64) -> bool) {
    let mut found = Vec::with_capacity(queries.len());
    found.extend(queries.iter().map(has));
    black_box(&found);
}

/// Distinct keys without a list of them.
fn key(n: usize) -> u64 {
    (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn queries(count: usize) -> Vec<u64> {
    let mut random = Random::new(7);
    (0..QUERIES.min(count))
        .map(|n| key(random.below(count) + if n % 2 == 0 { 0 } else { count }))
        .collect()
}
