//! Membership.

use std::{collections::HashSet, hint::black_box};

use anyhow::Result;
use mainspring_bloom::BloomFilter;

use super::{Settings, check, peer, saved};
use crate::{Measured, paired};

/// Misses among session ids, against the set behind the filter.
pub(super) fn misses_against_a_set(settings: &Settings) -> Result<Measured> {
    let count = if settings.quick { 200_000 } else { 1_000_000 };
    let id = |n: usize| {
        format!(
            "session-{:016x}",
            (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        )
    };
    let known: HashSet<String> = (0..count).map(id).collect();
    let mut filter = BloomFilter::with_capacity_and_fpr(count, 0.01)?;
    let mut rival = fastbloom::BloomFilter::with_false_pos(0.01).expected_items(count);
    for id in &known {
        filter.insert(id.as_str());
        rival.insert(id.as_str());
    }
    let absent: Vec<String> = (count..count + 20_000).map(id).collect();
    check(
        known.iter().all(|id| filter.contains(id.as_str())),
        "an id that was inserted is missing",
    )?;
    let wrong = absent
        .iter()
        .filter(|id| filter.contains(id.as_str()))
        .count();
    check(
        wrong * 100 <= absent.len() * 2,
        "more than 2 % false positives at a target of 1 %",
    )?;

    let ours = || {
        let found = absent
            .iter()
            .filter(|id| filter.contains(id.as_str()))
            .count();
        black_box(found);
    };
    let operations = absent.len() as u64;
    let against_set = paired(settings.rounds(), operations, ours, || {
        black_box(
            absent
                .iter()
                .filter(|id| known.contains(id.as_str()))
                .count(),
        );
    });
    let against_rival = paired(settings.rounds(), operations, ours, || {
        black_box(
            absent
                .iter()
                .filter(|id| rival.contains(id.as_str()))
                .count(),
        );
    });
    let peers = vec![
        peer("HashSet<String>", "std", &against_set),
        peer("fastbloom", "0.17", &against_rival),
    ];
    Ok(saved(&against_set, peers))
}
