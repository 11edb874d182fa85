//! The filter in front of a set of session ids.

use std::{collections::HashSet, hint::black_box};

use anyhow::{Result, anyhow};
use mainspring_bloom::BloomFilter;
use xorf::{BinaryFuse8, Filter as _};

use crate::{Bench, Contest, Measured, check};

/// Misses among session ids, against the set behind the filter.
pub(super) fn misses_against_a_set(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(2_000, 200_000, 1_000_000);
    let known: HashSet<String> = (0..count).map(session_id).collect();
    let mut filter = BloomFilter::with_capacity_and_fpr(count, 0.01)?;
    let mut fast = fastbloom::BloomFilter::with_false_pos(0.01)
        .hasher(foldhash::fast::FixedState::default())
        .expected_items(count);
    let hash = filter.key_hash();
    let hashes: Vec<u64> = known.iter().map(|id| hash.hash(id.as_str())).collect();
    let fuse = BinaryFuse8::try_from(&hashes).map_err(|what| anyhow!(what))?;
    for id in &known {
        filter.insert(id.as_str());
        fast.insert(id.as_str());
    }
    let mut sbbf = sbbf_rs_safe::Filter::new(8 * filter.byte_len(), 1);
    for hash in &hashes {
        sbbf.insert_hash(*hash);
    }
    let absent: Vec<String> = (count..count + 20_000).map(session_id).collect();
    let rate = check_side(bench, &known, &absent, |id| filter.contains(id))?;
    check_side(bench, &known, &absent, |id| known.contains(id))?;
    check_side(bench, &known, &absent, |id| {
        sbbf.contains_hash(hash.hash(id))
    })?;
    check_side(bench, &known, &absent, |id| fast.contains(id))?;
    check_side(bench, &known, &absent, |id| fuse.contains(&hash.hash(id)))?;

    let standing = Contest::new(bench, absent.len() as u64)
        .side("mainspring-bloom", "", || {
            misses(&absent, |id| filter.contains(id));
        })
        .side("HashSet<String>", "std", || {
            misses(&absent, |id| known.contains(id));
        })
        .side("sbbf-rs-safe", "0.3", || {
            misses(&absent, |id| sbbf.contains_hash(hash.hash(id)));
        })
        .side("fastbloom, foldhash", "0.17", || {
            misses(&absent, |id| fast.contains(id));
        })
        .side("xorf BinaryFuse8, immutable", "0.13", || {
            misses(&absent, |id| fuse.contains(&hash.hash(id)));
        })
        .run();
    let bits = filter.as_bytes().len() as f64 * 8.0 / count as f64;
    Ok(standing.saved("HashSet<String>").noting(format!(
        "{bits:.1} bits a key, false positives {:.2} %",
        rate * 100.0
    )))
}

/// The share of absent ids that a side takes for known, after it denied none of the known ones.
fn check_side(
    bench: &Bench,
    known: &HashSet<String>,
    absent: &[String],
    has: impl Fn(&str) -> bool,
) -> Result<f64> {
    let found = bench.answer(known.iter().filter(|id| has(id)).count());
    check(found == known.len(), "an id that was inserted is missing")?;
    let wrong = absent.iter().filter(|id| has(id)).count();
    let rate = bench.answer(wrong as f64 / absent.len() as f64);
    check(
        rate <= 0.02,
        "more than 2 % false positives at a target of 1 %",
    )?;
    Ok(rate)
}

fn misses(absent: &[String], has: impl Fn(&str) -> bool) {
    black_box(absent.iter().filter(|id| has(id)).count());
}

fn session_id(n: usize) -> String {
    let mixed = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("session-{mixed:016x}")
}
