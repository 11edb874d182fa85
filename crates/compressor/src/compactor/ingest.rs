//! The first stage: an output is bounded before it enters the context.

use super::builder::Settings;
use crate::{
    Error,
    context::{Blob, Context, Pushed},
    item::{Item, Part},
    ledger,
    tokens::{Tokenizer, count_item},
    transcript::checked,
    wire::compose,
};
use bytes::Bytes;

/// An item that is ready to be appended.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) item: Item,
    pub(super) tokens: usize,
    /// The item before it was bounded, for the ledger.
    pub(super) original: Option<Item>,
    pub(super) stored: Vec<u32>,
    pub(super) blobs: Vec<Blob>,
}

/// Reads and counts an item; outputs above the limit keep head and tail.
pub(super) fn bound(
    settings: &Settings,
    trigger: usize,
    context: &Context,
    raw: Bytes,
) -> Result<Bounded, Error> {
    let item = context.read(checked(raw)?);
    let limit = settings.largest_output(context.budget.usable(), trigger);
    let tokens = match item.is_sent() {
        true => count_item(&*context.tokenizer, &item),
        false => 0,
    };
    let mut bounded = Bounded {
        item,
        tokens,
        original: None,
        stored: Vec::new(),
        blobs: Vec::new(),
    };
    if tokens > limit {
        shorten(context, limit, &mut bounded);
    }
    Ok(bounded)
}

fn shorten(context: &Context, limit: usize, bounded: &mut Bounded) {
    let item = &bounded.item;
    let mut edits = Vec::new();
    let mut last = None;
    let results = item
        .parts()
        .iter()
        .filter(|part| part.replaceable().is_some());
    let share = (limit / results.count().max(1)).max(64);
    for (part, piece) in item.parts().iter().enumerate() {
        let Some(span) = piece.replaceable() else {
            continue;
        };
        if last.replace(span) == Some(span) {
            continue;
        }
        let text = item.text_of(span);
        let id = item.blob_id(context.next_seq, part);
        let label = label(context, item, piece);
        let Some(short) = head_and_tail(&*context.tokenizer, &text, share, &label, &id) else {
            continue;
        };
        edits.push((span, compose::content(context.transcript.format(), &short)));
        bounded.stored.push(part as u32);
        bounded.blobs.push(Blob {
            label,
            bytes: Bytes::from(text.into_owned()),
            id,
        });
    }
    if edits.is_empty() {
        return;
    }
    let format = context.transcript.format();
    let short = item.with_bytes(item.spliced(&mut edits), format);
    bounded.tokens = count_item(&*context.tokenizer, &short);
    bounded.original = Some(std::mem::replace(&mut bounded.item, short));
}

/// What the call that is answered does; the items that wait for answers are the last ones.
fn label(context: &Context, item: &Item, part: &Part) -> String {
    const NEAR: usize = 64;
    let answers = item.result(part).and_then(|result| result.id);
    let items = context.transcript.items().iter().rev().take(NEAR);
    let mut calls = items.flat_map(|item| {
        let calls: Vec<_> = item.calls().collect();
        calls.into_iter().rev()
    });
    let call = match &answers {
        Some(id) => calls.find(|call| call.id.as_ref() == Some(id)),
        None => calls.next(),
    };
    call.map_or_else(
        || "an output".to_owned(),
        |call| ledger::label(&call, &call.access()),
    )
}

/// The beginning and the end of a text in about `limit` tokens; `None` when it fits.
fn head_and_tail(
    tokenizer: &dyn Tokenizer,
    text: &str,
    limit: usize,
    label: &str,
    id: &str,
) -> Option<String> {
    let tokens = tokenizer
        .count_up_to(text, limit)
        .map_or_else(|| tokenizer.count(text), |_| 0);
    if tokens == 0 {
        return None;
    }
    let note = format!("\n[shortened: {label}; {tokens} tokens in all, stored as {id}]\n");
    let room = limit.saturating_sub(tokenizer.count(&note) + 2);
    let mut bytes = text.len() / tokens.max(1) * room;
    loop {
        let short = format!(
            "{}{note}{}",
            head(text, bytes * 2 / 3),
            tail(text, bytes / 3)
        );
        if bytes < 16 || tokenizer.count_up_to(&short, limit).is_some() {
            return Some(short);
        }
        bytes = bytes * 3 / 4;
    }
}

/// The beginning, preferably whole lines.
fn head(text: &str, bytes: usize) -> &str {
    let cut = crate::extract::clip(text, bytes);
    match cut.rfind('\n') {
        Some(line) if line > cut.len() / 2 => &cut[..line],
        _ => cut,
    }
}

/// The end, preferably whole lines.
fn tail(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let cut = &text[from..];
    match cut.find('\n') {
        Some(line) if line < cut.len() / 2 => &cut[line + 1..],
        _ => cut,
    }
}

/// Appends; the ledger learns from the whole item.
pub(super) fn push(
    context: &mut Context,
    item: Item,
    tokens: usize,
    original: Option<Item>,
    stored: Vec<u32>,
) -> Pushed {
    let Some(original) = original else {
        return context.push_read(item, tokens, stored);
    };
    let ledger = std::mem::take(&mut context.ledger);
    let seq = context.next_seq;
    let pushed = context.push_read(item, tokens, stored);
    context.ledger = ledger;
    if let Some(index) = pushed.index {
        let answered = context.transcript.answered(index);
        context.ledger.observe(seq, &original, &answered);
    }
    pushed
}
