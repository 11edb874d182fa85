//! The stages that replace outputs, in order from lossless to merely retrievable.

use super::work::{Output, Replacement, Work};
use crate::{
    TokenOptimizer,
    access::AccessKind,
    extract,
    item::Role,
    similar::{self, Signature},
};
use std::collections::{BTreeSet, HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

/// Tokens from which an output is worth the work of shortening it.
const LARGE: usize = 200;
/// Share of an output that may be left when shortening it was worth a reference.
const WORTH: f64 = 0.8;

/// Most outputs of one bucket that a further one is compared with, and most of all that its signature
/// meets whose shingles are counted.
const MET: usize = 16;
const COUNTED: usize = 4;
/// Most later reads of one file that a read is compared with.
const LATER: usize = 64;

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
        let met = signatures[at].bands();
        let met = met.filter_map(|band| Some(buckets.get(&band)?.iter().take(MET)));
        let met: BTreeSet<usize> = met.flatten().copied().collect();
        let met = met.into_iter().map(|other| (other, &signatures[other]));
        let mut nearest = signatures[at].nearest(met, similarity);
        // Counting is dear: outputs that all but resemble each other must not be counted all with all.
        nearest.truncate(COUNTED);
        let text = nearest.first().map(|_| work.text(&outputs[at]));
        let similar = text.is_some_and(|text| {
            let mut nearest = nearest.into_iter();
            nearest
                .any(|other| similar::similarity(&text, &work.text(&outputs[other])) > similarity)
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
///
/// A later output stands for an earlier one only when it went well and is there in full.
pub(super) fn superseded(work: &mut Work<'_>) -> Saved {
    let outputs = work.outputs();
    let changed = changes(work);
    let mut again: HashMap<(&str, &str), &Output> = HashMap::new();
    let mut read: HashMap<&str, Vec<&Output>> = HashMap::new();
    let mut chosen = Vec::new();
    for output in outputs.iter().rev() {
        if output.access.kind != AccessKind::Read || !output.answers {
            continue;
        }
        let path = output.access.path.as_deref();
        let edited = path
            .filter(|path| only_shows(output, path))
            .and_then(|path| changed.get(path))
            .is_some_and(|last| *last > output.place.item);
        let call = (output.label.as_str(), output.arguments.as_str());
        let later = again.get(&call);
        let repeated = later.is_some_and(|later| !work.is_stored(later) || work.is_stored(output));
        // A command may do more with a file than to show its lines.
        let key = path.filter(|_| output.access.command.is_none());
        let covering = key.and_then(|path| {
            let later = read.get(path)?.iter().rev().take(LATER);
            let mut later = later.filter(|later| later.tool == output.tool);
            later.find(|later| later.access.covers(&output.access))
        });
        let covered = covering.is_some_and(|later| shows(&work.text(later), &work.text(output)));
        if (later.is_none() || key.is_some()) && went_well(work, output) {
            again.entry(call).or_insert(output);
            if let Some(path) = key.filter(|_| !work.is_stored(output)) {
                read.entry(path).or_default().push(output);
            }
        }
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

fn went_well(work: &Work<'_>, output: &Output) -> bool {
    if output.failed {
        return false;
    }
    let text = work.text(output);
    !text.starts_with("Error") && extract::exit_code(&text).is_none_or(|code| code == 0)
}

/// Whether a read says nothing but what stands in that file: another tool's does, a command's when it
/// prints one file and nothing else.
fn only_shows(output: &Output, path: &str) -> bool {
    let Some(command) = &output.access.command else {
        return true;
    };
    let mut words = command.split_whitespace();
    let prints = ["cat", "head", "tail", "nl", "sed"].contains(&words.next().unwrap_or(""));
    let plain = !command
        .trim()
        .contains(['|', ';', '&', '<', '>', '\n', '*', '?', '{']);
    let number = |word: &str| word.starts_with(|c: char| "-'\"".contains(c) || c.is_ascii_digit());
    prints && plain && words.filter(|word| !number(word)).eq([path])
}

/// Whether every line of an earlier read stands in a later one, but for a heading and an ending that a
/// tool may put around them.
fn shows(later: &str, earlier: &str) -> bool {
    let lines = |text| {
        str::lines(text)
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let known: HashSet<&str> = lines(later).collect();
    let earlier: Vec<&str> = lines(earlier).collect();
    let framed = |line: &str| line.starts_with(['[', '(', '<']);
    let last = earlier.len().saturating_sub(1);
    let mut numbered = earlier.iter().enumerate();
    numbered.all(|(at, line)| known.contains(line) || (at == 0 || at == last) && framed(line))
}

/// The last call that changed each path and went well.
fn changes(work: &Work<'_>) -> HashMap<String, usize> {
    let transcript = &work.context.transcript;
    let items = transcript.items();
    let mut changed: HashMap<String, usize> = HashMap::new();
    for exchange in transcript.exchanges() {
        let (Some(call), Some(result)) = (exchange.call, exchange.result) else {
            continue;
        };
        let Some(access) = transcript.call_at(call).map(|call| call.access()) else {
            continue;
        };
        if access.kind != AccessKind::Write {
            continue;
        }
        let item = &items[result.item];
        let failed = item
            .result(&item.parts()[result.part])
            .is_none_or(|result| extract::error_line(&result.text, result.is_error).is_some());
        if let Some(path) = access.path.filter(|_| !failed) {
            let last = changed.entry(path).or_default();
            *last = call.item.max(*last);
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
