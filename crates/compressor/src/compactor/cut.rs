//! The last stage: everything old gives way to a summary.

use super::{
    plan::Planned,
    section::Section,
    summary::{self, Around, DETAILS},
    work::Work,
};
use crate::{
    context::{Blob, Context, is_fixed},
    item::{Item, Role},
    tokens::count_item,
    wire::compose,
};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::HashSet;

/// Which items stay, and which give way.
#[derive(Debug)]
pub(super) struct Cut {
    /// System prompts at the beginning.
    head: Vec<usize>,
    /// Items that stay although they are old: pinned, with attachments, the newest of a person.
    kept: Vec<usize>,
    /// The newest units.
    tail: Vec<usize>,
    removed: Vec<usize>,
}

/// A summarised context.
#[derive(Debug)]
pub(super) struct Summarised {
    pub(super) entries: Vec<Planned>,
    pub(super) tokens: usize,
    pub(super) removed: usize,
}

impl Cut {
    /// Keeps the newest units as long as they fit `room` tokens, the last one in any case.
    pub(super) fn new(work: &Work<'_>, room: usize) -> Self {
        let tail_from = tail(work, room);
        let items = work.context.transcript.items();
        let newest = items.iter().rposition(|item| item.role() == Role::Human);
        let mut cut = Self {
            head: Vec::new(),
            kept: Vec::new(),
            tail: Vec::new(),
            removed: Vec::new(),
        };
        for unit in &work.units {
            let stays = unit
                .clone()
                .any(|at| work.context.entries[at].pinned || Some(at) == newest);
            for at in unit.clone() {
                let item = &items[at];
                let media = item.role() == Role::Human && item.has_media();
                let list = if unit.start >= tail_from {
                    &mut cut.tail
                } else if is_fixed(item.role()) && cut.kept.is_empty() && cut.removed.is_empty() {
                    &mut cut.head
                } else if stays || media || is_fixed(item.role()) {
                    &mut cut.kept
                } else {
                    &mut cut.removed
                };
                list.push(at);
            }
        }
        // An old summary is written anew in any case.
        let old = |at: &usize| items[*at].role() == Role::Summary;
        let summaries: Vec<usize> = cut.tail.iter().copied().filter(old).collect();
        cut.tail.retain(|at| !old(at));
        cut.removed.extend(summaries);
        cut
    }

    /// Nothing but summaries would give way.
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty()
    }

    fn stays(&self) -> impl Iterator<Item = usize> + '_ {
        let lists = [&self.head, &self.kept, &self.tail];
        lists.into_iter().flatten().copied()
    }

    pub(super) fn fixed_tokens(&self, work: &Work<'_>) -> usize {
        self.stays().map(|at| work.tokens_of(at)).sum()
    }

    /// The new context at one level of detail, with what a model wrote for single sections.
    pub(super) fn summarise(
        &self,
        work: &Work<'_>,
        detail: usize,
        written: &[(Section, String)],
    ) -> Summarised {
        let context = work.context;
        let around = Around {
            kept: self.stays().map(|at| context.entries[at].seq).collect(),
            history: history_id(context),
            removed: self.removed.len(),
            written: written.to_vec(),
        };
        let text = summary::render(&context.ledger, &DETAILS[detail], &around);
        let item = note(work, &text);
        let tokens = count_item(&*context.tokenizer, &item);
        let total = self.fixed_tokens(work) + tokens;
        let mut entries: Vec<Planned> = self.head.iter().map(|at| planned(work, *at)).collect();
        entries.push(Planned::Insert { item, tokens });
        let rest = self.kept.iter().chain(&self.tail);
        entries.extend(rest.map(|at| planned(work, *at)));
        Summarised {
            entries,
            tokens: total,
            removed: self.removed.len(),
        }
    }

    /// What leaves the context: each large output and each snippet of code by itself, so that it can be
    /// had alone, and the removed items, one a line, with references in place of those outputs.
    pub(super) fn blobs(&self, work: &Work<'_>) -> Vec<Blob> {
        let mut blobs = Vec::new();
        let mut history = BytesMut::new();
        let mut removed = HashSet::new();
        for at in &self.removed {
            let (mut outputs, raw) = work.taken_out(*at);
            blobs.append(&mut outputs);
            history.put_slice(&raw);
            history.put_u8(b'\n');
            removed.insert(work.context.entries[*at].seq);
        }
        let snippets = work.context.ledger.snippets.iter();
        for snippet in snippets.filter(|snippet| removed.contains(&snippet.seq)) {
            blobs.push(Blob {
                id: snippet.id(),
                label: format!("code of {}", snippet.name),
                bytes: Bytes::copy_from_slice(snippet.text.as_bytes()),
            });
        }
        blobs.push(Blob {
            id: history_id(work.context),
            label: format!("{} earlier items", self.removed.len()),
            bytes: history.freeze(),
        });
        blobs
    }
}

fn history_id(context: &Context) -> String {
    format!("h{}", context.compactions + 1)
}

/// The first item of the tail.
fn tail(work: &Work<'_>, room: usize) -> usize {
    let mut from = work.context.entries.len();
    let mut tokens = 0;
    for unit in work.units.iter().rev() {
        tokens += unit.clone().map(|at| work.tokens_of(at)).sum::<usize>();
        if tokens > room && from < work.context.entries.len() {
            break;
        }
        from = unit.start;
        if tokens > room {
            break;
        }
    }
    from
}

/// An item in its present form.
pub(super) fn planned(work: &Work<'_>, at: usize) -> Planned {
    match work.edited.get(&at) {
        Some(edited) => Planned::Replace {
            entry: at,
            item: edited.item.clone(),
            tokens: edited.tokens,
            stored: edited.stored.clone(),
        },
        None => Planned::Keep(at),
    }
}

fn note(work: &Work<'_>, text: &str) -> Item {
    let format = work.context.transcript.format();
    let raw = Bytes::from(compose::note(format, text));
    let mut item = crate::Transcript::new(format).read_next(raw);
    item.set_role(Role::Summary);
    item
}
