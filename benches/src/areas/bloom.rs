//! Membership.

use std::{collections::HashSet, hint::black_box};

use anyhow::Result;
use mainspring_bloom::BloomFilter;

use super::Benchmark;
use crate::{Bench, Contest, Measured, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[("bloom.check", misses_against_a_set)];

/// Misses among session ids, against the set behind the filter.
fn misses_against_a_set(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(2_000, 200_000, 1_000_000);
    let known: HashSet<String> = (0..count).map(session_id).collect();
    let mut filter = BloomFilter::with_capacity_and_fpr(count, 0.01)?;
    let mut rival = fastbloom::BloomFilter::with_false_pos(0.01).expected_items(count);
    for id in &known {
        filter.insert(id.as_str());
        rival.insert(id.as_str());
    }
    let absent: Vec<String> = (count..count + 20_000).map(session_id).collect();
    for id in &known {
        let found = bench.answer(filter.contains(id.as_str()));
        check(found, "an id that was inserted is missing")?;
    }
    let wrong = absent
        .iter()
        .filter(|id| filter.contains(id.as_str()))
        .count();
    let rate = bench.answer(wrong as f64 / absent.len() as f64);
    check(
        rate <= 0.02,
        "more than 2 % false positives at a target of 1 %",
    )?;

    let standing = Contest::new(bench, absent.len() as u64)
        .side("mainspring-bloom", "", || {
            black_box(
                absent
                    .iter()
                    .filter(|id| filter.contains(id.as_str()))
                    .count(),
            );
        })
        .side("HashSet<String>", "std", || {
            black_box(
                absent
                    .iter()
                    .filter(|id| known.contains(id.as_str()))
                    .count(),
            );
        })
        .side("fastbloom", "0.17", || {
            black_box(
                absent
                    .iter()
                    .filter(|id| rival.contains(id.as_str()))
                    .count(),
            );
        })
        .run();
    let bits = filter.as_bytes().len() as f64 * 8.0 / count as f64;
    Ok(standing.saved("HashSet<String>").noting(format!(
        "{bits:.1} bits a key, false positives {:.2} %",
        rate * 100.0
    )))
}

fn session_id(n: usize) -> String {
    let mixed = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("session-{mixed:016x}")
}
