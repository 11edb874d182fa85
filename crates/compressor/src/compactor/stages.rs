//! The stages that replace outputs, in order from lossless to merely retrievable.

use super::work::{Output, Replacement, Work};
use crate::{
    TokenOptimizer,
    access::AccessKind,
    item::Role,
    similar::{self, Signature},
};
use std::collections::{HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

/// Tokens from which an output is worth the work of shortening it.
const LARGE: usize = 200;
/// Share of an output that may be left when shortening it was worth a reference.
const WORTH: f64 = 0.8;

/// What a stage did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) outputs: usize,
    pub(super) tokens: usize,
}

fn apply(work: &mut Work<'_>, chosen: Vec<Replacement>) -> Saved {
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
        .map(|(_, (output, _))| Replacement::whole(output.clone(), "same output again later"))
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
                later.any(|other| {
                    signatures[at].may_exceed(&signatures[*other], similarity) && {
                        let other = work.text(&outputs[*other]);
                        similar::similarity(&work.text(&outputs[at]), &other) > similarity
                    }
                })
            })
        });
        if similar {
            let why = "nearly the same output again later";
            chosen.push(Replacement::whole(outputs[at].clone(), why));
        } else {
            for band in signatures[at].bands() {
                buckets.entry(band).or_default().push(at);
            }
        }
    }
    apply(work, chosen)
}

/// Reads and searches that were repeated, reads of lines that were read again, and reads of what was
/// changed since. What was said again word for word is gone before, whatever was asked.
pub(super) fn superseded(work: &mut Work<'_>) -> Saved {
    let outputs = work.outputs();
    let changed = changes(work);
    let mut again: HashSet<(&str, &str)> = HashSet::new();
    let mut read: HashMap<(&str, bool), Vec<&Output>> = HashMap::new();
    let mut chosen = Vec::new();
    for output in outputs.iter().rev() {
        if output.access.kind != AccessKind::Read || !output.answers {
            continue;
        }
        let path = output.access.path.as_deref();
        let edited = path
            .and_then(|path| changed.get(path))
            .is_some_and(|last| *last > output.place.item);
        let repeated = !again.insert((output.label.as_str(), output.arguments.as_str()));
        // A command may do more with a file than to show its lines.
        let key = path.filter(|_| output.access.command.is_none());
        let covered = key.is_some_and(|path| {
            let later = read.entry((path, output.failed)).or_default();
            let covered = !output.failed
                && later
                    .iter()
                    .any(|other| other.tool == output.tool && other.access.covers(&output.access));
            later.push(output);
            covered
        });
        if edited || repeated || covered {
            let why = if edited {
                "outdated, changed since"
            } else {
                "outdated, read again later"
            };
            chosen.push(Replacement::whole(output.clone(), why));
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
        .map(|output| Replacement::whole(output, "cleared"))
        .collect();
    apply(work, chosen)
}

/// What is left of the outputs, made shorter by the strategies for single texts, until the target is
/// reached. The newest output stays as it is: the agent has yet to act on it.
pub(super) fn optimized(work: &mut Work<'_>, target: usize, similarity: f64) -> Saved {
    let optimizer = TokenOptimizer::new(0).similarity(similarity);
    let items = work.context.transcript.items();
    let newest = items
        .iter()
        .rposition(|item| item.role() == Role::ToolResults);
    let outputs = work.outputs().into_iter();
    let old = outputs.filter(|o| o.tokens >= LARGE && Some(o.place.item) != newest);
    let mut excess = work.tokens.saturating_sub(target);
    let mut chosen = Vec::new();
    for output in old {
        if excess == 0 {
            break;
        }
        let done = optimizer.optimize(&work.text(&output), &*work.context.tokenizer);
        if done.ratio() > WORTH {
            continue;
        }
        excess = excess.saturating_sub(done.before - done.after);
        chosen.push(Replacement {
            output,
            why: "shortened",
            shorter: Some(done.text),
        });
    }
    apply(work, chosen)
}
