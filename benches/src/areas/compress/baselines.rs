//! The simple ways to shorten a context.

use bytes::Bytes;
use mainspring_compressor::{Item, OpenAi, Role, Transcript, count_item};
use serde_json::Value;

/// Share of the tokens that dropping the oldest leaves, as ours aims at.
const LEFT: f64 = 0.22;
/// Items that are kept by count.
const LAST: usize = 20;
/// Outputs that masking leaves alone.
const UNMASKED: usize = 10;
/// Bytes at either end that truncation leaves of an output.
const END: usize = 500;

/// A way to shorten a context.
pub(super) struct Baseline {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    shorten: fn(&Transcript, usize) -> Vec<Bytes>,
}

pub(super) const BASELINES: [Baseline; 4] = [
    Baseline {
        name: "drop-oldest",
        version: "to 22 % of the tokens",
        shorten: drop_oldest,
    },
    Baseline {
        name: "keep-last-N",
        version: "20 messages",
        shorten: |transcript, _| keep_last(transcript, LAST),
    },
    Baseline {
        name: "observation masking",
        version: "all outputs but the last 10",
        shorten: |transcript, _| mask(transcript),
    },
    Baseline {
        name: "head-and-tail truncation",
        version: "500 bytes at either end of an output",
        shorten: |transcript, _| truncate(transcript),
    },
];

impl Baseline {
    /// What it makes of a transcript of so many tokens.
    pub(super) fn shorten(&self, transcript: &Transcript, tokens: usize) -> Vec<Bytes> {
        (self.shorten)(transcript, tokens)
    }
}

fn cost(item: &Item) -> usize {
    count_item(&OpenAi::o200k(), item)
}

fn drop_oldest(transcript: &Transcript, tokens: usize) -> Vec<Bytes> {
    let room = (tokens as f64 * LEFT) as usize;
    let mut used: usize = system(transcript).map(cost).sum();
    let items = transcript.items();
    let newest = items.iter().rev().take_while(|item| {
        used += cost(item);
        used <= room
    });
    keep_last(transcript, newest.count())
}

/// The system prompt and the last items.
fn keep_last(transcript: &Transcript, count: usize) -> Vec<Bytes> {
    let items = transcript.items();
    let last = &items[items.len() - count.min(items.len())..];
    let last = last.iter().filter(|item| item.role() != Role::System);
    let kept = system(transcript).chain(last);
    kept.map(|item| item.raw().clone()).collect()
}

fn system(transcript: &Transcript) -> impl Iterator<Item = &Item> {
    let items = transcript.items().iter();
    items.filter(|item| item.role() == Role::System)
}

fn mask(transcript: &Transcript) -> Vec<Bytes> {
    let outputs = transcript.items().iter().filter(|item| is_output(item));
    let masked = outputs.count().saturating_sub(UNMASKED);
    let mut seen = 0;
    let items = transcript.items().iter().map(|item| {
        seen += usize::from(is_output(item));
        if !is_output(item) || seen > masked {
            return item.raw().clone();
        }
        rewritten(item, &|text| *text = "[output omitted]".to_owned())
    });
    items.collect()
}

fn truncate(transcript: &Transcript) -> Vec<Bytes> {
    let shorten = |text: &mut String| {
        if text.len() > 2 * END {
            let head = text.floor_char_boundary(END);
            let tail = text.ceil_char_boundary(text.len() - END);
            *text = format!("{}\n[...]\n{}", &text[..head], &text[tail..]);
        }
    };
    let items = transcript.items().iter().map(|item| {
        if is_output(item) {
            rewritten(item, &shorten)
        } else {
            item.raw().clone()
        }
    });
    items.collect()
}

fn is_output(item: &Item) -> bool {
    matches!(item.role(), Role::ToolResults | Role::Observation)
}

/// The item with every text of its outputs changed; formats keep those under one of these keys.
fn rewritten(item: &Item, change: &dyn Fn(&mut String)) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(item.raw()) else {
        return item.raw().clone();
    };
    let before = value.clone();
    visit(&mut value, false, change);
    // What needs no change keeps its bytes, and its place in the provider's cache.
    if value == before {
        return item.raw().clone();
    }
    Bytes::from(value.to_string())
}

fn visit(value: &mut Value, is_text: bool, change: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) if is_text => change(text),
        Value::Array(values) => values.iter_mut().for_each(|v| visit(v, is_text, change)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let is_text = matches!(&**key, "content" | "text" | "output" | "stdout");
                visit(value, is_text, change);
            }
        }
        _ => {}
    }
}
