//! Look-ups and inserts in batches, where they pay.

use std::hint::black_box;

use anyhow::Result;

use super::large::Large;
use super::peers::SBBF;
use crate::{Bench, Contest, Measured, PerInput, check};

/// Look-ups in batches against one by one, times faster.
pub(super) fn look_ups(bench: &Bench) -> Result<Measured> {
    let large = Large::<10>::shared(bench)?;
    let large = large.borrow();
    let (filter, sbbf, hash) = (&large.ours, &large.sbbf, large.hash());
    let queries = large.queries();
    let mut found = Vec::with_capacity(queries.len());
    filter.contains_many(&queries, &mut found);
    for (at, (query, found)) in queries.iter().zip(&found).enumerate() {
        let found = bench.answer(*found);
        let right =
            found == filter.contains(query) && found == sbbf.contains_hash(hash.hash(query));
        check(right, "a batch differs from single calls")?;
        let there = at % 2 == 1 || found;
        check(there, "a key that was inserted is missing")?;
    }
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
        format!("{} keys", large.count()),
        [
            ("MiB", size),
            ("ns, a batch", standing.time(1.0).value.median),
            ("ns, one by one", standing.nanoseconds(SINGLE).median),
        ],
    );
    let inserts = inserts(bench, &large)?;
    Ok(standing.faster(SINGLE).on_inputs(vec![input, inserts]))
}

/// The same keys in every round into copies of the filter, one by one and in a batch.
fn inserts(bench: &Bench, large: &Large<10>) -> Result<PerInput> {
    let keys = large.absent();
    let (hash, mut one, mut batch) = (large.hash(), large.ours.clone(), large.ours.clone());
    let mut sbbf = super::peers::as_large_as(&large.ours);
    sbbf.as_bytes_mut().copy_from_slice(large.ours.as_bytes());
    let standing = Contest::new(bench, keys.len() as u64)
        .side(SINGLE, "", || {
            for key in &keys {
                black_box(one.insert(key));
            }
        })
        .side(SBBF, "0.3", || {
            for key in &keys {
                black_box(sbbf.insert_hash(hash.hash(key)));
            }
        })
        .side("mainspring-bloom, a batch", "", || {
            black_box(batch.insert_many(&keys));
        })
        .run();
    let same = one.as_bytes() == sbbf.as_bytes() && one == batch;
    check(bench.answer(same), "the filters differ after their inserts")?;
    Ok(PerInput::new(
        format!("inserts beside {} keys", large.count()),
        [
            ("ns, one by one", standing.time(1.0).value.median),
            ("ratio to sbbf-rs-safe", standing.ratio(SBBF).value.median),
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
