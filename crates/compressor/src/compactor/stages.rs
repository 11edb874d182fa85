//! The stages that replace outputs, in order from lossless to merely retrievable.

use super::work::{Output, Work};
use crate::{access::AccessKind, similar::Signature};
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_64;

/// What a stage did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) outputs: usize,
    pub(super) tokens: usize,
}

fn apply(work: &mut Work<'_>, chosen: Vec<(Output, String)>) -> Saved {
    Saved {
        outputs: chosen.len(),
        tokens: work.replace(&chosen),
    }
}

/// Outputs that a later call gave again word for word.
pub(super) fn exact_duplicates(work: &mut Work<'_>) -> Saved {
    let outputs = work.outputs();
    let mut newest: HashMap<u64, usize> = HashMap::new();
    let hashes: Vec<u64> = outputs
        .iter()
        .map(|output| xxh3_64(work.text(output).as_bytes()))
        .collect();
    for (at, hash) in hashes.iter().enumerate() {
        newest.insert(*hash, at);
    }
    let chosen = outputs
        .iter()
        .zip(&hashes)
        .enumerate()
        .filter(|(at, (output, hash))| {
            let last = newest[*hash];
            last > *at && work.text(output) == work.text(&outputs[last])
        })
        .map(|(_, (output, _))| (output.clone(), "same output again later".to_owned()))
        .collect();
    apply(work, chosen)
}

/// Outputs that a later one resembles by more than the threshold.
pub(super) fn near_duplicates(work: &mut Work<'_>, similarity: f64) -> Saved {
    let outputs: Vec<Output> = work.outputs().into_iter().filter(|o| o.answers).collect();
    let signatures: Vec<Signature> = outputs
        .iter()
        .map(|output| Signature::of(&work.text(output)))
        .collect();
    let mut buckets: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut chosen = Vec::new();
    for at in (0..outputs.len()).rev() {
        let mut bands = signatures[at].bands();
        let similar = bands.any(|band| {
            buckets.get(&band).is_some_and(|later| {
                let mut later = later.iter().take(16);
                later.any(|other| signatures[at].similarity(&signatures[*other]) > similarity)
            })
        });
        if similar {
            let why = "nearly the same output again later".to_owned();
            chosen.push((outputs[at].clone(), why));
        } else {
            for band in signatures[at].bands() {
                buckets.entry(band).or_default().push(at);
            }
        }
    }
    apply(work, chosen)
}

/// Reads and searches that were repeated, and reads of what was changed since.
pub(super) fn superseded(work: &mut Work<'_>) -> Saved {
    let outputs = work.outputs();
    let changed = changes(work);
    let mut again: HashMap<(&str, &str), usize> = HashMap::new();
    let mut chosen = Vec::new();
    for (at, output) in outputs.iter().enumerate().rev() {
        if output.access.kind != AccessKind::Read || !output.answers {
            continue;
        }
        let key = (output.label.as_str(), output.arguments.as_str());
        let edited = output
            .access
            .path
            .as_ref()
            .and_then(|path| changed.get(path))
            .is_some_and(|last| *last > output.place.item);
        let repeated = again.insert(key, at).is_some();
        if edited || repeated {
            let why = if edited {
                "outdated, changed since"
            } else {
                "outdated, read again later"
            };
            chosen.push((output.clone(), why.to_owned()));
        }
    }
    apply(work, chosen)
}

/// The last item that changed each path.
fn changes(work: &Work<'_>) -> HashMap<String, usize> {
    let mut changed = HashMap::new();
    for (at, item) in work.context.transcript.items().iter().enumerate() {
        for call in item.calls() {
            let access = call.access();
            if access.kind == AccessKind::Write
                && let Some(path) = access.path
            {
                changed.insert(path, at);
            }
        }
    }
    changed
}

/// Old outputs, in one batch, until the target is reached; the newest `protect` tokens stay.
pub(super) fn clear_old(work: &mut Work<'_>, target: usize, protect: usize) -> Saved {
    let mut outputs = work.outputs();
    let mut kept = 0;
    while let Some(newest) = outputs.last() {
        kept += newest.tokens;
        if kept > protect {
            break;
        }
        outputs.pop();
    }
    let mut excess = work.tokens.saturating_sub(target);
    let chosen = outputs
        .into_iter()
        .take_while(|output| {
            let needed = excess > 0;
            excess = excess.saturating_sub(output.tokens.saturating_sub(24));
            needed
        })
        .map(|output| (output, "cleared".to_owned()))
        .collect();
    apply(work, chosen)
}
