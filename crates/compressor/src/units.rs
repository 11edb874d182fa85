//! The pieces of a context that can be cut without splitting a call from its results.

use crate::{
    item::{Part, Role},
    pairing::{END, Problem},
    transcript::Transcript,
};
use std::ops::Range;

/// Cuts the items into units: exchanges with everything between their calls and results, hidden
/// reasoning with what follows it, every other item alone. O(items).
pub(crate) fn units(transcript: &Transcript) -> Vec<Range<usize>> {
    let reach = reach(transcript);
    let mut units: Vec<Range<usize>> = Vec::new();
    let mut end = 0;
    for (at, reach) in reach.into_iter().enumerate() {
        if at >= end {
            units.push(at..at + 1);
        }
        end = end.max(reach + 1);
        if let Some(unit) = units.last_mut() {
            unit.end = end.max(at + 1);
        }
    }
    units
}

/// For each item the last one that must stay with it.
fn reach(transcript: &Transcript) -> Vec<usize> {
    let items = transcript.items();
    let mut reach: Vec<usize> = (0..items.len()).collect();
    for exchange in transcript.exchanges() {
        if let (Some(call), Some(result)) = (exchange.call, exchange.result) {
            reach[call.item] = reach[call.item].max(result.item);
        }
    }
    for finding in transcript.findings() {
        let open = finding.explained_by == Some(END);
        if open && finding.problem == Problem::MissingResult {
            reach[finding.item] = items.len() - 1;
        }
    }
    for (at, item) in items.iter().enumerate() {
        let reasoning = item.role() == Role::Assistant
            && !item.parts().is_empty()
            && item
                .parts()
                .iter()
                .all(|part| matches!(part, Part::Thinking(_) | Part::Opaque(_)));
        if reasoning && at + 1 < items.len() {
            reach[at] = reach[at].max(at + 1);
        }
    }
    reach
}
